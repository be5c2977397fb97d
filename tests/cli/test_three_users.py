"""Three people who have read the README only: the commands as they type them, and whether what is printed holds the truth.

Their data are simulated, so that the truth is known: the law of README's first example, two models, some noise of counting.
"""

import re
import shlex

import numpy as np
import pandas as pd
import pytest

from iclbayes.cli.main import main

SHOTS = np.array([0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128])
# model: (prior of the task, efficiency K, γ, β); "chat" has another prior and nothing else. It is 36 times lower in odds: at a
# tenth of that, draws of counts decide whether a correct answer is "moved" or "unclear" (a corrected p-value near 0.05).
TRUE = {"base": (0.1, 0.06, 0.85, 0.08), "chat": (0.003, 0.06, 0.85, 0.08)}


def probability(model, shots):
    """The scoring law of one task against a background, written out in NumPy."""
    prior, efficiency, gamma, beta = TRUE[model]
    weight = prior / (prior + (1 - prior) * (beta / gamma) ** (efficiency * np.asarray(shots, float)))
    return beta + (gamma - beta) * weight


def shots_to(model, level):
    """Shots at which that law is at a level, by bisection."""
    low, high = 0.0, 1e5
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(model, middle) < level else (low, middle)
    return high


def interval(line):
    """(low, high) of "(90 %: 77 to 105)" in a sentence, as it is printed."""
    low, high = re.search(r"\(90 %: ([\d.,]+)(?: %)? to ([\d.,]+|never)", line).groups()
    return tuple(np.inf if end == "never" else float(end.replace(",", "")) for end in (low, high))


def within(truth, line):
    """Whether a printed interval, whose ends are rounded to whole numbers, holds the truth."""
    low, high = interval(line)
    return low - 0.5 <= truth <= high + 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with counts of unsafe answers, as README describes such files."""
    path, rng = tmp_path_factory.mktemp("user"), np.random.default_rng(4)
    rows = [
        pd.DataFrame({"shots": SHOTS, "n_correct": rng.binomial(1000, probability(model, SHOTS))})
        .assign(variant=model, n_test=1000)
        for model in TRUE
    ]  # fmt: skip
    pd.concat(rows).to_csv(path / "mine.csv", index=False)
    return path


def typed(command, folder, monkeypatch, capsys):
    """What a command prints; it must succeed."""
    monkeypatch.chdir(folder)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "iclbayes" and main(words[1:]) == 0, command
    return capsys.readouterr().out


def test_one_asks_how_many_shots_until_half_of_the_answers_are_unsafe(folder, monkeypatch, capsys):
    out = typed(
        "iclbayes posterior mine.csv --law bayesian_scoring --group-by variant --fraction 0.5 \\\n"
        "    --level 0.5 --shots 96 --forecast forecast.csv --plot bands.png --overlay variant",
        folder, monkeypatch, capsys,
    )  # fmt: skip
    assert "all 2 posteriors pass their diagnostics" in out
    for model in TRUE:
        reach, ahead = [line for line in out.splitlines() if line.startswith(f"{model}: ")]
        assert (
            reach.startswith(f"{model}: 50 % after ") and reach.count("never within 12,800 shots: 0 %") == 1
        )
        assert within(shots_to(model, 0.5), reach), reach
        assert within(100 * probability(model, 96), ahead) and ahead.endswith("fitted up to 64"), ahead
    table = pd.read_csv(folder / "shots_to_reach.csv").set_index("variant")
    for model, row in table.iterrows():
        assert row["q05"] < shots_to(model, 0.5) < row["q95"]
    for name in ("forecast.csv", "shots_to_reach.csv", "bands.png"):
        assert name in out and (folder / name).stat().st_size > 100


def test_another_asks_what_fine_tuning_changed_and_how_sure_that_is(folder, monkeypatch, capsys):
    out = typed(
        "iclbayes contrast mine.csv --pair variant base chat --level 0.5 --plot overlay.pdf --title 'Base and chat'",
        folder, monkeypatch, capsys,
    )  # fmt: skip
    moved = [line for line in out.splitlines() if line.startswith("  moved: ")]
    assert [line.split(",")[0] for line in moved] == ["  moved: prior"]
    logits = {model: np.log(TRUE[model][0] / (1 - TRUE[model][0])) for model in TRUE}
    factor = np.exp(logits["base"] - logits["chat"])
    assert "times lower" in moved[0]
    low, high = interval(moved[0])
    assert low < factor < high
    (times,) = [line for line in out.splitlines() if "times as many shots as base" in line]
    ratio = shots_to("chat", 0.5) / shots_to("base", 0.5)
    low, high = interval(times)
    assert low - 0.1 <= ratio <= high + 0.1 and high < 2 * low
    assert (folder / "overlay.pdf").read_bytes().startswith(b"%PDF")


def test_a_third_asks_which_law_describes_the_curves_and_what_its_parameters_are(folder, monkeypatch, capsys):
    out = typed(
        "iclbayes compare mine.csv --group-by variant --law bayesian_scoring --law power --law bounded_power \\\n"
        "    --fraction 1.0 --out table.csv --plot nrmse.svg --size slide",
        folder, monkeypatch, capsys,
    )  # fmt: skip
    assert "Fitted on all shots, bayesian_scoring is nearest to 2 curves" in out
    table = pd.read_csv(folder / "table.csv").groupby("law")["nrmse"].mean()
    assert table.idxmin() == "bayesian_scoring"
    told = typed(
        "iclbayes fit mine.csv --law bayesian_scoring --group-by variant --stderr --out fits.csv --plot fits.png",
        folder, monkeypatch, capsys,
    )  # fmt: skip
    assert "bayesian_scoring: 2 converged" in told and "figure: fits.png" in told
    fits = pd.read_csv(folder / "fits.csv").set_index("variant")
    names = ("prior", "efficiency", "gamma", "beta")
    (line,) = [line for line in told.splitlines() if line.startswith("  chat: ")]
    low, middle, high = (fits.loc["chat", f"gamma{end}"] for end in ("_lo90", "", "_hi90"))
    assert f"gamma {middle:.3g} (90 %: {low:.3g} to {high:.3g})" in line
    held = []
    for model, truths in TRUE.items():
        vague = str(fits.loc[model, "not_identified"])
        assert not fits.loc[model, "identified"] or vague == "nan"
        ends = [(fits.loc[model, f"{name}_lo90"], fits.loc[model, f"{name}_hi90"]) for name in names]
        held += [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]
    assert sum(held) >= 6  # of eight intervals of 90 %
    assert ("do not determine every parameter" in told) == (not fits["identified"].all())
