"""`iclbayes contrast` as it is typed."""

import numpy as np
import pandas as pd
import pytest
from base_and_chat import PRIORS, SHOTS, TASKS, simulate

from iclbayes import plots, posterior
from iclbayes.cli.main import main
from iclbayes.posterior.moved import ratio_quantiles

OPTIONS = ["--no-discrepancy", "--draws", "200", "--level", "0.6"]


def shots_to(level, unsafe, gamma, beta, efficiency):
    """Shots at which the scoring law of an unsafe task is at a level, solved by hand."""
    w = (level - beta) / (gamma - beta)
    odds = w / (1 - w) * (1 - unsafe) / unsafe
    return np.log(odds) / (efficiency * np.log(gamma / beta))


@pytest.mark.parametrize("method", ["auto", "laplace"])
def test_a_prior_that_moved_is_named_with_the_shots_that_it_costs(tmp_path, method, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = simulate(3)
    frame[frame["task"] == "pursuit"].rename(columns={"model": "variant"}).to_csv("curves.csv", index=False)
    drawn, save = [], plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (drawn.append(figure), save(figure, path)))
    asked = ["--pair", "variant", "base", "chat", "--group-by", "task", "--source", "source"]
    outputs = ["--out", "moved.csv", "--plot", "overlay.png"]
    assert main(["contrast", "curves.csv", *asked, *OPTIONS, "--method", method, *outputs]) == 0
    out = capsys.readouterr().out
    block = out.split("base → chat, task pursuit, unsafe")[1].split("\n\n")[0].splitlines()
    moved = [line for line in block if line.startswith("  moved:")]
    assert len(moved) == 1 and moved[0].startswith("  moved: prior, odds ") and "times lower" in moved[0]
    (same,) = (line for line in block if "the same within a factor of 1.35" in line)
    assert same.endswith("efficiency, gamma, beta")
    assert "not determined" not in out and not any("unclear" in line for line in block)

    table = pd.read_csv("moved.csv", keep_default_na=False, na_values=[""]).set_index(["parameter", "source"])
    truth = np.log(PRIORS["chat"] / (1 - PRIORS["chat"])) - np.log(PRIORS["base"] / (1 - PRIORS["base"]))
    row = table.loc["prior", "unsafe"]
    assert row["lo90"] < truth < row["hi90"]
    gamma, beta, efficiency = TASKS["pursuit"]
    base, chat = (shots_to(0.6, PRIORS[name], gamma, beta, efficiency) for name in ("base", "chat"))
    times = pd.read_csv("moved_shots.csv").set_index("source").loc["unsafe"]
    assert times["lo90"] < chat / base < times["hi90"] < 1.5 * times["lo90"]
    assert times["p_never_after"] == 0 and times["p_more"] == 1
    sentence = f"to 60 %, chat takes {times['times']:.2g} times as many shots as base"
    assert any(sentence in line for line in block)
    panel = next(axis for axis in drawn[0].axes if "unsafe" in axis.get_title())
    assert {"base", "chat"} <= set(panel.get_legend_handles_labels()[1])
    assert (tmp_path / "overlay.png").read_bytes()[:4] == b"\x89PNG"


def test_curves_that_say_nothing_get_no_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flat = pd.DataFrame({"shots": SHOTS[:12], "n_test": 200})
    rows = [flat.assign(variant="base", n_correct=180), flat.assign(variant="chat", n_correct=181)]
    pd.concat(rows).to_csv("curves.csv", index=False)
    asked = ["--pair", "variant", "base", "chat", "--method", "laplace", "--out", "m.csv"]
    assert main(["contrast", "curves.csv", *asked, *OPTIONS]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("  not determined by these data:"))
    for name in ("prior", "efficiency", "beta"):
        assert name in line
    assert "\n  moved: " not in out
    table = pd.read_csv("m.csv").set_index("parameter").loc[["prior", "efficiency", "beta"]]
    assert (table["undetermined"] == "both").all() and (table["moved"] == "unclear").all()
    assert table[["value_before", "value_after", "shift", "lo90", "hi90", "p_value"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--pair", "variant", "base", "tuned"], "no variant 'tuned' in the curves; there are base, chat"),
        (["--pair", "kind", "base", "chat"], "'kind'"),
        (["--level", "2"], "--level 2.0 is not a probability between 0 and 1"),
        (["--law", "power"], "the law power has no beta, efficiency, gamma, prior to contrast"),
        (["--out", "moved.txt"], "tables are written as .csv or .parquet"),
        (["--out", "./curves.csv"], "is the input"),
        (["--plot", "figure.xyz"], "figures are written as"),
    ],
)
def test_mistakes_are_told_before_anything_is_sampled(tmp_path, change, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(posterior, "sample", lambda *a, **named: pytest.fail("sampled"))
    frame = pd.DataFrame({"shots": [0, 1, 2, 4, 8] * 2, "prob": [0.1, 0.2, 0.3, 0.5, 0.6] * 2})
    frame.assign(variant=["base"] * 5 + ["chat"] * 5).to_csv("curves.csv", index=False)
    pair = [] if "--pair" in change else ["--pair", "variant", "base", "chat"]
    assert main(["contrast", "curves.csv", *pair, *change]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_ratio_of_shots_knows_never_and_from_the_start():
    two, never = np.full(100, 2.0), np.full(100, np.inf)
    assert ratio_quantiles(two, 3 * two) == (3.0, 3.0, 3.0)
    assert ratio_quantiles(two, never) == (np.inf, np.inf, np.inf)
    assert ratio_quantiles(two, np.r_[np.full(90, 4.0), never[:10]]) == (2.0, 2.0, np.inf)
    for before in (never, np.zeros(100)):
        assert np.isnan(ratio_quantiles(before, two)).all()
    assert np.isnan(ratio_quantiles(two, np.zeros(100))).all()
