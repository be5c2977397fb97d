"""Every command that writes files, with small inputs: for full disks and kills."""

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import made_inputs
from .programs import Program, main_of

GOOD = ("good.csv", "--group-by", "model")
QUICK = ("--law", "power", "--method", "laplace", "--draws", "50")
TINY_RUN = (
    *("--context", "48", "--world.hmms", "3", "--world.slots", "5", "--world.symbols", "20", "--layers", "1"),
    *("--width", "16", "--heads", "2", "--steps", "24", "--batch-size", "4", "--warmup-steps", "2"),
    *("--evals", "2", "--eval-rows", "32", "--ks", "3", "--prompts", "24", "--laws", "power"),
    *("--fractions", "0.5", "--suppress", "4", "16", "--forecaster", "point"),
)
RUN_FILES = ("metrics", "entropy", "curves", "fits", "table", "story", "forecast", "suppression_shifts")


class Writer(NamedTuple):
    """A command, and what it writes.

    Attributes:
      arguments: behind the name of the program.
      files: what it writes, tables of results and figures.
      program: which program.
      fresh: files and folders that are removed before it works, so that it finds nothing of its own done.
    """

    arguments: tuple[str, ...]
    files: tuple[str, ...]
    program: Program = "iclbayes"
    fresh: tuple[str, ...] = ()

    @property
    def main(self) -> Callable[[Sequence[str]], int]:
        """The program's entry point."""
        return main_of(self.program)

    def clear(self, folder: Path) -> None:
        """Removes what is `fresh`."""
        for name in self.fresh:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)


WRITERS: dict[str, Writer] = {
    "fit to CSV": Writer(("fit", *GOOD, "--law", "power", "--out", "f.csv"), ("f.csv",)),
    "fit to Parquet": Writer(("fit", *GOOD, "--law", "power", "--out", "f.parquet"), ("f.parquet",)),
    "fit in chunks to CSV": Writer(
        ("fit", *GOOD, "--law", "power", "--chunk-rows", "6", "--out", "k.csv"),
        ("k.csv",),
    ),
    "fit in chunks to Parquet": Writer(
        ("fit", *GOOD, "--law", "power", "--chunk-rows", "6", "--out", "k.parquet"),
        ("k.parquet",),
    ),
    "fit to PNG": Writer(
        ("fit", *GOOD, "--law", "power", "--out", "g.csv", "--plot", "g.png"), ("g.csv", "g.png")
    ),
    "fit to PDF": Writer(
        ("fit", *GOOD, "--law", "power", "--out", "h.csv", "--plot", "h.pdf"), ("h.csv", "h.pdf")
    ),
    "fit to SVG": Writer(
        ("fit", *GOOD, "--law", "power", "--out", "i.csv", "--plot", "i.svg"), ("i.csv", "i.svg")
    ),
    "compare": Writer(
        ("compare", *GOOD, "--law", "power", "--out", "t.csv", "--plot", "t.png"),
        ("t.csv", "t.png"),
    ),
    "posterior to netCDF": Writer(("posterior", *GOOD, *QUICK, "--out", "d.nc"), ("d.nc",)),
    "posterior": Writer(
        ("posterior", *GOOD, *QUICK, "--level", "0.5", "--forecast", "p.csv", "--plot", "p.pdf"),
        ("shots_to_reach.csv", "p.csv", "p.pdf"),
    ),
    "contrast": Writer(
        ("contrast", "good.csv", "--pair", "variant", "base", "chat", *QUICK[2:], "--out", "m.csv"),
        ("m.csv", "m_shots.csv"),
    ),
    "report": Writer(("report", *GOOD, *QUICK, "--out", "r.html"), ("r.html",)),
    "example": Writer(("example", "ex"), ("ex/synthetic.csv", "ex/unsafe_answers.csv")),
    "import-lm-eval": Writer(("import-lm-eval", "ex/lm_eval", "--out", "e.csv"), ("e.csv", "e.json")),
    "import-inspect": Writer(
        ("import-inspect", "inspect_logs", "--out", "n.csv"), ("n.csv", "n.json"), fresh=("n.csv", "n.json")
    ),
    "learn-prior": Writer(
        ("learn-prior", "past.csv", *GOOD[1:], "--law", "power", "--out", "l.json"),
        ("l.json",),
        fresh=("l.json",),
    ),
    "collect": Writer(
        (
            *("collect", "--model", "made_model", "--task", "made_task.jsonl", "--backend", "hf"),
            *(
                "--device",
                "cpu",
                "--template",
                "plain",
                "--shuffles",
                "8",
                "--max-shots",
                "3",
                "--out",
                "c.csv",
            ),
        ),
        ("c.csv", "c.json"),
        fresh=("c.csv", "c.json", "c.prompts.jsonl"),
    ),
    "synthetic.py": Writer(
        ("--run-dir", "run", "--resume", *TINY_RUN),
        tuple(f"run/{name}.csv" for name in RUN_FILES),
        "synthetic",
        ("run",),
    ),
}
MADE: dict[
    str, dict[str, Callable[[Path], object]]
] = {  # what writers read: names of files, and what makes them
    "collect": {
        "made_model": made_inputs.write_model,
        "made_task.jsonl": made_inputs.write_task,
    },
    "learn-prior": {"past.csv": made_inputs.write_past_curves},
    "import-inspect": {"inspect_logs": made_inputs.write_inspect_logs},
}


@functools.cache
def available() -> tuple[str, ...]:
    """Names of the writers whose extras are installed."""
    import importlib.util

    needs = {"collect": ("torch", "transformers"), "import-inspect": ("inspect_ai",)}
    return tuple(
        name for name in WRITERS if all(importlib.util.find_spec(package) for package in needs.get(name, ()))
    )


def make_inputs(folder: Path, names: Sequence[str]) -> None:
    """Writes what these writers read, beside what `bad_inputs.write_files` writes."""
    for name in names:
        for file, make in MADE.get(name, {}).items():
            make(folder / file)


def in_order(names: Sequence[str]) -> Iterator[str]:
    """The names so that a writer comes before those that read what it writes."""
    yield from sorted(names, key=lambda name: name != "example")
