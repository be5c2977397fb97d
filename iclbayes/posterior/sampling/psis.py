"""Pareto-smoothed importance sampling for many problems at once.

The largest ratios are replaced by quantiles of a generalised Pareto distribution fitted to them; its shape k̂ says how far the
weights can be trusted: below 0.7 well, above it not at all. Vehtari, Simpson, Gelman, Yao, Gabry 2024 (arXiv 1507.02646);
the fit is that of Zhang and Stephens 2009 with the weak prior of the former paper.
"""

import numpy as np

# k̂ above this: do not trust the weights. From there on the error of an estimate falls so slowly with the number of draws that no
# feasible number is enough (Vehtari et al. 2024, section 3.2.4), which is the limit of ArviZ too.
GOOD = 0.7
EQUAL = 1e-8  # log ratios that differ by less are those of a proposal that is the posterior: rounding has no tail to fit


def smooth(log_ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed, normalised log weights and k̂.

    Args:
      log_ratios: [..., n] log importance ratios; −inf for impossible draws.

    Returns:
      (log_weights [..., n] with exponentials summing to 1, k̂ [...]; 0: all ratios are equal, inf: no tail can be fitted).
    """
    log_ratios = np.asarray(log_ratios, np.float64)
    lead, n = log_ratios.shape[:-1], log_ratios.shape[-1]
    x = log_ratios.reshape(-1, n)
    if n < 2:
        return np.zeros(log_ratios.shape), np.full(lead, np.inf)
    x = np.where(np.isfinite(x), x, -np.inf)
    peak = x.max(1, keepdims=True)
    x = x - np.where(np.isfinite(peak), peak, 0.0)
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    order = np.argsort(x, axis=1)
    ranked = np.take_along_axis(x, order, 1)
    cut = np.maximum(ranked[:, -tail - 1], np.log(np.finfo(np.float64).tiny))
    excess = np.exp(ranked[:, -tail:]) - np.exp(cut)[:, None]
    usable = (tail > 4) & (excess[:, 0] >= 0) & (excess[:, -1] > 0) & np.isfinite(peak[:, 0])
    equal = (tail > 4) & np.isfinite(peak[:, 0]) & (ranked[:, -1] < ranked[:, 0] + EQUAL)
    k = np.where(equal, 0.0, np.inf)
    usable &= ~equal
    if usable.any():
        shape, scale = _pareto_fit(np.maximum(excess[usable], 1e-300))
        levels = (np.arange(tail) + 0.5) / tail
        with np.errstate(over="ignore"):
            quantile = np.where(
                np.abs(shape[:, None]) < 1e-9,
                -scale[:, None] * np.log1p(-levels),
                scale[:, None] * np.expm1(-shape[:, None] * np.log1p(-levels)) / _safe(shape)[:, None],
            )
        smoothed = np.minimum(np.log(quantile + np.exp(cut[usable])[:, None]), 0.0)
        rows = np.flatnonzero(usable)
        good = np.isfinite(smoothed).all(1)
        ranked[rows[good], -tail:] = smoothed[good]
        k[rows[good]] = shape[good]
    out = np.empty_like(x)
    np.put_along_axis(out, order, ranked, 1)
    top = out.max(1, keepdims=True)
    out = out - np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.maximum(np.exp(out).sum(1, keepdims=True), 1e-300))
    return (out - total).reshape(*lead, n), k.reshape(lead)


def _safe(shape):
    return np.where(np.abs(shape) < 1e-9, 1.0, shape)


def _pareto_fit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape k and scale of generalised Pareto distributions fitted to ascending excesses x [B, n]."""
    n = x.shape[1]
    grid = 30 + int(np.sqrt(n))
    quarter = x[:, int(n / 4 + 0.5) - 1 : int(n / 4 + 0.5)]
    b = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    b = b / (3 * quarter) + 1 / x[:, -1:]  # [B, grid]
    k = np.log1p(-b[:, :, None] * x[:, None, :]).mean(2)
    profile = n * (np.log(-b / k) - k - 1)
    weight = np.exp(profile - profile.max(1, keepdims=True))
    weight = weight / weight.sum(1, keepdims=True)
    b = (b * weight).sum(1)
    k = np.log1p(-b[:, None] * x).mean(1)
    scale = -k / b
    return k * n / (n + 10) + 5 / (n + 10), scale


def resample(rng: np.random.Generator, log_weights: np.ndarray, n: int) -> np.ndarray:
    """[..., n] indices drawn with the weights (systematic resampling, in random order)."""
    lead = log_weights.shape[:-1]
    cumulative = np.cumsum(np.exp(log_weights.reshape(-1, log_weights.shape[-1])), 1)
    picked = np.empty((len(cumulative), n), int)
    for i, row in enumerate(cumulative):
        at = (np.arange(n) + rng.random()) / n
        picked[i] = np.searchsorted(row / row[-1], at).clip(0, len(row) - 1)
        rng.shuffle(picked[i])
    return picked.reshape(*lead, n)
