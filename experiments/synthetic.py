"""From nothing to a forecast: pretrain GPT-2s on the synthetic world, measure their ICL curves, fit the laws, suppress a task,
forecast its return, and say at each step what was found and whether the theory predicted it.

    python experiments/synthetic.py                               # preset quick, minutes on two CPU cores
    python experiments/synthetic.py --preset small                # published documents, hours on two CPU cores
    python experiments/synthetic.py --preset paper                # the published scale, for one accelerator
    python experiments/synthetic.py --run-dir DIR --resume        # continue a run that was stopped
    python experiments/synthetic.py --layers 1 2 4 --steps 300    # any field can be overridden

A run folder holds config.json, record.json, models/ (checkpoints and their logs), metrics.csv (all training logs), entropy.csv
(held-out loss beside the exact learner's), curves.csv, fits.csv, table.csv, table.md, table.tex, story.csv, and figures; after
the suppression stage also forecast.csv, suppressed/ and suppression_*.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from synthetic_parts import story
from synthetic_parts.checks import check
from synthetic_parts.config import PRESETS, Config, keys, parse
from synthetic_parts.report import draw, draw_summary, write_results
from synthetic_parts.stages import entropy_table, fit_laws, icl_prompts, measure, pretrain
from synthetic_parts.suppress import analyse, fine_tune

from iclbayes import ginc, runs
from iclbayes.console import entry
from iclbayes.files import write_csv

FILES = (
    *("config.json", "record.json", "metrics.csv", "entropy.csv", "curves.csv", "fits.csv"),
    *("table.csv", "table.md", "table.tex", "story.csv"),
)


def run(config: Config) -> None:
    """The whole experiment."""
    check(config)
    began = time.perf_counter()
    folder = runs.run_folder(config.run_dir, resume=config.resume, name="synthetic")
    with runs.alone_in(folder) as run_dir:
        _run(config, run_dir, began)


def _run(config: Config, run_dir: Path, began: float) -> None:
    runs.open_run(run_dir, runs.as_json(config), resume=config.resume)
    runs.record(run_dir)
    world = ginc.make_world(config.world)
    told: list[story.Finding] = []

    def tell(findings: list[story.Finding]) -> None:
        told.extend(findings)
        write_csv(story.as_file(told), run_dir / "story.csv")
        print(story.tell(findings), flush=True)

    print(
        f"run folder: {run_dir}\nAt the head of a line, yes: as the theory predicts; NO: not so.", flush=True
    )
    results = pretrain(config, world, run_dir)
    logs = [r.metrics.assign(layers=layers, seed=seed) for (layers, seed), r in results.items()]
    write_csv(pd.concat(logs, ignore_index=True), run_dir / "metrics.csv")
    entropy = entropy_table(config, world, results)
    write_csv(entropy, run_dir / "entropy.csv")
    tell(story.losses(entropy))

    frame = measure(config, world, results)
    write_csv(frame, run_dir / "curves.csv")
    tell(story.curves_on_the_exact_learner(frame))

    fits, table = fit_laws(config, frame)
    write_results(fits, table, run_dir)
    tell(story.laws(fits, table))
    draw(config, frame, fits, table, run_dir)

    if config.suppress:
        frame = suppress(config, world, results, frame, run_dir, tell)
    draw_summary(config, frame, fits, run_dir)
    print(f"\ntables: {run_dir}/*.csv, table.md; figures: {run_dir}/*.png, all in one: summary.png")
    print(f"one page to send round: iclbayes report {run_dir} --out report.html")
    print(f"done in {time.perf_counter() - began:.0f} s")


def suppress(config: Config, world: ginc.World, results, frame: pd.DataFrame, run_dir, tell) -> pd.DataFrame:
    """Fine-tunes the deepest model of the first seed towards one task by SFT and DPO; returns all curves."""
    layers, seed = max(config.layers), config.seeds[0]
    both, _ = fine_tune(
        {(layers, seed): lambda: results[layers, seed].model},
        config.tunings(),
        config.suppress,
        world,
        keys(config)["tuning"],
        icl_prompts(config, world),
        lambda _: run_dir / "suppressed",
        weights=config.weights or None,
        resume=config.resume,
    )
    frame = pd.concat([frame, both[both["method"] != "none"]], ignore_index=True)
    write_csv(frame, run_dir / "curves.csv")
    tables = analyse(
        both,
        run_dir,
        "suppression_",
        favoured=config.favoured,
        hypotheses=("all_free", "knowledge_shared", "prior_shared"),
        windows=(0.1,),
        forecaster=config.forecaster,
    )
    tell(story.suppression(both, tables["attribution"], config.favoured))
    tell(story.forecasts(tables["forecast"]))
    return frame


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    return entry(lambda: run(parse(arguments, PRESETS, "synthetic.py", __doc__.splitlines()[0])))


if __name__ == "__main__":
    sys.exit(main())
