"""A campaign of faults: hostile curves, kills, full disks, mistakes, hostile servers and damaged files, thrown at the package.

    python experiments/campaign.py --quick                     # a few minutes on two CPU cores
    python experiments/campaign.py                             # hours
    python experiments/campaign.py --parts curves servers      # some of it
    python experiments/campaign.py --parts readers --files 20000

Prints a table of what was tried and what failed, with the first failures of each part; the exit status is 1 if anything failed.
The parts, small, are tests too (tests/reliability).
"""

import dataclasses
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: names of models that are none are not asked for

import numpy as np
from campaign_parts import (
    answers,
    bad_inputs,
    full_disk,
    hostile_curves,
    hostile_server,
    kills,
    readers,
    writers,
)

from iclbayes import laws
from iclbayes.cli.parsing import parse_script
from iclbayes.comparison import to_text
from iclbayes.console import entry, progress
from iclbayes.errors import InputError, check_whole, shown

Part = Literal["curves", "kills", "disks", "mistakes", "servers", "readers"]
BATCH = 500  # hostile curves of one fit
SHOWN = 5  # failures of a part that are printed
Outcome = tuple[int, str | None]  # how many were tried, what failed


@dataclasses.dataclass(frozen=True)
class Config:
    """How much is thrown."""

    parts: tuple[Part, ...] = get_args(Part)
    """what is thrown."""
    quick: bool = False
    """sizes for a few minutes, whatever the other options say."""
    curves: int = 100_000
    """hostile curves, shared among laws and precisions."""
    kills: int = 200
    """kills, shared among the commands that write."""
    limits: int = 8
    """file-size limits for each command that writes."""
    mistakes: int = 0
    """mistakes of the table at most; 0: all of them."""
    files: int = 1_000_000
    """damaged files, shared among the readers."""
    seed: int = 0
    """seed of all random numbers."""


QUICK = {"curves": 12_000, "kills": 6, "limits": 2, "mistakes": 60, "files": 2_000}


def try_curves(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """Hostile curves, for every law in both precisions."""
    kinds = [(law, dtype) for law in laws.LAWS for dtype in ("float64", "float32")]
    each = max(1, -(-config.curves // len(kinds)))
    for law, dtype in kinds:
        left = each
        while left > 0:
            # Batches of one size share their program.
            found = list(hostile_curves.faults(hostile_curves.draw(rng, BATCH), law, dtype))
            yield BATCH, f"{law}, {dtype}: {'; '.join(found)}" if found else None
            left -= BATCH


def try_kills(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """Kills of every command that writes, at random moments, several of each in one folder."""
    names = list(writers.in_order(writers.available()))
    each, more = divmod(config.kills, len(names))
    kills.prepare(names)
    with fresh_folder() as folder:
        bad_inputs.write_files(folder)
        writers.make_inputs(folder, names)
        for i, name in enumerate(names):
            count = each + (i < more)
            if count:
                whole = kills.undisturbed(name, folder)
                for after, found in kills.kill(name, folder, count, rng, whole):
                    yield 1, f"{name}, killed after {after:.2f} s: {found}" if found else None


def try_disks(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """Every command that writes, under limits of the size of files."""
    with written_folder() as folder:
        for name in writers.available():
            writer = writers.WRITERS[name]
            before = full_disk.contents(folder, writer.files)
            longest = max(len(content or b"") for content in before.values())
            for limit in [0, *rng.integers(1, longest, config.limits - 1).tolist()]:
                before = full_disk.contents(folder, writer.files)
                with full_disk.file_size_limit(limit):
                    answer = answers.run_here(writer.main, writer.arguments, folder)
                torn = full_disk.changed(before, full_disk.contents(folder, writer.files), limit)
                found = f"torn: {', '.join(torn)}" if torn else answers.fault_of(answer)
                yield 1, f"{name}, at most {limit} bytes: {found}" if found else None


def try_mistakes(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """The table of mistakes, or so many of it."""
    table = list(bad_inputs.cases())
    if config.mistakes:
        table = [table[i] for i in sorted(rng.permutation(len(table))[: config.mistakes])]
    with fresh_folder() as folder:
        bad_inputs.write_files(folder)
        before = set(folder.rglob("*"))
        for case in table:
            found = answers.fault_of(answers.run_here(case.main, case.arguments, folder))
            left = sorted(str(path) for path in set(folder.rglob("*")) - before)
            found = found or (f"left behind: {', '.join(left)}" if left else None)
            yield 1, f"{case.what}: {found}" if found else None


def try_servers(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """Hostile replies."""
    del config, rng
    stop = threading.Event()
    try:
        for name, reply in hostile_server.replies(stop).items():
            found = None
            try:
                with hostile_server.serving(reply) as url:
                    said = hostile_server.told(url, 3.0)
                if not all(line.isprintable() for line in said):
                    found = f"control characters: {said}"
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            yield 1, f"{name}: {found}" if found else None
    finally:
        stop.set()


def try_readers(config: Config, rng: np.random.Generator) -> Iterator[Outcome]:
    """Damaged files of every kind that is read."""
    each = -(-config.files // len(readers.READERS))
    for name in readers.READERS:
        for size in _pieces(each, 10_000):
            found = readers.storm(name, size, int(rng.integers(2**62)))
            yield size, f"{name}: {found}" if found else None


def _pieces(total: int, most: int) -> Iterator[int]:
    while total > 0:
        yield min(total, most)
        total -= most


PARTS: dict[Part, Callable[[Config, np.random.Generator], Iterator[Outcome]]] = {
    "curves": try_curves,
    "kills": try_kills,
    "disks": try_disks,
    "mistakes": try_mistakes,
    "servers": try_servers,
    "readers": try_readers,
}


class fresh_folder:
    """A folder that is there while the block runs."""

    def __enter__(self) -> Path:
        self._folder = Path(tempfile.mkdtemp())
        return self._folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class written_folder(fresh_folder):
    """A folder in which every command that writes has written its files."""

    def __enter__(self) -> Path:
        folder = super().__enter__()
        bad_inputs.write_files(folder)
        names = writers.available()
        writers.make_inputs(folder, names)
        for name in writers.in_order(names):
            answer = answers.run_here(writers.WRITERS[name].main, writers.WRITERS[name].arguments, folder)
            if answer.status != 0:
                raise RuntimeError(f"{name} fails by itself: {answer.errors[-500:]}{answer.traceback[-500:]}")
        return folder


def run(config: Config) -> int:
    """Throws everything, prints the table; returns how many failed."""
    import pandas as pd

    config = check(config)
    rows, told = [], []
    for part in config.parts:
        rng = np.random.default_rng([config.seed, list(PARTS).index(part)])
        tried, failures = 0, []
        with progress(part, "attempt") as advance:
            for count, fault in PARTS[part](config, rng):
                tried += count
                advance(count)
                if fault:
                    failures.append(fault)
                    print(f"iclbayes: failed: {part}: {shown(fault, 600)}", file=sys.stderr, flush=True)
        rows.append((part, tried, len(failures)))
        told += [f"{part}: {shown(fault, 600)}" for fault in failures[:SHOWN]]
    table = pd.DataFrame(rows, columns=["part", "tried", "failed"])
    print(to_text(table, "markdown"))
    print(*told, sep="\n")
    return int(table["failed"].sum())


def check(config: Config) -> Config:
    """The configuration with the sizes of --quick, if that is asked for. Raises InputError for sizes that are none."""
    if config.quick:
        config = dataclasses.replace(config, **QUICK)
    if not config.parts:
        raise InputError(f"--parts: nothing is given; choose from {', '.join(PARTS)}")
    for name in ("curves", "kills", "limits", "files"):
        check_whole(f"--{name}", getattr(config, name), 1, 10**9)
    check_whole("--mistakes", config.mistakes, 0, 10**9)
    check_whole("--seed", config.seed, 0, 2**63 - 1)
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    failed = []
    status = entry(
        lambda: failed.append(run(parse_script(Config, arguments, "campaign.py", __doc__.splitlines()[0])))
    )
    return status or int(failed[0] > 0)


if __name__ == "__main__":
    sys.exit(main())
