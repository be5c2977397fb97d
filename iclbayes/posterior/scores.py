"""How good a probabilistic forecast is: coverage, CRPS, log score of draws against what happened."""

import numpy as np
import pandas as pd


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
