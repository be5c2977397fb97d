"""What comes out of a fit, and what follows from it: condition and covariance, predictions, standard errors, shots to a level.

The functions that take a problem and its `FitResult` are of one fit; `of_all` maps them over a batch.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..runtime import effort_for, map_chunks, programs
from .linear_algebra import inverse_of_scaled
from .objective import jacobian
from .problem import Problem

TOGETHER = 8192  # fits that one program works on here: what it needs besides its results stays small


class Status(enum.IntEnum):
    """How a fit ended."""

    CONVERGED = 0
    MAX_STEPS = 1  # the step limit came first: raise `max_steps`
    FAILED = 2  # no start had a finite loss: check the data
    NO_DATA = 3  # no point with positive weight


class FitResult(NamedTuple):
    """Result of one fit (or of a batch of them, with leading axes).

    Attributes:
      params: constrained parameters by name.
      raw: the unconstrained parameters behind them.
      loss: weighted mean loss Σ w ℓ / Σ w at the best start.
      n_agreed: starts that ended within a factor 1 + 1e-3 of that loss. On curves of many points, with the default optimizer, a
        start that came close to a better one counts as ending with it, and one that was given up for being far behind and
        slow as not agreeing.
      steps: evaluations that the best start took.
      status: a `Status`.
      grad_norm: largest absolute component of the objective's gradient.
      condition: condition number of JᵀWJ, its diagonal scaled to 1; above about 1e8 the parameters are not all identified.
      factor: [P, P] F, of which F Fᵀ is the `covariance`; inf where there are no more points than parameters.
    """

    params: dict[str, Array]
    raw: dict[str, Array]
    loss: Array
    n_agreed: Array
    steps: Array
    status: Array
    grad_norm: Array
    condition: Array
    factor: Array

    @property
    def covariance(self) -> Array:
        """[..., P, P] covariance of the raw parameters (in the order of sorted names, raveled), s² (JᵀWJ)⁻¹ with s² estimated
        from the residuals; inf where there are no more points than parameters.

        Where data leave a direction open its entries are huge, and what they tell of others is lost to rounding: multiply with
        `factor` instead.
        """
        xp = self.factor.__array_namespace__()  # results of batches are NumPy's
        # Entries of an open direction may be beyond all numbers.
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = self.factor @ xp.swapaxes(self.factor, -1, -2)
        return xp.nan_to_num(covariance, nan=np.inf, posinf=np.inf, neginf=-np.inf)


def curvature(gram: Array, ridge: Array | None, loss: Array, n_points: Array) -> tuple[Array, Array]:
    """Condition number and factor [B, P, P] of the covariance from the Gauss–Newton matrix [B, P, P] at the minimum.

    The condition number is that of the data alone, without the ridge, so that it shows what the data do not identify.
    """
    condition, factor = inverse_of_scaled(gram)
    if ridge is not None:
        condition, _ = inverse_of_scaled(gram - ridge)
    # value = Σ w r² with Σ w = 1, gram = 2 JᵀWJ:  s² (JᵀWJ)⁻¹ = 2 gram⁻¹ · value / (N − P)
    spare = n_points - gram.shape[-1]
    known = (spare > 0) & jnp.isfinite(loss)
    some = known & (loss > 0)  # √ has no derivative at 0
    scale = jnp.where(some, jnp.sqrt(2 * jnp.where(some, loss, 1.0) / jnp.maximum(spare, 1)), 0.0)
    factor = jnp.where(known[:, None, None], factor * scale[:, None, None], jnp.inf)
    return condition, jnp.nan_to_num(factor, nan=jnp.inf, posinf=jnp.inf, neginf=-jnp.inf)


def constrain(problem: Problem, raw: dict[str, Array]) -> dict[str, Array]:
    """Raw → constrained parameters; with several conditions every leaf has the leading axis [C]."""
    params = jax.vmap(problem.law.constrain)(problem.split(raw))
    return {name: p[0] for name, p in params.items()} if problem.n_conditions == 1 else params


def of_all(
    function: Callable[..., Any],
    problem: Problem,
    result: FitResult,
    *arrays: np.ndarray,
    dtype: np.typing.DTypeLike,
) -> Any:
    """`function(problem, result, *arrays)` of every fit of a batch: everything has the leading axis [B], in NumPy.

    `function` is one of those below. dtype is that of the fits.
    """

    def all_fits(result: FitResult, *arrays: Array) -> Any:
        return jax.vmap(lambda r, *a: function(problem, r, *a))(result, *arrays)

    with np.errstate(over="ignore"):  # more shots than single precision holds are infinitely many
        arrays = tuple(np.asarray(a, dtype) for a in arrays)
    size = min(len(result.loss), TOGETHER)
    effort = effort_for(size, size * sum(a[0].size for a in arrays), problem.law.loops)
    return map_chunks(
        lambda chunk: programs.run((function, problem), all_fits, *chunk, dtype=dtype, effort=effort),
        (result, *arrays),
        size,
    )


FAR = 1e-18  # of the largest number there is: so many shots are as good as infinitely many, and their products are finite


def mean(problem: Problem, result: FitResult, shots: Array) -> Array:
    """Expected probability [S, n] at shots [S, n]."""
    q = problem.local(problem.ravel(result.raw))
    return problem.law.point(q[..., None], _abscissa(problem, shots))


def mean_stderr(problem: Problem, result: FitResult, shots: Array) -> Array:
    """Standard error [S, n] of `mean`, sqrt(∇p Σ ∇pᵀ); inf where the covariance is unknown."""
    _, jac = jacobian(problem, problem.ravel(result.raw)[:, None], _abscissa(problem, shots)[..., None])
    return _delta(jnp.moveaxis(jac[..., 0], 0, -1), result.factor)


def params_stderr(problem: Problem, result: FitResult) -> dict[str, Array]:
    """Standard errors of the constrained parameters, by name."""
    jac = jax.jacfwd(lambda t: constrain(problem, problem.unravel(t)))(problem.ravel(result.raw))
    return {name: _delta(j, result.factor) for name, j in jac.items()}


def reach(problem: Problem, result: FitResult, level: Array) -> Array:
    """Shots [S] at which each curve is at its level [S], see `Law.shots_to_reach`."""
    params = jax.vmap(problem.law.constrain)(problem.split(result.raw))
    return jax.vmap(lambda p: problem.law.shots_to_reach(p, level))(params).reshape(-1)


def _abscissa(problem: Problem, shots: Array) -> Array:
    """Of the law at shots, also at so many that their products overflow: there, and at infinitely many, p is at its limit."""
    return problem.law.abscissa(jnp.minimum(shots, FAR * jnp.finfo(shots.dtype).max))


def _delta(jac: Array, factor: Array) -> Array:
    """|Fᵀ j| of every row j of a Jacobian [..., P]; inf where factor or slope is not finite, or the result is too large.

    A parameter that hardly matters has a tiny slope and a huge row of F. Both are scaled by what belongs to the parameter, and
    the products once more before they are squared: nothing overflows on the way, nor is lost beside another's.
    """
    known = jnp.all(jnp.isfinite(factor)) & jnp.all(jnp.isfinite(jac), -1)
    jac, factor = (jnp.where(jnp.isfinite(a), a, 0.0) for a in (jac, factor))
    largest = jnp.max(jnp.abs(factor), axis=1)
    product = jac * largest
    steepest = jnp.max(jnp.abs(product), -1)
    known = known & jnp.isfinite(steepest)
    row = jnp.where(known[..., None], product, 0.0) / jnp.where(steepest > 0, steepest, 1.0)[..., None]
    image = jnp.einsum("...p,pk->...k", row, factor / jnp.where(largest > 0, largest, 1.0)[:, None])
    return jnp.where(known, jnp.sqrt(jnp.sum(image**2, -1)) * steepest, jnp.inf)
