"""Multi-start fits of a batch of groups: guesses, the loop, the choice among starts, and what the result says."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ..laws import Law
from ..runtime import in_blocks
from .losses import PointLoss, get_loss
from .multistart import DEFAULT_OPTIMIZER, search
from .objective import evaluate, penalty
from .problem import Points, Problem
from .result import FitResult, Status, constrain, curvature

MET = 1e-14  # objective below which a curve counts as met


def power_of_two(x: Array) -> Array:
    """A power of two within a factor of 2 of x (2⁸ at the ends of the range), to divide by without rounding; 1 for 0."""
    most = jnp.finfo(x.dtype).maxexp - 8
    exponent = jnp.clip(jnp.floor(jnp.log2(jnp.where(x > 0, x, 1.0))), -most, most)
    return jnp.ldexp(jnp.ones_like(x), exponent.astype(jnp.int32))


def fit_batch(
    problem: Problem,
    shots: Array,
    prob: Array,
    weight: Array,
    *,
    key: Array,
    n_starts: int = 8,
    max_steps: int = 200,
    optimizer: optax.GradientTransformation = DEFAULT_OPTIMIZER,
) -> FitResult:
    """Fits B groups side by side (traceable; `iclbayes.fit` is the convenient way).

    Args:
      problem: what to fit.
      shots, prob, weight: [B, S, n]; weight 0 marks padding and held-out points. For mixed contexts shots has the extra
        axis of `laws.MixedLaw` after the batch.
      key: for the random starts. All groups get the same draws, so that a group has the same starts whatever its neighbours.

    Returns:
      `FitResult` with leading axis [B].
    """
    dtype = prob.dtype
    batch = prob.shape[0]
    # What stands at a point of weight 0, or is no number, must not reach a product: 0 · NaN is NaN.
    seen = (weight > 0) & jnp.isfinite(weight) & jnp.isfinite(prob)
    seen = seen & jnp.isfinite(shots).reshape(batch, -1, *prob.shape[1:]).all(axis=1)
    weight, prob = jnp.where(seen, weight, 0.0), jnp.where(seen, prob, 0.5)
    shots = jnp.where(jnp.isfinite(shots), shots, 0.0)
    x = jax.vmap(problem.law.abscissa)(shots.astype(dtype))
    weight = weight / power_of_two(
        jnp.max(weight, axis=(1, 2), keepdims=True)
    )  # a sum of the largest would overflow
    total = jnp.sum(weight, axis=(1, 2))
    w = weight / jnp.where(total > 0, total, 1.0)[:, None, None]
    count = jnp.sum(weight > 0, axis=(1, 2))
    data = Points(x, prob, w, (problem.ridge**2 / jnp.maximum(count, 1)).astype(dtype))

    theta0 = in_blocks(lambda data: _guesses(problem, data, n_starts, key), data)
    theta0 = jnp.clip(theta0, -29.0, 29.0)  # [B, n_starts, P]
    found = search(problem, optimizer, data, shots, theta0, max_steps)

    failed = ~jnp.isfinite(found.value)
    theta = jnp.where(failed[:, None], jnp.nan_to_num(theta0[:, 0]), found.theta)
    # A curve that is met to 1e-7 leaves nothing to look for, whether or not some parameter still creeps to infinity.
    status = jnp.where(found.converged | (found.value < MET), Status.CONVERGED, Status.MAX_STEPS)
    status = jnp.where(failed, Status.FAILED, status)
    status = jnp.where(total > 0, status, Status.NO_DATA)

    grad, gram = found.grad, found.gram
    if grad is None or gram is None:
        last = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), data)
        grad, gram = (jnp.moveaxis(a, -1, 0) for a in evaluate(problem, theta.T, last)[1:])
    grad = jnp.where(failed[:, None], jnp.inf, grad)
    gram = jnp.where(failed[:, None, None], 0.0, gram)
    ridge = (
        2 * data.pull[:, None, None] * jnp.diag(problem.ridge_terms()[1]).astype(dtype)
        if problem.ridge
        else None
    )
    loss = found.value - penalty(problem, theta, data.pull)
    condition, factor = curvature(gram, ridge, loss, count)
    raw = jax.vmap(problem.unravel)(theta)
    return FitResult(
        params=jax.vmap(lambda r: constrain(problem, r))(raw),
        raw=raw,
        loss=loss,
        n_agreed=jnp.where(failed, 0, found.n_agreed),
        steps=found.steps,
        status=status,
        grad_norm=jnp.max(jnp.abs(grad), axis=1),
        condition=condition,
        factor=factor,
    )


def _guesses(problem: Problem, data: Points, n_starts: int, key: Array) -> Array:
    """[B, n_starts, P]; shared parameters start at the mean over conditions."""
    law, conditions = problem.law, problem.n_conditions

    def one(x, y, w):  # [S, n] of one fit
        split = lambda a: jnp.moveaxis(a.reshape(*a.shape[:-2], conditions, -1, a.shape[-1]), -3, 0)  # noqa: E731
        raws = jax.vmap(lambda x, y, w: law.guess(x, y, w, n_starts, key, problem.background))(
            split(x), split(y), split(w)
        )  # leaves [C, n_starts, ...]
        if conditions == 1:
            return problem.ravel({name: r[0] for name, r in raws.items()})
        merged = {
            name: jnp.mean(r, axis=0) if name in problem.shared else jnp.moveaxis(r, 0, 1)
            for name, r in raws.items()
        }
        return problem.ravel(merged)

    return jax.vmap(one)(data.x, data.y, data.w)


def fit_group(
    law: Law,
    shots: Array,
    prob: Array,
    weight: Array | None = None,
    *,
    background: int | None = None,
    loss: str | PointLoss = "squared",
    optimizer: optax.GradientTransformation = DEFAULT_OPTIMIZER,
    n_starts: int = 8,
    max_steps: int = 200,
    ridge: float | None = None,
    key: Array | None = None,
) -> FitResult:
    """Fits one law to the curves of one group: a pure function, to be used under `jax.jit` and `jax.vmap`.

    Derivatives by the data are those of a loop: `jax.jacfwd` and `jax.jvp` give them, `jax.grad` cannot.

    The dtype of `prob` decides the precision; in JAX's default mode that is float32, for which the law still converges but
    the last digits of weakly identified parameters do not mean anything. `iclbayes.fit` always uses float64.

    Args:
      law: a Bayesian law fits its J curves jointly; a baseline needs J = 1.
      shots, prob, weight: [J, n]; weight 0 leaves a point out (default: all 1).
      background: number of tasks that own no curve; default: 1 if J = 1, else 0.
      loss: name or function, see `iclbayes.fitting.losses`.
      ridge: noise σ of the law's ridge (default: the law's own), see `Problem`.
      key: for the random starts; default `jax.random.key(0)`.

    Returns:
      `FitResult` of one fit.

    Raises:
      ValueError: arguments of the wrong shape.
    """
    prob = jnp.asarray(prob)
    if not jnp.issubdtype(prob.dtype, jnp.floating):
        raise ValueError(f"prob must be floating point, is {prob.dtype}")
    if prob.ndim != 2:
        raise ValueError(
            f"prob must have shape [curves, points], has {prob.shape}; map over more axes with jax.vmap"
        )
    if not law.joint and prob.shape[0] != 1:
        raise ValueError(f"the law {law.name!r} is fitted curve by curve: use fit_curve under jax.vmap")
    shots = jnp.broadcast_to(jnp.asarray(shots, prob.dtype), prob.shape)
    weight = (
        jnp.ones_like(prob)
        if weight is None
        else jnp.broadcast_to(jnp.asarray(weight, prob.dtype), prob.shape)
    )
    background = (prob.shape[0] == 1) if background is None else background
    ridge = law.ridge if ridge is None else float(ridge)
    problem = Problem(law, get_loss(loss), prob.shape[0], int(background) if law.joint else 0, ridge=ridge)
    key = jax.random.key(0) if key is None else key
    result = fit_batch(
        problem,
        shots[None],
        prob[None],
        weight[None],
        key=key,
        n_starts=n_starts,
        max_steps=max_steps,
        optimizer=optimizer,
    )
    return jax.tree.map(lambda a: a[0], result)


def fit_curve(law: Law, shots: Array, prob: Array, weight: Array | None = None, **options: Any) -> FitResult:
    """Fits one law to one curve: a pure function, to be used under `jax.jit` and `jax.vmap`.

        result = jax.vmap(functools.partial(iclbayes.fit_curve, iclbayes.laws.power))(shots, prob, weight)

    >>> from iclbayes.laws import power
    >>> shots = jnp.arange(16.0)
    >>> result = jax.jit(lambda prob: fit_curve(power, shots, prob))(jnp.exp(-((shots + 1) ** -0.5) - 0.1))
    >>> {name: round(float(value), 2) for name, value in sorted(result.params.items())}
    {'C': 1.0, 'E': 0.1, 'alpha': 0.5}

    Args:
      law: any law; a Bayesian one gets a background task, without which its prior would be 1.
      shots, prob, weight: [n].
      **options: those of `fit_group`.

    Returns:
      `FitResult`; the parameters of baselines are scalars, those of Bayesian laws keep their axes (prior [2], gamma [1]).
    """
    prob = jnp.asarray(prob)
    if prob.ndim != 1:
        raise ValueError(f"prob must have shape [points], has {prob.shape}; map over more axes with jax.vmap")
    weight = None if weight is None else jnp.asarray(weight)[None]
    result = fit_group(law, jnp.asarray(shots)[None], prob[None], weight, **options)
    if law.joint:
        return result
    squeeze = lambda tree: {name: value[0] for name, value in tree.items()}  # noqa: E731
    return result._replace(params=squeeze(result.params), raw=squeeze(result.raw))
