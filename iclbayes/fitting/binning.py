"""A curve of many points in few: what the starts of a fit are run on before the best of them are finished on every point.

The points of a curve are averaged in bins of equal width in log shots. A law hardly bends within a bin, so the binned curve
has nearly the same minima as the curve itself, at a fraction of the cost; where they lie exactly, and which of them is the
lowest, is decided on all points.
"""

import jax.numpy as jnp
from jax import Array

from .problem import Points

FEW, BINS = 16, 24  # bins for laws of at most `SIMPLE` local parameters, and for others
SIMPLE = 4
WORTHWHILE = 72  # points, or nothing is gained


def worth_binning(shape: tuple[int, ...]) -> bool:
    """Whether curves padded to shape [..., n] have many more points than bins."""
    return shape[-1] >= WORTHWHILE


def n_bins(n_local: int) -> int:
    """Bins for a law with that many local parameters: what more would cost, they do not give back in minima found."""
    return FEW if n_local <= SIMPLE else BINS


def bin_points(data: Points, shots: Array, bins: int) -> Points:
    """Averages the points of every curve in `bins` bins of equal width in ln(1 + shots).

    Args:
      data: [B, S, n] each (batch first).
      shots: [B, S, n].

    Returns:
      `Points` of [B, S, bins]: weighted means of abscissa and probability, and the sum of weights (0 for an empty bin).
    """
    u = jnp.where(shots > 0, jnp.log1p(shots), 0.0)
    seen = data.w > 0
    low = jnp.min(jnp.where(seen, u, jnp.inf), axis=-1, keepdims=True)
    high = jnp.max(jnp.where(seen, u, -jnp.inf), axis=-1, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0) / bins
    place = jnp.clip(jnp.floor((u - low) / width), 0, bins - 1)
    member = (place[..., None] == jnp.arange(bins)).astype(u.dtype)  # [B, S, n, bins]
    total = lambda a: jnp.einsum("bsn,bsnk->bsk", a, member)  # noqa: E731
    w = total(data.w)
    share = jnp.where(w > 0, w, 1.0)
    mean = lambda a, empty: jnp.where(w > 0, total(data.w * a) / share, empty)  # noqa: E731
    return Points(mean(data.x, 0.0), mean(data.y, 0.5), w, data.pull)
