"""Convergence diagnostics for many quantities at once: R-hat, effective sample sizes, E-BFMI.

Rank-normalised split R-hat and bulk and tail ESS of Vehtari, Gelman, Simpson, Carpenter, Bürkner 2021 (arXiv 1903.08008),
the definitions of ArviZ, over any leading axes; E-BFMI of Betancourt 2016 (arXiv 1604.00695).
"""

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd

# Limits for the worst parameter of a posterior. Vehtari et al. 2021 ask for 400 effective draws and an R-hat of at most 1.01 of a
# quantity. 400 is taken over. 1.01 is not, for the largest of many R-hats passes it by chance: of four autocorrelated chains of
# 500 draws that are right and worth some 500 draws, the largest of 12 parameters' R-hats is above 1.01 in 68 % of posteriors (of
# 4 parameters' in 28 %), above 1.03 in none of 60. Of six real curves' posteriors (default law, 4 × 500 draws, no divergences, at
# least 527 effective draws) two had 1.010 to 1.013. All these would be sampled again, two to eight times as long, for nothing.
MAX_RHAT = 1.03
MIN_ESS = 400.0
MIN_BFMI = 0.2  # the energy hardly diffuses below it, so that tails are missed: the limit that Stan warns at
FEWEST = 6  # draws of a chain; of fewer, halves have no variance to speak of, and R-hat and ESS are NaN


Diagnostic = Callable[[np.ndarray], np.ndarray]


def _of_enough_draws(function: Diagnostic) -> Diagnostic:
    """A diagnostic of draws [..., chains, draws] that is NaN where there are fewer than `FEWEST`."""

    @functools.wraps(function)
    def checked(draws: np.ndarray) -> np.ndarray:
        draws = np.asarray(draws, np.float64)
        return function(draws) if draws.shape[-1] >= FEWEST else np.full(draws.shape[:-2], np.nan)

    return checked


def _split(x: np.ndarray) -> np.ndarray:
    """[..., C, D] → [..., 2C, D/2]."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], x[..., -half:]], axis=-2)


def _rank_normal(x: np.ndarray) -> np.ndarray:
    from scipy import (
        stats,  # here, for only chains need it and its import takes as long as six posteriors' checks
    )

    flat = x.reshape(*x.shape[:-2], -1)
    ranks = stats.rankdata(flat, axis=-1)
    return stats.norm.ppf((ranks - 0.375) / (flat.shape[-1] + 0.25)).reshape(x.shape)


def _rhat(x: np.ndarray) -> np.ndarray:
    n = x.shape[-1]
    within = x.var(-1, ddof=1).mean(-1)
    between = x.mean(-1).var(-1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.sqrt(((n - 1) / n * within + between) / within)
    return np.where(within + between > 0, value, 1.0)


@_of_enough_draws
def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat, the larger of bulk and folded; draws [..., chains, draws]. Constants give 1."""
    x = _split(draws)
    flat = x.reshape(*x.shape[:-2], -1)
    folded = np.abs(x - np.median(flat, -1)[..., None, None])
    return np.maximum(_rhat(_rank_normal(x)), _rhat(_rank_normal(folded)))


def _ess(x: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean by Geyer's initial monotone sequence, over [..., C, D]."""
    chains, n = x.shape[-2:]
    centred = x - x.mean(-1, keepdims=True)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    spectrum = np.fft.rfft(centred, size, axis=-1)
    autocov = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=-1)[..., :n] / n
    mean_var = autocov[..., 0].mean(-1) * n / (n - 1)
    var_plus = mean_var * (n - 1) / n
    if chains > 1:
        var_plus = var_plus + x.mean(-1).var(-1, ddof=1)
    constant = var_plus <= 0
    safe = np.where(constant, 1.0, var_plus)
    rho = 1 - (mean_var[..., None] - autocov.mean(-2)) / safe[..., None]
    rho[..., 0] = 1.0
    pairs = rho[..., : 2 * ((n - 3) // 2 + 1)].reshape(*rho.shape[:-1], -1, 2)
    sums = pairs.sum(-1)
    positive = np.logical_and.accumulate(sums > 0, axis=-1)
    positive[..., -1] = False
    monotone = np.minimum.accumulate(np.where(positive, sums, 0.0), axis=-1)
    # The even lag after the last pair counts once when it is positive.
    last = positive.sum(-1)
    even = np.take_along_axis(rho[..., ::2], np.minimum(last, rho[..., ::2].shape[-1] - 1)[..., None], -1)[
        ..., 0
    ]
    tau = -1 + 2 * monotone.sum(-1) + np.maximum(even, 0.0)
    tau = np.maximum(tau, 1 / np.log10(chains * n))
    return np.where(constant, float(chains * n), chains * n / tau)


@_of_enough_draws
def ess_bulk(draws: np.ndarray) -> np.ndarray:
    """Bulk effective sample size of draws [..., chains, draws]."""
    return _ess(_rank_normal(_split(draws)))


@_of_enough_draws
def ess_tail(draws: np.ndarray) -> np.ndarray:
    """Tail effective sample size (the smaller of the 5 % and 95 % quantiles') of draws [..., chains, draws]."""
    flat = draws.reshape(*draws.shape[:-2], -1)
    found = []
    for level in (0.05, 0.95):
        cut = np.quantile(flat, level, axis=-1)[..., None, None]
        found.append(_ess(_split((draws <= cut).astype(np.float64))))
    return np.minimum(*found)


def mendable(checks: pd.DataFrame, n_draws: int) -> np.ndarray:
    """Which posteriors of a table of `UnitDraws.checks` other chains could make good, where `n_draws` are kept of each.

    Divergences and poor mixing, but not what the number of draws alone forbids: R-hat and effective sample sizes of chains too
    short for them, or `MIN_ESS` effective draws of no more than so many.
    """
    known = checks["r_hat"].notna()
    mixed = (checks["r_hat"] <= MAX_RHAT) & (checks["e_bfmi"] >= MIN_BFMI)
    few = n_draws <= MIN_ESS
    return ((checks["divergences"] > 0) | (known & ~(mixed & few))).to_numpy()


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    """Estimated Bayesian fraction of missing information per chain, energy [..., draws]; below 0.2 is poor; NaN for one draw."""
    if energy.shape[-1] < 2:
        return np.full(energy.shape[:-1], np.nan)
    change = np.diff(energy, axis=-1) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return change.mean(-1) / energy.var(-1)
