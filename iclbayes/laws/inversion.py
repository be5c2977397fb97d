"""Shots to reach a level, for laws without a closed form."""

import jax
import jax.numpy as jnp
from jax import Array

from .base import Law, Params


def reach_by_bisection(law: Law, params: Params, level: Array, most: float = 1e12, grid: int = 129) -> Array:
    """Smallest n [J] with p_j(n) = level, by bisection in ln(1 + n); inf where no n up to `most` gets there, 0 at the start.

    A grid of `grid` points in ln(1 + n) finds the first crossing (a law of M tasks need not be monotone), bisection refines
    it, and one Newton step through the law at the root makes the result differentiable in `params` and `level`:
    dn*/dθ = −(∂p/∂θ) / (∂p/∂n), the implicit-function theorem.
    """
    raw = law.unconstrain(params)
    level = jnp.asarray(level, jnp.result_type(*raw.values()))
    frozen = jax.lax.stop_gradient(raw)
    target = jax.lax.stop_gradient(level)

    def value(raw, z):  # z = ln(1 + n) [J]
        x = law.abscissa(jnp.expm1(z))
        return law.point(law.local(raw), x)

    zs = jnp.linspace(0.0, jnp.log1p(most), grid, dtype=level.dtype)
    q = law.local(frozen)[..., None]
    p = law.point(q, jnp.broadcast_to(law.abscissa(jnp.expm1(zs)), (q.shape[1], grid)))
    above = p >= jnp.broadcast_to(target, (q.shape[1],))[:, None]
    reached = jnp.any(above, axis=1)
    first = jnp.argmax(above, axis=1)
    hi, lo = zs[first], zs[jnp.maximum(first - 1, 0)]

    def halve(_, bounds):
        lo, hi = bounds
        middle = 0.5 * (lo + hi)
        up = value(frozen, middle) >= target
        return jnp.where(up, lo, middle), jnp.where(up, middle, hi)

    lo, hi = jax.lax.fori_loop(0, 60, halve, (lo, hi))
    root = jax.lax.stop_gradient(hi)
    n = jnp.expm1(root)
    slope = jax.jvp(lambda z: value(frozen, z), (root,), (jnp.ones_like(root),))[1]
    slope = jax.lax.stop_gradient(slope) / (1.0 + n)  # ∂p/∂n
    steep = jnp.abs(slope) > jnp.finfo(slope.dtype).tiny
    # The value of this correction is 0; only its derivative matters.
    miss = value(raw, root) - level
    miss = miss - jax.lax.stop_gradient(miss)
    n = n - jnp.where(steep, miss / jnp.where(steep, slope, 1.0), 0.0)
    return jnp.where(reached, jnp.where(first == 0, 0.0, n), jnp.inf)
