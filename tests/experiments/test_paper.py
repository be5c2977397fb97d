"""The published scale's order of work, at a size that takes seconds."""

import json

import numpy as np
import pandas as pd
import paper
import published
import pytest
from synthetic_parts.config import PAPER

TINY = (
    *("--base.world.hmms", "3", "--base.world.entities", "1", "--base.world.slots", "8"),
    *("--base.world.symbols", "20", "--base.world.seed", "1", "--base.width", "16", "--base.heads", "2"),
    *("--base.context", "48", "--base.documents", "10", "--base.blocks", "2", "--base.epochs", "1"),
    *("--base.batch-size", "4", "--base.warmup-steps", "2", "--base.evals", "1", "--base.eval-rows", "32"),
    *("--base.prompts", "24", "--base.ks", "3", "--base.laws", "bayesian_scoring"),
    *("--base.fractions", "0.5", "--tune.laws", "--tune.amounts", "2", "8", "--tune.evals", "1"),
    *("--tune.hypotheses", "knowledge_shared", "--tune.forecaster", "point"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run of the first and second stages, then of all."""
    folder = tmp_path_factory.mktemp("paper")
    arguments = ["--run-dir", str(folder / "run"), "--results", str(folder / "results"), *TINY]
    arguments += ["--first", "1", "--rest"]
    assert paper.main([*arguments, "--stages", "pretrain"]) == 0
    assert (folder / "results" / "uniform" / "table.md").exists()
    assert not (folder / "run" / "uniform" / "suppression").exists()
    assert paper.main(arguments) == 0
    return folder / "run", folder / "results", arguments


def test_the_work_is_ordered_by_value_and_done_once(folders):
    run_dir, results, arguments = folders
    steps = ["uniform_1", "report_pretrain", "sft_1", "report_sft", "dpo_1", "report_dpo"]
    steps += ["flops_matched_1", "report_flops"]
    times = pd.read_csv(results / "times.csv")
    assert times["step"].tolist() == steps and (times["seconds"] > 0).all()
    assert paper.main(arguments) == 0
    assert len(pd.read_csv(run_dir / "times.csv")) == len(steps)  # nothing was left to do


def test_the_published_depths_come_first():
    order = [(stage, name) for stage, name, _ in paper.plan(paper.Config())]
    first = [f"{what}_{n}" for what in ("uniform", "sft", "dpo") for n in (3, 4, 8, 12, 16)]
    rest = [f"{what}_{n}" for what in ("uniform", "sft", "dpo") for n in (1, 2)]
    flops = [f"flops_matched_{n}" for n in (3, 4, 8, 12, 16, 1, 2)]
    assert [name for _, name in order] == [*first, *rest, *flops]
    matched = paper.Config().pretraining("flops_matched")
    assert [matched.training(n, 0).steps * 8 // 10_000 for n in (1, 16)] == [80, 5]


def test_results_are_small_and_whole(folders):
    run_dir, results, _ = folders
    record = json.loads((results / "record.json").read_text())
    assert {"command", "versions", "device", "config", "tuning"} <= set(record)
    for name in ("uniform", "flops_matched"):
        curves = pd.read_csv(results / name / "curves.csv.gz")
        assert set(curves.loc[curves["learner"] == "gpt2", "layers"]) == {1}
        assert {"exact_prompt", "exact_pretraining"} < set(curves["learner"])
        assert set(pd.read_csv(results / name / "losses.csv")["layers"]) == {1}
        assert pd.read_csv(results / name / "entropy.csv")["utilisation"].between(0, 2).all()
        for file in (
            "fits.csv",
            "table.csv",
            "table.tex",
            "curves.png",
            "efficiency.png",
            "errors.csv",
            "published.md",
        ):
            assert (results / name / file).stat().st_size > 0, file
    metrics = pd.read_csv(results / "flops_matched" / "metrics.csv")
    assert metrics["step"].max() == 80 * 10 * 2 // 4  # epochs × documents × rows / batch
    tuned = pd.read_csv(results / "uniform" / "suppression" / "curves.csv.gz")
    assert set(tuned["amount"]) == {0, 2, 8} and set(tuned["method"]) == {"sft", "dpo"}
    whole = pd.read_csv(run_dir / "uniform" / "suppression" / "curves.csv")
    last = whole[(whole["method"] == "dpo") & (whole["amount"] == 8) & (whole["layers"] == 1)]
    last = last[last["step"] == last["step"].max()].sort_values(["source", "shots"])
    kept = tuned[(tuned["method"] == "dpo") & (tuned["amount"] == 8) & (tuned["layers"] == 1)]
    np.testing.assert_allclose(kept.sort_values(["source", "shots"])["prob"], last["prob"], rtol=1e-4)
    assert not [path for path in results.rglob("*") if path.is_file() and path.stat().st_size > 2_000_000]


def test_another_configuration_is_refused(folders, capsys):
    _, _, arguments = folders
    assert paper.main([*arguments, "--base.width", "32"]) == 2
    assert "width is 16 there but 32 here" in capsys.readouterr().err


def test_numbers_stand_beside_the_published_ones():
    logs = pd.DataFrame(
        {
            "layers": [3, 3, 3],
            "step": [1, 2, 3],
            "loss": [2.0, 1.45, np.nan],
            "eval_loss": [np.nan, np.nan, 1.40],
        }
    )
    row = published.losses(logs).iloc[0]
    assert (row["loss"], row["published_loss"], row["eval_loss"]) == (1.45, 1.446, 1.40)
    np.testing.assert_allclose(row["difference"], 0.018)
    table = pd.DataFrame(
        {"layers": [1, 3, 4], "fraction": 0.2, "law": "logistic", "nrmse": [9.0, 0.04, 0.06]}
    )
    row = published.errors(table).iloc[0]
    assert (row["nrmse"], row["published"], row["models"]) == (0.05, 0.0414, 2)
    assert PAPER.world.hmms == 5
