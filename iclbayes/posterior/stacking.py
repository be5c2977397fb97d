"""Choosing and averaging laws: PSIS-LOO, leave-future-out, stacking weights, law-averaged forecasts.

Stacking (Yao, Vehtari, Simpson, Gelman 2018, arXiv 1704.02030) takes the weights w on the simplex that maximise
Σ_i ln Σ_k w_k p(y_i | held out, law k). The held-out densities come from PSIS-LOO, which asks how well a law fills gaps, or from
leave-future-out, which fits the first part of the fitted shots and scores the rest, as a forecast is scored.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..curves import Curves, curve_columns
from ..errors import InputError
from ..laws import get
from .predictive import frame_of
from .result import Posterior
from .sample import PosteriorWarning, posterior
from .sampling import psis

# What is averaged where no law is named: a mixture of speeds, one speed of learning, and a curve in log shots. None is the best
# for every curve (`experiments/forecast_coverage.py`).
STACK = ("bayesian_heterogeneous", "bayesian_scoring", "logistic")


def loo(one: Posterior) -> pd.DataFrame:
    """PSIS-LOO of every used point: group columns, source, shots, elpd (ln density with the point left out), k_hat."""
    points = np.flatnonzero(one.used)
    log_likelihood = one.log_likelihood()[..., points].reshape(-1, len(points)).T
    weights, k_hat = psis.smooth(-log_likelihood)
    elpd = np.logaddexp.reduce(weights + log_likelihood, axis=1)
    return _points(one.curves, points).assign(elpd=elpd, k_hat=k_hat)


def leave_future_out(
    curves: Curves, laws: Sequence, *, fraction: float | None = None, keep: float = 0.5, **options
) -> pd.DataFrame:
    """Log scores of the last part of the fitted shots, by posteriors of the part before.

    Args:
      fraction: as in `posterior`; only shots within it are fitted or scored.
      keep: of each curve's fitted points, the share (at least 1 point) that is fitted; the rest is scored. Curves of a single
        point are not scored.
      options: of `posterior`.

    Returns:
      Group columns, source, shots, and a column of elpd per law.
    """
    early, held = _early_and_late(curves, fraction, keep)
    if len(held) == 0:
        raise InputError(
            "leave-future-out: no curve has two points to fit; give more shots or a larger fraction"
        )
    table = _points(curves, held)
    taken = [name for name in (get(law).name for law in laws) if name in table]
    if taken:
        raise InputError(f"column {taken[0]!r} is the name of a law: rename it before grouping by it")
    for law in laws:
        fitted = posterior(curves.with_weight(early.astype(float)), law, **options)
        table[fitted.law.name] = fitted.log_score(curves)[held]
    return table


def _early_and_late(curves: Curves, fraction: float | None, keep: float) -> tuple[np.ndarray, np.ndarray]:
    """(mask [N] of the fitted points of fewest shots, the share `keep` of each curve; indices of its other fitted points)."""
    used = (curves.weight > 0) & (curves.within(fraction) if fraction is not None else True)
    curve = curves.point_curve()
    order = np.lexsort((curves.shots, ~used, curve))  # each curve's used points first, by shots
    rank = np.empty(len(used), int)
    rank[order] = np.arange(len(used)) - curves.start[curve[order]]
    count = np.bincount(curve, used, curves.n_curves)
    early = used & (rank < np.maximum(1, np.floor(keep * count))[curve])
    return early, np.flatnonzero(used & ~early)


def forecast_weights(
    curves: Curves, laws: Sequence, *, fraction: float | None = None, keep: float = 0.5, **options
) -> np.ndarray:
    """Stacking weights [K] of laws by `leave_future_out`; equal ones, with a warning, where no curve has a point to leave out."""
    if len(_early_and_late(curves, fraction, keep)[1]) == 0:
        warnings.warn(
            "no curve has a fitted point to leave out, so nothing tells which law forecasts best: all weigh the same",
            PosteriorWarning,
            stacklevel=2,
        )
        return np.full(len(laws), 1 / len(laws))
    scores = leave_future_out(curves, laws, fraction=fraction, keep=keep, **options)
    return stacking_weights(scores[[get(law).name for law in laws]].to_numpy())


def stacking_weights(elpd: np.ndarray, prior: float = 1.0, steps: int = 500) -> np.ndarray:
    """Weights [K] on the simplex that maximise Σ_i ln Σ_k w_k exp(elpd_ik) + prior Σ_k ln w_k.

    Args:
      elpd: [points, K] held-out log densities.
      prior: strength of the pull to equal weights, in points per law (a Dirichlet prior of 1 + prior); 0 for plain stacking.
    """
    density = np.exp(elpd - elpd.max(1, keepdims=True))
    weights = np.full(elpd.shape[1], 1 / elpd.shape[1])
    for _ in range(steps):  # expectation–maximisation: monotone, and the problem is concave
        share = weights * density
        share = share / share.sum(1, keepdims=True)
        weights = share.sum(0) + prior
        weights = weights / weights.sum()
    return weights


def stacked_draws(
    posteriors: Sequence[Posterior], weights: np.ndarray, shots, *, most: int = 2000, **options
) -> np.ndarray:
    """Draws of the next observation (or of the mean) from the mixture of laws, as `Posterior.draws` returns them."""
    counts = np.floor(np.asarray(weights) * most + 0.5).astype(int)
    parts = []
    for one, n in zip(posteriors, counts, strict=True):
        if n > 0:
            values = one.draws(shots, most=most, **options)
            parts.append(values[np.linspace(0, len(values) - 1, n).astype(int)])
    return np.concatenate(parts)


def stacked_forecast(
    posteriors: Sequence[Posterior], weights: np.ndarray, shots, *, most: int = 2000
) -> pd.DataFrame:
    """As `Posterior.forecast`, for the law-averaged prediction; its column `law` says "stacked"."""
    values = stacked_draws(posteriors, weights, shots, most=most, observation=True)
    return frame_of(posteriors[0].curves, shots, values).assign(law="stacked")


def _points(curves: Curves, points: np.ndarray) -> pd.DataFrame:
    curve = curves.point_curve()[points]
    return curve_columns(curves).iloc[curve].reset_index(drop=True).assign(shots=curves.shots[points])
