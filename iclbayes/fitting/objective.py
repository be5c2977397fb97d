"""Objective, gradient and Gauss–Newton matrix of a batch of fits.

A law reaches the points only through its d local parameters, so the Gauss–Newton matrix is summed per curve in d dimensions
(4 for the scoring law) and carried to the P raw parameters by the chain rule: for 5 sources × 256 points of the scoring law
10 products a point instead of 120. Data per point is laid out with the batch of fits last, [curves S, points n, fits B], so
that sums over points vectorise over fits.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .problem import Points, Problem

FEW = 6  # local parameters up to which every entry of the Gauss–Newton matrix is a sum of its own


def evaluate(problem: Problem, theta: Array, data: Points) -> tuple[Array, Array, Array]:
    """Objective, gradient and Gauss–Newton matrix at B parameter vectors.

    Args:
      theta: [P, B].
      data: its points.

    Returns:
      value [B] = Σ_points w ℓ(p, y) + ridge, gradient [P, B], gram [P, P, B] ≈ ∂²value.
    """
    if problem.law.local_is_raw:
        # Rows of theta as they are: gathers and transposes would keep loops from vectorising.
        order = problem.local_order()
        q = jnp.stack([theta[k, None] for k in np.argsort(order)])
        value, grad, gram = _sums_batch_last(problem, q, data, order)
        grad, gram = grad[:, 0], gram[:, :, 0]
    else:
        q = jax.vmap(problem.local, in_axes=-1, out_axes=-1)(theta)  # [d, S, B]
        sums = _sums_batch_last if q.shape[0] <= FEW else _sums_batch_first
        value, grad_local, gram_local = sums(problem, q, data)
        chain = jax.vmap(jax.jacfwd(problem.local), in_axes=-1, out_axes=0)(theta)  # [B, d, S, P]
        flat = chain.reshape(chain.shape[0], -1, problem.size)
        grad = jnp.einsum("bkp,kb->pb", flat, grad_local.reshape(flat.shape[1], -1))
        half = jnp.einsum("ijsb,bjsp->bisp", gram_local, chain)
        gram = jnp.einsum("bkp,bkr->prb", flat, half.reshape(flat.shape))
    if problem.ridge:
        centre, precision = (a.astype(theta.dtype) for a in problem.ridge_terms())
        value = value + penalty(problem, theta.T, data.pull)
        grad = grad + 2 * data.pull * precision[:, None] * (theta - centre[:, None])
        gram = gram + 2 * data.pull * jnp.diag(precision)[:, :, None]
    return value, grad, gram


def jacobian(problem: Problem, theta: Array, x: Array) -> tuple[Array, Array]:
    """p [S, n, B] at abscissae x [S, n, B], and its derivatives [P, S, n, B] by the raw parameters theta [P, B].

    By the same rows as the Gauss–Newton matrix: where a derivative is lost to rounding (a saturated curve's efficiency) it has
    to be lost in both.
    """
    q = jax.vmap(problem.local, in_axes=-1, out_axes=-1)(theta)
    p, rows = problem.law.point_and_jacobian(q[:, :, None, :], x)
    chain = jax.vmap(jax.jacfwd(problem.local), in_axes=-1, out_axes=-1)(theta)  # [d, S, P, B]
    if len(rows) > FEW:
        return p, jnp.einsum(
            "dspb,dsnb->psnb", chain, jnp.stack([jnp.broadcast_to(r, p.shape) for r in rows])
        )
    terms = (jnp.moveaxis(c, 1, 0)[:, :, None] * r for c, r in zip(chain, rows, strict=True))
    return p, sum(terms, jnp.zeros_like(p))


def _sums_batch_last(problem: Problem, q: Array, data: Points, order=None) -> tuple[Array, Array, Array]:
    """Value [B], gradient [d, S, B] and Gauss–Newton matrix [d, d, S, B] in local parameters q [d, S, B], or in `order`.

    One fused sum over points for each entry, which vectorises over the fits: best for few local parameters.
    """
    p, rows = problem.law.point_and_jacobian(q[:, :, None, :], data.x)
    rows = rows if order is None else [rows[k] for k in order]
    loss, slope, curvature = problem.loss(p, data.y)
    value = jnp.sum(data.w * loss, axis=(0, 1))
    slope, curvature = data.w * slope, data.w * curvature
    grad = jnp.stack([jnp.sum(slope * r, axis=1) for r in rows])
    entries = {}
    for i, row in enumerate(rows):
        scaled = curvature * row
        for j in range(i + 1):
            entries[i, j] = entries[j, i] = jnp.sum(scaled * rows[j], axis=1)
    d = len(rows)
    return value, grad, jnp.stack([jnp.stack([entries[i, j] for j in range(d)]) for i in range(d)])


def _sums_batch_first(problem: Problem, q: Array, data: Points) -> tuple[Array, Array, Array]:
    """The same as matrix products JᵀWJ for each curve, J [n, d]: best for many local parameters."""
    x, y, w = (jnp.moveaxis(a, -1, -3) for a in (data.x, data.y, data.w))  # [..., B, S, n]
    p, rows = problem.law.point_and_jacobian(jnp.moveaxis(q, -1, 1)[..., None], x)
    loss, slope, curvature = problem.loss(p, y)
    jac = jnp.stack([jnp.broadcast_to(r, p.shape) for r in rows], axis=2)  # [B, S, d, n]
    value = jnp.einsum("bsn,bsn->b", w, loss)
    grad = jnp.einsum("bsdn,bsn->dsb", jac, w * slope)
    gram = jnp.einsum("bsdn,bsen->desb", jac * (w * curvature)[:, :, None], jac)
    return value, grad, gram


def penalty(problem: Problem, theta: Array, pull: Array) -> Array:
    """pull Σ ((raw − centre)/scale)², [...] for theta [..., P]."""
    if not problem.ridge:
        return jnp.zeros(theta.shape[:-1], theta.dtype)
    centre, precision = (a.astype(theta.dtype) for a in problem.ridge_terms())
    return pull * jnp.sum(precision * (theta - centre) ** 2, axis=-1)


def evaluate_value(problem: Problem, theta: Array, data: Points) -> Array:
    """The objective alone, at one parameter vector [P] and the points [S, n] of one fit; for line searches."""
    q = problem.local(theta)[:, :, None]
    p = problem.law.point(q, data.x)
    return jnp.sum(data.w * problem.loss(p, data.y)[0]) + penalty(problem, theta, data.pull)
