"""What a law gets wrong: a random walk of the log odds in log shots.

    logit p(n) = logit law(n) + δ(u),   u = ln(1 + n),   δ(u_first) = o σ z

No law is exactly true of a real model. Inside the range of the fitted shots, [u_first, u_last], δ is a Wiener process with scale
σ per √(unit of u), resolved by `pieces` straight pieces, whose increments are inferred with the law's parameters. σ is the
parameter `discrepancy` of a group; its default prior is ln σ ~ Normal(−1.6, 0.7): 0.2 log odds per factor e in shots (90 %: 0.06
to 0.64).

At the first shots the law is as wrong as anywhere: δ starts at a normal offset of standard deviation o σ (`offset`). Pinned to 0
there instead, it would hold the law's parameters to the thin curved sheet on which the law meets the first point, which samplers
crawl along.

Outside, on either side, δ goes on as a symmetric stable Lévy motion: over a distance t of u it changes by

    c σ t^(1/α) X,     E exp(i k X) = exp(−|k|^α / 2),     independently of what it did before

with index of stability α (`stability`) and c (`beyond`). α = 2 with c = 1 continues the Wiener process, normal at every distance;
α = 1 is Cauchy's motion, in proportion to the distance and with tails so heavy that far away nothing is ruled out. The default
α = 3/2 stands between them: mostly small changes, whose size grows with the distance to the power 2/3, and now and then a large
one. That is how forecasts of real curves err: most curves go on as they did, some break (a context window overflows, a format is
lost), and no single variance describes both: a normal walk wide enough for the breaks is too wide for all the others. c < 1
because a law fitted with its discrepancy already knows that it is uncertain (what other choices score on real curves stands in
`experiments/forecast_coverage.md`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.typing import DTypeLike

from ...errors import InputError
from .priors import normal


@dataclasses.dataclass(frozen=True)
class RandomWalk:
    """Discrepancy that wanders in log shots.

    Attributes:
      pieces: straight pieces within the fitted range.
      offset: o ≥ 0, the standard deviation at the fewest fitted shots in units of σ; 0 makes the law exact there.
      centre, scale: of the normal prior of ln σ.
      stability: α in (0, 2] of the motion outside the fitted range; 2 is a Wiener process, 1 Cauchy's.
      beyond: c ≥ 0, the scale outside in units of the scale inside.
    """

    pieces: int = 4
    centre: float = -1.6
    scale: float = 0.7
    stability: float = 1.5
    beyond: float = 0.4
    offset: float = 1.0

    def __post_init__(self):
        if self.pieces < 1 or not self.scale > 0 or not min(self.beyond, self.offset) >= 0:
            raise InputError(
                "discrepancy: pieces must be at least 1, scale above 0, beyond and offset at least 0"
            )
        if not 0 < self.stability <= 2:
            raise InputError(
                f"discrepancy: stability {self.stability} is not in (0, 2]; 2 is a Wiener process"
            )

    def priors(self) -> dict[str, dist.Distribution]:
        """Prior of ln σ, by the name of the parameter."""
        return {"discrepancy": normal(self.centre, self.scale)}

    @property
    def n_steps(self) -> int:
        """Standard normal numbers that a walk is made of: its increments, and its offset if it has one."""
        return self.pieces + (self.offset > 0)

    def inside(self, sigma: Array, steps: Array, first: Array, last: Array, shots: Array) -> Array:
        """δ at shots within the range; constant beyond it.

        Args:
          sigma: [...] scale.
          steps: [..., J, n_steps] standard normal increments, and the offset.
          first, last: [..., J] fewest and most fitted shots.
          shots: [..., J, n].

        Returns:
          [..., J, n].
        """
        walk = jnp.sum(self.ramps(first, last, shots) * steps[..., None, :], -1)
        return sigma[..., None, None] * walk

    def ramps(self, first: Array, last: Array, shots: Array) -> Array:
        """[..., J, n, n_steps]: how far each piece has come at these shots, times the standard deviation of its increment; last
        the offset's, the same at all shots."""
        lo, hi = jnp.log1p(first)[..., None], jnp.log1p(last)[..., None]
        width = jnp.maximum(hi - lo, 1e-6) / self.pieces
        position = (jnp.log1p(shots) - lo) / width  # in pieces
        ramps = jnp.clip(position[..., None] - jnp.arange(self.pieces), 0.0, 1.0)
        ramps = jnp.sqrt(width)[..., None] * ramps
        if self.offset == 0:
            return ramps
        return jnp.concatenate([ramps, jnp.full_like(ramps[..., :1], self.offset)], -1)

    def increments(
        self, sigma: Array, ramps: Array, residual: Array, precision: Array, z: Array
    ) -> tuple[Array, Array]:
        """Increments from standard coordinates z, given log odds residuals with normal noise.

        The increments s given the residuals r ~ N(A s, 1/precision), A = σ ramps, are normal with precision matrix
        Q = I + Aᵀ W A = L Lᵀ and mean Q⁻¹ Aᵀ W r; s = mean + L⁻ᵀ z.

        Args:
          sigma: [...]; ramps: [..., n, n_steps]; residual, precision: [..., n]; z: [..., n_steps].

        Returns:
          (s [..., n_steps], ln |∂s/∂z| [...]).
        """
        design = sigma[..., None, None] * ramps
        weighted = precision[..., None] * design
        columns = range(self.n_steps)
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
            for i in range(j + 1, self.n_steps):
                low[i, j] = (gram[i, j] - sum(low[i, k] * low[j, k] for k in range(j))) / low[j, j]
        half: list[Array] = []  # L⁻¹ Aᵀ W r
        for i in columns:
            half.append((right[i] - sum(low[i, k] * half[k] for k in range(i))) / low[i, i])
        out: dict[int, Array] = {}
        for i in reversed(columns):
            rest = sum(low[k, i] * out[k] for k in range(i + 1, self.n_steps))
            out[i] = (half[i] + z[..., i] - rest) / low[i, i]
        log_volume = -jnp.sum(jnp.stack([jnp.log(low[i, i]) for i in columns]), 0)
        return jnp.stack([out[i] for i in columns], -1), log_volume

    def outside(self, key: Array, sigma: Array, first: Array, last: Array, shots: Array) -> Array:
        """A draw of what the motion adds beyond the fitted range, at shots [..., J, n] in any order; 0 inside it."""
        u = jnp.log1p(shots)
        after = jnp.maximum(u - jnp.log1p(last)[..., None], 0.0)
        before = jnp.maximum(jnp.log1p(first)[..., None] - u, 0.0)
        key_after, key_before = jax.random.split(key)
        path = levy(key_after, after, self.stability) + levy(key_before, before, self.stability)
        return self.beyond * sigma[..., None, None] * path


def levy(key: Array, t: Array, stability: float = 2.0) -> Array:
    """A draw of a symmetric stable Lévy motion along the last axis, at times t ≥ 0 in any order; 0 where t = 0.

    Its increments over a time τ are τ^(1/α) X, with α = `stability` and E exp(i k X) = exp(−|k|^α / 2): standard Brownian motion
    for α = 2, Cauchy's with scale τ/2 for α = 1.
    """
    order = jnp.argsort(t, axis=-1)
    sorted_t = jnp.take_along_axis(t, order, -1)
    gaps = jnp.diff(sorted_t, axis=-1, prepend=jnp.zeros_like(sorted_t[..., :1]))
    path = jnp.cumsum(gaps ** (1 / stability) * stable(key, stability, t.shape, t.dtype), -1)
    return jnp.take_along_axis(path, jnp.argsort(order, axis=-1), -1)


def stable(key: Array, stability: float, shape: tuple[int, ...] = (), dtype: DTypeLike = float) -> Array:
    """Draws of the symmetric stable distribution with characteristic function exp(−|k|^α / 2).

    Chambers, Mallows and Stuck 1976: 2^(−1/α) sin(αV) / cos(V)^(1/α) · (cos((1 − α) V) / E)^((1 − α)/α), with V uniform on
    (−π/2, π/2) and E exponential.
    """
    if stability == 2:
        return jax.random.normal(key, shape, dtype)
    key_v, key_e = jax.random.split(key)
    v = jax.random.uniform(key_v, shape, dtype, -1.0, 1.0) * (0.5 * jnp.pi)
    e = jnp.maximum(jax.random.exponential(key_e, shape, dtype), 1e-30)
    power = (1 - stability) / stability
    draw = (
        jnp.sin(stability * v) / jnp.cos(v) ** (1 / stability) * (jnp.cos((1 - stability) * v) / e) ** power
    )
    return 0.5 ** (1 / stability) * draw
