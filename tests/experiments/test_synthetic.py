"""The synthetic experiment end to end, at a size that takes seconds."""

import html
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import ROOT
from synthetic_parts import stages
from synthetic_parts.config import PAPER

import iclbayes
from iclbayes import ginc, icl
from iclbayes.cli.main import main

TINY = [
    *("--context", "128"),
    *("--world.hmms", "4", "--world.slots", "5", "--world.symbols", "24"),
    *("--layers", "1", "2", "--width", "16", "--heads", "2", "--steps", "40", "--batch-size", "8"),
    *("--warmup-steps", "4", "--evals", "2", "--eval-rows", "64", "--ks", "3", "10", "--prompts", "40"),
    *("--laws", "power", "bayesian_scoring", "--fractions", "0.5", "1.0"),
    *("--weights", "0.4", "0.3", "0.2", "0.1", "--suppress", "8", "64", "--favoured", "1"),
    *("--forecaster", "laplace"),
]
FIGURES = ["curves.png", "laws.png", "nrmse.png", "efficiency.png", "priors.png", "summary.png"]
CLOCK = ["tokens_per_s"]  # columns that a clock writes


def run_and_kill(arguments: list[str], when) -> None:
    """The script in a process of its own, killed as soon as `when()` is true."""
    script = Path(synthetic.__file__)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, script, *arguments], stdout=output, stderr=output, env=os.environ | CACHE
        )
        while process.poll() is None and not when():
            time.sleep(0.002)
        process.kill()
        output.seek(0)
        assert process.wait() == -signal.SIGKILL, output.read().decode()


CACHE = {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "run"
    assert synthetic.main(["--run-dir", str(folder), *TINY]) == 0
    return folder


def test_a_run_leaves_everything_it_names(run_dir):
    for name in synthetic.FILES:
        assert (run_dir / name).stat().st_size > 0
    for name in FIGURES:
        assert (run_dir / name).read_bytes().startswith(b"\x89PNG")
    record = json.loads((run_dir / "record.json").read_text())
    assert {"command", "versions", "device"} <= set(record)
    stored = json.loads((run_dir / "config.json").read_text())
    assert stored["layers"] == [1, 2] and "run_dir" not in stored
    metrics = pd.read_csv(run_dir / "metrics.csv")
    assert set(metrics["layers"]) == {1, 2} and metrics["loss"].notna().any()
    assert metrics["eval_loss"].notna().sum() == 4  # two evaluations for each depth


def test_a_run_becomes_a_page_with_its_story(run_dir, tmp_path):
    page = tmp_path / "run.html"
    assert main(["report", str(run_dir), "--out", str(page)]) == 0
    text = html.unescape(page.read_text(encoding="utf-8"))
    told = pd.read_csv(run_dir / "story.csv")
    assert len(told) and all(sentence in text for sentence in [*told["finding"], *told["question"]])
    assert len(text) < 5e6


def test_curves_have_every_learner_source_and_shot(run_dir):
    curves = pd.read_csv(run_dir / "curves.csv")
    first = ["learner", "layers", "source", "k", "shots", "prob", "stderr", "accuracy", "nll", "n"]
    assert set(first) <= set(curves.columns)
    shots = {3: 32, 10: 11}
    assert set(curves["method"]) == {"none", "sft", "dpo"}
    curves = curves[curves["method"] == "none"]
    assert len(curves) == 4 * 4 * sum(shots.values())  # two depths and two exact learners, four sources
    assert (curves.groupby(["learner", "layers", "k"])["n"].first() == 10).all()
    np.testing.assert_allclose(curves["nll"], -np.log(curves["prob"]), rtol=1e-6)
    read = iclbayes.read_curves(
        run_dir / "curves.csv",
        group_by=["learner", "layers", "k", "method", "amount", "step"],
        source="source",
        value="prob",
    )
    assert (read.n_groups, read.n_curves) == (8 + 2 * 2 * 2, 4 * 16)


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


def test_a_run_killed_in_the_suppression_stage_ends_with_the_same_bits(run_dir, tmp_path):
    """SIGKILL in the middle of an amount of SFT (DPO beside it), then in or after the last amount of DPO, then on to the end."""
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder, ignore=shutil.ignore_patterns("suppress*", "forecast*"))
    arguments = ["--run-dir", str(folder), *TINY, "--resume"]
    amounts = folder / "suppressed"
    run_and_kill(arguments, lambda: list(amounts.glob("sft_00064/checkpoints/[0-9]")))
    assert (amounts / "sft_00008" / "curves.csv").exists()
    last = amounts / "dpo_00064"
    run_and_kill(arguments, lambda: list(last.glob("checkpoints/[0-9]")) or (last / "curves.csv").exists())
    assert not (folder / "forecast.csv").exists()
    assert synthetic.main(arguments) == 0
    names = sorted(path.relative_to(run_dir) for path in run_dir.rglob("*.csv"))
    assert {"forecast.csv", "suppression_fits.csv", "suppressed/dpo_00064/metrics.csv"} <= set(
        map(str, names)
    )
    assert names == sorted(path.relative_to(folder) for path in folder.rglob("*.csv"))
    for name in names:
        whole, again = (pd.read_csv(f / name, float_precision="round_trip") for f in (run_dir, folder))
        whole, again = (frame.drop(columns=CLOCK, errors="ignore") for frame in (whole, again))
        pd.testing.assert_frame_equal(whole, again, check_exact=True, obj=str(name))


def test_any_weights_and_any_favoured_task(run_dir):
    forecast = pd.read_csv(run_dir / "forecast.csv")
    assert set(forecast["source"]) == {0, 2, 3} and set(forecast["method"]) == {"sft", "dpo"}
    shifts = pd.read_csv(run_dir / "suppression_shifts.csv")
    assert set(shifts.loc[shifts["role"] == "favoured", "source"]) == {1}
    for method in ("sft", "dpo"):
        stored = json.loads((run_dir / "suppressed" / f"{method}_00064" / "config.json").read_text())
        assert stored["extra"]["tuning"]["favoured"] == 1
        assert stored["extra"]["weights"] == [0.4, 0.3, 0.2, 0.1]
    # The more weight a task had, the less the model and the ideal one of the same weights lose on it with no example.
    curves = pd.read_csv(run_dir / "curves.csv")
    ideal = curves[(curves["learner"] == "exact_pretraining") & (curves["k"] == 3) & (curves["shots"] == 0)]
    config = synthetic.parse(["--run-dir", str(run_dir), *TINY], synthetic.PRESETS, "")
    world = ginc.make_world(config.world)
    prompts = stages.icl_prompts(config, world)[:1]
    scores = icl.score_exact(world, prompts, "exact_examples", ks=(3, 10), weights=(0.4, 0.3, 0.2, 0.1))
    expected = icl.icl_curves(scores).query("shots == 0")["prob"]
    np.testing.assert_allclose(ideal["prob"], expected, rtol=1e-5)


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
    config = PAPER.training(4, 0)
    assert (config.steps, config.batch_size, config.learning_rate) == (6250, 8, 8e-5)
    matched = synthetic.parse(["--preset", "paper", "--flops-matched"], synthetic.PRESETS, "")
    epochs = [matched.training(n, 0).steps * 8 // 10_000 for n in matched.layers]
    assert epochs == [80, 40, 27, 20, 10, 7, 5]
    assert (paper.kind, paper.rows) == ("documents", ginc.Rows("documents", 10))
    quick = synthetic.parse([], synthetic.PRESETS, "")
    assert quick.rows == ginc.Rows("examples", 1, quick.ks)
    small = synthetic.parse(["--preset", "small"], synthetic.PRESETS, "")
    assert small.rows.kind == "documents" and small.world == ginc.WorldConfig.paper(17)
    assert synthetic.parse(["--world.seed", "3"], synthetic.PRESETS, "").world.seed == 3
