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

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

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
        walk = jnp.einsum("...nk,...k->...n", self.ramps(first, last, shots), steps)
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
        columns = range(self.n_steps)
        pairs = [(i, j) for i in columns for j in range(i + 1)]
        # Sums over points of what is the same for all draws of a posterior, in one product each.
        products = jnp.stack([ramps[..., i] * ramps[..., j] for i, j in pairs], -1)
        sums = sigma[..., None] ** 2 * jnp.einsum("...n,...nk->...k", precision, products)
        gram = {(i, j): sums[..., k] + (i == j) for k, (i, j) in enumerate(pairs)}
        sums = sigma[..., None] * jnp.einsum("...n,...nk->...k", precision * residual, ramps)
        right = [sums[..., i] for i in columns]
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

    def outside(
        self,
        rng: np.random.Generator,
        sigma: np.ndarray,
        first: np.ndarray,
        last: np.ndarray,
        shots: np.ndarray,
    ) -> np.ndarray:
        """Draws of what the motion adds beyond the fitted range, at shots in any order; 0 inside it. In NumPy, outside programs:
        random numbers are drawn for the shots beyond the range alone.

        Args:
          sigma: [..., S] scale of each draw.
          first, last: [...] fewest and most fitted shots.
          shots: [..., n].

        Returns:
          [..., S, n], in single precision.
        """
        u = np.log1p(shots)
        after = np.maximum(u - np.log1p(last)[..., None], 0.0)
        before = np.maximum(np.log1p(first)[..., None] - u, 0.0)
        n_draws = np.shape(sigma)[-1]
        path = levy(rng, after, n_draws, self.stability) + levy(rng, before, n_draws, self.stability)
        return path * np.asarray(self.beyond * sigma, np.float32)[..., None]


def levy(rng: np.random.Generator, t: np.ndarray, n_draws: int, stability: float = 2.0) -> np.ndarray:
    """Draws [..., n_draws, n] of symmetric stable Lévy motions, at times t [..., n] ≥ 0 in any order; 0 where t = 0.

    Their increments over a time τ are τ^(1/α) X, with α = `stability` and E exp(i k X) = exp(−|k|^α / 2): standard Brownian
    motion for α = 2, Cauchy's with scale τ/2 for α = 1.
    """
    order = np.argsort(t, axis=-1)
    gaps = np.diff(np.take_along_axis(t, order, -1), axis=-1, prepend=0.0)
    still = int((gaps > 0).any(tuple(range(t.ndim - 1))).argmax()) if (gaps > 0).any() else t.shape[-1]
    moving = np.asarray(gaps[..., still:] ** (1 / stability), np.float32)[..., None, :]
    path = np.zeros((*t.shape[:-1], n_draws, t.shape[-1]), np.float32)
    steps = moving * stable(rng, stability, (*t.shape[:-1], n_draws, t.shape[-1] - still))
    np.cumsum(steps, -1, out=path[..., still:])
    if (order == np.arange(t.shape[-1])).all():
        return path
    return np.take_along_axis(path, np.argsort(order, axis=-1)[..., None, :], -1)


def stable(rng: np.random.Generator, stability: float, shape: tuple[int, ...]) -> np.ndarray:
    """Draws of the symmetric stable distribution with characteristic function exp(−|k|^α / 2), in single precision.

    Chambers, Mallows and Stuck 1976: 2^(−1/α) sin(αV) / cos(V)^(1/α) · (cos((1 − α) V) / E)^((1 − α)/α), with V uniform on
    (−π/2, π/2) and E exponential. Its size ends at e^60, which is never reached but for α far below 1.
    """
    single = np.float32
    if stability == 2:
        return rng.standard_normal(shape, single)
    v = (rng.random(shape, single) - single(0.5)) * single(np.pi)
    e = np.maximum(rng.standard_exponential(shape, single), single(1e-30))
    power = (1 - stability) / stability
    size = -np.log(np.maximum(np.cos(v), single(1e-8))) * single(1 / stability)
    if power:
        size += single(power) * (np.log(np.cos(single(1 - stability) * v)) - np.log(e))
    return np.sin(single(stability) * v) * np.exp(
        np.minimum(size - single(np.log(2) / stability), single(60.0))
    )
