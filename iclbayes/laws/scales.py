"""Scales without ends: where estimates are nearly normal, and on which intervals are made before they are mapped back.

A probability lives on log odds, any other parameter (all are positive) on its logarithm. By the delta method the standard error s
of a value v is s / (v (1 − v)) on log odds and s / v on the logarithm; v ± s itself can leave the values that there are.
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError

Scale = Literal["logit", "log"]

ONE_SIGMA = 0.6826894921370859  # share of a normal distribution within one standard deviation of its mean
PROBABILITIES = frozenset({"prior", "gamma", "beta", "probs", "p_task", "p_format", "p_none", "prob"})


def scale_of(name: str) -> Scale:
    """The scale of a parameter: "logit" of probabilities, "log" of all others."""
    return "logit" if name in PROBABILITIES else "log"


def spread(value: ArrayLike, stderr: ArrayLike, scale: Scale) -> np.ndarray:
    """Standard errors on the scale without ends; inf where the value lies at an end or the error is unknown."""
    value, stderr = np.asarray(value, float), np.asarray(stderr, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = stderr / (value * (1 - value) if scale == "logit" else value)
    return np.where(np.isfinite(found), found, np.inf)


def one_sigma(value: ArrayLike, stderr: ArrayLike, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), one standard error away on the scale without ends, mapped back; NaN where the error is unknown there."""
    known = np.isfinite(spread(value, stderr, scale))
    low, high = interval(value, stderr, scale, ONE_SIGMA)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def interval(
    value: ArrayLike, stderr: ArrayLike, scale: Scale, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the normal interval on the scale without ends, mapped back.

    Args:
      value: estimates; of a probability in [0, 1], else ≥ 0.
      stderr: their standard errors, of the same shape; inf or NaN where unknown.
      scale: "logit" or "log".
      level: what the interval is to hold, in (0, 1).

    Returns:
      (low, high); 0 and 1 (on the log scale 0 and inf) where the error is unknown. NaN of NaN.

    Raises:
      InputError: a level outside (0, 1).

    >>> low, high = interval(0.9, 0.1, "logit")
    >>> low.round(2).item(), high.round(2).item()
    (0.59, 0.98)
    """
    if not 0 < level < 1:
        raise InputError(f"level {level} of an interval is not between 0 and 1")
    value = np.asarray(value, float)
    reach = NormalDist().inv_cdf(0.5 + level / 2) * spread(value, stderr, scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if scale == "log":
            low, high = value * np.exp(-reach), value * np.exp(reach)
            low, high = np.where(np.isinf(reach), 0.0, low), np.where(np.isinf(reach), np.inf, high)
        else:
            odds = np.log(value) - np.log1p(-value)
            low, high = (1 / (1 + np.exp(-(odds + side * reach))) for side in (-1, 1))
            low, high = np.where(np.isinf(reach), 0.0, low), np.where(np.isinf(reach), 1.0, high)
    unknown = np.isnan(value)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
