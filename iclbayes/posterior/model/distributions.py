"""numpyro distributions of counts: a beta-binomial that is quick to differentiate, and a normal rounded to whole numbers."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln

from ...laws.heterogeneous import scaled_tail

FAR = 1e3  # standard deviations: beyond every tail


class SmoothBetaBinomial(dist.BetaBinomial):
    """numpyro's BetaBinomial with a log mass of elementary functions: XLA's own derivatives of ln Γ, above all the second,
    take ten times as long to run and to compile."""

    def log_prob(self, value: Array) -> Array:
        a, b, n = (jnp.asarray(x) for x in (self.concentration1, self.concentration0, self.total_count))
        choose_k = gammaln(n + 1) - gammaln(value + 1) - gammaln(n - value + 1)
        args = jnp.broadcast_arrays(value + a, n - value + b, a + b, a, b, n + a + b)
        g = log_gamma(jnp.stack(args))
        return choose_k + jnp.sum(g[:3], 0) - jnp.sum(g[3:], 0)


class RoundedNormal(dist.Distribution):
    """The whole number in 0, …, n nearest to a draw of N(loc, scale²): P(k) = Φ((k + ½ − loc)/scale) − Φ((k − ½ − loc)/scale),
    where 0 and n also take the tails beyond them."""

    arg_constraints: ClassVar = {
        "loc": dist.constraints.real,
        "scale": dist.constraints.positive,
        "n": dist.constraints.positive,
    }
    pytree_data_fields = ("loc", "scale", "n")

    def __init__(self, loc: Array, scale: Array, n: Array, *, validate_args: bool | None = None):
        self.loc, self.scale, self.n = jnp.broadcast_arrays(loc, scale, jnp.asarray(n, loc.dtype))
        super().__init__(batch_shape=self.loc.shape, validate_args=validate_args)

    @dist.constraints.dependent_property(is_discrete=True, event_dim=0)  # pyright: ignore[reportArgumentType]
    def support(self) -> Any:
        return dist.constraints.integer_interval(0, self.n)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        assert key is not None
        z = jax.random.normal(key, sample_shape + self.batch_shape, self.loc.dtype)
        return jnp.clip(jnp.round(self.loc + self.scale * z), 0.0, self.n)

    def log_prob(self, value: Array) -> Array:
        low, high = ((value + half - self.loc) / self.scale for half in (-0.5, 0.5))
        flip = low + high > 0  # the upper tail by its mirror image, where Φ keeps its digits
        a, b = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
        bottom, top = value <= 0, value >= self.n
        a = jnp.where(jnp.where(flip, top, bottom), a - FAR, a)
        b = jnp.where(jnp.where(flip, bottom, top), b + FAR, b)
        return log_mass(a, b)


def log_mass(a: Array, b: Array) -> Array:
    """ln(Φ(b) − Φ(a)) for a < b with a + b ≤ 0 or b beyond every tail, as `scaled_tail` is exact; a third of the time that two
    logarithms of Φ take, and their slopes a fifth of the program.

    With s = |b|, e = exp(−s²/2) and R(z) = exp(z²/2) Φ(−z): Φ(b) = e R(s) below 0, 1 − e R(s) above; a factor e is taken out of
    both terms below 0, so that nothing underflows there.
    """
    size, far = jnp.abs(b), jnp.maximum(-a, 0.0)
    bell, tail = jnp.exp(-0.5 * size * size), scaled_tail(size)
    taken = jnp.where(b <= 0, -0.5 * size * size, 0.0)
    upper = jnp.where(b <= 0, tail, 1.0 - bell * tail)
    lower = jnp.exp(-0.5 * far * far - taken) * scaled_tail(far)
    return taken + jnp.log(jnp.maximum(upper - lower, 1e-12 * upper))


def log_gamma(x: Array) -> Array:
    """ln Γ(x) for x > 0 by Stirling's series at x + 8; error below 1e-11 plus rounding."""
    t = x * (x + 7.0)
    product = t * (t + 6.0) * (t + 10.0) * (t + 12.0)  # x (x + 1) … (x + 7)
    z = x + 8.0
    r = 1.0 / z
    w = r * r
    series = r * (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w / 1680)))
    return (z - 0.5) * jnp.log(z) - z + 0.9189385332046727 + series - jnp.log(product)
