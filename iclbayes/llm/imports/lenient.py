"""Values out of files that others wrote, which may be anything: what was meant, or nothing, and never an error."""

import datetime
import math
import re
from typing import Any

POINTER = "is a pointer of Git LFS, not the file; fetch that (git lfs pull)"


def is_pointer(content: str) -> bool:
    """Whether a file is what Git keeps in place of one that Git LFS stores."""
    return content.startswith("version https://git-lfs")


def plain(value: object) -> str:
    """Text of one line that can be written as UTF-8."""
    return " ".join(str(value).encode("utf-8", "replace").decode("utf-8").split())


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
