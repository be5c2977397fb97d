"""The samples files of lm-evaluation-harness: one example of a task a line, with the harness's own judgement."""

import json
import re
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..imports.lenient import POINTER, is_pointer


def samples_beside(results: Path, stamp: str, task: str, arguments: Any) -> Path | None:
    """The samples file of a task beside a results file.

    It is `samples_<task>_<time>.jsonl`, and `<model arguments>_<task>.jsonl` where results have no time: up to 0.4.2, and
    with `=` in its name before 0.4.0.
    """
    before = [f"{re.sub(unfit, '__', str(arguments))}_{task}.jsonl" for unfit in ("[/=]", "/")]
    names = [f"samples_{task}_{stamp}.jsonl"] if stamp else before
    try:
        return next((path for name in names if (path := results.parent / name).is_file()), None)
    except (OSError, ValueError):  # a name that no file can have
        return None


def read_samples(path: Path, kind: str = "") -> list[dict]:
    """The samples of a file, of one filter where they name theirs: JSON lines, or one list (0.4.2).

    Raises:
      InputError: a line is not JSON, or there is none.
    """
    again = "run that evaluation again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {again}") from None
    if is_pointer(content[:80].decode("utf-8", "replace")):
        raise InputError(f"{path}: {POINTER}")
    if content.lstrip()[:1] == b"[":
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise InputError(f"{path}: is not whole JSON; {again}") from None
    else:
        found = []
        # Lines end in \n alone: text in JSON may hold U+2028 and its like, which str.splitlines takes for ends.
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                try:
                    found.append(json.loads(line))
                except (ValueError, RecursionError):
                    raise InputError(f"{path}: line {number} is not whole JSON; {again}") from None
    return of_filter(found, kind, path)


def of_filter(found: list, kind: str, path: Path) -> list[dict]:
    """The samples of one filter, where they name theirs. Raises InputError if there are none."""
    samples = [s for s in found if isinstance(s, dict) and (not kind or s.get("filter", kind) == kind)]
    if not samples:
        raise InputError(f"{path}: holds no samples; run that evaluation again")
    return samples
