"""The settings of runs as text, and which of them tell runs apart."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .lenient import plain
from .points import Point

NONE = "none"
UNKNOWN = "unknown"


def varying(
    points: Sequence[Point], of_tasks: Sequence[str] = (), told_by: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, str]]:
    """Each point's values of the settings in which runs of one model differ.

    What a point does not tell is taken from the other points of its model and task where these agree.

    Args:
      points: what was read; `identity` holds the settings of each.
      of_tasks: settings that differ between tasks as a matter of course, and count where they differ within one.
      told_by: settings that count only where they differ although another one, named here, does not.
    """
    told, models, tasks = ([getattr(p, name) for p in points] for name in ("identity", "model", "task"))
    names = list(dict.fromkeys(name for point in told for name in point))
    filled = [{name: point.get(name, NONE) for name in names} for point in told]
    for name in names:
        known: dict[tuple, set[str]] = {}
        for point, model, task in zip(filled, models, tasks):
            known.setdefault((model, task), set()).add(point[name])
        for point, model, task in zip(filled, models, tasks):
            others = known[model, task] - {UNKNOWN}
            if point[name] == UNKNOWN and len(others) == 1:
                [point[name]] = others
    kept = []
    for name in names:
        values = [point[name] for point in filled]
        within = list(zip(models, tasks))
        if name in told_by:
            within = [(*key, point[told_by[name]]) for key, point in zip(within, filled)]
        differs = _most_values(zip(within, values)) > 1
        if name in of_tasks:
            differs |= (
                _most_values((task, value) for task, value in zip(tasks, values) if value != UNKNOWN) > 1
            )
        elif name not in told_by:
            differs |= _most_values((m, value) for m, value in zip(models, values) if value != UNKNOWN) > 1
        if differs:
            kept.append(name)
    return [{name: point[name] for name in kept} for point in filled]


def _most_values(pairs: Iterable[tuple[Any, str]]) -> int:
    """The largest number of distinct values that one key has."""
    found: dict[Any, set[str]] = {}
    for key, value in pairs:
        found.setdefault(key, set()).add(value)
    return max(map(len, found.values()), default=0)


def text(value: Any) -> str:
    """A setting as text: `none` if it is not used, long ones cut short with a digest that tells them apart."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, sort_keys=True, default=str) if value else ""
    value = plain(no_address(value))
    if value in ("", "None", "False", "false", "null", "{}", "[]"):
        return NONE
    return value if len(value) <= 80 else f"{value[:60]}… {digest(value)}"


def no_address(value: Any) -> Any:
    return re.sub(r" at 0x[0-9a-f]+", "", value) if isinstance(value, str) else value


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]
