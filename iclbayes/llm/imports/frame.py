"""Points as a table that `iclbayes.read_curves` reads."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .notes import Notes
from .points import Point

COLUMNS = (
    "model",
    "task",
    "metric",
    "shots",
    "n_correct",
    "n_test",
    "accuracy",
    "prob",
    "stderr",
    "weight",
    "source",
    "nll",
)


def labelled(
    points: Sequence[Point], settings: Sequence[dict[str, str]], numbers: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """The numbers [points] behind columns that say what they are of, sorted; and which of these tell curves apart.

    These are `model, task`, and the settings; `metric`, `shots` and the seeds that vary follow them.
    """
    labels: dict[str, list] = {name: [getattr(p, name) for p in points] for name in ("model", "task")}
    labels |= {_renamed(name): [told[name] for told in settings] for name in settings[0]}
    curves_by = list(labels)
    labels |= {name: [getattr(p, name) for p in points] for name in ("metric", "shots")}
    seeds = [name for name in dict.fromkeys(n for p in points for n in p.seeds) if _varies(points, name)]
    labels |= {name: [p.seeds.get(name) for p in points] for name in seeds}
    frame = pd.concat([pd.DataFrame(labels), numbers], axis=1)
    return frame.sort_values(list(labels), kind="stable", key=_natural, ignore_index=True), curves_by


def _varies(points: Sequence[Point], seed: str) -> bool:
    """Whether a seed tells rows of one task apart."""
    return len({(p.model, p.task, p.seeds.get(seed)) for p in points}) > len(
        {(p.model, p.task) for p in points}
    )


def _natural(column: pd.Series) -> pd.Series:
    """Text in the order of the numbers in it: step93 before step1000."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.str.replace(r"\d+", lambda digits: digits.group().zfill(20), regex=True)


def _renamed(name: str) -> str:
    """A setting's column, where its name already means something in a file of curves."""
    return f"{name}_setting" if name in COLUMNS else name


def accuracies(points: Sequence[Point], notes: Notes) -> pd.DataFrame:
    """Counts with their accuracies and standard errors, if every point has counts; else values with standard errors.

    A note says whose counts are left out since others have none. Without counts a standard error of 0, which is what a
    share of 0 or 1 gets, tells nothing, and is left empty.
    """
    value, n_test = np.array([p.value for p in points]), np.array([p.n_test for p in points])
    stderr = np.array([p.stderr for p in points])
    counts = np.round(value * n_test)
    has_counts = np.array([p.counted for p in points]) & (np.abs(counts - value * n_test) <= 1e-6)
    if has_counts.all():
        return pd.DataFrame(
            {
                "n_correct": counts.astype(np.int64),
                "n_test": n_test.astype(np.int64),
                "accuracy": value,
                "stderr": stderr,
            }
        )
    if has_counts.any():
        first = points[int(np.argmin(has_counts))]
        lacks = (
            "does not say how many examples it had"
            if math.isnan(first.n_test)
            else f"has {first.metric}, which is no count of right answers"
        )
        notes.add(
            "counts",
            f"counts (n_correct, n_test) of {has_counts.sum()} of {len(points)} points, since a file has them for all or"
            f" for none: {first} {lacks}; import those apart, or choose a --metric",
        )
    return pd.DataFrame({"prob": value, "stderr": np.where(stderr > 0, stderr, np.nan)})
