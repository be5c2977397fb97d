"""The synthetic experiment end to end, at a size that takes seconds."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import iclbayes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))
import synthetic

TINY = [
    *("--layers", "1", "2", "--width", "16", "--heads", "2", "--steps", "40", "--batch-size", "8"),
    *("--warmup-steps", "4", "--evals", "2", "--eval-rows", "64", "--ks", "3", "10", "--prompts", "40"),
    *("--laws", "power", "bayesian_scoring", "--fractions", "0.5", "1.0", "--suppress"),
]
FILES = [
    "config.json",
    "metrics.csv",
    "entropy.csv",
    "curves.csv",
    "fits.csv",
    "table.csv",
    "table.md",
    "table.tex",
]
FIGURES = ["curves.png", "laws.png", "nrmse.png", "efficiency.png", "priors.png"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "run"
    assert synthetic.main(["--run-dir", str(folder), *TINY]) == 0
    return folder


def test_a_run_leaves_everything_it_names(run_dir):
    for name in FILES:
        assert (run_dir / name).stat().st_size > 0
    for name in FIGURES:
        assert (run_dir / name).read_bytes().startswith(b"\x89PNG")
    stored = json.loads((run_dir / "config.json").read_text())
    assert stored["layers"] == [1, 2] and "run_dir" not in stored
    metrics = pd.read_csv(run_dir / "metrics.csv")
    assert set(metrics["layers"]) == {1, 2} and metrics["loss"].notna().any()
    assert metrics["eval_loss"].notna().sum() == 4  # two evaluations for each depth


def test_curves_have_every_learner_source_and_shot(run_dir):
    curves = pd.read_csv(run_dir / "curves.csv")
    first = ["learner", "layers", "source", "k", "shots", "prob", "stderr", "accuracy", "nll", "n"]
    assert set(first) <= set(curves.columns)
    shots = {3: 32, 10: 11}
    assert len(curves) == 4 * 4 * sum(shots.values())  # two depths and two exact learners, four sources
    assert (curves.groupby(["learner", "layers", "k"])["n"].first() == 10).all()
    np.testing.assert_allclose(curves["nll"], -np.log(curves["prob"]), rtol=1e-6)
    read = iclbayes.read_curves(
        run_dir / "curves.csv", group_by=["learner", "layers", "k"], source="source", value="prob"
    )
    assert (read.n_groups, read.n_curves) == (8, 32)


def test_table_and_fits_cover_every_curve(run_dir):
    table = pd.read_csv(run_dir / "table.csv")
    assert len(table) == 2 * 2 * 32 and table["nrmse"].notna().all()
    fits = pd.read_csv(run_dir / "fits.csv")
    assert len(fits) == 2 * 32
    prior = fits[fits["law"] == "bayesian_scoring"].groupby(["learner", "layers", "k"])["prior"].sum()
    np.testing.assert_allclose(prior, 1.0, rtol=1e-6)


def test_no_model_beats_the_exact_learner(run_dir):
    entropy = pd.read_csv(run_dir / "entropy.csv")
    assert (entropy["gap"] > -2 * entropy["gap_stderr"]).all()
    assert (entropy["gap"] > 0.1).all()  # 40 steps do not make a good model: the check can see a gap
    np.testing.assert_allclose(entropy["loss"] - entropy["entropy"], entropy["gap"], atol=1e-3)


def test_resume_changes_nothing_that_is_done_and_redoes_what_is_missing(run_dir):
    before = {name: (run_dir / name).read_bytes() for name in ("metrics.csv", "curves.csv", "table.csv")}
    (run_dir / "curves.csv").unlink()
    assert synthetic.main(["--run-dir", str(run_dir), *TINY, "--resume"]) == 0
    for name, content in before.items():
        assert (run_dir / name).read_bytes() == content


def test_another_configuration_is_refused_in_one_line(run_dir, capsys):
    cases = [
        (["--run-dir", str(run_dir), *TINY], "already holds a run; add --resume"),
        (["--run-dir", str(run_dir), *TINY, "--resume", "--steps", "41"], "steps is 40 there but 41 here"),
        (["--resume", *TINY], "--resume needs --run-dir"),
    ]
    for arguments, message in cases:
        assert synthetic.main(arguments) == 2
        printed = capsys.readouterr().err.strip().splitlines()[-1]
        assert printed.startswith("iclbayes: error: ") and message in printed


def test_presets_are_those_of_the_description():
    paper = synthetic.parse(["--preset", "paper", "--layers", "4"], synthetic.PRESETS, "")
    assert (paper.layers, paper.width, paper.heads, paper.context) == ((4,), 768, 12, 1024)
    config = synthetic.PAPER.training(4, 0)
    assert (config.steps, config.batch_size, config.learning_rate) == (6250, 8, 8e-5)
    matched = synthetic.parse(["--preset", "paper", "--flops-matched"], synthetic.PRESETS, "")
    epochs = [matched.training(n, 0).steps * 8 // 10_000 for n in matched.layers]
    assert epochs == [80, 40, 27, 20, 10, 7, 5]
    assert synthetic.parse(["--world.seed", "3"], synthetic.PRESETS, "").world.seed == 3
