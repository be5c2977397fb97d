"""The published scale with one command, ordered by value, resumable model by model, with small results to keep.

    python experiments/paper.py --run-dir runs/paper     # begins, or continues what was stopped, also by SIGKILL
    python experiments/paper.py --run-dir runs/paper --stages pretrain sft --first 3 4

Stages, each a list of models: `pretrain` (3, 4, 8, 12, 16 layers, their ICL curves right after each), `sft`, `dpo`, `rest` (1
and 2 layers: pretraining, SFT, DPO), `flops` (all depths pretrained with the same compute). Checkpoints stay in the run
folder; `--results` gets what is small: curves at the end of each stage, fits, tables, figures, losses and errors beside the
published ones, utilisation, times, versions and the command. They are written anew after every stage.

Hardware: one accelerator. experiments/suppression.md estimates memory and time of every stage on an H200.
"""

import dataclasses
import functools
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import published
import suppression as script
from synthetic_parts import config as settings
from synthetic_parts import report as synthetic_report
from synthetic_parts import stages
from synthetic_parts.checks import MOST
from synthetic_parts.checks import check as check_base

from iclbayes import comparison as compare
from iclbayes import ginc, runs
from iclbayes.cli.parsing import parse_script
from iclbayes.console import entry
from iclbayes.errors import InputError, check_each_once, check_whole
from iclbayes.files import atomic_path, check_folder, write_csv, write_text
from iclbayes.suppression.sharing import final_steps
from iclbayes.training import matrix_rate, utilisation

STAGES = ("pretrain", "sft", "dpo", "rest", "flops")


@dataclasses.dataclass(frozen=True)
class Config:
    """What to run, in this order, and where it goes."""

    run_dir: Path = Path("runs/paper")
    """folder of the run: checkpoints, logs, all curves."""
    results: Path = Path("experiments/results/paper")
    """folder of the small results."""
    stages: tuple[Literal["pretrain", "sft", "dpo", "rest", "flops"], ...] = STAGES
    """which stages."""
    first: tuple[int, ...] = published.DEPTHS
    """depths of the stages pretrain, sft and dpo."""
    rest: tuple[int, ...] = (1, 2)
    """depths of the stage rest."""
    base: settings.Config = settings.PAPER
    """pretraining, curves and laws."""
    tune: script.Config = script.PAPER
    """fine-tuning and forecasts."""

    def pretraining(self, name: str) -> settings.Config:
        """The pretraining of the run's folder `name`, "uniform" or "flops_matched"."""
        return dataclasses.replace(
            self.base,
            layers=(*self.first, *self.rest),
            run_dir=self.run_dir / name,
            flops_matched=name == "flops_matched",
            resume=True,
        )


IGNORED = {
    "base": ("layers", "run_dir", "flops_matched", "resume"),
    "tune": ("run_dir", "method", "layers", "resume"),
}


def check(config: Config) -> None:
    """Raises InputError unless every stage can be done. Computes nothing."""
    check_each_once("--stages", config.stages)
    depths = (*config.first, *config.rest)
    check_each_once("--first and --rest", depths)
    for layers in depths:
        check_whole("--first and --rest: a depth", layers, 1, MOST)
    for part, names in IGNORED.items():
        given, default = getattr(config, part), getattr(Config(), part)
        for name in names:
            if getattr(given, name) != getattr(default, name):
                raise InputError(
                    f"--{part}.{name.replace('_', '-')}: is decided by --first, --rest, --stages and --run-dir; leave it out"
                )
    for name in ("uniform", "flops_matched"):
        check_base(config.pretraining(name), "--base.")
    script.check(config.tune, config.pretraining("uniform"), "--tune.")
    seeds = [seed for seed in config.tune.seeds if seed not in config.base.seeds]
    if seeds:
        raise InputError(f"--tune.seeds {seeds[0]}: is not among --base.seeds")
    check_folder(config.results)
    if os.path.realpath(config.results) == os.path.realpath(config.run_dir):
        raise InputError(f"--results {config.results}: is the folder of the run; choose another")


def plan(config: Config) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """(stage, name of a step, what to do) in order; every step is one model and may be repeated without harm."""
    uniform, matched = config.pretraining("uniform"), config.pretraining("flops_matched")

    def of(layers, *methods):
        return [(method, n) for n in layers for method in methods]

    for stage in STAGES:
        if stage not in config.stages:
            continue
        if stage == "flops":
            steps = [("flops_matched", n) for n in matched.layers]
        elif stage == "rest":
            steps = [*of(config.rest, "uniform"), *of(config.rest, "sft"), *of(config.rest, "dpo")]
        else:
            steps = of(config.first, "uniform" if stage == "pretrain" else stage)
        for what, layers in steps:
            if what in ("sft", "dpo"):
                action = functools.partial(tune, config.tune, uniform, what, layers)
            else:
                base = matched if what == "flops_matched" else uniform
                action = functools.partial(pretrain, base, layers)
            yield stage, f"{what}_{layers}", action


def pretrain(base: settings.Config, layers: int) -> None:
    """Pretrains one depth and measures its curves, losses and utilisation."""
    one = dataclasses.replace(base, layers=(layers,))
    world = ginc.make_world(base.world)
    exact = base.run_dir / "exact.csv"
    results = stages.pretrain(one, world, base.run_dir)
    rate = matrix_rate(one.model(layers).dtype)
    for (depth, seed), result in results.items():
        folder = base.run_dir / "models" / settings.run_name(depth, seed)
        model = {(depth, seed): result}
        write_csv(stages.measure(one, world, model, exact=False), folder / "curves.csv")
        numbers = utilisation(result.metrics, result.model.config, rate)
        row = stages.entropy_table(one, world, model).assign(**numbers)
        write_csv(row, folder / "entropy.csv")
    if not exact.exists():
        write_csv(stages.measure(one, world, {}), exact)


def tune(config: script.Config, base: settings.Config, method: str, layers: int) -> None:
    """Fine-tunes one depth by one method and all amounts."""
    one = dataclasses.replace(
        config, run_dir=base.run_dir, method=method, layers=(layers,), resume=True, preset="paper"
    )
    script.tune_models(one, base, script.open_folder(one))


def report(config: Config, name: str) -> None:
    """Fits, tables and figures of what is there in the run's folder `name`, and the small ones in the results."""
    base = config.pretraining(name)
    parts = {f: sorted(base.run_dir.glob(f"models/*/{f}.csv")) for f in ("curves", "entropy")}
    frame = pd.concat([_read(path) for path in (*parts["curves"], base.run_dir / "exact.csv")])
    entropy = pd.concat([_read(path) for path in parts["entropy"]])
    logs = pd.concat(
        _read(path.parent / "metrics.csv").assign(layers=int(layers), seed=int(seed))
        for path in parts["curves"]
        for layers, seed in [path.parent.name.removeprefix("layers").split("_seed")]
    )
    fits, table = stages.fit_laws(base, frame)
    depths = tuple(sorted(frame.loc[frame["learner"] == "gpt2", "layers"].unique()))
    synthetic_report.write_results(fits, table, base.run_dir)
    synthetic_report.draw(dataclasses.replace(base, layers=depths), frame, fits, table, base.run_dir)
    ours = {"losses": published.losses(logs), "errors": published.errors(table[table["learner"] == "gpt2"])}
    for title, one in (*ours.items(), ("entropy", entropy)):
        write_csv(one, base.run_dir / f"{title}.csv")
        print(f"\n{name}, {title}\n\n{compare.to_text(one)}", flush=True)
    text = "\n\n".join(f"{k}\n\n{compare.to_text(t, 'markdown')}" for k, t in ours.items())
    write_text(text + "\n", base.run_dir / "published.md")
    write_csv(logs, base.run_dir / "metrics.csv")
    tuned = base.run_dir / "suppression" / "curves.csv"
    if tuned.exists():
        after = _read(tuned)
        script.report(config.tune, after, tuned.parent)
        keep(tuned.parent, config.results / name / "suppression", final_steps(after))
    keep(base.run_dir, config.results / name, frame)


def keep(folder: Path, results: Path, curves: pd.DataFrame) -> None:
    """Copies tables and figures of a folder to the results, numbers with 5 digits, and its curves, compressed."""
    results.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*")):
        if path.suffix in (".png", ".md", ".tex", ".json"):
            with atomic_path(results / path.name) as temporary:
                shutil.copyfile(path, temporary)
        elif path.suffix == ".csv" and path.name not in ("curves.csv", "exact.csv"):
            with atomic_path(results / path.name) as temporary:
                _read(path).to_csv(temporary, index=False, float_format="%.5g")
    with atomic_path(results / "curves.csv.gz") as temporary:
        packed = {"method": "gzip", "mtime": 0}
        curves.to_csv(temporary, index=False, float_format="%.5g", compression=packed)


def record(config: Config, times: list[dict]) -> None:
    """record.json and times.csv: the command, versions, the device, and how long each step took."""
    config.results.mkdir(parents=True, exist_ok=True)
    path = config.run_dir / "times.csv"
    frame = pd.DataFrame(times)
    if path.exists():
        frame = pd.concat([_read(path), frame], ignore_index=True)
    write_csv(frame, path)
    write_csv(frame, config.results / "times.csv")
    runs.record(config.results, config=runs.as_json(config.base), tuning=runs.as_json(config.tune))


def run(config: Config) -> None:
    """All stages in order."""
    check(config)
    with runs.alone_in(config.run_dir):
        _run(config)


def _run(config: Config) -> None:
    done = config.run_dir / "done"
    done.mkdir(parents=True, exist_ok=True)
    for name in ("uniform", "flops_matched"):
        base = config.pretraining(name)
        runs.open_run(base.run_dir, runs.as_json(base), resume=True)  # refuses another configuration
    for stage, steps in itertools.groupby(plan(config), key=lambda step: step[0]):
        folder = "flops_matched" if stage == "flops" else "uniform"
        last = (stage, f"report_{stage}", functools.partial(report, config, folder))
        for _, name, action in (*steps, last):
            if (done / name).exists():
                continue
            print(f"\n{stage}: {name}", flush=True)
            began = time.perf_counter()
            action()
            record(config, [{"stage": stage, "step": name, "seconds": time.perf_counter() - began}])
            write_text("", done / name)
    print(f"\ndone: {config.run_dir}, {config.results}")


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, float_precision="round_trip")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    return entry(lambda: run(parse_script(Config, arguments, "paper.py", __doc__.splitlines()[0])))


if __name__ == "__main__":
    sys.exit(main())
