"""Which curves no law can describe: those that do not rise with shots, and those with too few points.

Every law here has a probability that never falls as shots are added. How far a curve is from that is measured by the best rising
curve (isotonic regression, Robertson, Wright & Dykstra 1988), whatever the law.
"""

import numpy as np
import pandas as pd

from .curves import Curves, curve_columns

FEW = 3  # points below which no law's parameters are determined
SEEN = 0.05  # how far a curve has to fall below what it was before, in probability
TOLD = 0.25  # a shape explains a fall if it leaves at most this share of what the best rising curve leaves


def not_described(curves: Curves) -> pd.DataFrame:
    """The curves that no law can describe, and why.

    A curve of n points p_i, with the best rising curve r_i, does not rise if max |p_i − r_i| > 0.05 and, where standard
    errors s_i are known, Σ(p_i − r_i)²/s_i² is beyond the 1 % point of χ² with n − Σ_{k≤n} 1/k degrees of freedom (those that
    isotonic regression leaves a constant curve). It `falls`, `falls, then rises` or
    `rises, then falls` where the best curve of this kind leaves less than a quarter of the squared distance; else it
    `rises and falls`.

    Returns:
      A row for each such curve: the columns that name it (groups, and `source`), `points`, and `shape` (one of the four, or `has
      few points` below three). Errors of counts are binomial, of the share (k+1)/(n+2).
    """
    sizes = np.add.reduceat((curves.weight > 0).astype(int), curves.start[:-1])
    shapes = np.where(sizes < FEW, "has few points", "").astype(object)
    own_level = 2.0 * curves.point_curve()  # keeps the running maximum within its curve
    drop = np.maximum.accumulate(curves.prob + own_level) - own_level - curves.prob
    for i in np.flatnonzero((np.maximum.reduceat(drop, curves.start[:-1]) > SEEN) & (sizes >= FEW)):
        own = slice(curves.start[i], curves.start[i + 1])
        used = curves.weight[own] > 0
        shapes[i] = _shape(curves.prob[own][used], _errors(curves, own)[used])
    table = curve_columns(curves).assign(points=sizes, shape=shapes)
    return table[table["shape"] != ""].reset_index(drop=True)


def _errors(curves: Curves, own: slice) -> np.ndarray:
    """Standard errors of points, NaN where nothing tells them."""
    share = (curves.n_correct[own] + 1) / (curves.n_test[own] + 2)
    binomial = np.sqrt(share * (1 - share) / curves.n_test[own])
    return np.where(np.isfinite(binomial), binomial, curves.stderr[own])


def _by_chance(chi2: float, freedom: float) -> bool:
    """Whether a χ² of so many degrees of freedom exceeds this more often than once in a hundred times."""
    spread = 2 / (9 * freedom)
    near = (
        freedom * (1 - spread + 2.3263478740408408 * spread**0.5) ** 3
    )  # Wilson & Hilferty 1931: 1 % off at most
    if abs(chi2 / near - 1) > 0.03:
        return bool(chi2 < near)
    from scipy.special import (
        chdtri,  # here, for hardly any curve needs it and SciPy takes a third of a second
    )

    return bool(chi2 <= chdtri(freedom, 0.01))


def _shape(prob: np.ndarray, error: np.ndarray) -> str:
    n = len(prob)
    if n < FEW:
        return "has few points"
    rest = prob - best_rising(prob)
    if np.abs(rest).max() <= SEEN:
        return ""
    known = np.isfinite(error) & (error > 0)
    if known.all() and _by_chance(float(np.sum((rest / error) ** 2)), n - np.sum(1 / np.arange(1, n + 1))):
        return ""
    enough = TOLD * np.sum(rest**2)
    rising, falling = _left(prob), _left(-prob)  # of the first 1, 2, … points
    if falling[-1] <= enough:
        return "falls"
    to_rise, to_fall = _left(-prob[::-1])[::-1], _left(prob[::-1])[::-1]  # of the points from the 1st, 2nd, …
    if np.min(falling[:-1] + to_rise[1:]) <= enough:
        return "falls, then rises"
    if np.min(rising[:-1] + to_fall[1:]) <= enough:
        return "rises, then falls"
    return "rises and falls"


def best_rising(values: np.ndarray) -> np.ndarray:
    """The rising curve nearest to values [n] in squared distance (isotonic regression), [n]."""
    return _pooled(values)[0]


def _left(values: np.ndarray) -> np.ndarray:
    """What the best rising curve of the first 1, 2, …, n values leaves of their squared distance, [n]."""
    return _pooled(values)[1]


def _pooled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(best rising curve [n], what that of the first 1, 2, …, n values leaves [n]), by one pass of pooling adjacent violators.

    The fit of k + 1 values is that of k with the last blocks merged that the new value pulls down, and merging two of sizes a, b
    and means x, y adds a b / (a + b) (x − y)². (SciPy has the curve, in a module whose import takes longer than a fit.)
    """
    means, sizes, left, total = [], [], [], 0.0
    for mean in values.tolist():
        size = 1
        while means and means[-1] > mean:
            x, a = means.pop(), sizes.pop()
            total += a * size / (a + size) * (x - mean) ** 2
            mean, size = (a * x + size * mean) / (a + size), a + size
        means.append(mean)
        sizes.append(size)
        left.append(total)
    return np.repeat(means, sizes), np.array(left)
