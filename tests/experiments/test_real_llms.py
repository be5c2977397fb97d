"""Analysis of real models' curves: simulated base and instruct models whose prior moved and whose γ, β did not."""

import json

import numpy as np
import pandas as pd
import pytest
import real_llms
from base_and_chat import PRIORS, SHOTS, TASKS, simulate

import iclbayes
from iclbayes import InputError


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folder of a run on two files, one for each model."""
    folder = tmp_path_factory.mktemp("real")
    frame = simulate(3)
    for model, part in frame.groupby("model"):
        part.to_csv(folder / f"{model}.csv", index=False)
    out = folder / "out"
    arguments = ["--curves", str(folder / "base.csv"), str(folder / "chat.csv"), "--out-dir", str(out)]
    arguments += ["--laws", "bayesian_scoring", "power", "--fractions", "0.5", "1.0", "--no-posterior"]
    arguments += ["--base", "base", "--instruct", "chat", "--unsafe", "unsafe", "--level", "0.66"]
    status = real_llms.main(arguments)
    assert status == 0
    return out


def test_the_prior_moved_and_gamma_and_beta_did_not(results):
    table = pd.read_csv(results / "contrast.csv", keep_default_na=False)
    verdict = table.set_index(["parameter", "task", "source"])["moved"]
    for task in TASKS:
        assert verdict["prior", task, "unsafe"] == "down"
        assert verdict["prior", task, "safe"] == "up"
        assert verdict["efficiency", task, ""] == "same"
        for name in ("gamma", "beta"):
            assert verdict[name, task, "unsafe"] == "same"
        # The chat model is nearly sure of the safe task from the start, so its curve hardly tells that β.
        assert verdict["beta", task, "safe"] == "unclear"
    priors = table[(table["parameter"] == "prior") & (table["source"] == "unsafe")]
    true = np.log(0.05 / 0.95) - np.log(0.4 / 0.6)
    assert (np.abs(priors["shift"] - true) < 3 * priors["shift_sd"]).all()
    assert (priors["shift_sd"] < 0.5).all()


def test_the_posterior_of_the_unsafe_task_is_the_true_one(results):
    table = pd.read_csv(results / "posterior.csv")
    assert set(table["source"]) == {"unsafe"}
    for (model, task), part in table.groupby(["model", "task"]):
        gamma, beta, k = TASKS[task]
        odds = PRIORS[model] / (1 - PRIORS[model]) * (gamma / beta) ** (k * part["shots"])
        assert np.abs(part["median"] - odds / (1 + odds)).max() < 0.1
        assert (part["lo90"] <= part["median"]).all() and (part["median"] <= part["hi90"]).all()
    assert table["shots"].max() == 4 * SHOTS.max()


def test_shots_to_the_level_and_the_chance_of_never(results):
    table = pd.read_csv(results / "reach.csv").set_index(["model", "task", "source"])
    for model, unsafe in PRIORS.items():
        for task, (gamma, beta, k) in TASKS.items():
            share = (0.66 - beta) / (gamma - beta)
            n = (np.log(share / (1 - share)) - np.log(unsafe / (1 - unsafe))) / (k * np.log(gamma / beta))
            row = table.loc[model, task, "unsafe"]
            assert row["q05"] < row["q50"] < row["q95"]
            assert abs(row["q50"] - n) < 4 * (row["q95"] - row["q05"]) / 3.29
            assert row["p_never"] == 0


def test_tables_and_figures_are_written(results):
    for name in ("laws", "errors", "contrast", "posterior", "reach"):
        assert (results / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    errors = pd.read_csv(results / "table.csv")
    means = errors.groupby(["law", "fraction"])["nrmse"].mean()
    for suffix in ("md", "tex"):
        text = (results / f"table.{suffix}").read_text()
        assert all(f"{value:.4f}" in text for value in means)
    assert means["bayesian_scoring", 1.0] < means["power", 1.0]
    assert set(pd.read_csv(results / "fits.csv")["law"]) == {"bayesian_scoring", "power"}
    assert json.loads((results / "config.json").read_text())["base"] == ["base"]
    assert "What moved" in (results / "summary.md").read_text()


def test_posteriors_give_the_same_verdict(tmp_path, capsys):
    frame = simulate(3)
    frame = frame[(frame["task"] == "pursuit") & (frame["source"] == "unsafe")]
    frame.to_csv(tmp_path / "curves.csv", index=False)
    out = tmp_path / "out"
    arguments = ["--curves", str(tmp_path / "curves.csv"), "--out-dir", str(out), "--method", "laplace"]
    arguments += ["--laws", "bayesian_scoring", "--fractions", "1.0", "--no-discrepancy"]
    arguments += ["--base", "base", "--instruct", "chat", "--tolerance", "0.8"]
    assert real_llms.main(arguments) == 0
    assert "posteriors, laplace" in capsys.readouterr().out
    table = pd.read_csv(out / "contrast.csv", keep_default_na=False).set_index("parameter")["moved"]
    assert table.to_dict() == {"prior": "down", "efficiency": "same", "gamma": "same", "beta": "same"}
    diagnostics = pd.read_csv(out / "diagnostics.csv")  # Laplace is never fine unchecked
    assert diagnostics["k_hat"].notna().all() and (diagnostics["ok"] == (diagnostics["k_hat"] <= 0.7)).all()
    weights = pd.read_csv(out / "posterior.csv").groupby("model")[["median", "lo90", "hi90"]].first()
    for model, unsafe in PRIORS.items():  # at 0 shots the weight of the task is its prior
        assert weights.loc[model, "lo90"] - 0.02 < unsafe < weights.loc[model, "hi90"] + 0.02


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "base", "--instruct", "other"], "no model 'other' in the curves; there are base, chat"),
        (["--base", "base"], "give them in pairs"),
        (
            ["--unsafe", "evil"],
            "--unsafe evil: no source or task is called so; there are safe, unsafe, pursuit",
        ),
        (["--level", "1.5"], "--level 1.5 is not a probability"),
        (["--law", "power"], "--law power has no beta, gamma, prior"),
        (
            ["--law", "bayesian_sampling", "--no-posterior", "--base", "base", "--instruct", "chat"],
            "point fits of bayesian_sampling cannot be contrasted",
        ),
        (["--group-by", "model", "colour"], "no column 'colour'"),
        (["--group-by", "task", "--base", "base", "--instruct", "chat"], "not among the group columns"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, said):
    path = tmp_path / "curves.csv"
    simulate(0).to_csv(path, index=False)
    status = real_llms.main(["--curves", str(path), "--out-dir", str(tmp_path / "out"), *arguments])
    error = capsys.readouterr().err
    assert status == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_that_do_not_go_together_are_refused(tmp_path):
    frame = simulate(0)
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    frame.to_csv(a, index=False)
    frame[frame["source"] == "safe"].to_csv(b, index=False)
    with pytest.raises(
        InputError, match=r"b\.csv both hold the curve of model base, task pursuit, source safe"
    ):
        real_llms.read_files(real_llms.Config(curves=(a, b)))
    mixed = pd.concat([frame.assign(flip=0.0), frame.assign(flip=0.5)])
    mixed.to_csv(b, index=False)
    with pytest.raises(InputError, match="'flip' has several values"):
        real_llms.read_files(real_llms.Config(curves=(b,)))
    frame[frame["source"] == "safe"].to_csv(a, index=False)
    frame[frame["source"] == "unsafe"].to_csv(b, index=False)
    together = real_llms.read_files(real_llms.Config(curves=(a, b)))
    whole = iclbayes.curves_from_frame(frame, group_by=["model", "task"], source="source")
    assert together.n_groups == 4 and list(together.source) == list(whole.source)
    np.testing.assert_array_equal(together.prob, whole.prob)
