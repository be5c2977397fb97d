"""Of runs that are equal in all settings, which one counts: that with more samples, then the newer."""

import math
from collections.abc import Sequence

from .notes import Notes
from .points import Point
from .settings import NONE

FAR = 4  # standard errors that two runs of one model do not differ by


def counting(points: Sequence[Point], columns: Sequence[dict[str, str]], notes: Notes) -> list[int]:
    """Places of the points that count: of equal ones, that with more samples, then the newer."""
    best: dict[tuple, int] = {}
    for i, point in enumerate(points):
        key = (
            point.model,
            point.task,
            point.metric,
            point.shots,
            *columns[i].values(),
            *sorted(point.seeds.items()),
        )
        if key not in best:
            best[key] = i
            continue
        kept, left = (i, best[key]) if _before(points[best[key]], point) else (best[key], i)
        best[key] = kept
        why, age = _reason(points[kept], points[left])
        differ, doubtful = _differ(points[kept], points[left])
        notes.add(
            "doubtful runs equal to another"
            if doubtful
            else "runs equal to another with more samples, or newer",
            f"{age} run of {points[left]} in {points[left].path}: {points[kept].path} {why}{differ}",
        )
    return sorted(best.values())


def _more(one: Point, other: Point) -> bool | None:
    """Whether `other` has more samples than `one`; None if they have as many, or nobody knows."""
    if not math.isnan(one.n_test) and not math.isnan(other.n_test):
        return None if one.n_test == other.n_test else other.n_test > one.n_test
    return None if one.limited == other.limited else one.limited


def _before(one: Point, other: Point) -> bool:
    """Whether `other` counts in place of `one`."""
    more = _more(one, other)
    return (other.written, str(other.path)) > (one.written, str(one.path)) if more is None else more


def _reason(kept: Point, left: Point) -> tuple[str, str]:
    if _more(kept, left) is not None:
        if math.isnan(kept.n_test) or math.isnan(left.n_test):
            return "was not cut short by a limit", "a limited"
        return f"has {kept.n_test:.0f} samples, not {left.n_test:.0f}", "a smaller"
    if kept.written > left.written:
        return "is newer, with all settings equal", "an older"
    return "is equal in all settings and in age, and comes later by name", "a second"


def _differ(kept: Point, left: Point) -> tuple[str, bool]:
    """In what equal runs differ all the same: their values, if they are of one size, and what else they say of themselves; and
    whether that makes one doubt that they are runs of one model."""
    told, others, far = [], _others(kept, left), _far(kept, left)
    if kept.value != left.value and _more(kept, left) is None:
        chance = ", further apart than chance allows" if far else ""
        told = [f"its {kept.metric} is {kept.value:.4g}, not {left.value:.4g}{chance}"]
    told += [f"its {name} is {one}, not {other}" for name, one, other in others[:3]]
    doubtful = bool(others) or far
    advice = ": if these are of different models, import them apart" if doubtful else ""
    return (f"; {', and '.join(told)}{advice}" if told else ""), doubtful


def _others(kept: Point, left: Point) -> list[tuple[str, str, str]]:
    names = dict.fromkeys([*kept.besides, *left.besides])
    both = [(name, kept.besides.get(name, NONE), left.besides.get(name, NONE)) for name in names]
    return [(name, one, other) for name, one, other in both if one != other]


def _far(kept: Point, left: Point) -> bool:
    """Whether the values of equal runs of one size differ by more than chance allows, as runs of one model hardly do."""
    spread = math.hypot(kept.stderr, left.stderr)
    return _more(kept, left) is None and spread > 0 and abs(kept.value - left.value) >= FAR * spread
