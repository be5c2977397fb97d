"""Commands killed (SIGKILL) at any moment: what they wrote before is whole, and the same command then succeeds, with the
results of an undisturbed one.

Commands run in processes that are forked from one that has imported what they need (`forkserver`), so that most kills hit their
work and not their imports.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from .full_disk import contents
from .programs import Program, main_of
from .writers import WRITERS

PRELOADED = (
    *("__main__", "jax", "pandas", "pyarrow.parquet", "numpyro", "arviz", "h5netcdf", "matplotlib.pyplot"),
    *(
        "torch",
        "transformers",
        "inspect_ai.log",
        "synthetic",
        "iclbayes.fits",
        "iclbayes.posterior",
        "iclbayes.plots",
    ),
    *("iclbayes.report", "iclbayes.contrasts", "iclbayes.cli.main"),
)
CLOCK = ("tokens_per_s",)  # columns that a clock writes
TIMED = {".pdf": b"%%EOF", ".svg": b"</svg>", ".html": b"</html>", ".nc": b""}  # hold the time; how they end


class Undisturbed(NamedTuple):
    """A command that nothing disturbed: how long it took, in seconds, and what it wrote, by file."""

    seconds: float
    contents: dict[str, bytes | None]


def _work(program: Program, arguments: Sequence[str], folder: Path, said: str) -> None:
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, open(said, "w") as errors:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    os._exit(main_of(program)(list(arguments)))


def _start(name: str, folder: Path, said: str) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    writer = WRITERS[name]
    process = context.Process(target=_work, args=(writer.program, writer.arguments, folder, said))
    process.start()
    return process


def _run(name: str, folder: Path, after: float | None = None) -> str | None:
    """Runs a command to its end, or kills it so many seconds after its start; what it said if it failed by itself."""
    with tempfile.NamedTemporaryFile("r") as said:
        process = _start(name, folder, said.name)
        process.join(after)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        return f"status {process.exitcode}: {said.read()[-500:]}" if process.exitcode else None


def undisturbed(name: str, folder: Path) -> Undisturbed:
    """Runs a command that finds nothing of its own done.

    Raises:
      RuntimeError: it fails.
    """
    writer = WRITERS[name]
    writer.clear(folder)
    began = time.monotonic()
    fault = _run(name, folder)
    if fault:
        raise RuntimeError(f"{name}: {fault}")
    return Undisturbed(time.monotonic() - began, contents(folder, writer.files))


def kill(name: str, folder: Path, after: float, whole: Undisturbed) -> str | None:
    """Kills a command so many seconds after its start, then runs it to its end; what is wrong, or None.

    Args:
      name: of `WRITERS`.
      folder: where the commands work.
      after: seconds.
      whole: the same command, undisturbed.
    """
    writer = WRITERS[name]
    writer.clear(folder)
    before = contents(folder, writer.files)
    fault = _run(name, folder, after)
    if fault:
        return f"failed before it was killed: {fault}"
    for file, content in contents(folder, writer.files).items():
        if content != before[file] and not _begun(file, content, whole.contents[file]):
            return f"torn: {file}"
    fault = _run(name, folder)
    if fault:
        return f"the same command fails afterwards: {fault}"
    for file, content in contents(folder, writer.files).items():
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
