"""The Levenberg–Marquardt method as an optax gradient transformation.

One evaluation per step and no line search: each `update` receives value, gradient and Gauss–Newton matrix at the point that
the last step proposed, decides by the gain ratio whether the centre moves there, adapts the damping, and proposes the next
point. Moré's scaling, Nielsen's damping rule, steps bounded per coordinate, a box on the parameters.

References: J. J. Moré 1978, "The Levenberg–Marquardt algorithm: implementation and theory"; H. B. Nielsen 1999, "Damping
parameter in Marquardt's method" (IMM-REP-1999-05), equation 2.5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree


class LevenbergMarquardtState(NamedTuple):
    """State of `levenberg_marquardt`; vectors are raveled parameters [P].

    Attributes:
      count: updates so far.
      centre, value, grad, gram: the best point so far, and the objective, its gradient and Gauss–Newton matrix there.
      damping: μ, relative to the scaled diagonal of `gram`.
      growth: ν, the factor by which the next rejection raises the damping.
      predicted: decrease of the quadratic model that the pending step promised.
      gain_ratio: actual over predicted decrease of the last step.
      small: consecutive steps whose actual and predicted decrease were both below tolerance.
      converged: True once the method has nothing left to gain; from then on updates are zero.
    """

    count: Array
    centre: Array
    value: Array
    grad: Array
    gram: Array
    damping: Array
    growth: Array
    predicted: Array
    gain_ratio: Array
    small: Array
    converged: Array


def solve_positive_definite(a: Array, b: Array) -> Array:
    """x = a⁻¹ b for one symmetric positive-definite a [P, P], b [P].

    Up to 8 × 8 an unrolled LDLᵀ, else the same elimination as a loop: under `vmap` both are elementwise operations over the
    batch. LAPACK would cost a library call per matrix, more than the arithmetic, and its batched calls have been seen to
    hang when two programs with them run at once on a loaded CPU.
    """
    n = b.shape[0]
    if n > 8:
        return _eliminate(a, b)
    tiny = jnp.finfo(a.dtype).tiny * 1e4
    lower = [[None] * n for _ in range(n)]
    pivots = []
    y = []
    for i in range(n):
        for j in range(i):
            dot = sum((lower[i][k] * lower[j][k] * pivots[k] for k in range(j)), start=jnp.zeros((), a.dtype))
            lower[i][j] = (a[i, j] - dot) / pivots[j]
        dot = sum((lower[i][k] ** 2 * pivots[k] for k in range(i)), start=jnp.zeros((), a.dtype))
        pivots.append(jnp.maximum(a[i, i] - dot, tiny))
        y.append(b[i] - sum((lower[i][k] * y[k] for k in range(i)), start=jnp.zeros((), a.dtype)))
    x = [None] * n
    for i in reversed(range(n)):
        x[i] = y[i] / pivots[i] - sum(
            (lower[k][i] * x[k] for k in range(i + 1, n)), start=jnp.zeros((), a.dtype)
        )
    return jnp.stack(x)


def _eliminate(a: Array, b: Array) -> Array:
    """Gaussian elimination without pivoting, which positive-definite matrices do not need; pivots stay positive."""
    n = b.shape[0]
    tiny = jnp.finfo(a.dtype).tiny * 1e4

    def forward(k, table):
        row = table[k] / jnp.maximum(table[k, k], tiny)
        return table - jnp.where(jnp.arange(n) > k, table[:, k], 0.0)[:, None] * row

    table = jax.lax.fori_loop(0, n, forward, jnp.concatenate([a, b[:, None]], axis=1))

    def backward(i, x):
        k = n - 1 - i
        return x.at[k].set((table[k, n] - jnp.sum(table[k, :n] * x)) / jnp.maximum(table[k, k], tiny))

    return jax.lax.fori_loop(0, n, backward, jnp.zeros_like(b))


def invert_positive_definite(a: Array) -> Array:
    """a⁻¹ for one symmetric positive-definite a [P, P], by Gauss–Jordan elimination (no LAPACK, see above)."""
    n = a.shape[0]
    tiny = jnp.finfo(a.dtype).tiny * 1e4

    def step(k, table):
        row = table[k] / jnp.maximum(table[k, k], tiny)
        swept = table - jnp.where(jnp.arange(n) == k, 0.0, table[:, k])[:, None] * row
        return swept.at[k].set(row)

    table = jnp.concatenate([a, jnp.eye(n, dtype=a.dtype)], axis=1)
    inverse = jax.lax.fori_loop(0, n, step, table)[:, n:]
    return 0.5 * (inverse + inverse.T)


def largest_eigenvalue(a: Array, steps: int = 48) -> Array:
    """Largest eigenvalue of one symmetric positive semi-definite a [P, P], by power iteration (a few per cent low at worst)."""
    n = a.shape[0]
    start = 1.0 + 0.1 * jnp.cos(jnp.arange(n, dtype=a.dtype) * 2.3)

    def step(_, v):
        v = jnp.sum(a * v, axis=1)
        return v / jnp.maximum(jnp.max(jnp.abs(v)), jnp.finfo(a.dtype).tiny)

    v = jax.lax.fori_loop(0, steps, step, start)
    return jnp.sum(v * jnp.sum(a * v, axis=1)) / jnp.maximum(jnp.sum(v * v), jnp.finfo(a.dtype).tiny)


def levenberg_marquardt(
    *,
    damping: float = 1e-2,
    max_step: float = 3.0,
    box: float = 30.0,
    ftol: float | None = None,
    atol: float = 1e-22,
    patience: int = 2,
) -> optax.GradientTransformationExtraArgs:
    """Damped Gauss–Newton with gain-ratio control, for objectives that come with their Gauss–Newton matrix.

    `update(grads, state, params, *, value, gram)` needs the objective `value` and `gram` ≈ ∂²value/∂params² [P, P] (for a
    sum of squares, 2 JᵀWJ), both at `params`. The step solves (gram + μ D) δ = −grad with D = diag(gram), kept positive.

    Args:
      damping: initial μ.
      max_step: largest change of a coordinate in one step.
      box: coordinates stay in [−box, box]; one that presses against it is held there while the others move.
      ftol: converged once a step of little damping (μ ≤ 1), or `patience` steps in a row, had an actual and a predicted
        decrease below ftol × value (default 1e-8 in float64, 1e-6 in float32). With N points, what is left to gain then
        is about √(N ftol) standard errors of a parameter: a thousandth for N = 100.
      atol: the same in absolute terms; the default only matters for data that a law fits exactly.
      patience: see ftol.

    Returns:
      The transformation; its state is a `LevenbergMarquardtState`.
    """

    def init(params):
        theta, _ = ravel_pytree(params)
        n, dtype = theta.shape[0], theta.dtype
        scalar = lambda v: jnp.asarray(v, dtype)  # noqa: E731
        return LevenbergMarquardtState(
            count=jnp.zeros((), jnp.int32),
            centre=theta,
            value=scalar(jnp.inf),
            grad=jnp.zeros_like(theta),
            gram=jnp.eye(n, dtype=dtype),
            damping=scalar(damping),
            growth=scalar(2.0),
            predicted=scalar(0.0),
            gain_ratio=scalar(0.0),
            small=jnp.zeros((), jnp.int32),
            converged=jnp.zeros((), bool),
        )

    def update(updates, state, params=None, *, value, gram, **extra):
        del extra
        if params is None:
            raise ValueError(
                "levenberg_marquardt needs the current params in update(grads, state, params, ...)"
            )
        theta, unravel = ravel_pytree(params)
        grad, _ = ravel_pytree(updates)
        dtype = theta.dtype
        tol = ftol if ftol is not None else (1e-8 if dtype == jnp.float64 else 1e-6)
        one, tiny = jnp.ones((), dtype), jnp.finfo(dtype).tiny

        # 1. Did the pending step deliver what it promised?
        first = state.count == 0
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad)) & jnp.all(jnp.isfinite(gram))
        actual = jnp.where(first | ~finite, 0.0, state.value - jnp.where(finite, value, 0.0)).astype(dtype)
        gain = actual / jnp.maximum(state.predicted, tiny)
        accept = finite & (first | (actual > 0))
        shrink = jnp.clip(one - (2 * jnp.clip(gain, 0.0, 1.5) - 1) ** 3, 1 / 5, 1.0)
        mu = jnp.where(first, state.damping, state.damping * jnp.where(accept, shrink, state.growth))
        mu = jnp.clip(mu, 1e-12, 1e16).astype(dtype)
        growth = jnp.where(accept, 2.0, jnp.minimum(state.growth * 2, 1e6)).astype(dtype)
        centre = jnp.where(accept, theta, state.centre)
        centre_value = jnp.where(accept, value, state.value).astype(dtype)
        centre_grad = jnp.where(accept, grad, state.grad)
        centre_gram = jnp.where(accept, gram, state.gram)

        # 2. Nothing left to gain?
        scale = tol * jnp.abs(jnp.where(jnp.isfinite(centre_value), centre_value, 0.0)) + atol
        tiny_step = ~first & (jnp.abs(actual) <= scale) & (state.predicted <= scale)
        small = jnp.where(tiny_step, state.small + 1, 0)
        settled = tiny_step & (state.damping <= 1)
        converged = state.converged | settled | (small >= patience) | (mu >= 1e15)

        # 3. The next step, with coordinates that press against the box held still.
        pressing = ((centre >= box) & (centre_grad < 0)) | ((centre <= -box) & (centre_grad > 0))
        free = jnp.where(pressing, 0.0, 1.0).astype(dtype)
        g = centre_grad * free
        h = centre_gram * (free[:, None] * free[None, :])
        diag = jnp.diagonal(h)
        floor = jnp.maximum(1e-10 * jnp.max(diag), tiny * 1e8)
        scaling = jnp.maximum(diag, floor)
        root = jax.lax.rsqrt(scaling)
        scaled = h * (root[:, None] * root[None, :])
        eye = jnp.eye(theta.shape[0], dtype=dtype)
        damped = scaled * (1 - eye) + eye * (jnp.diagonal(scaled) + mu + jnp.where(free > 0, 0.0, 1.0))
        step = -root * solve_positive_definite(damped, root * g)
        step = step * jnp.minimum(1.0, max_step / jnp.maximum(jnp.max(jnp.abs(step)), tiny))
        proposal = jnp.clip(centre + step, -box, box)
        step = proposal - centre
        predicted = -(g @ step + 0.5 * step @ (h @ step))
        # A step with no promised decrease (all coordinates held, or a zero gradient) counts as a small one.
        predicted = jnp.maximum(jnp.where(jnp.isfinite(predicted), predicted, 0.0), 0.0).astype(dtype)

        target = jnp.where(converged | ~jnp.all(jnp.isfinite(proposal)), centre, proposal)
        new_state = LevenbergMarquardtState(
            count=state.count + 1,
            centre=centre,
            value=centre_value,
            grad=centre_grad,
            gram=centre_gram,
            damping=mu,
            growth=growth,
            predicted=predicted,
            gain_ratio=gain,
            small=small,
            converged=converged,
        )
        return unravel(target - theta), new_state

    return optax.GradientTransformationExtraArgs(init, update)
