"""How well a law describes or extrapolates a curve: errors of predictions, and scores of draws against what happened."""

import numpy as np
import pandas as pd

from .curves import Curves, curve_columns

NLL_FLOOR = 1e-12  # probabilities below this count as this in an NLL


def score(curves: Curves, predicted: np.ndarray, where: np.ndarray | None = None) -> pd.DataFrame:
    """Error of predictions, a row per curve.

    RMSE = sqrt(mean (p − y)²) of the probability, NRMSE = RMSE / mean y, and the same ratio for NLL = −ln p (nats), over the
    points of the curve where the mask is True and that exist (padding never gets here).

    Args:
      curves: the truth.
      predicted: [N] probabilities along its points.
      where: [N] mask of the points to evaluate (default: all).

    Returns:
      Columns: the group columns, source, nrmse, rmse, nrmse_nll, n_eval. A curve with no point to evaluate has NaN and
      n_eval = 0; a curve whose evaluated probabilities are all 0 has NRMSE inf unless the error is 0 too.
    """
    mask = np.ones(len(curves.prob), bool) if where is None else np.asarray(where, bool)
    curve = curves.point_curve()

    def mean(values):
        total = np.bincount(curve[mask], values[mask], minlength=curves.n_curves)
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / np.bincount(curve[mask], minlength=curves.n_curves)

    def nll(p):
        return -np.log(np.clip(p, NLL_FLOOR, 1.0))

    def ratio(error, size):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((error == 0) & (size == 0), 0.0, error / size)

    rmse = np.sqrt(mean((predicted - curves.prob) ** 2))
    rmse_nll = np.sqrt(mean((nll(predicted) - nll(curves.prob)) ** 2))
    return curve_columns(curves).assign(
        nrmse=ratio(rmse, mean(curves.prob)),
        rmse=rmse,
        nrmse_nll=ratio(rmse_nll, mean(nll(curves.prob))),
        n_eval=np.bincount(curve[mask], minlength=curves.n_curves),
    )


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score [N] of draws [S, N]: E|X − y| − ½ E|X − X'|, in the units of y; 0 is perfect.

    The second term is the unbiased one over pairs of draws, from the sorted draws (Gneiting and Raftery 2007).
    """
    x = np.sort(draws, axis=0)
    n = len(x)
    weight = 2 * np.arange(1, n + 1) - n - 1
    spread = (weight[:, None] * x).sum(0) / (n * (n - 1))
    return np.abs(x - truth).mean(0) - spread


def kernel_log_score(draws: np.ndarray, truth: np.ndarray, bandwidth: float = 0.01) -> np.ndarray:
    """ln of the density [N] at the truth of a kernel estimate over draws [S, N], the same for every method.

    Normal kernels of standard deviation `bandwidth` (probability), mixed with 1 % of the uniform density, so that a single
    impossible point costs at most 4.6 nats.
    """
    z = (draws - truth) / bandwidth
    density = np.exp(-0.5 * z**2).mean(0) / (bandwidth * np.sqrt(2 * np.pi))
    return np.log(0.99 * density + 0.01)


def covered(draws: np.ndarray, truth: np.ndarray, level: float) -> np.ndarray:
    """[N] whether the truth lies in the central interval of that level of draws [S, N]."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return (truth >= low) & (truth <= high)


def score_draws(draws: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """A row per point: crps, log_score (kernel), in50, in90."""
    return pd.DataFrame(
        {
            "crps": crps(draws, truth),
            "log_score": kernel_log_score(draws, truth),
            "in50": covered(draws, truth, 0.5),
            "in90": covered(draws, truth, 0.9),
        }
    )


def missed_zero_shots(curves: Curves, used: np.ndarray, fitted: np.ndarray, far: float = 0.1) -> pd.DataFrame:
    """The curves whose used zero-shot point is missed by more than `far` in probability, and by more than chance.

    By chance means within three standard errors of the point or, where they are unknown, three root mean squared residuals of the
    curve's other points.

    Args:
      curves: the curves.
      used: [N] mask of the points that were fitted.
      fitted: [N] the expected probability at them.
      far: the least that counts.

    Returns:
      Group columns, source, observed, fitted.
    """
    residual = fitted - curves.prob
    curve = curves.point_curve()
    other = used & (curves.shots > 0)
    square = np.bincount(curve, np.where(other, residual, 0.0) ** 2, curves.n_curves)
    scatter = np.sqrt(square / np.maximum(np.bincount(curve, other, curves.n_curves), 1))
    first = np.flatnonzero(used & (curves.shots == 0))
    chance = 3 * np.where(curves.stderr[first] > 0, curves.stderr[first], scatter[curve[first]])
    at = first[np.abs(residual[first]) > np.maximum(far, chance)]
    table = curve_columns(curves).iloc[curve[at]].reset_index(drop=True)
    return table.assign(observed=curves.prob[at], fitted=fitted[at])


def standard_errors(curves: Curves) -> np.ndarray:
    """Standard errors [N] of the measured probabilities: the file's, else of counts, else NaN."""
    known = np.isfinite(curves.n_test) & (curves.n_test > 0)
    binomial = np.sqrt(curves.prob * (1 - curves.prob) / np.where(known, curves.n_test, 1.0))
    return np.where(
        np.isfinite(curves.stderr), curves.stderr, np.where(known & (binomial > 0), binomial, np.nan)
    )
