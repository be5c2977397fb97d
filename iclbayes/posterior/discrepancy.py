"""What a law gets wrong: a random walk of the log odds in log shots.

    logit p(n) = logit law(n) + δ(u),   u = ln(1 + n),   δ a Wiener process with scale σ per √(unit of u), δ(u_first) = 0

No law is exactly true of a real model. Inside the range of the fitted shots, [u_first, u_last], δ is resolved by `pieces`
straight pieces, whose increments are inferred with the law's parameters; outside, it goes on as the walk that it is, so that
its variance grows by σ² for every factor e in 1 + n, on either side. σ is the parameter `discrepancy` of a group; its default
prior is ln σ ~ Normal(−1.6, 0.7): 0.2 log odds per factor e in shots (90 %: 0.06 to 0.64).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from .priors import normal


@dataclasses.dataclass(frozen=True)
class RandomWalk:
    """Discrepancy that wanders in log shots.

    Attributes:
      pieces: straight pieces within the fitted range.
      centre, scale: of the normal prior of ln σ.
    """

    pieces: int = 4
    centre: float = -1.6
    scale: float = 0.7

    def priors(self) -> dict[str, dist.Distribution]:
        return {"discrepancy": normal(self.centre, self.scale)}

    def inside(self, sigma: Array, steps: Array, first: Array, last: Array, shots: Array) -> Array:
        """δ at shots within the range; constant beyond it.

        Args:
          sigma: [...] scale.
          steps: [..., J, pieces] standard normal increments.
          first, last: [..., J] fewest and most fitted shots.
          shots: [..., J, n].

        Returns:
          [..., J, n].
        """
        walk = jnp.sum(self.ramps(first, last, shots) * steps[..., None, :], -1)
        return sigma[..., None, None] * walk

    def ramps(self, first: Array, last: Array, shots: Array) -> Array:
        """[..., J, n, pieces]: how far each piece has come at these shots, times the standard deviation of its increment."""
        lo, hi = jnp.log1p(first)[..., None], jnp.log1p(last)[..., None]
        width = jnp.maximum(hi - lo, 1e-6) / self.pieces
        position = (jnp.log1p(shots) - lo) / width  # in pieces
        ramps = jnp.clip(position[..., None] - jnp.arange(self.pieces), 0.0, 1.0)
        return jnp.sqrt(width)[..., None] * ramps

    def increments(
        self, sigma: Array, ramps: Array, residual: Array, precision: Array, z: Array
    ) -> tuple[Array, Array]:
        """Increments from standard coordinates z, given log odds residuals with normal noise.

        The increments s given the residuals r ~ N(A s, 1/precision), A = σ ramps, are normal with precision matrix
        Q = I + Aᵀ W A = L Lᵀ and mean Q⁻¹ Aᵀ W r; s = mean + L⁻ᵀ z.

        Args:
          sigma: [...]; ramps: [..., n, pieces]; residual, precision: [..., n]; z: [..., pieces].

        Returns:
          (s [..., pieces], ln |∂s/∂z| [...]).
        """
        design = sigma[..., None, None] * ramps
        weighted = precision[..., None] * design
        columns = range(self.pieces)
        gram = {
            (i, j): jnp.sum(weighted[..., i] * design[..., j], -1) + (i == j)
            for i in columns
            for j in range(i + 1)
        }
        right = [jnp.sum(weighted[..., i] * residual, -1) for i in columns]
        # Written out, since matrices are this small: elementwise over the batch, where LAPACK would take them one by one.
        low: dict[tuple[int, int], Array] = {}
        for j in columns:
            low[j, j] = jnp.sqrt(gram[j, j] - sum(low[j, k] ** 2 for k in range(j)))
            for i in range(j + 1, self.pieces):
                low[i, j] = (gram[i, j] - sum(low[i, k] * low[j, k] for k in range(j))) / low[j, j]
        half: list[Array] = []  # L⁻¹ Aᵀ W r
        for i in columns:
            half.append((right[i] - sum(low[i, k] * half[k] for k in range(i))) / low[i, i])
        out: dict[int, Array] = {}
        for i in reversed(columns):
            rest = sum(low[k, i] * out[k] for k in range(i + 1, self.pieces))
            out[i] = (half[i] + z[..., i] - rest) / low[i, i]
        log_volume = -sum(jnp.log(low[i, i]) for i in columns)
        return jnp.stack([out[i] for i in columns], -1), log_volume

    def outside(self, key: Array, sigma: Array, first: Array, last: Array, shots: Array) -> Array:
        """A draw of what the walk adds beyond the fitted range, at shots [..., J, n] in any order; 0 inside it."""
        u = jnp.log1p(shots)
        after = jnp.maximum(u - jnp.log1p(last)[..., None], 0.0)
        before = jnp.maximum(jnp.log1p(first)[..., None] - u, 0.0)
        key_after, key_before = jax.random.split(key)
        return sigma[..., None, None] * (wiener(key_after, after) + wiener(key_before, before))


def wiener(key: Array, t: Array) -> Array:
    """A draw of standard Brownian motion (variance t) along the last axis, at times t ≥ 0 in any order; 0 where t = 0."""
    order = jnp.argsort(t, axis=-1)
    sorted_t = jnp.take_along_axis(t, order, -1)
    gaps = jnp.diff(sorted_t, axis=-1, prepend=jnp.zeros_like(sorted_t[..., :1]))
    path = jnp.cumsum(jnp.sqrt(gaps) * jax.random.normal(key, t.shape, t.dtype), -1)
    return jnp.take_along_axis(path, jnp.argsort(order, axis=-1), -1)
