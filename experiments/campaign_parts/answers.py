"""Commands run inside this process, and what is wrong with how they answer a mistake.

A good answer to a mistake: exit status 2, one line on standard error that begins with `iclbayes: error:` (warnings may stand
before it), and no temporary file left behind.
"""

import contextlib
import dataclasses
import io
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

LONGEST = 1500  # characters of an error's line, with the paths in it


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a command ended: exit status, what it printed, and the traceback if it ended with one."""

    status: int | None
    said: str
    errors: str
    traceback: str = ""


def run_here(command: Callable[[Sequence[str]], int], arguments: Sequence[str], folder: Path) -> Answer:
    """Runs a command's `main` in this process, with `folder` as its working directory."""
    said, errors = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            try:
                status, trace = command(list(arguments)), ""
            except SystemExit as end:
                status, trace = end.code if isinstance(end.code, int) else 1, ""
            except Exception:
                status, trace = None, traceback.format_exc()
    finally:
        os.chdir(before)
    return Answer(status, said.getvalue(), errors.getvalue(), trace)


def fault_of(answer: Answer) -> str | None:
    """What is wrong with an answer to a mistake; None if nothing is."""
    if answer.traceback or "Traceback (most recent call last)" in answer.errors:
        last = (answer.traceback or answer.errors).strip().splitlines()[-1]
        return f"a traceback: {last[:200]}"
    if answer.status != 2:
        return f"exit status {answer.status}, not 2"
    lines = [
        line
        for line in answer.errors.splitlines()
        if not line.startswith(("iclbayes: warning: ", "iclbayes: skipped "))
    ]
    if len(lines) != 1:
        return f"{len(lines)} lines instead of one: {lines[:2]}"
    if not lines[0].startswith("iclbayes: error: ") or len(lines[0]) < 25:
        return f"no error of ours: {lines[0][:200]}"
    if len(lines[0]) > LONGEST:
        return f"a line of {len(lines[0])} characters"
    if not lines[0].isprintable():
        return f"control characters: {lines[0][:200]!r}"
    return None


def left_behind(folder: Path) -> list[str]:
    """Temporary files in a folder and below, which no command may leave."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name != ".lock")
