"""Commands killed (SIGKILL) at any moment: what they wrote before is whole, and the same command then succeeds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .full_disk import WRITERS, changed, contents

HERE = Path(__file__).resolve().parent.parent


def _start(arguments: Sequence[str], folder: Path) -> subprocess.Popen:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "iclbayes", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def duration(name: str, folder: Path) -> float:
    """Seconds that a command takes, which writes its files.

    Raises:
      RuntimeError: it fails.
    """
    began = time.monotonic()
    process = _start(WRITERS[name][0], folder)
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name}: {said[-500:]}")
    return time.monotonic() - began


def kill(name: str, folder: Path, after: float) -> str | None:
    """Kills a command so many seconds after its start, then runs it to its end; what is wrong, or None."""
    arguments, files = WRITERS[name]
    before = contents(folder, files)
    process = _start(arguments, folder)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    torn = changed(before, contents(folder, files), sys.maxsize)
    if torn:
        return f"torn: {', '.join(torn)}"
    try:
        duration(name, folder)
    except RuntimeError as error:
        return f"the same command fails afterwards: {error}"
    lost = [file for file, content in contents(folder, files).items() if content is None]
    return f"not there: {', '.join(lost)}" if lost else None
