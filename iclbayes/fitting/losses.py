"""Losses per point, each with the slope and curvature that a Gauss–Newton step needs.

A loss maps predicted and observed probability to (value, slope, curvature): ℓ(p, y), ∂ℓ/∂p, and a non-negative stand-in for
∂²ℓ/∂p² (Gauss–Newton for squares, iteratively reweighted for Huber, Fisher scoring for the binomial).
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from ..errors import InputError

PointLoss = Callable[[Array, Array], tuple[Array, Array, Array]]

FLOOR = 1e-12  # probabilities and NLLs are kept above this where a loss takes their logarithm


def _floor(p):
    # 1e-12 cannot be told from 0 relative to 1 in float32, but as a bound for logarithms it is fine in both.
    return jnp.maximum(p, FLOOR)


def squared(p: Array, y: Array) -> tuple[Array, Array, Array]:
    """(p − y)², the default: squared error of the probability."""
    r = p - y
    return r * r, 2 * r, jnp.full_like(r, 2.0)


def squared_nll(p: Array, y: Array) -> tuple[Array, Array, Array]:
    """(ln p − ln y)², squared error of the NLL in nats²; y below 1e-12 counts as 1e-12."""
    safe = _floor(p)
    r = jnp.log(safe) - jnp.log(_floor(y))
    return r * r, 2 * r / safe, 2 / safe**2


def squared_log_nll(p: Array, y: Array) -> tuple[Array, Array, Array]:
    """(ln(−ln p) − ln(−ln y))², squared error of the log NLL; NLLs below 1e-12 count as 1e-12."""
    safe = jnp.clip(p, FLOOR, 1 - 1e-7 if p.dtype == jnp.float32 else 1 - 1e-15)
    nll = _floor(-jnp.log(safe))
    r = jnp.log(nll) - jnp.log(_floor(-jnp.log(_floor(y))))
    slope = -1 / (nll * safe)
    return r * r, 2 * r * slope, 2 * slope**2


def huber(p: Array, y: Array, delta: float = 0.02) -> tuple[Array, Array, Array]:
    """Huber's loss of the probability: r² for |r| ≤ δ, else 2 δ |r| − δ² (δ = 0.02 by default)."""
    r = p - y
    size = jnp.abs(r)
    pull = delta / jnp.maximum(size, delta)  # 1 inside, δ/|r| outside
    return jnp.where(size <= delta, r * r, 2 * delta * size - delta**2), 2 * r * pull, 2 * pull


def binomial(p: Array, y: Array) -> tuple[Array, Array, Array]:
    """Half the deviance per trial: y ln(y/p) + (1 − y) ln((1 − y)/(1 − p)); 0 where p = y.

    With weight = number of trials, the minimum is the binomial maximum-likelihood fit.
    """
    top = 1 - (1e-7 if p.dtype == jnp.float32 else 1e-12)
    safe = jnp.clip(p, FLOOR, top)
    y_safe = jnp.clip(y, FLOOR, top)
    value = y * (jnp.log(y_safe) - jnp.log(safe)) + (1 - y) * (jnp.log1p(-y_safe) - jnp.log1p(-safe))
    spread = safe * (1 - safe)
    return value, (safe - y) / spread, 1 / spread


LOSSES: dict[str, PointLoss] = {
    "squared": squared,
    "squared_nll": squared_nll,
    "squared_log_nll": squared_log_nll,
    "huber": huber,
    "binomial": binomial,
}


# How many times the squared error of the probability a loss is where p = 1/2 and the residual is small: there half the deviance
# per trial is (p − y)² / (2 p (1 − p)) = 2 (p − y)². A ridge that is to weigh as much beside it grows as much.
SIZE: dict[PointLoss, float] = {binomial: 2.0}


def get_loss(loss: "str | PointLoss") -> PointLoss:
    """A loss by name, or the function itself. Raises InputError for an unknown name, listing the known ones."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise InputError(f"unknown loss {loss!r}: choose one of {', '.join(LOSSES)}")
    return LOSSES[loss]
