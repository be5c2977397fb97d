"""An append-only file of finished prompts, from which a killed run goes on."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows; there two runs on one file are not told apart.
    fcntl = None


# Settings that say how much is collected and not what: prompts that stay the same are not scored again when these change.
AMOUNTS = ("shuffles", "max_shots", "context_window")


class Journal:
    """JSON lines: first what the run is, then one line for each finished prompt.

    A line is written at once and whole when its prompt has been scored; a last line torn by a kill is cut
    away when the file is opened again, and its prompt is scored again. `Journal()` keeps them in memory alone.

    Attributes:
      done: the log probabilities of every finished prompt, by `Prompt.key`.
    """

    def __init__(
        self,
        handle: BinaryIO | None = None,
        done: dict[str, np.ndarray] | None = None,
        path: Path | None = None,
    ):
        self._handle, self.done, self._path = handle, {} if done is None else done, path

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | os.PathLike, run: dict) -> Iterator["Journal"]:
        """Opens or starts the file of the run that `run` describes. A run that differs in `AMOUNTS` alone goes on with it.

        Raises:
          InputError: the file belongs to another run, another process is writing it, or it cannot be written.
        """
        path = Path(path)
        run = json.loads(json.dumps(run))
        try:
            handle = path.open("a+b")
        except OSError as error:
            raise InputError(f"{path}: cannot write there: {error.strerror}; choose another place") from None
        with handle:
            if fcntl is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise InputError(
                        f"{path}: another process is collecting into this file; wait for it"
                    ) from None
            handle.seek(0)
            content = handle.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                handle.truncate(whole)
            lines = [_parse(line) for line in content[:whole].splitlines()]
            journal = cls(handle, dict(filter(None, map(_finished, lines[1:]))), path)
            if lines:
                _same_run(path, lines[0], run)
            else:
                journal._append({"run": run})
            yield journal

    def add(self, key: str, scores: np.ndarray, **labels: Any) -> None:
        """Appends a finished prompt. Scores are log probabilities in nats; NaN is written as null, -inf as
        a string.

        Raises:
          InputError: it cannot be written, such as on a full disk.
        """
        self.done[key] = scores
        if self._handle is not None:
            self._append({"key": key, **labels, "logprobs": _encode(scores)})

    def _append(self, record: dict) -> None:
        assert self._handle is not None
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            # Past Python's buffer, which would try again when the file is closed. A kill leaves a prefix of the line at worst.
            while line:
                line = line[os.write(self._handle.fileno(), line) :]
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written: {error.strerror}; finished prompts are kept, run the same command to go on"
            ) from None


def _parse(line: bytes) -> dict | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _finished(record: dict | None) -> tuple[str, np.ndarray] | None:
    """Key and log probabilities of a line; None if it is damaged, and its prompt is to be scored again."""
    try:
        key, scores = record["key"], _decode(record["logprobs"])  # pyright: ignore[reportOptionalSubscript]
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    return (key, scores) if isinstance(key, str) and scores.ndim == 2 else None


def _same_run(path: Path, first: dict | None, run: dict) -> None:
    if first is None or not isinstance(first.get("run"), dict):
        raise InputError(f"{path}: is not a file of finished prompts; choose another --out, or move it away")
    before = first["run"]
    for name in {**before, **run}:
        if name not in AMOUNTS and before.get(name) != run.get(name):
            if name == "date" and before.get(name) and run.get(name):
                raise InputError(
                    f"{path}: the prompts finished there say that it is {before[name]}, and the chat template writes"
                    f" {run[name]} now; add --date {before[name]} to go on with them, or choose another --out"
                )
            was, now = json.dumps(before.get(name)), json.dumps(run.get(name))
            raise InputError(
                f"{path}: holds the finished prompts of another run ({name} was {was[:60]}, is {now[:60]});"
                " choose another --out, or remove it"
            )


def _encode(scores: np.ndarray) -> list:
    return [[None if math.isnan(x) else "-inf" if math.isinf(x) else float(x) for x in row] for row in scores]


def _decode(rows: list) -> np.ndarray:
    return np.array([[math.nan if x is None else float(x) for x in row] for row in rows], np.float64)
