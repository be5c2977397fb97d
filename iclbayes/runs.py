"""A run's folder: opened or resumed in one way, with what determines the run and what it ran on.

config.json   what determines the run, compared when it is resumed
record.json   the command, versions and device of the last command that worked in the folder
.lock         there while a command works in the folder: its process and host
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .digests import read_sealed, write_sealed
from .errors import InputError
from .files import write_text
from .locks import locked

CONFIG_FILE, RECORD_FILE, LOCK_FILE = "config.json", "record.json", ".lock"
PLACES = ("run_dir", "resume")  # fields that say where a run goes, not what it is
PACKAGES = ("jax", "flax", "optax", "iclbayes")


def as_json(config: Any, leave_out: Collection[str] = PLACES) -> dict:
    """The fields of a dataclass as JSON values, without those that say where the run goes."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in leave_out}
    return json.loads(json.dumps(values, default=str))


def run_folder(run_dir: str | os.PathLike | None, *, resume: bool, name: str) -> Path:
    """The folder asked for, or else a new one under runs/ with the date and time in its name.

    Raises:
      InputError: to resume without saying what.
    """
    if run_dir is not None:
        return Path(run_dir)
    if resume:
        raise InputError("--resume needs --run-dir: name the folder of the run to continue")
    return Path("runs") / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}"


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes a run's folder and keeps other processes out of it while the block runs; yields the folder.

    If the block leaves a folder that it made without anything in it, the folder is removed.

    Raises:
      InputError: another process works there, or the folder cannot be made or is a file.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be made: {reason}; choose another folder") from None
    try:
        with locked(folder / LOCK_FILE, folder):
            yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # which leaves a folder that holds anything


def open_run(folder: str | os.PathLike, values: Mapping, *, resume: bool, compare: bool = True) -> Path:
    """Makes a run's folder with its config.json, or opens that of the same run.

    Args:
      folder: the run's folder.
      values: what determines the run, JSON values.
      resume: go on with a run that is there already.
      compare: on resume, insist on the same values; else the new ones take their place (a run that is added to).

    Returns:
      The folder.

    Raises:
      InputError: a folder that holds a run already, or another configuration (naming the field), or files but no run; or a
        file. A run of which there is no more than its configuration has not begun, and another takes its place.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    if path.exists() and (resume or not _not_begun(folder)):
        if not resume:
            raise InputError(f"{folder}: already holds a run; add --resume or choose another folder")
        if compare:
            check_same(path, values)
            return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(found.name for found in folder.iterdir() if not found.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}; choose another folder") from None
    if others and not path.exists():
        raise InputError(f"{folder}: holds {others[0]} but no run; choose a new or an empty folder")
    write_sealed(values, path)
    return folder


def _not_begun(folder: Path) -> bool:
    """Whether a run's folder holds a whole configuration and nothing that was computed."""
    read_config(folder / CONFIG_FILE)
    return {found.name for found in folder.iterdir()} <= {CONFIG_FILE, RECORD_FILE, LOCK_FILE}


def check_same(path: Path, values: Mapping) -> None:
    """Raises InputError naming the first field in which config.json differs from `values`."""
    stored = read_config(path)
    for name in values:
        if stored.get(name) != values[name]:
            raise InputError(
                f"{path}: {name} is {stored.get(name)} there but {values[name]} here; "
                "repeat the run's own options or choose another folder"
            )


def read_config(path: Path) -> dict[str, Any]:
    """The fields of a run's config.json. Raises InputError if it cannot be read, is damaged, or is no config."""
    try:
        return read_sealed(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; choose another folder") from None


def record(folder: str | os.PathLike, **more: Any) -> None:
    """Writes record.json: command, versions, device, and `more` (JSON values)."""
    import jax

    values = {
        "command": " ".join(["python", *sys.argv]),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": str(jax.devices()[0].device_kind),
        **more,
    }
    write_text(json.dumps(values, indent=2) + "\n", Path(folder) / RECORD_FILE)
