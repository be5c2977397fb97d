"""The heterogeneous-efficiency law: queries and prompts behind one curve learn at different speeds.

A benchmark's curve averages over queries and prompts. With ln K normal, mean ln `efficiency` and standard deviation s = `spread`,
the scoring law becomes (ours)

    p_j(n) = β_j + (γ_j − β_j) E_K[ σ( logit ρ_j + K n ln(γ_j / β_j) ) ]

There are two readings of the expectation, a function of ℓ = logit ρ_j, m = ln(K n ln(γ_j / β_j)) and s.

`bayesian_heterogeneous` is Gauss–Hermite quadrature of 15 nodes. Its largest error over n is 0.001 for s = 1 and ℓ = −2, 0.006
for 1 and −4, 0.02 for 1.5 and −4 or for 3 and −1, 0.06 for 1.5 and −8, 0.14 for 5 and −16: where priors are tiny or spreads
wide, it is a mixture of fifteen speeds whose steps show, a law of its own. `Fits.numerical_error` says where.

`bayesian_heterogeneous_exact` is within 1e-4 of the integral, at about twice the cost. σ(ℓ + τ) is the probability that a
logistic variable L is below ℓ + τ, so with T = L − ℓ and Φ the normal distribution function

    E = σ(ℓ) + σ(−ℓ) E[ Φ((m − ln T) / s) | T > 0 ],    T = ln(1 + q e^(−ℓ)) − ln(1 − q) with q uniform on (0, 1)

The wider the spread, the smoother is this integrand; Gauss–Hermite's is the smoother the narrower it is. With q = σ(y), the
trapezoidal rule in y converges exponentially: 20 nodes serve every ℓ where s is above 1.5 mean steps of ln T, 9 Gauss–Hermite
nodes where it is below 0.9 of them, and a smooth passage joins the two.

Parameters: those of the scoring law, and the spread s; raw: spread = ln s.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .base import Law, Params, safe_log
from .inversion import reach_by_bisection
from .scoring import ScoringLaw

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _over_speeds(nodes, weights, start, log_rate, spread, x):
    """E[σ(ℓ + e^m)] over speeds by quadrature, and its derivatives by ℓ, m and s."""
    limit = -500.0 if x.dtype == jnp.float64 else -80.0
    none = jnp.zeros(jnp.broadcast_shapes(start.shape, log_rate.shape, spread.shape, x.shape), x.dtype)

    # A loop, not a chain of copies: that takes a tenth of the time to trace and compile, and its arrays stay in a core's cache.
    def add(sums, node_and_weight):
        level, bend, turn, widen = sums
        node, weight = node_and_weight
        ax = jnp.exp(jnp.clip(log_rate + spread * node, -60.0, 60.0)) * x
        s = 1.0 / (1.0 + jnp.exp(-jnp.clip(start + ax, limit, None)))
        b = weight * (s * (1.0 - s))
        return (level + weight * s, bend + b, turn + b * ax, widen + (b * ax) * node), None

    rule = jnp.asarray(nodes, x.dtype), jnp.asarray(weights, x.dtype)
    return jax.lax.scan(add, (none, none, none, none), rule)[0]


@dataclasses.dataclass(frozen=True)
class HeterogeneousLaw(ScoringLaw):
    """p_j(n) = β_j + (γ_j − β_j) E_K[ σ( logit ρ_j + K n ln(γ_j / β_j) ) ], ln K ~ N(ln efficiency, spread²), of 15 nodes."""

    name: str = "bayesian_heterogeneous"
    loops: ClassVar[bool] = True
    label: ClassVar[str] = "Bayesian (heterogeneous)"
    param_names: ClassVar[tuple[str, ...]] = ("prior", "efficiency", "spread", "gamma", "beta")
    # Weak: the pull of normal priors against points with noise 0.003. Centres: a task that gives its own examples about 0.8
    # and a foreign task a quarter of that, a minority prior, efficiencies that differ e-fold.
    ridge: ClassVar[float] = 0.003
    ridge_at: ClassVar[dict[str, tuple[float, float]]] = {
        "prior": (-1.0, 2.0),
        "efficiency": (-2.0, 3.0),
        "spread": (0.0, 1.0),
        "gamma": (1.5, 1.5),
        "beta": (-1.0, 1.5),
    }

    # Its loss has more minima, among them tiny priors whose steep rises are smeared over shots, and efficiencies so different
    # that a curve creeps up over decades: starts that between them reach the lowest known loss of most real curves.
    above: ClassVar[tuple[float, ...]] = (0.7, 0.7, 0.7, 0.3, 0.7, 0.7, 0.3, 0.3)
    below: ClassVar[tuple[float, ...]] = (0.9, 0.02, 0.6, 0.02, 0.3, 0.3, 0.9, 0.6)
    start: ClassVar[tuple[float, ...]] = (-2.0, -8.0, -16.0, -8.0, -16.0, -0.3, -8.0, -4.0)
    faster: ClassVar[tuple[float, ...]] = (1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 0.0)
    spread: ClassVar[tuple[float, ...]] = (1.5, 0.7, 1.5, 4.0, 0.3, 0.7, 0.3, 4.0)
    certain: ClassVar[int] = 8

    @property
    def finer(self) -> "Law | None":
        """The same law without its error of quadrature."""
        return HeterogeneousExactLaw(
            self.name.replace("heterogeneous", "heterogeneous_exact"), self.log_shots, self.shot_offset
        )

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        return super().raw_shapes(n_curves, background) | {"spread": ()}

    def constrain(self, raw: Params) -> Params:
        return super().constrain(raw) | {"spread": jnp.exp(raw["spread"])}

    def unconstrain(self, params: Params) -> Params:
        return super().unconstrain(params) | {"spread": safe_log(params["spread"])}

    def local(self, raw: Params) -> Array:
        beta, gamma, start, rate = super().local(raw)
        return jnp.stack(
            [beta, gamma, start, safe_log(rate), jnp.broadcast_to(jnp.exp(raw["spread"]), rate.shape)]
        )

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        beta, gamma, start, log_rate, spread = q
        level, bend, turn, widen = _over_speeds(_NODES, _WEIGHTS, start, log_rate, spread, x)
        rise = gamma - beta
        return beta + rise * level, (1.0 - level, level, rise * bend, rise * turn, rise * widen)

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        raw = super().guess(x, y, w, n_starts, key, background)
        spread = jnp.resize(jnp.array(self.spread, y.dtype), (n_starts,))
        return raw | {"spread": jnp.log(spread)}

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        return reach_by_bisection(self, params, level)


_FEW, _FEW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_FEW_WEIGHTS = _FEW_WEIGHTS / _FEW_WEIGHTS.sum()
_STEPS = np.linspace(-9.0, 9.0, 20)  # y
_SHARES = 1.0 / (1.0 + np.exp(-_STEPS))  # q
_MASSES = _SHARES * (1.0 - _SHARES) / np.sum(_SHARES * (1.0 - _SHARES))


class _Rule(NamedTuple):
    """What the exact reading needs of ℓ and s: everything that does not depend on the shots.

    Attributes:
      few [...]: weight of the Gauss–Hermite rule.
      constant [...]: what σ(ℓ) contributes by itself.
      places [20, ...]: ln T.
      masses [20, ...]: weights of Φ.
      width [...]: the s to divide by.
    """

    few: Array
    constant: Array
    places: Array
    masses: Array
    width: Array


def _rule(start: Array, spread: Array) -> _Rule:
    """The rule for ℓ and s, each [...]."""
    column = lambda a: jnp.asarray(a, start.dtype).reshape(-1, *(1,) * start.ndim)  # noqa: E731
    share = column(_SHARES)
    tilt = column(np.log(_SHARES)) - start
    t = jax.nn.softplus(tilt) + column(-np.log1p(-_SHARES))  # T
    stretch = ((1.0 - share) * jax.nn.sigmoid(tilt) + share) / t  # ∂ ln T/∂y
    step = float(_STEPS[1] - _STEPS[0]) * jnp.sum(column(_MASSES) * stretch, axis=0)
    r = jnp.clip((spread / step - 0.9) / 0.6, 0.0, 1.0)
    many = r**3 * (10.0 + r * (6.0 * r - 15.0))
    masses = column(_MASSES) * (many * jax.nn.sigmoid(-start))
    # Below 0.9 steps the width does not matter; a floor keeps the division safe.
    width = jnp.maximum(spread, 0.5 * step)
    return _Rule(1.0 - many, many * jax.nn.sigmoid(start), jnp.log(t), masses, width)


def _rule_and_slopes(start: Array, spread: Array) -> tuple[_Rule, _Rule, _Rule]:
    """`_rule` and its derivatives by ℓ and by s."""
    start, spread = jnp.broadcast_arrays(start, spread)
    one, none = jnp.ones_like(start), jnp.zeros_like(start)
    rule, push = jax.linearize(_rule, start, spread)
    return rule, push(one, none), push(none, one)


# Hart 1968, 5666: Φ(−z) = exp(−z²/2) P(z)/Q(z) for z ≥ 0, ascending powers.
_P = (220.206867912376, 221.213596169931, 112.079291497871, 33.912866078383, 6.37396220353165)
_P += (0.700383064443688, 0.0352624965998911)
_Q = (440.413735824752, 793.826512519948, 637.333633378831, 296.564248779674, 86.7807322029461)
_Q += (16.064177579207, 1.75566716318264, 0.0883883476483184)


def scaled_tail(z: Array) -> Array:
    """exp(z²/2) Φ(−z) for z ≥ 0: within 2e-14 of itself to z = 3, 1e-8 to 8, 2e-5 anywhere."""
    above, under = jnp.asarray(_P[-1], z.dtype), jnp.asarray(_Q[-1], z.dtype)
    for p in reversed(_P[:-1]):
        above = above * z + p
    for q in reversed(_Q[:-1]):
        under = under * z + q
    return above / under


def _normal(z: Array) -> tuple[Array, Array]:
    """Φ(z) within 3e-16 and its density, for one exponential together."""
    bell = jnp.exp(-0.5 * z * z)
    tail = bell * scaled_tail(jnp.abs(z))
    return jnp.where(z > 0, 1.0 - tail, tail), 0.3989422804014327 * bell


@dataclasses.dataclass(frozen=True)
class HeterogeneousExactLaw(HeterogeneousLaw):
    """p_j(n) = β_j + (γ_j − β_j) E_K[ σ( logit ρ_j + K n ln(γ_j / β_j) ) ], the expectation within 1e-4."""

    name: str = "bayesian_heterogeneous_exact"
    label: ClassVar[str] = "Bayesian (heterogeneous, exact)"

    # Fewer minima than with nodes: starts near the plain law's, and one so fast that a jump before the second point is found.
    above: ClassVar[tuple[float, ...]] = (0.7, 0.02, 0.3, 0.7, 0.02, 0.7, 0.3, 0.7)
    below: ClassVar[tuple[float, ...]] = (0.3, 0.02, 0.6, 0.3, 0.02, 0.9, 0.3, 0.3)
    start: ClassVar[tuple[float, ...]] = (-2.0, -4.0, -1.0, -4.0, -3.0, -0.3, -8.0, -2.0)
    faster: ClassVar[tuple[float, ...]] = (0.0, 5.0, 0.0, 0.0, -1.0, 1.0, 0.0, -1.0)
    spread: ClassVar[tuple[float, ...]] = (0.3, 0.3, 1.5, 0.7, 0.3, 4.0, 1.0, 1.5)

    @property
    def finer(self) -> None:
        """None: nothing is gained."""
        return None

    def point(self, q: Array, x: Array) -> Array:
        return _exact(q, x)

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        return _exact_and_slopes(q, x)


@jax.custom_jvp
def _exact(q: Array, x: Array) -> Array:
    """p for local parameters q [5, …] at x, whose gradient is taken from `_exact_and_slopes`: differentiating the sum over
    nodes instead takes several times as long, to compile and to run."""
    beta, gamma, start, log_rate, spread = q
    rule = _rule(start, spread)
    level, *_ = _over_speeds(_FEW, _FEW_WEIGHTS, start, log_rate, spread, x)

    def add(total, node):
        place, mass = node
        return total + mass * _normal(_standard(log_rate, x, place, rule.width))[0], None

    total, _ = jax.lax.scan(add, rule.few * level + rule.constant, (rule.places, rule.masses))
    return beta + (gamma - beta) * total


def _exact_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    q, x = primals
    q_dot, x_dot = tangents
    p, slopes = _exact_and_slopes(q, x)
    tangent = sum((slope * step for slope, step in zip(slopes, q_dot, strict=True)), jnp.zeros_like(p))
    by_x = jnp.where(
        x > 0, slopes[3] / jnp.maximum(x, jnp.finfo(x.dtype).tiny), 0.0
    )  # p depends on x by m = ln K n …
    return p, tangent + by_x * x_dot


_exact.defjvp(_exact_jvp)


def _exact_and_slopes(q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
    """(p, its derivatives by the five rows of q)."""
    beta, gamma, start, log_rate, spread = q
    rise = gamma - beta
    rule, along_start, along_spread = _rule_and_slopes(start, spread)
    level, bend, turn, widen = _over_speeds(_FEW, _FEW_WEIGHTS, start, log_rate, spread, x)
    few = (
        rule.few * level + rule.constant,
        along_start.few * level + along_start.constant + rule.few * bend,
        rule.few * turn,
        along_spread.few * level + along_spread.constant + rule.few * widen,
    )

    def add(sums, node):
        total, by_start, by_rate, by_spread = sums
        place, mass, place_by_start, mass_by_start, mass_by_spread = node
        z = _standard(log_rate, x, place, rule.width)
        below, density = _normal(z)
        slope = mass * density / rule.width  # by m
        total = total + mass * below
        by_start = by_start + mass_by_start * below - slope * (place_by_start + along_start.width * z)
        by_spread = by_spread + mass_by_spread * below - slope * (along_spread.width * z)
        return (total, by_start, by_rate + slope, by_spread), None

    nodes = (rule.places, rule.masses, along_start.places, along_start.masses, along_spread.masses)
    (total, by_start, by_rate, by_spread), _ = jax.lax.scan(add, few, nodes)
    slopes = (1.0 - total, total, rise * by_start, rise * by_rate, rise * by_spread)
    return beta + rise * total, slopes


def _standard(log_rate: Array, x: Array, place: Array, width: Array) -> Array:
    """(m − ln T) / s, kept where Φ is not yet 0 or 1; at 0 shots m is −∞: nothing but σ(ℓ)."""
    far = 38.0 if x.dtype == jnp.float64 else 13.0
    z = jnp.clip((log_rate + safe_log(x) - place) / width, -far, far)
    return jnp.where(x <= 0, -far, z)
