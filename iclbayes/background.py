"""How many tasks of a group own no curve."""

import numpy as np

from .curves import Curves
from .errors import InputError

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
        if int(background) != background or background < 0:
            raise InputError(
                f"background is {background}; give the number of tasks that own no curve: 0, 1, 2, …"
            )
        return np.full(curves.n_groups, int(background))
    sizes = np.bincount(curves.group, minlength=curves.n_groups)
    share = np.full(curves.n_curves, np.nan)
    for j in np.flatnonzero(sizes[curves.group] > 1):
        points = slice(curves.start[j], curves.start[j + 1])
        prob, shots = curves.prob[points], curves.shots[points]
        fitted = curves.weight[points] > 0
        start = fitted & (shots == 0)
        if start.any():
            top = np.quantile(prob[fitted], 0.75)
            share[j] = prob[start].mean() / max(top, 1e-12)
    total = np.full(curves.n_groups, 0.0)
    np.add.at(total, curves.group, share)  # NaN where a curve has no zero-shot point
    return np.where(sizes == 1, 1, (total < SHORT_OF_ONE).astype(int))
