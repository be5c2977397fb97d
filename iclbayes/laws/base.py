"""What every scaling law of in-context learning provides.

A law maps named parameters and shots to the expected probability of the right answer. Each law exists in three layers, so
that fitting, posteriors and prediction share one formula:

    raw        unconstrained parameters, a dict name → array; what optimizers and samplers move
    params     the same names, constrained: ρ on the simplex, K > 0, 0 < β ≤ γ < 1; what people read
    local      the d numbers that decide one curve; `point` maps them and the abscissa to a probability

`point` is elementwise, hence works on any batch layout, and `point_and_jacobian` gives ∂p/∂local beside it: the chain rule
through the tiny map raw → local then costs nothing per data point.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Law:
    """A scaling law; subclasses define the formula. Instances are hashable and serve as static arguments of `jax.jit`.

    Attributes:
      name: as on the command line and in tables.
      log_shots: read the exponents in ln(1 + n) instead of n (posterior odds grow as a power of n).
      shot_offset: added to n before anything else; 1 reproduces the published code, which counts the query as a shot.
    """

    name: str
    log_shots: bool = False
    shot_offset: float = 0.0

    joint: ClassVar[bool] = True  # the curves of a group share parameters
    loops: ClassVar[bool] = (
        False  # a point is a loop over nodes, which plainly emitted code runs at half the speed
    )
    label: ClassVar[str] = ""
    param_names: ClassVar[tuple[str, ...]] = ()
    per_source: ClassVar[tuple[str, ...]] = ()  # parameters whose leading axis is the source
    # One curve, and `local` stacks the raw parameters in the order of `param_names`.
    local_is_raw: ClassVar[bool] = False
    ridge: ClassVar[float] = 0.0  # default noise σ of the ridge, see `fitting.Problem`; 0 for none
    ridge_at: ClassVar[
        dict[str, tuple[float, float]]
    ] = {}  # (centre, scale) of raw parameters under the ridge
    needs: ClassVar[
        dict[str, tuple[str, ...]]
    ] = {}  # sharing the key across conditions needs these shared too

    @property
    def finer(self) -> "Law | None":
        """A law of the same parameters without the numerical error that this one has; None where it has none to speak of."""
        return None

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the raw parameters for a group of `n_curves` curves; `background` tasks own no curve."""
        raise NotImplementedError

    def constrain(self, raw: Params) -> Params:
        """raw → params (pure, differentiable, monotone in each raw coordinate)."""
        raise NotImplementedError

    def unconstrain(self, params: Params) -> Params:
        """params → raw; values on a boundary go to a large finite number."""
        raise NotImplementedError

    def local(self, raw: Params) -> Array:
        """raw → the numbers [d, J] that decide each of the J curves."""
        raise NotImplementedError

    def point(self, q: Array, x: Array) -> Array:
        """Probability at abscissa x, for local parameters q [d, …] that broadcast against x."""
        return self.point_and_jacobian(q, x)[0]

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        """(p, (∂p/∂q_1, …, ∂p/∂q_d)); the default differentiates `point` forward."""
        p, push = jax.linearize(lambda q: self.point(q, x), q)
        rows = []
        for i in range(q.shape[0]):
            rows.append(push(jnp.zeros_like(q).at[i].set(1)))
        return p, tuple(rows)

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        """First guesses [n_starts, …] of the raw parameters from the data of one group, x, y, w [J, n].

        The first ones come from each curve's own first and last values and half-way point, the rest are random around them.
        """
        raise NotImplementedError

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        """Smallest number of shots [J] at which each curve is at `level`: 0 if it starts there, inf if it never does."""
        raise NotImplementedError

    def abscissa(self, shots: Array) -> Array:
        """What `point` takes for shots n: n + shot_offset, or ln(1 + n + shot_offset)."""
        n = shots + self.shot_offset
        return jnp.log1p(n) if self.log_shots else n

    def shots(self, x: Array) -> Array:
        """The inverse of `abscissa`."""
        return (jnp.expm1(x) if self.log_shots else x) - self.shot_offset

    def mean_raw(self, raw: Params, shots: Array) -> Array:
        """Expected probability of the right answer [J, n] for raw parameters and shots [J, n] or [n]."""
        shots = jnp.asarray(shots)
        x = self.abscissa(shots.astype(jnp.result_type(shots, *raw.values())))
        return self.point(self.local(raw)[..., None], x)

    def mean(self, params: Params, shots: Array) -> Array:
        """Expected probability of the right answer, p_j(n).

        Args:
          params: constrained parameters by name, as in `fits.params` (one group).
          shots: [J, n], or [n] for the same shots in every source.

        Returns:
          [J, n], each in (0, 1).
        """
        return self.mean_raw(self.unconstrain(params), shots)


def first_last_half(x: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """Landmarks of curves, for first guesses: value at the smallest x, at the largest x, and the x half-way between them.

    Args:
      x, y, w: abscissae, probabilities and weights [..., n]; points of weight 0 are ignored. Any order.

    Returns:
      (first, last, half), each [...]; `half` is the smallest x at which the curve has covered half of the way, at least a
      hundredth of the range of x so that it is never 0.
    """
    seen = w > 0
    big = jnp.asarray(jnp.finfo(x.dtype).max, x.dtype)
    lo = jnp.min(jnp.where(seen, x, big), -1, keepdims=True)
    hi = jnp.max(jnp.where(seen, x, -big), -1, keepdims=True)
    lo, hi = jnp.where(hi < lo, 0.0, lo), jnp.where(hi < lo, 1.0, hi)
    span = jnp.maximum(hi - lo, 1e-6)

    def near(position):
        # A kernel mean over about a twelfth of the range: one noisy point should not decide a landmark.
        k = w * jnp.exp(-0.5 * ((x - position) / (0.04 * span)) ** 2)
        k = jnp.where(seen, k + 1e-12 * w / (1.0 + ((x - position) / span) ** 2), 0.0)
        return jnp.sum(k * y, -1) / jnp.maximum(jnp.sum(k, -1), 1e-300 if x.dtype == jnp.float64 else 1e-35)

    first, last = near(lo), near(hi)
    middle = 0.5 * (first + last)[..., None]
    rising = (last >= first)[..., None]
    crossed = seen & jnp.where(rising, y >= middle, y <= middle)
    half = jnp.min(jnp.where(crossed, x, big), -1)
    half = jnp.where(half < big, half, 0.5 * (lo + hi)[..., 0])
    return first, last, jnp.maximum(half - lo[..., 0], 0.01 * span[..., 0]) + jnp.maximum(lo[..., 0], 0.0)


def logit(p: Array) -> Array:
    """ln p − ln(1 − p), with p kept off 0 and 1 by the smallest amount that keeps the result finite."""
    limits = jnp.finfo(_floating(p))
    p = jnp.clip(p, limits.tiny * 4, 1 - limits.eps)
    return jnp.log(p) - jnp.log1p(-p)


def sigmoid_pair(z: Array) -> tuple[Array, Array]:
    """σ(z) and σ(−z), each with all its digits, from one exponential."""
    e = jnp.exp(-jnp.abs(z))
    inverse = 1.0 / (1.0 + e)
    return jnp.where(z >= 0, 1.0, e) * inverse, jnp.where(z >= 0, e, 1.0) * inverse


def safe_log(p: Array) -> Array:
    """ln p with p kept above the smallest normal number."""
    return jnp.log(jnp.maximum(p, jnp.finfo(_floating(p)).tiny * 4))


def _floating(p: Array):
    """The dtype that p has, or for whole numbers JAX's default; `result_type(p, float32)` would lower a Python float's."""
    dtype = jnp.result_type(p)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
