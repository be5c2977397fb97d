"""F-tests of nested least-squares fits: what is lost if conditions have parameters in common.

The full model gives every condition parameters of its own, the nested one lets the conditions of a family share some of them.
With SSE the sums of squared errors, P the numbers of parameters and N the points of a family,

    F = ((SSE_shared − SSE_free) / (P_free − P_shared)) / (SSE_free / (N − P_free)),

which for independent normal errors, a linear law and a true nested model has the F distribution with (P_free − P_shared,
N − P_free) degrees of freedom. Fitting again what the shared parameters leave free, it sees trade-offs between parameters that a
standard error does not.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

from .fits import Fits


class Pooled(NamedTuple):
    """Fits summed up over the groups of each family.

    Attributes:
      sse: [families] sums of squared errors of the probability.
      n_points: [families] points that were summed over.
      n_params: [families] free parameters, one that groups share counted once.
    """

    sse: np.ndarray
    n_points: np.ndarray
    n_params: np.ndarray


def pooled(fits: Fits, family: np.ndarray, where: np.ndarray | None = None) -> Pooled:
    """Sums of squared errors, points and parameters of fits, by family.

    Args:
      fits: of curves of G groups with N points, some parameters shared within a family or not.
      family: [G] number of each group's family, 0, 1, …; groups that share a parameter are of one family.
      where: [N] mask of the points to sum over; default: those of positive weight.

    Returns:
      `Pooled`, an entry per family.
    """
    curves = fits.curves
    where = curves.weight > 0 if where is None else where
    size = int(family.max()) + 1
    point_family = family[curves.group[curves.point_curve()]][where]
    residual = (fits.predict(curves) - curves.prob)[where]
    n_params = np.zeros(size, int)
    for block in fits.blocks:
        np.add.at(n_params, family[block.groups[:, 0]], block.problem.size)
    return Pooled(
        np.bincount(point_family, residual**2, size), np.bincount(point_family, minlength=size), n_params
    )


def f_test(free: Pooled, shared: Pooled) -> tuple[np.ndarray, np.ndarray]:
    """F and its p-value, [families] each, for fits that share parameters against fits that do not.

    Args:
      free: of the full model.
      shared: of the nested one, over the same points.

    Returns:
      (F ≥ 0, p-value); NaN where the nested model is not smaller, no point is spare (N ≤ P_free) or the full fit is perfect. A
      nested fit below the full one's error, which only a search that stopped early can give, counts as one that loses nothing.
    """
    gained, spare = free.n_params - shared.n_params, free.n_points - free.n_params
    defined = (gained > 0) & (spare > 0) & (free.sse > 0)
    safe = [np.where(defined, value, 1) for value in (gained, spare, free.sse)]
    f = np.maximum(shared.sse - free.sse, 0.0) / safe[0] / (safe[2] / safe[1])
    p_value = fdtrc(safe[0], safe[1], f)
    return np.where(defined, f, np.nan), np.where(defined, p_value, np.nan)
