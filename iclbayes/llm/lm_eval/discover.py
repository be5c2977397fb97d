"""Finding runs of lm-evaluation-harness: every JSON file below a folder that holds `results`."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..imports.lenient import POINTER, is_pointer, seconds
from ..imports.notes import Notes

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
    for path in [folder] if os.path.isfile(folder) else sorted(folder.rglob("*.json")):
        if path.is_dir():
            continue
        try:
            written = path.read_text(encoding="utf-8-sig")
            if is_pointer(written):
                notes.add("pointers of Git LFS", f"{path}: {POINTER}")
                continue
            content = json.loads(written)
        except (ValueError, OSError, RecursionError) as error:
            notes.add("files that are no JSON", f"{path}: cannot be read as JSON ({str(error)[:80]})")
            continue
        if isinstance(content, dict) and isinstance(content.get("results"), (dict, list)):
            found = STAMP.search(path.name)
            stamp = found.group(1) if found else ""
            yield Run(path, content, stamp, seconds(content.get("date")) or seconds(stamp))
