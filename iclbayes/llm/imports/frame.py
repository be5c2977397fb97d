"""Points as a table that `iclbayes.read_curves` reads."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

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


def accuracies(points: Sequence[Point]) -> pd.DataFrame:
    value, n_test = np.array([p.value for p in points]), np.array([p.n_test for p in points])
    stderr = [p.stderr for p in points]
    counts = np.round(value * n_test)
    if (
        all(p.counted for p in points)
        and not np.isnan(n_test).any()
        and np.allclose(counts, value * n_test, rtol=0, atol=1e-6)
    ):
        return pd.DataFrame(
            {
                "n_correct": counts.astype(np.int64),
                "n_test": n_test.astype(np.int64),
                "accuracy": value,
                "stderr": stderr,
            }
        )
    return pd.DataFrame({"prob": value, "stderr": stderr})
