"""The Levenberg–Marquardt method as an optax gradient transformation.

One evaluation per step and no line search: each `update` receives value, gradient and Gauss–Newton matrix at the point that
the last step proposed, decides by the gain ratio whether the centre moves there, adapts the damping, and proposes the next
point. Nielsen's damping rule, steps bounded per coordinate, a box on the parameters.

The damping is the same in every direction. The raw parameters of the laws are logarithms and log odds, so a unit means the
same in each; damping in proportion to the diagonal of the Gauss–Newton matrix (Marquardt, Moré) would let parameters that
the data hardly see run off along flat valleys, which on the original law ends most starts in poor minima (see Transtrum &
Sethna 2012, arXiv 1201.5885).

Reference: H. B. Nielsen 1999, "Damping parameter in Marquardt's method" (IMM-REP-1999-05), equation 2.5.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from .linear_algebra import solve_positive_definite


class LevenbergMarquardtState(NamedTuple):
    """State of `levenberg_marquardt`; vectors are raveled parameters [P].

    Attributes:
      count: updates so far.
      centre, value, grad, gram: the best point so far, and the objective, its gradient and Gauss–Newton matrix there.
      damping: μ, relative to the largest diagonal entry of `gram`.
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
    sum of squares, 2 JᵀWJ), both at `params`. The step solves (gram + μ s I) δ = −grad, s the largest
    diagonal entry of gram.

    With gram [P, P, …] it takes a step in as many minimisations as its trailing axes hold: grads and params are then arrays
    [P, …], and value and the leaves of the state have the same axes behind their own. It does what `jax.vmap` of a single
    one does, in a layout in which every operation runs along the batch.

    Args:
      damping: initial μ.
      max_step: largest change of a coordinate in one step.
      box: coordinates stay in [−box, box]; one that presses against it is held there while the others move.
      ftol: converged once a step of little damping (μ ≤ 1), or `patience` steps in a row, had an actual and a predicted
        decrease below ftol × value (default 1e-7; 1e-6 in float32). With N points, what is left to gain then is below
        √(N ftol) standard errors of a parameter, 0.003 for N = 100, and far below where the last steps converge
        quadratically.
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
        if gram.ndim > 2:  # many minimisations at once
            theta, grad, unravel = params, updates, lambda flat: flat
        else:
            theta, unravel = ravel_pytree(params)
            grad, _ = ravel_pytree(updates)
        dtype = theta.dtype
        tol = ftol if ftol is not None else (1e-7 if dtype == jnp.float64 else 1e-6)
        one, tiny = jnp.ones((), dtype), jnp.finfo(dtype).tiny

        # 1. Did the pending step deliver what it promised?
        first = state.count == 0
        finite = jnp.isfinite(value) & jnp.isfinite(grad).all(0) & jnp.isfinite(gram).all((0, 1))
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
        index = jnp.arange(len(theta))
        scale = jnp.maximum(jnp.max(h[index, index], axis=0), tiny * 1e8)
        eye = jnp.eye(len(theta), dtype=dtype).reshape(len(theta), -1, *(1,) * scale.ndim)
        step = -solve_positive_definite(h + eye * (mu + (1.0 - free)) * scale, g)
        step = step * jnp.minimum(1.0, max_step / jnp.maximum(jnp.max(jnp.abs(step), axis=0), tiny))
        proposal = jnp.clip(centre + step, -box, box)
        step = proposal - centre
        predicted = -jnp.sum(step * (g + 0.5 * jnp.sum(h * step[None, :], axis=1)), axis=0)
        # A step with no promised decrease (all coordinates held, or a zero gradient) counts as a small one.
        predicted = jnp.maximum(jnp.where(jnp.isfinite(predicted), predicted, 0.0), 0.0).astype(dtype)

        target = jnp.where(converged | ~jnp.isfinite(proposal).all(0), centre, proposal)
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

    # optax annotates the fields of the class without extra arguments.
    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
