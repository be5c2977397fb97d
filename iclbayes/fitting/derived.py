"""What follows from a fit: predictions, standard errors by the delta method, shots to reach a level.

Each function takes a problem, its `FitResult` and further arrays, all of one fit; `mapped` maps it over a batch of them.
"""

import jax
import jax.numpy as jnp

from .batch import constrain

_functions: dict = {}


def mapped(function, problem):
    """jit(vmap(function)) over fits of one problem, built once per (function, problem)."""
    name = (function, problem)
    if name not in _functions:
        _functions[name] = jax.jit(jax.vmap(lambda result, *arrays: function(problem, result, *arrays)))
    return _functions[name]


def mean(problem, result, shots):
    """Expected probability [S, n] at shots [S, n]."""
    return _at(problem, problem.ravel(result.raw), shots)


def mean_stderr(problem, result, shots):
    """Standard error [S, n] of `mean`; inf where the covariance is unknown."""
    jac = jax.jacfwd(lambda theta: _at(problem, theta, shots))(problem.ravel(result.raw))
    return _delta(jac, result.covariance)


def params_stderr(problem, result):
    """Standard errors of the constrained parameters, by name."""
    jac = jax.jacfwd(lambda t: constrain(problem, problem.unravel(t)))(problem.ravel(result.raw))
    return {name: _delta(j, result.covariance) for name, j in jac.items()}


def _at(problem, theta, shots):
    return problem.law.point(problem.local(theta)[..., None], problem.law.abscissa(shots))


def _delta(jac, covariance):
    known = jnp.isfinite(covariance)
    variance = jnp.einsum("...p,pq,...q->...", jac, jnp.where(known, covariance, 0.0), jac)
    return jnp.where(jnp.all(known), jnp.sqrt(jnp.maximum(variance, 0.0)), jnp.inf)


def reach(problem, result, level):
    """Shots [S] at which each curve is at its level [S], see `Law.shots_to_reach`."""
    params = jax.vmap(problem.law.constrain)(problem.split(result.raw))
    return jax.vmap(lambda p: problem.law.shots_to_reach(p, level))(params).reshape(-1)
