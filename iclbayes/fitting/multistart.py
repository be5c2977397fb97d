"""The search among the starts of a batch of fits.

Curves of few points: every start runs on every point. Curves of many: the starts compete on binned points (`fitting.binning`;
those that reach the same valley go on as one, see `minimise`), and of the ends those that differ and promise most are
finished on every point.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ..runtime import in_blocks
from .binning import bin_points, n_bins, worth_binning
from .levenberg_marquardt import levenberg_marquardt
from .minimise import Minimum, minimise
from .objective import evaluate_value
from .problem import Points, Problem

DEFAULT_OPTIMIZER = levenberg_marquardt()
ROUGH_OPTIMIZER = levenberg_marquardt(ftol=1e-4)  # for binned points, whose minima are approximate anyway
FINAL_OPTIMIZER = levenberg_marquardt(damping=1e-4)  # for all points, from a start close to the minimum
AGREEMENT = 1e-3  # starts agree whose losses are within this factor of the best (plus 1e-12)
FINISHED = 4  # different ends on the binned points that are finished on all points
BLOCK = 256  # ends whose losses on all points are computed together
PROMISING = 1.25  # those whose loss is within this factor of the lowest


class Found(NamedTuple):
    """The best of the starts of each of B fits, and how many ended there; the last two as in `minimise.Minimum`."""

    theta: Array
    value: Array
    n_agreed: Array
    steps: Array
    converged: Array
    grad: Array | None
    gram: Array | None


def search(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    data: Points,
    shots: Array,
    theta0: Array,
    max_steps: int,
) -> Found:
    """The best end of the starts theta0 [B, n_starts, P] on data and shots [B, S, n]; max_steps limits each stage."""
    binnable = data.x.shape == data.y.shape and worth_binning(data.y.shape)
    function = _on_binned_points_first if binnable else _on_all_points
    return function(problem, optimizer, data, shots, theta0, max_steps)


def _on_all_points(problem, optimizer, data, shots, theta0, max_steps) -> Found:
    """Every start on every point."""
    del shots
    batch, n_starts, _ = theta0.shape
    owner = jnp.repeat(jnp.arange(batch), n_starts)
    ends = _by_start(minimise(problem, optimizer, data, owner, _flat(theta0), max_steps=max_steps), n_starts)
    best = jnp.argmin(ends.value, axis=1)
    at_best = _take(ends, best)
    agreed = jnp.sum(_agrees(ends.value, at_best.value), axis=1)
    return _found(at_best, agreed, at_best.steps)


def _on_binned_points_first(problem, optimizer, data, shots, theta0, max_steps) -> Found:
    """Every start on binned points; then the best ends that differ, `FINISHED` at most, on every point.

    A start counts as agreed if its end on the binned points has the same loss on all points as one that was finished at the
    best of all losses.
    """
    batch, n_starts, _ = theta0.shape
    first, then, compete = optimizer, optimizer, 0
    if optimizer is DEFAULT_OPTIMIZER:
        first, then, compete = ROUGH_OPTIMIZER, FINAL_OPTIMIZER, n_starts
    owner = jnp.repeat(jnp.arange(batch), n_starts)
    n_local = jax.eval_shape(problem.local, theta0[0, 0]).shape[0]
    binned = in_blocks(lambda a: bin_points(a[0], a[1], n_bins(n_local)), (data, shots))
    rough = minimise(problem, first, binned, owner, _flat(theta0), max_steps=max_steps, compete=compete)
    starts = jnp.where(jnp.isfinite(rough.value)[:, None], rough.theta, _flat(theta0))
    # Their losses on all points, since with few bins filled many ends look alike on the binned ones.
    own = jnp.arange(len(owner))
    values = _values(problem, data, owner, starts, (rough.follows == own) & ~rough.given_up)
    values = values[rough.follows].reshape(batch, n_starts)
    steps = rough.steps[rough.follows].reshape(batch, n_starts)

    left, chosen, idle, member = values, [], [], []
    lowest = jnp.min(values, axis=1)
    for k in range(min(FINISHED, n_starts)):
        pick = jnp.argmin(left, axis=1)
        value = jnp.take_along_axis(left, pick[:, None], 1)[:, 0]
        chosen.append(pick)
        idle.append(~(value <= PROMISING * lowest) & (k > 0))
        member.append(_agrees(left, value))
        left = jnp.where(member[-1], jnp.inf, left)
    chosen, idle, member = jnp.stack(chosen, 1), jnp.stack(idle, 1), jnp.stack(member, 1)
    near = jnp.take_along_axis(starts.reshape(theta0.shape), chosen[..., None], axis=1)

    def finish(block):
        data, near, idle = block
        owner = jnp.repeat(jnp.arange(len(near)), near.shape[1])
        return minimise(problem, then, data, owner, _flat(near), max_steps=max_steps, idle=idle.reshape(-1))

    ends = in_blocks(finish, (data, near, idle))
    ends = _by_start(ends, chosen.shape[1])
    best = jnp.argmin(ends.value, axis=1)
    at_best = _take(ends, best)
    same = _agrees(ends.value, at_best.value)
    agreed = jnp.sum(jnp.any(member & same[..., None], axis=1), axis=1)
    before = jnp.take_along_axis(steps, jnp.take_along_axis(chosen, best[:, None], 1), 1)[:, 0]
    return _found(at_best, agreed, before + at_best.steps)


def _values(problem: Problem, data: Points, owner: Array, theta: Array, wanted: Array) -> Array:
    """[n] the objective at the points theta [n, P] that are wanted [n]; inf elsewhere, and where it is not finite."""
    n = len(theta)
    block = min(n, BLOCK)
    order = jnp.nonzero(wanted, size=-(-n // block) * block, fill_value=n)[0]

    def some(carry):
        i, values = carry
        at = jax.lax.dynamic_slice_in_dim(order, i * block, block)
        take = jnp.minimum(at, n - 1)
        points = jax.tree.map(lambda a: a[owner[take]], data)
        value = jax.vmap(lambda t, d: evaluate_value(problem, t, d))(theta[take], points)
        return i + 1, values.at[at].set(jnp.where(jnp.isfinite(value), value, jnp.inf), mode="drop")

    many = jnp.sum(wanted)
    first = (jnp.zeros((), many.dtype), jnp.full((n,), jnp.inf, theta.dtype))
    return jax.lax.while_loop(lambda c: c[0] * block < many, some, first)[1]


def _found(best: Minimum, n_agreed: Array, steps: Array) -> Found:
    return Found(best.theta, best.value, n_agreed, steps, best.converged, best.grad, best.gram)


def _flat(theta: Array) -> Array:
    return theta.reshape(-1, theta.shape[-1])


def _by_start(ends: Minimum, n_starts: int) -> Minimum:
    return jax.tree.map(lambda a: a.reshape(-1, n_starts, *a.shape[1:]), ends)


def _take(ends: Minimum, index: Array) -> Minimum:
    return jax.tree.map(lambda a: a[jnp.arange(len(index)), index], ends)


def _agrees(values: Array, best: Array) -> Array:
    """Which of the values [B, k] equal the best [B] up to `AGREEMENT`."""
    return values <= best[:, None] * (1 + AGREEMENT) + 1e-12
