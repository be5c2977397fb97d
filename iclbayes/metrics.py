"""How well a law describes or extrapolates a curve."""

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
