"""Shots at which a fitted curve crosses a level, where the data determine them."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from .fit_blocks import UNDETERMINED
from .laws import scales


def determined_crossing(
    shots: np.ndarray,
    level: float,
    mean: Callable[[np.ndarray], np.ndarray],
    mean_stderr: Callable[[np.ndarray], np.ndarray],
    closed: np.ndarray,
) -> dict[str, np.ndarray]:
    """Shots to a level with their intervals, and which of them mean nothing.

    The standard error of z = ln(1 + n) is that of p at n shots over the slope dp/dz. The number is not determined where it is
    above `fit_blocks.UNDETERMINED`; nor is "from the start", unless p without shots is above the level by more than its 90 %
    interval; nor "never", unless the limit of p lies below likewise and no parameter is left open.

    Args:
      shots: [C] n at which the fitted formula of each curve is at the level; 0 from the start, inf for never.
      level: probability.
      mean: shots [C, k] → p of each curve there, [C, k].
      mean_stderr: the same for the standard errors of p.
      closed: [C] whether the data determine all parameters of a curve's fit.

    Returns:
      [C] each: shots, lo90, hi90 (of the normal interval of z; 0 from the start, inf for never), NaN where the data do not
      determine them; undetermined, whether that is so.
    """
    met = np.isfinite(shots) & (shots > 0)
    z = np.log1p(np.where(met, shots, 0.0))
    step = np.minimum(1e-3, z / 2)
    grid = np.expm1(z[:, None] + step[:, None] * np.array([0.0, -1.0, 1.0]))
    grid[np.isinf(shots), 0] = np.inf
    p = mean(grid)
    error = mean_stderr(grid[:, :1])[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        z_error = error * 2 * step / np.abs(p[:, 2] - p[:, 1])
    low, high = scales.interval(p[:, 0], error, "logit", 0.9)
    surely = np.where(shots == 0, low >= level, (high <= level) & closed)
    known = np.where(met, z_error <= UNDETERMINED, surely)
    spread = NormalDist().inv_cdf(0.95) * np.where(met & known, z_error, 0.0)
    found = {"shots": shots, "lo90": np.expm1(np.maximum(z - spread, 0.0)), "hi90": np.expm1(z + spread)}
    found |= {name: np.where(np.isinf(shots), np.inf, found[name]) for name in ("lo90", "hi90")}
    return {name: np.where(known, value, np.nan) for name, value in found.items()} | {"undetermined": ~known}
