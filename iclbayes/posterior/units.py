"""From `Curves` to the padded arrays of the model: units of inference, and running a function over them.

A unit is what has a posterior of its own: a group for a law fitted jointly, a curve for the others, all of them together for a
hierarchy. A bucket is the units of one shape; a chunk, as many of them as a program takes at once.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from ..background import background_tasks
from ..curves import Curves
from ..errors import InputError
from ..laws import Law
from ..padding import bucket_length, pad_index
from ..runtime import Effort, map_chunks, programs
from .model.likelihoods import Likelihood
from .model.spec import UnitData

FILLING = 256  # points that padding may add to a bucket: sampling with them takes less time than reading other programs


@dataclasses.dataclass(frozen=True)
class Units:
    """A bucket: U units of G groups of J curves, padded to n points.

    Attributes:
      groups: [U, G] index of each group.
      curves: [U, G, J] indices of their curves.
      data: leaves [U, G, …] in NumPy.
      points: [U, G, J, n] index of each point in the flat arrays.
      background: tasks of each group that own no curve.
    """

    groups: np.ndarray
    curves: np.ndarray
    data: UnitData
    points: np.ndarray
    background: int = 0


def units_of(
    curves: Curves,
    law: Law,
    likelihood: Likelihood,
    used: np.ndarray,
    joint: bool,
    background: int | None = None,
) -> list[Units]:
    """Arrays of all units.

    Args:
      used: [N] mask of the points to fit.
      joint: put all groups in one unit (hierarchy); they then have the same tasks.
      background: as in `iclbayes.background.background_tasks`.

    Raises:
      InputError: a hierarchy over groups of different numbers of curves.
    """
    kept, whole = _keep(curves, used), np.diff(curves.start)
    tasks = background_tasks(kept, background) if law.joint else np.zeros(kept.n_groups, int)
    found = []
    buckets = kept.buckets()
    if joint:
        if len({b.curves.shape[1] for b in buckets}) > 1 and law.joint:
            raise InputError(
                "hierarchy: groups must have the same number of sources; some have more than others"
            )
        found.append(_one(kept, whole, likelihood, _joint_rows(kept, law), int(tasks.max())))
    else:
        merged: dict[tuple[int, int, int], list] = {}
        for b in buckets:
            if law.joint:
                rows = b.curves[:, None], b.groups[:, None]
            else:
                n = b.curves.size
                rows = b.curves.reshape(n, 1, 1), np.repeat(b.groups, b.curves.shape[1])[:, None]
            number = tasks[rows[1][:, 0]]
            for n in np.unique(number):
                key = (rows[0].shape[2], int(bucket_length(b.length)), int(n))
                merged.setdefault(key, []).append(tuple(a[number == n] for a in rows))
        for (_, _, number), parts in merged.items():
            index, groups = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
            order = np.argsort(index[:, 0, 0])
            found.append(_one(kept, whole, likelihood, (index[order], groups[order]), number))
    original = np.flatnonzero(used)
    return [dataclasses.replace(units, points=original[units.points]) for units in found]


def _joint_rows(kept: Curves, law: Law) -> tuple[np.ndarray, np.ndarray]:
    if not law.joint:
        return np.arange(kept.n_curves)[None, :, None], kept.group[None]
    per_group = kept.n_curves // kept.n_groups
    return np.arange(kept.n_curves).reshape(1, -1, per_group), np.arange(kept.n_groups)[None]


def _keep(curves: Curves, used: np.ndarray) -> Curves:
    """The curves with only the used points; a curve without any keeps its place, with no point."""
    counts = np.bincount(curves.point_curve(), used, curves.n_curves).astype(int)
    return dataclasses.replace(curves, start=np.concatenate([[0], np.cumsum(counts)]), **curves.points(used))


def _one(
    kept: Curves,
    whole: np.ndarray,
    likelihood: Likelihood,
    rows: tuple[np.ndarray, np.ndarray],
    background: int,
) -> Units:
    index, groups = rows
    own, all_points = (int(bucket_length(sizes[index].max())) for sizes in (np.diff(kept.start), whole))
    # Fits of a part of few curves, as stacking weights need them, go through the programs of the whole.
    length = all_points if index.size * (all_points - own) <= FILLING else own
    at, real = pad_index(kept.start, index, length)
    shots, prob = kept.shots[at], kept.prob[at]
    n_test = np.nan_to_num(kept.n_test[at], nan=1.0)
    obs = np.nan_to_num(kept.n_correct[at]) if likelihood.counts else prob
    some = real.any(-1)
    first = np.where(some, np.min(np.where(real, shots, np.inf), -1), 0.0)
    last = np.where(some, np.max(np.where(real, shots, -np.inf), -1), 0.0)
    stderr = kept.stderr[at]
    stderr = np.where(np.isnan(stderr), median(np.where(real, stderr, np.nan)), stderr)
    data = UnitData(shots, obs, real, n_test, np.nan_to_num(stderr), first, last)
    return Units(groups=groups, curves=index, data=data, points=at, background=background)


def median(x: np.ndarray) -> np.ndarray:
    """Median [..., 1] of the known values of each curve [..., n]; NaN where there are none."""
    some = ~np.isnan(x).all(-1, keepdims=True)
    return np.where(some, np.nanmedian(np.where(some, x, 0.0), -1, keepdims=True), np.nan)


def over_units(
    name: Hashable,
    function: Callable[..., Any],
    arrays: tuple[Any, ...],
    chunk: int,
    on_done: Callable[[int], None] = lambda n: None,
    mapped: bool = True,
    effort: Effort = "little",
) -> Any:
    """A function of one unit, compiled and mapped over the units, chunk by chunk.

    Args:
      name: hashable; stands for the function and what it closes over. Same name and shapes: same program.
      function: takes one unit's arrays; traced in float64.
      arrays: tuple of pytrees of NumPy arrays, leading axis [U].
      chunk: units side by side in a program; padded by repeating the last unit.
      on_done: called with the number of units after each chunk.
      mapped: False for a function that takes arrays of many units, with the leading axis, itself.
      effort: see `iclbayes.runtime.compiler_options`.

    Returns:
      The function's pytree with leading axis [U], NumPy.
    """
    program = jax.vmap(function) if mapped else function
    return map_chunks(
        lambda some: programs.run(name, program, *some, effort=effort), arrays, chunk, on_done=on_done
    )


def chunk_size(n_units: int, most: int = 64) -> int:
    """Units side by side in a program: 4, 16 or 64, the largest of which two fill up; few sizes, since each is compiled.

    Args:
      n_units: how many there are.
      most: 16 where what a unit needs is times as much as its draws are many, so that 64 would take gigabytes.
    """
    return min(most, 64 if n_units >= 128 else 16 if n_units >= 8 else 4)
