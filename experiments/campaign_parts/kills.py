"""Commands killed (SIGKILL) at any moment, again and again in one folder: what they wrote before is whole, and the same command
then succeeds, with the results of an undisturbed one.

Commands run in processes that are forked from one that has imported what they need (`forkserver`), so that most kills hit their
work and not their imports. What an undisturbed run compiles, the others find in the cache.
"""

import itertools
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .full_disk import contents
from .programs import Program, main_of
from .writers import WRITERS

PRELOADED = ("jax", "pandas", "iclbayes.fits", "iclbayes.cli.main")
ALSO = {  # what some writers need besides
    "fit to Parquet": ("pyarrow.parquet",),
    "fit in chunks to Parquet": ("pyarrow.parquet",),
    **dict.fromkeys(("fit to PNG", "fit to PDF", "fit to SVG", "compare"), ("iclbayes.plots",)),
    **dict.fromkeys(
        ("posterior to netCDF", "posterior", "contrast", "report", "learn-prior"),
        (
            "arviz",
            "h5netcdf",
            "iclbayes.contrasts",
            "iclbayes.plots",
            "iclbayes.posterior",
            "iclbayes.report",
        ),
    ),
    "import-inspect": ("inspect_ai.log",),
    "collect": ("torch", "transformers"),
    "synthetic.py": ("arviz", "iclbayes.plots", "iclbayes.posterior", "synthetic"),
}
CLOCK = ("tokens_per_s",)  # columns that a clock writes
TIMED = {".pdf": b"%%EOF", ".svg": b"</svg>", ".html": b"</html>", ".nc": b""}  # hold the time; how they end


class Undisturbed(NamedTuple):
    """A command that nothing disturbed: how long it took, in seconds, and what it wrote, by file."""

    seconds: float
    contents: dict[str, bytes | None]


def prepare(names: Sequence[str]) -> None:
    """Says what the process that all commands are forked from imports, before it is started: what these writers need."""
    modules = itertools.chain(PRELOADED, *(ALSO.get(name, ()) for name in names))
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(dict.fromkeys(modules)))


def _work(program: Program, arguments: Sequence[str], folder: Path, said: str) -> None:
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, open(said, "w") as errors:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    os._exit(main_of(program)(list(arguments)))


def _start(name: str, folder: Path, said: str) -> BaseProcess:
    writer = WRITERS[name]
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_work, args=(writer.program, writer.arguments, folder, said))
    process.start()
    return process


class Ended(NamedTuple):
    """A command that came to its end: after how many seconds, and what it said if it failed."""

    seconds: float
    fault: str | None


def _run(name: str, folder: Path, after: float | None = None) -> Ended | None:
    """Runs a command to its end, or kills it so many seconds after its start (None)."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as said:
        process = _start(name, folder, said.name)
        process.join(after)
        if process.exitcode is None:
            process.kill()
            process.join()
        if process.exitcode == -signal.SIGKILL:
            return None
        status = process.exitcode
        return Ended(time.monotonic() - began, f"status {status}: {said.read()[-500:]}" if status else None)


def undisturbed(name: str, folder: Path) -> Undisturbed:
    """Runs a command that finds nothing of its own done.

    Raises:
      RuntimeError: it fails.
    """
    WRITERS[name].clear(folder)
    ended = _run(name, folder)
    assert ended is not None
    if ended.fault:
        raise RuntimeError(f"{name}: {ended.fault}")
    return Undisturbed(ended.seconds, contents(folder, WRITERS[name].files))


def kill(
    name: str, folder: Path, count: int, rng: np.random.Generator, whole: Undisturbed
) -> Iterator[tuple[float, str | None]]:
    """Kills a command so many times, each time going on in the folder that the kill before left, then runs it to its end.

    A command that ends before its kill (it went on from what was done, or compiled nothing any more) is checked too, and begins
    anew; it counts for no kill.

    Args:
      name: of `WRITERS`.
      folder: where the commands work.
      count: kills.
      rng: draws their moments, uniform over the time that the command takes.
      whole: the same command, undisturbed.

    Yields:
      Of each kill the seconds after the command's start, and what was wrong, or None. The last one tells what the run to the end
      showed. Nothing is tried any more after a fault.
    """
    writer = WRITERS[name]
    writer.clear(folder)
    longest, killed, anew = whole.seconds, 0, True
    while killed < count:
        before = contents(folder, writer.files)
        after = rng.uniform(0, longest)
        ended = _run(name, folder, after)
        fault = _torn(before, folder, name, whole) if ended is None else _wrong(ended, folder, name, whole)
        if ended is None:
            killed, anew = killed + 1, False
            if killed == count and not fault:
                ended = _run(name, folder)
                assert ended is not None
                fault = _wrong(ended, folder, name, whole)
            yield after, fault
        elif fault:
            yield after, fault
        else:
            longest, anew = ended.seconds if anew else longest, True
            writer.clear(folder)
        if fault:
            return


def _torn(before: dict[str, bytes | None], folder: Path, name: str, whole: Undisturbed) -> str | None:
    """What a kill did to the files of a command, or None."""
    for file, content in contents(folder, WRITERS[name].files).items():
        if content != before[file] and not _begun(file, content, whole.contents[file]):
            return f"torn: {file}"
    return None


def _wrong(ended: Ended, folder: Path, name: str, whole: Undisturbed) -> str | None:
    """What is wrong with a command that came to its end after kills, or None."""
    if ended.fault:
        return f"the same command fails afterwards: {ended.fault}"
    for file, content in contents(folder, WRITERS[name].files).items():
        if content is None:
            return f"not there: {file}"
        if not _same(file, content, whole.contents[file]):
            return f"differs from an undisturbed run's: {file}"
    return None


def _begun(file: str, content: bytes | None, whole: bytes | None) -> bool:
    """Whether a file is whole: as at the end, or a table whose last rows have yet to come (`story.csv` grows)."""
    if content is None or whole is None:
        return False
    if _same(file, content, whole):
        return True
    found, wanted = _settled(file, content), _settled(file, whole)
    return file.endswith(".csv") and found.endswith(b"\n") and wanted.startswith(found)


def _same(file: str, content: bytes, whole: bytes | None) -> bool:
    """Whether two contents of a file are the same but for the time in them."""
    end = TIMED.get(Path(file).suffix)
    if end is not None:
        return content.rstrip().endswith(end)
    return whole is not None and _settled(file, content) == _settled(file, whole)


def _settled(file: str, content: bytes) -> bytes:
    """The content without what a clock writes."""
    head = content.partition(b"\n")[0].decode(errors="replace").split(",")
    if not file.endswith(".csv") or not set(CLOCK) & set(head):
        return content
    kept = [i for i, name in enumerate(head) if name not in CLOCK]
    rows = [line.split(b",") for line in content.split(b"\n") if line]
    return b"".join(b",".join(row[i] for i in kept) + b"\n" for row in rows)
