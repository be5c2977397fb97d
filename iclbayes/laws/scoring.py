"""The scoring law, in closed form.

Scoring law (Arora et al. 2024, arXiv 2410.16531): task j gives its own examples probability γ_j, and every other task gives
them β_j ≤ γ_j. Then the M-task posterior collapses to two classes, "task j" and "the rest", whose log odds are linear in n:

    p_j(n) = β_j + (γ_j − β_j) σ( logit ρ_j + K n ln(γ_j / β_j) )

Parameters: prior ρ [M], efficiency K, gamma γ [J], beta β [J]; M = J, or J + 1 with a background task that owns
no curve and absorbs everything else (a single curve needs it, or its prior would be 1). Raw: prior = ln ρ_m − ln ρ_M for
m < M; efficiency = ln K; gamma = logit γ; beta = logit(β/γ), so β ≤ γ always.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from .base import Law, Params, first_last_half, logit, safe_log, sigmoid_pair


def simplex_from_logits(raw: Array) -> Array:
    """ρ [M] from M − 1 log ratios to the last task."""
    return jax.nn.softmax(jnp.concatenate([raw, jnp.zeros((1,), raw.dtype)]))


def logits_from_simplex(prior: Array) -> Array:
    """The inverse of `simplex_from_logits`."""
    log_prior = safe_log(prior)
    return log_prior[:-1] - log_prior[-1]


def log_odds(raw: Array, n_curves: int) -> Array:
    """logit ρ_j [J] for the first J tasks, from the M − 1 log ratios, without leaving log space."""
    z = jnp.concatenate([raw, jnp.zeros((1,), raw.dtype)])
    if z.shape[0] == 1:
        # One task and no background: ρ = 1. A large finite logit keeps gradients finite.
        return jnp.full((1,), 40.0, raw.dtype)
    others = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, z[None])
    return (z - jax.scipy.special.logsumexp(others, axis=1))[:n_curves]


def local_of(gamma: Array, beta: Array, efficiency: Array, odds: Array) -> Array:
    """What `ScoringLaw.point` takes, (β, γ, logit ρ, K ln(γ/β)) [4, …], from raw parameters and the log odds of the own task.

    Of a saturated curve the slope by β, 1 − σ, keeps its digits, which sums of 1, σ and σ² over points would have lost. γ − β of
    a flat curve loses some, but the same for all points.
    """
    share = jax.nn.sigmoid(gamma)
    rate = jnp.exp(efficiency) * jax.nn.softplus(-beta)  # ln(γ/β) = softplus(−raw)
    return jnp.stack([share * jax.nn.sigmoid(beta), share, odds, jnp.broadcast_to(rate, share.shape)])


@dataclasses.dataclass(frozen=True)
class ScoringLaw(Law):
    """p_j(n) = β_j + (γ_j − β_j) σ( logit ρ_j + K n ln(γ_j / β_j) ); 3M parameters when every task owns a curve."""

    name: str = "bayesian_scoring"
    label: ClassVar[str] = "Bayesian (scoring)"
    param_names: ClassVar[tuple[str, ...]] = ("prior", "efficiency", "gamma", "beta")
    per_source: ClassVar[tuple[str, ...]] = ("prior", "gamma", "beta")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"beta": ("gamma",)}
    # First guesses: how far the plateaus lie outside what was seen (as a share of the way to the limits 1 and 0), and the log
    # odds at 0 shots: a curve that has only begun to rise looks like a small prior under a far plateau; ln of the rate over the
    # one that puts the half-way point where it was seen; how many guesses come without noise, before the scattered ones.
    above: ClassVar[tuple[float, ...]] = (0.02, 0.3, 0.02, 0.7, 0.05, 0.95)
    below: ClassVar[tuple[float, ...]] = (0.1, 0.02, 0.6, 0.05, 0.9, 0.3)
    start: ClassVar[tuple[float, ...]] = (-2.0, -3.0, -1.0, -4.0, -0.3, -5.0)
    faster: ClassVar[tuple[float, ...]] = (0.0,)
    certain: ClassVar[int] = 4

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        tasks = n_curves + min(int(background), 1)  # all that own no curve are alike here
        return {"prior": (tasks - 1,), "efficiency": (), "gamma": (n_curves,), "beta": (n_curves,)}

    def constrain(self, raw: Params) -> Params:
        gamma = jax.nn.sigmoid(raw["gamma"])
        return {
            "prior": simplex_from_logits(raw["prior"]),
            "efficiency": jnp.exp(raw["efficiency"]),
            "gamma": gamma,
            "beta": gamma * jax.nn.sigmoid(raw["beta"]),
        }

    def unconstrain(self, params: Params) -> Params:
        return {
            "prior": logits_from_simplex(params["prior"]),
            "efficiency": safe_log(params["efficiency"]),
            "gamma": logit(params["gamma"]),
            "beta": logit(params["beta"] / params["gamma"]),
        }

    def local(self, raw: Params) -> Array:
        odds = log_odds(raw["prior"], raw["gamma"].shape[0])
        return local_of(raw["gamma"], raw["beta"], raw["efficiency"], odds)

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        beta, gamma, start, rate = q
        s, rest = sigmoid_pair(start + rate * x)
        bend = (gamma - beta) * (s * rest)
        return beta * rest + gamma * s, (rest, s, bend, bend * x)

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        n_curves = y.shape[0]
        first, last, half = first_last_half(x, y, w)
        dtype = y.dtype

        def table(values):
            return jnp.resize(jnp.array(values, dtype), (n_starts,))[:, None]

        above, below, start = table(self.above), table(self.below), table(self.start)
        noise = jax.random.normal(key, (5, n_starts, n_curves), dtype)
        noise = noise * jnp.where(jnp.arange(n_starts) < self.certain, 0.0, 0.7)[:, None].astype(dtype)
        low, high = jnp.minimum(first, last), jnp.maximum(first, last)
        gamma = jnp.clip(high + above * jnp.maximum(1 - high, 0.0) * 0.9 + 1e-3, 2e-3, 0.999)
        beta = jnp.clip(low * (1.0 - below), 1e-6, 0.98 * gamma)
        rate = (0.5 - start) / half[None] * jnp.exp(table(self.faster) + noise[0])
        rates = rate / jnp.log(gamma / beta)
        efficiency = jnp.exp(jnp.mean(jnp.log(jnp.maximum(rates, 1e-12)), axis=1))
        odds = start + noise[1]
        if background:
            prior = odds  # relative to a background of weight about one half
        else:
            prior = (odds - odds[:, -1:])[:, :-1]
        return {
            "prior": jnp.broadcast_to(prior, (n_starts, n_curves - (not background))),
            "efficiency": jnp.log(efficiency),
            "gamma": logit(gamma) + noise[2],
            "beta": logit(beta / gamma) + noise[3],
        }

    def _closed_local(self, params):
        return self.local(self.unconstrain(params))

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        *_, start, rate = self._closed_local(params)
        low, high = params["beta"], params["gamma"]  # as given: no rounding decides about a plateau
        rise = high - low
        inside = (level > low) & (level < high)
        share = jnp.where(inside, (level - low) / jnp.where(inside, rise, 1.0), 0.5)
        x = (logit(share) - start) / jnp.maximum(rate, jnp.finfo(rate.dtype).tiny)
        n = jnp.maximum(self.shots(x), 0.0)
        n = jnp.where(inside & jnp.isfinite(n), n, jnp.inf)
        return jnp.where(level <= low, 0.0, n)
