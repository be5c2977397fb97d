"""How groups of curves become fits: which curves are fitted together, and which conditions share parameters."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .background import background_tasks
from .curves import Curves
from .errors import InputError
from .fitting.losses import PointLoss, get_loss
from .fitting.problem import Problem
from .laws import Law


class FitBatch(NamedTuple):
    """Fits of equal shape: B of them, each to C conditions of J curves of at most n points; S = C J.

    Attributes:
      problem: what is fitted.
      groups: [B, C] group of each condition (for a law fitted curve by curve: of the curve).
      curves: [B, S] the curves.
      points: `shots`, `prob` and `weight` [B, S, n] of a fit. Padding has weight 0; with the binomial loss the weights count
        trials, where the numbers of test examples are known.
    """

    problem: Problem
    groups: np.ndarray
    curves: np.ndarray
    points: dict[str, np.ndarray]


def check_points(curves: Curves, fraction: float | None = None) -> None:
    """Raises InputError if there is no group, or one without a point of positive weight; `fraction` is what the message says was
    asked for."""
    if curves.n_groups == 0:
        raise InputError("there are no curves to fit")
    count = np.bincount(curves.group[curves.point_curve()], curves.weight > 0, curves.n_groups)
    empty = np.flatnonzero(count == 0)
    if len(empty):
        key = ", ".join(f"{c}={v}" for c, v in curves.keys.iloc[empty[0]].items()) or "the only group"
        asked = f" at fraction {fraction:g}" if fraction is not None else ""
        rest = len(empty) - 1
        more = f" (nor of {rest} more group{'s' * (rest > 1)})" if rest else ""
        raise InputError(
            f"group {key}: no point to fit{asked}{more}; give it more shots or a larger fraction"
        )


def groups_to_fit(
    curves: Curves,
    law: Law,
    *,
    loss: PointLoss,
    share: tuple[str, ...] = (),
    across: tuple[str, ...] = (),
    background: int | None = None,
    ridge: float = 0.0,
) -> Iterator[FitBatch]:
    """Which curves are fitted together, shape by shape.

    Args:
      curves: all groups; every group with a point (`check_points`).
      law: a Bayesian law fits the curves of a group jointly, a baseline every curve by itself.
      loss, ridge: see `Problem`.
      share: names of parameters that the groups differing only in the columns `across` have in common.
      across: columns of `curves.keys`.
      background: number of tasks that own no curve, as in `background_tasks`. Conditions that share parameters have as
        many as the one of them that has most.

    Raises:
      InputError: a law, parameter or column that cannot be shared; groups that share and have different sources.
    """

    tasks = background_tasks(curves, background) if law.joint else np.zeros(curves.n_groups, int)

    def batches(length: int, groups: np.ndarray, chosen: np.ndarray) -> Iterator[FitBatch]:
        most = tasks[groups].max(axis=1)
        for number in np.unique(most):
            some = most == number
            yield batch(length, groups[some], chosen[some], int(number))

    def batch(length: int, groups: np.ndarray, chosen: np.ndarray, number: int) -> FitBatch:
        n_conditions = groups.shape[1]
        problem = Problem(law, loss, chosen.shape[1] // n_conditions, number, n_conditions, share, ridge)
        points = curves.padded(chosen, length)
        largest = np.max(points["weight"], axis=(1, 2), keepdims=True)
        # Only ratios of weights count; a power of two takes no digit, and products and single precision cannot overflow then.
        points["weight"] /= np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0))))
        if loss is get_loss("binomial"):
            trials = curves.padded(chosen, length, ["n_test"])["n_test"]
            points["weight"] *= np.where(trials > 0, trials, 1.0)
        return FitBatch(problem, groups, chosen, points)

    if not share and not across:
        for b in curves.buckets():
            if law.joint:
                yield from batches(b.length, b.groups[:, None], b.curves)
            else:
                groups = np.repeat(b.groups, b.curves.shape[1])
                yield from batches(b.length, groups[:, None], b.curves.reshape(-1, 1))
        return
    _check_sharing(curves, law, share, across)
    merged, family, old_curves = curves.regroup([c for c in curves.keys.columns if c not in across])
    per_group = np.bincount(curves.group, minlength=curves.n_groups)
    conditions = np.bincount(family, minlength=merged.n_groups)
    for b in merged.buckets():
        for c in np.unique(conditions[b.groups]):
            rows = np.flatnonzero(conditions[b.groups] == c)
            members = np.stack([np.flatnonzero(family == g) for g in b.groups[rows]])  # [B, C]
            if len(np.unique(per_group[members])) != 1:
                raise InputError(
                    "conditions that share parameters must have the same sources; some have more than others"
                )
            chosen = old_curves[b.curves[rows]]
            labels = curves.source[chosen].reshape(len(rows), c, -1)
            if not (labels == labels[:, :1]).all():
                raise InputError(
                    "conditions that share parameters must have the same sources in the same order"
                )
            yield from batches(b.length, members, chosen)


def _check_sharing(curves: Curves, law: Law, share: tuple[str, ...], across: tuple[str, ...]) -> None:
    """Raises InputError where these parameters of the law cannot be shared across these columns."""
    if not law.joint:
        raise InputError(f"the law {law.name!r} is fitted curve by curve and cannot share parameters")
    unknown = [name for name in share if name not in law.param_names]
    if unknown or not share:
        raise InputError(
            f"share names {unknown or 'no parameter'}; the law {law.name!r} has {', '.join(law.param_names)}"
        )
    for name in share:
        missing = [other for other in law.needs.get(name, ()) if other not in share]
        if missing:
            raise InputError(
                f"sharing {name!r} needs sharing {missing[0]!r} too: it is fitted as a ratio to it"
            )
    absent = [c for c in across if c not in curves.keys]
    if absent or not across:
        columns = ", ".join(map(str, curves.keys.columns))
        raise InputError(
            f"across names {absent or 'no column'}; the curves are grouped by {columns or 'no column'}"
        )
