"""Finding runs of lm-evaluation-harness: every JSON file below a folder that holds a dictionary `results`."""

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..notes import Notes

STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d[-:]\d\d[-:]\d\d(?:\.\d+)?)\.json$")


@dataclasses.dataclass(frozen=True)
class Run:
    """One results file. `written` is when it was, in seconds since 1970 (0 where nothing says so)."""

    path: Path
    content: dict
    stamp: str
    written: float


def find_runs(folder: Path, notes: Notes) -> Iterator[Run]:
    """The runs below a folder (or the one in a file), in the order of their paths."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.json")):
        if path.is_dir():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, OSError, RecursionError) as error:
            notes.add("files that are no JSON", f"{path}: cannot be read as JSON ({str(error)[:80]})")
            continue
        if isinstance(content, dict) and isinstance(content.get("results"), dict):
            found = STAMP.search(path.name)
            stamp = found.group(1) if found else ""
            yield Run(path, content, stamp, seconds(content.get("date")) or seconds(stamp))


def section(content: Any, *names: str) -> dict:
    """The dictionary inside nested dictionaries; empty where something else, or nothing, stands there."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def number(value: Any) -> float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        value = float(value)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """A whole number ≥ 0 that can count shots or examples; None for anything else."""
    value = number(value)
    return int(value) if value is not None and 0 <= value <= 1e9 and value == int(value) else None


def seconds(date: Any) -> float:
    """Seconds since 1970 of a date: a number, or text as ISO 8601 (the clock of file names, 10-00-00, too); else 0."""
    if (found := number(date)) is not None:
        return found
    try:
        day, _, clock = str(date).strip().replace(" ", "T", 1).partition("T")
        clock = re.sub(r"^(\d\d)-(\d\d)-(\d\d)", r"\1:\2:\3", clock)
        time = datetime.datetime.fromisoformat(f"{day}T{clock}" if clock else day)
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
