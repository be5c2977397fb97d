"""Baselines on the negative log-likelihood (nats), with t = n + 1 so that 0 shots is defined; p = exp(−NLL).

`baseline_offset=0` (of `iclbayes.fit`) reads t = n, as the released code does, where every curve begins at 1 shot or later.
By a rough NumPy fit of the logistic law to the 11 averaged curves of `experiments/law_quality.py`, geometric means of NRMSE
on all, 50, 20 and 10 % of the shots are 0.044, 0.116, 0.093, 0.097 with t = n + 1, and 0.043, 0.115, 0.093, 0.103 with t = n:
neither is better, so the one that is defined at 0 shots is the default. An offset that is fitted, a fifth parameter, has
0.043, 0.096, 0.093, 0.098, and gains a tenth on 7 curves of retrieved examples at 20 and 10 %; it is not implemented.

    power           NLL(t) = C t^(−α) + E
    bounded_power   NLL(t) = C (1 + t / t_c)^(−α) + E
    logistic        NLL(t) = L / (1 + (t / t_0)^κ) + E

All parameters are positive (raw = ln). They are fitted curve by curve. Abscissa: x = ln t, so t^(−α) = exp(−α x).
Source: Arora et al. 2024 (arXiv 2410.16531), section 3; the bounded form follows Caballero et al. 2022 (arXiv 2210.14891).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from .base import Law, Params, first_last_half, safe_log, sigmoid_pair


@dataclasses.dataclass(frozen=True)
class Baseline(Law):
    """Shared by the three: positive parameters, one curve at a time."""

    shot_offset: float = 1.0  # o in t = n + o

    joint: ClassVar[bool] = False
    local_is_raw: ClassVar[bool] = True
    per_source: ClassVar[tuple[str, ...]] = ()

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        del background
        return dict.fromkeys(self.param_names, (n_curves,))

    def constrain(self, raw: Params) -> Params:
        return {name: jnp.exp(raw[name]) for name in self.param_names}

    def unconstrain(self, params: Params) -> Params:
        return {name: safe_log(params[name]) for name in self.param_names}

    def local(self, raw: Params) -> Array:
        return jnp.stack([raw[name] for name in self.param_names])

    def abscissa(self, shots: Array) -> Array:
        # At o = 0 there is no t at 0 shots; a tiny one keeps its terms finite.
        return (
            jnp.log(jnp.maximum(shots + self.shot_offset, 1e-12))
            if self.shot_offset != 1
            else jnp.log1p(shots)
        )

    def shots(self, x: Array) -> Array:
        return jnp.expm1(x) + (1.0 - self.shot_offset)

    def _decay(self, q, x):
        """(u, [∂ ln u/∂q_i for all but the last q]): the part of the NLL that shots take away, u."""
        raise NotImplementedError

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        u, rows = self._decay(q, x)
        floor = jnp.exp(q[-1])
        p = jnp.exp(-(u + floor))
        pu = -p * u
        return p, (*(pu * r for r in rows), -p * floor)

    def _starts(self, nll_first, nll_last, half, n_starts, key):
        """Amplitude, floor and position [S, J] of the starts: different shares of the last value are floor."""
        share = jnp.resize(jnp.array([0.9, 0.3, 0.99, 0.05, 0.6, 0.97]), (n_starts,))[:, None].astype(
            half.dtype
        )
        floor = jnp.maximum(nll_last * share, 1e-6)
        amplitude = jnp.maximum(nll_first - floor, 1e-3 + 0.02 * nll_first)
        jitter = jax.random.normal(key, (4, n_starts, half.shape[0]), half.dtype)
        jitter = jitter * jnp.where(jnp.arange(n_starts) < 3, 0.0, 0.8)[:, None].astype(half.dtype)
        return amplitude, floor, half[None] + jitter[0], jitter

    def _guess(self, nll_first, nll_last, half, n_starts, key):
        """Raw parameters of the starts from the first and last NLL [J] and the place [J] half of the way between them."""
        raise NotImplementedError

    def _inverse(self, params, amplitude):
        """t at which the part above E has decayed by e^(−amplitude)."""
        raise NotImplementedError

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        del background
        first, last, half = first_last_half(x, y, w)
        nll_first, nll_last = -jnp.log(jnp.clip(first, 1e-12, 1.0)), -jnp.log(jnp.clip(last, 1e-12, 1.0))
        return self._guess(nll_first, nll_last, half, n_starts, key)

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        gap = -jnp.log(level) - params["E"]
        reachable = gap > 0
        amplitude = jnp.log(params[self.param_names[0]])
        amplitude = amplitude - jnp.log(jnp.where(reachable, gap, 1.0))  # ln(C / gap) = −ln(decay factor)
        t = self._inverse(params, amplitude)
        return jnp.where(reachable, jnp.maximum(t - self.shot_offset, 0.0), jnp.inf)


@dataclasses.dataclass(frozen=True)
class PowerLaw(Baseline):
    """NLL(t) = C t^(−α) + E."""

    name: str = "power"
    label: ClassVar[str] = "power"
    param_names: ClassVar[tuple[str, ...]] = ("C", "alpha", "E")

    def _decay(self, q, x):
        alpha = jnp.exp(q[1])
        ax = alpha * x
        return jnp.exp(q[0] - ax), (jnp.ones_like(ax), -ax)

    def _guess(self, nll_first, nll_last, half, n_starts, key):
        amplitude, floor, position, jitter = self._starts(nll_first, nll_last, half, n_starts, key)
        # Half of the way at x = half: α = ln 2 / half.
        alpha = jnp.log(2.0) / jnp.maximum(jnp.abs(position), 0.05)
        return {"C": jnp.log(amplitude), "alpha": jnp.log(alpha) + jitter[1], "E": jnp.log(floor)}

    def _inverse(self, params, amplitude):
        return jnp.exp(amplitude / params["alpha"])


@dataclasses.dataclass(frozen=True)
class BoundedPowerLaw(Baseline):
    """NLL(t) = C (1 + t / t_c)^(−α) + E."""

    name: str = "bounded_power"
    label: ClassVar[str] = "bounded power"
    param_names: ClassVar[tuple[str, ...]] = ("C", "alpha", "t_c", "E")

    def _decay(self, q, x):
        alpha, z = jnp.exp(q[1]), x - q[2]
        e = jnp.exp(-jnp.abs(z))
        v = jnp.maximum(z, 0) + jnp.log1p(e)  # ln(1 + t/t_c), without overflow
        slope = jnp.where(z >= 0, 1.0, e) / (1.0 + e)  # its derivative σ(z)
        return jnp.exp(q[0] - alpha * v), (jnp.ones_like(v), -alpha * v, alpha * slope)

    def _guess(self, nll_first, nll_last, half, n_starts, key):
        amplitude, floor, position, jitter = self._starts(nll_first, nll_last, half, n_starts, key)
        # α = 1 and t_c at the half-way point, then steeper or flatter.
        steep = jnp.resize(jnp.array([0.0, 1.0, -1.0]), (n_starts,))[:, None].astype(half.dtype)
        return {
            "C": jnp.log(amplitude) + jnp.log(1.5),
            "alpha": jnp.broadcast_to(steep, position.shape) + jitter[1],
            "t_c": position + steep,
            "E": jnp.log(floor),
        }

    def _inverse(self, params, amplitude):
        return params["t_c"] * jnp.expm1(jnp.maximum(amplitude, 0.0) / params["alpha"])


@dataclasses.dataclass(frozen=True)
class LogisticLaw(Baseline):
    """NLL(t) = L / (1 + (t / t_0)^κ) + E."""

    name: str = "logistic"
    label: ClassVar[str] = "logistic"
    param_names: ClassVar[tuple[str, ...]] = ("L", "kappa", "t_0", "E")

    def _decay(self, q, x):
        kappa = jnp.exp(q[1])
        z = kappa * (x - q[2])
        above, below = sigmoid_pair(z)
        return jnp.exp(q[0]) * below, (jnp.ones_like(z), -above * z, above * kappa)

    def _guess(self, nll_first, nll_last, half, n_starts, key):
        amplitude, floor, position, jitter = self._starts(nll_first, nll_last, half, n_starts, key)
        steep = jnp.resize(jnp.array([0.0, 0.7, -0.7, 1.4]), (n_starts,))[:, None].astype(half.dtype)
        return {
            "L": jnp.log(amplitude),
            "kappa": jnp.broadcast_to(steep, position.shape) + jitter[1],
            "t_0": position,
            "E": jnp.log(floor),
        }

    def _inverse(self, params, amplitude):
        # L/(1+(t/t0)^κ) = gap  ⇒  (t/t0)^κ = L/gap − 1
        odds = jnp.expm1(jnp.maximum(amplitude, 0.0))
        positive = odds > 0
        return jnp.where(
            positive, params["t_0"] * jnp.where(positive, odds, 1.0) ** (1.0 / params["kappa"]), 0.0
        )
