"""Linear algebra of many small positive-definite matrices at once, [P, P, …] with the batch behind, without LAPACK.

Every step is an elementwise operation over the batch. LAPACK would cost a library call per matrix, more than the arithmetic, and
its batched calls have been seen to hang when two programs with them run at once on a loaded CPU. Positive-definite matrices need
no pivoting; pivots are kept positive.
"""

import jax
import jax.numpy as jnp
from jax import Array

# Parameters up to which the linear solve is written out: more take long to compile and run no faster.
UNROLLED = 12


def solve_positive_definite(a: Array, b: Array) -> Array:
    """x = a⁻¹ b for symmetric positive-definite a [P, P, …], b [P, …]; trailing axes are a batch.

    Gaussian elimination, unrolled up to `UNROLLED` parameters.
    """
    n = b.shape[0]
    if n > UNROLLED:
        return _eliminate(a, b)
    tiny = jnp.finfo(a.dtype).tiny * 1e4
    table = jnp.concatenate([a, b[:, None]], axis=1)
    rows = []  # row k of the triangle, from its pivot (scaled to 1) on
    for _ in range(n):
        row = table[0, 1:] / jnp.maximum(table[0, 0], tiny)
        table = table[1:, 1:] - table[1:, :1] * row
        rows.append(row)
    x = jnp.zeros((0, *b.shape[1:]), a.dtype)
    for row in reversed(rows):
        x = jnp.concatenate([(row[-1] - jnp.sum(row[:-1] * x, axis=0))[None], x])
    return x


def _eliminate(a: Array, b: Array) -> Array:
    """The same as a loop, for matrices whose unrolled program would be slow to compile."""
    n = b.shape[0]
    tiny = jnp.finfo(a.dtype).tiny * 1e4

    def forward(k, table):
        row = table[k] / jnp.maximum(table[k, k], tiny)
        below = jnp.arange(n).reshape(-1, *(1,) * (b.ndim - 1)) > k
        return table - jnp.where(below, table[:, k], 0.0)[:, None] * row

    table = jax.lax.fori_loop(0, n, forward, jnp.concatenate([a, b[:, None]], axis=1))

    def backward(i, x):
        k = n - 1 - i
        return x.at[k].set((table[k, n] - jnp.sum(table[k, :n] * x, axis=0)) / jnp.maximum(table[k, k], tiny))

    return jax.lax.fori_loop(0, n, backward, jnp.zeros_like(b))


def inverse_factor(a: Array, floor: float) -> Array:
    """L⁻¹ of the Cholesky factor L [P, P, …] of positive-definite a with no eigenvalue below `floor`; a⁻¹ = L⁻ᵀ L⁻¹.

    No pivot is below the smallest eigenvalue, so one that comes out below `floor` does so by rounding, and is lifted to it.
    """
    n = a.shape[0]
    upright = lambda v: v.reshape(v.shape + (1,) * (a.ndim - 2))  # noqa: E731

    def step(k, table):
        scale = jax.lax.rsqrt(jnp.maximum(table[k, k], floor))
        row = table[k] * scale
        below = jnp.where(upright(jnp.arange(n) > k), table[:, k] * scale, 0.0)
        return (table - below[:, None] * row).at[k].set(row)

    eye = jnp.broadcast_to(upright(jnp.eye(n, dtype=a.dtype)), a.shape)
    return jax.lax.fori_loop(0, n, step, jnp.concatenate([a, eye], axis=1))[:, n:]


def largest_eigenvalue(a: Array, squarings: int = 4, steps: int = 3) -> Array:
    """Largest eigenvalue of positive semi-definite a [P, P, …]: power iteration with a^16 (at worst a few per cent low)."""
    n, tiny = a.shape[0], jnp.finfo(a.dtype).tiny
    power = a
    for _ in range(squarings):
        if n <= UNROLLED:
            power = sum(power[:, k, None] * power[k] for k in range(n))
        else:
            power = jnp.einsum("ik...,kj...->ij...", power, power)
        power = power / jnp.maximum(jnp.max(jnp.abs(power), axis=(0, 1)), tiny)
    v = 1.0 + 0.1 * jnp.cos(jnp.arange(n, dtype=a.dtype) * 2.3)
    v = jnp.broadcast_to(v.reshape(n, *(1,) * (a.ndim - 2)), (n, *a.shape[2:]))
    for _ in range(steps):
        v = jnp.sum(power * v, axis=1)
        v = v / jnp.maximum(jnp.max(jnp.abs(v), axis=0), tiny)
    return jnp.sum(v * jnp.sum(a * v, axis=1), axis=0) / jnp.maximum(jnp.sum(v * v, axis=0), tiny)


def inverse_of_scaled(a: Array) -> tuple[Array, Array]:
    """Condition number [B] after scaling the diagonal to 1, and a factor F [B, P, P] of the inverse, F Fᵀ = a⁻¹, of positive
    semi-definite matrices.

    A singular direction counts as P times the rounding error, so the condition number ends near 1e15 / P in float64. gᵀ a⁻¹ g is
    the square of Fᵀ g. Of the inverse itself, singular directions would leave nothing but rounding errors of the rest.
    """
    size = a.shape[-1]
    least = size * float(jnp.finfo(a.dtype).eps)
    diag = jnp.maximum(jnp.diagonal(a, axis1=-2, axis2=-1), jnp.finfo(a.dtype).tiny * 1e8)
    root = jax.lax.rsqrt(diag)
    scaled = a * root[:, :, None] * root[:, None, :] + least * jnp.eye(size, dtype=a.dtype)
    scaled = jnp.moveaxis(scaled, 0, -1)
    half = inverse_factor(scaled, least)
    condition = largest_eigenvalue(scaled) * largest_eigenvalue(jnp.einsum("kp...,kq...->pq...", half, half))
    most = 1 / jnp.finfo(a.dtype).eps
    condition = jnp.clip(jnp.nan_to_num(condition, nan=most, posinf=most), 1.0, most)
    return condition, jnp.transpose(half, (2, 1, 0)) * root[:, :, None]
