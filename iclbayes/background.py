"""How many tasks of a group own no curve."""

import numpy as np

from .curves import Curves
from .errors import check_whole

MOST = 10**4  # as many parameters as a fit solves for in a second or so
SHORT_OF_ONE = 0.8  # sum of zero-shot shares below which a prior over the sources alone is ruled out


def background_tasks(curves: Curves, background: int | None = None) -> np.ndarray:
    """Number of tasks that own no curve [G] of each group; `background` for all of them, if it is given.

    By default a group of one curve has one, without which its prior would be 1. A group of several sources has one where its
    curves begin too low for a prior over the sources alone: with p_j(0) = β_j + (γ_j − β_j) ρ_j ≥ γ_j ρ_j the shares p_j(0) / γ_j
    sum to Σ ρ_j = 1 or more. Real models give the answers of every source a small probability at 0 shots; there the sum is about
    0.1. Each γ_j is taken to be the upper quartile of the curve, and the bound to be 0.8, for the noise of both. Groups whose
    curves do not begin at 0 shots get none.

    Raises:
      InputError: `background` is not a whole number ≥ 0.
    """
    if background is not None:
        return np.full(curves.n_groups, check_background(background))
    sizes = np.bincount(curves.group, minlength=curves.n_groups)
    curve, fitted = curves.point_curve(), curves.weight > 0
    start = fitted & (curves.shots == 0)
    starts = np.bincount(curve, start, curves.n_curves)
    mean = np.bincount(curve, np.where(start, curves.prob, 0.0), curves.n_curves) / np.maximum(starts, 1)
    share = np.where(starts > 0, mean / np.maximum(_upper_quartiles(curves, fitted), 1e-12), np.nan)
    total = np.full(curves.n_groups, 0.0)
    np.add.at(total, curves.group, share)  # NaN where a curve has no zero-shot point
    return np.where(sizes == 1, 1, (total < SHORT_OF_ONE).astype(int))


def check_background(background: int) -> int:
    """The number of tasks that own no curve. Raises InputError unless it is whole, 0 or more, and such that it can be fitted."""
    return check_whole("background (tasks that own no curve)", background, 0, MOST)


def _upper_quartiles(curves: Curves, fitted: np.ndarray) -> np.ndarray:
    """0.75 quantile of the fitted points of each curve [C], linear between neighbours; 0 where a curve has none."""
    curve = curves.point_curve()
    ordered = curves.prob[np.lexsort((curves.prob, ~fitted, curve))]  # each curve's fitted points first
    count = np.bincount(curve, fitted, curves.n_curves).astype(int)
    place = 0.75 * np.maximum(count - 1, 0)
    below = np.minimum(curves.start[:-1] + place.astype(int), len(ordered) - 1)
    above = np.minimum(below + (place % 1 > 0), len(ordered) - 1)
    return np.where(count > 0, ordered[below] + (ordered[above] - ordered[below]) * (place % 1), 0.0)
