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

    def __init__(self, handle: BinaryIO | None = None, done: dict[str, np.ndarray] | None = None):
        self._handle, self.done = handle, {} if done is None else done

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
            if lines:
                _same_run(path, lines[0], run)
            else:
                _append(handle, {"run": run})
            done = {x["key"]: _decode(x["logprobs"]) for x in lines[1:] if x is not None and "key" in x}
            yield cls(handle, done)

    def add(self, key: str, scores: np.ndarray, **labels: Any) -> None:
        """Appends a finished prompt. Scores are log probabilities in nats; NaN is written as null, -inf as
        a string.
        """
        self.done[key] = scores
        if self._handle is not None:
            _append(self._handle, {"key": key, **labels, "logprobs": _encode(scores)})


def _append(handle: BinaryIO, record: dict) -> None:
    # One write of one line: a kill leaves a prefix of it at worst.
    handle.write(json.dumps(record, allow_nan=False).encode() + b"\n")
    handle.flush()


def _parse(line: bytes) -> dict | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


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
