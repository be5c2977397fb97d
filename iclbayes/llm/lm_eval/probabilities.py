"""Mean probability of the right choice of every run whose samples tell it."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import InputError
from ..imports.lenient import number
from ..imports.notes import Notes
from .choices import Sample, parse, right_probabilities
from .values import TaskPoint


def probabilities(points: list[TaskPoint], folder: Path, notes: Notes) -> tuple[list[int], pd.DataFrame]:
    """Places of the points whose samples tell it, and the mean probabilities of their right choices."""
    missing = "runs without samples"
    read: dict[str, list[tuple[int, list[dict], list[Sample]]]] = {}
    reasons: list[str] = []
    for i, point in enumerate(points):
        if point.samples is None and point.embedded is None:
            notes.add(missing, f"{point}: no samples beside its results")
            continue
        try:
            samples = _checked_samples(point)
        except InputError as error:
            reasons.append(str(error))
            notes.add("runs with samples that cannot be read", str(error))
            continue
        read.setdefault(point.task, []).append((i, *samples))
    if all(point.samples is None and point.embedded is None for point in points):
        raise InputError(
            f"{folder}: no samples files beside the results; run lm_eval with --log_samples, or import"
            " accuracies (--value accuracy)"
        )
    rows = {}
    for task, runs in read.items():
        first = points[runs[0][0]]
        try:
            prob = right_probabilities([s for *_, parsed in runs for s in parsed], first.samples_name)
        except InputError as error:
            reasons.append(str(error))
            notes.add("tasks whose samples tell no probability", f"task {task}: {error}")
            continue
        ends = np.cumsum([len(samples) for _, samples, _ in runs])[:-1]
        for (i, samples, _), own in zip(runs, np.split(prob, ends)):
            rows[i] = _row(points[i], samples, own)
    if not rows:
        raise InputError(reasons[0])
    numbers = pd.DataFrame(
        [rows[i] for i in sorted(rows)], columns=["n_correct", "n_test", "accuracy", "prob", "stderr"]
    )
    if numbers["n_correct"].isna().any():
        numbers = numbers.drop(columns="n_correct")
    else:
        numbers["n_correct"] = numbers["n_correct"].astype(np.int64)
    return sorted(rows), numbers


def _checked_samples(point: TaskPoint) -> tuple[list[dict], list[Sample]]:
    """The samples of a point; InputError if they are not those that its results are of."""
    base = point.metric.partition(",")[0]
    samples = point.read_samples()
    parsed = parse(samples, point.samples_name, point.delimiter)
    if not math.isnan(point.n_test) and len(samples) != point.n_test:
        raise InputError(
            f"{point.samples_name}: holds {len(samples)} samples, and the results beside it are of {point.n_test:.0f};"
            " run that evaluation again"
        )
    judged = _judgements(samples, base)
    if judged is not None and abs(np.mean(judged) - point.value) > 0.02:
        raise InputError(
            f"{point.samples_name}: the mean {base} of its samples is {np.mean(judged):.3f}, and the results beside it say"
            f" {point.value:.3f}; run that evaluation again"
        )
    return samples, parsed


def _judgements(samples: Sequence[dict], base: str) -> list[float] | None:
    found = [number(sample.get(base)) for sample in samples]
    return None if None in found else [x for x in found if x is not None]


def _row(point: TaskPoint, samples: list[dict], prob: np.ndarray) -> tuple:
    judged = _judgements(samples, point.metric.partition(",")[0])
    counted = judged is not None and set(judged) <= {0.0, 1.0}
    stderr = prob.std(ddof=1) / math.sqrt(len(prob)) if np.ptp(prob) > 0 else math.nan
    return (sum(judged or []) if counted else math.nan, len(prob), point.value, prob.mean(), stderr)
