"""Laws with two stages: the model first recognises what kind of answer is wanted, then it learns the task.

Curves of real models rise twice. Within one to about ten shots the model recognises the format and the label words, then it
learns the task over hundreds. One sigmoid cannot say both. Theorem 1 of Arora et al. 2024 (arXiv 2410.16531) says both with
M = 3 tasks for one curve: nothing known, format known, task known. In log shots, with t = n + 1, posterior odds are powers of t.

`bayesian_staged` is that posterior. With P_none < P_format < P_task and the efficiency K,

    p(n) = Σ_m w_m P_m,    w_m ∝ ρ_m t^(K ln P_m)
    w_format / w_none = (t / t_format)^(K ln(P_format / P_none))
    w_task / w_format = (t / t_task)^(K ln(P_task / P_format))

so the priors ρ are written as the shots that overcome them: at t_format the format is as likely as nothing, at t_task the task as
likely as the format alone.

`staged` takes the two inferences as independent. An answer is right if format and task are known, so NLLs add up:

    NLL(n) = −ln r(n) + L / (1 + (t / t_task)^κ_task) + E
    r(n) = σ(κ_format ln(t / t_format)) = 1 / (1 + (t / t_format)^(−κ_format))

r is the posterior of the format against a task that never gives the right answer. The rest is the logistic law, which is a
posterior too: with w = 1 / (1 + (t / t_task)^(−κ_task)), that of the task in log shots, it is the NLL expected of queries of
which a share w is answered by the task and the others without it, w (−ln γ) + (1 − w)(−ln β), E = −ln γ, L = ln(γ / β).

All parameters of `staged` are positive (raw = ln). Raw of `bayesian_staged`: ln of K, t_format, t_task; logits of P_task,
P_format / P_task and P_none / P_format. Both are fitted curve by curve, with a weak ridge (noise 0.003, see
`iclbayes.fitting.Problem`), since six parameters are more than the first tenth of a curve tells. Two scales about its centres
say: the format is known after 0 to 32 shots, the task after 0 to 1,100; in `staged` the plateau e^(−E) is 0.01 to 0.99, and
learning is worth 0.03 to 12 nats. `experiments/law_quality.md` says what they fit and what they were chosen on.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from .base import Params, first_last_half, logit, safe_log, sigmoid_pair
from .baselines import Baseline
from .inversion import reach_by_bisection


def _landmarks(x: Array, y: Array, w: Array) -> tuple[Array, ...]:
    """First and last value of each curve, kept off 0 and 1; its begin, its half-way point, and the rest of the way, in ln t."""
    first, last, half = first_last_half(x, y, w)
    seen, big = w > 0, jnp.asarray(jnp.finfo(x.dtype).max, x.dtype)
    begin, end = jnp.min(jnp.where(seen, x, big), -1), jnp.max(jnp.where(seen, x, -big), -1)
    begin, end = jnp.where(end < begin, 0.0, begin), jnp.where(end < begin, 1.0, end)
    rest = jnp.maximum(end - half, 0.3 * jnp.maximum(end - begin, 1e-6))
    return jnp.clip(first, 1e-6, 0.999), jnp.clip(last, 1e-6, 0.999), begin, half, rest


def _column(values: tuple[float, ...], n_starts: int, dtype) -> Array:
    """One value per start [S, 1], repeated in turn."""
    return jnp.resize(jnp.array(values, dtype), (n_starts,))[:, None]


def _scattered(raw: Params, certain: int, key: Array) -> Params:
    """The starts [S, J] with noise added behind the first `certain` ones."""
    noisy = {}
    for (name, value), k in zip(raw.items(), jax.random.split(key, len(raw)), strict=True):
        size = jnp.where(jnp.arange(value.shape[0]) < certain, 0.0, 0.8)[:, None].astype(value.dtype)
        noisy[name] = value + size * jax.random.normal(k, value.shape, value.dtype)
    return noisy


@dataclasses.dataclass(frozen=True)
class StagedLaw(Baseline):
    """NLL(n) = ln(1 + (t / t_format)^(−κ_format)) + L / (1 + (t / t_task)^κ_task) + E, t = n + 1."""

    name: str = "staged"
    label: ClassVar[str] = "staged (format × task)"
    param_names: ClassVar[tuple[str, ...]] = ("t_format", "kappa_format", "L", "t_task", "kappa_task", "E")
    ridge: ClassVar[float] = 0.003
    ridge_at: ClassVar[dict[str, tuple[float, float]]] = {
        "t_format": (0.5, 1.5),
        "kappa_format": (0.0, 1.0),
        "L": (-0.5, 1.5),
        "t_task": (3.0, 2.0),
        "kappa_task": (0.0, 0.7),
        "E": (-1.5, 1.5),
    }
    # First guesses: the share of the fall in NLL that the format takes, the steepness of both stages, where the task is known
    # between the half-way point (0) and the end (1), the share of the last NLL that is floor, nats beyond what was seen.
    format_share: ClassVar[tuple[float, ...]] = (0.1, 0.95, 0.3, 0.4, 0.95, 0.95, 0.7, 0.1)
    format_steep: ClassVar[tuple[float, ...]] = (4.0, 1.5, 0.4, 1.5, 15.0, 0.7, 0.3, 4.0)
    task_steep: ClassVar[tuple[float, ...]] = (8.0, 1.0, 12.0, 8.0, 0.5, 1.0, 6.0, 8.0)
    task_at: ClassVar[tuple[float, ...]] = (0.2, 1.3, 0.0, 0.7, 0.2, 0.7, -0.2, -0.3)
    floor_share: ClassVar[tuple[float, ...]] = (0.5, 0.05, 0.7, 0.95, 0.95, 0.5, 0.9, 0.05)
    beyond: ClassVar[tuple[float, ...]] = (0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0)

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        steep_f, steep_t, floor = jnp.exp(q[1]), jnp.exp(q[4]), jnp.exp(q[5])
        z_f, z_t = steep_f * (x - q[0]), steep_t * (x - q[3])
        known, unknown = sigmoid_pair(z_f)
        above, below = sigmoid_pair(z_t)
        u = jnp.exp(q[2]) * below
        p = known * jnp.exp(-(u + floor))
        pu, pf = p * u, p * unknown
        return p, (-steep_f * pf, z_f * pf, -pu, -steep_t * (pu * above), z_t * (pu * above), -floor * p)

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        del background
        first, last, begin, half, rest = _landmarks(x, y, w)
        table = lambda values: _column(values, n_starts, y.dtype)  # noqa: E731
        nll_first, nll_last = -jnp.log(first), -jnp.log(last)
        fall = jnp.maximum(nll_first - nll_last, 0.02 * nll_first + 1e-3)
        share, steep = table(self.format_share), table(self.format_steep)
        floor = jnp.maximum(nll_last * table(self.floor_share), 1e-6)
        deficit = jnp.maximum(share * fall, 1e-3)  # −ln r at the first shots
        raw = {
            "t_format": begin + jnp.log(jnp.expm1(deficit)) / steep,
            "kappa_format": jnp.broadcast_to(jnp.log(steep), floor.shape),
            "L": jnp.log((1 - share) * fall + (nll_last - floor) + table(self.beyond) + 1e-3),
            "t_task": half + table(self.task_at) * rest,
            "kappa_task": jnp.broadcast_to(jnp.log(table(self.task_steep)), floor.shape),
            "E": jnp.log(floor),
        }
        return _scattered(raw, len(self.beyond), key)

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        return reach_by_bisection(self, params, level)

    def stages(self, params: Params) -> Params:
        """Shots until the format is known (r = ½) and until the task is (half of L is gone), each [J]."""
        return shots_of_stages(params, self.shot_offset)


@dataclasses.dataclass(frozen=True)
class BayesianStagedLaw(Baseline):
    """p(n) = Σ_m w_m P_m, the posterior w over three tasks in log shots: nothing, format, task known."""

    name: str = "bayesian_staged"
    label: ClassVar[str] = "Bayesian (staged)"
    param_names: ClassVar[tuple[str, ...]] = (
        "efficiency",
        "t_format",
        "t_task",
        "p_task",
        "p_format",
        "p_none",
    )
    ridge: ClassVar[float] = 0.003
    ridge_at: ClassVar[dict[str, tuple[float, float]]] = {
        "efficiency": (0.0, 1.0),
        "t_format": (0.5, 1.5),
        "t_task": (3.0, 2.0),
        "p_task": (1.0, 1.5),
        "p_format": (0.5, 1.5),
        "p_none": (-1.0, 2.0),
    }
    # First guesses: where ln P_format lies between the last value and the first, the mean steepness of the two steps, where the
    # format is known between the begin (0) and the half-way point (1), the task between that point (0) and the end (1), how far
    # P_task is on the way to 1, P_none over the first value.
    format_level: ClassVar[tuple[float, ...]] = (0.3, 0.6, 0.05, 0.3, 0.9, 0.05, 0.3, 0.3)
    steep: ClassVar[tuple[float, ...]] = (30.0, 5.0, 2.0, 12.0, 30.0, 5.0, 5.0, 30.0)
    format_at: ClassVar[tuple[float, ...]] = (0.0, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0)
    task_at: ClassVar[tuple[float, ...]] = (0.3, 0.8, 0.3, 1.5, -0.2, -0.2, -0.2, 0.3)
    task_level: ClassVar[tuple[float, ...]] = (0.3, 0.7, 0.02, 0.7, 0.02, 0.3, 0.3, 0.3)
    none_level: ClassVar[tuple[float, ...]] = (0.9, 0.98, 0.98, 0.3, 0.3, 0.3, 0.9, 0.9)

    def constrain(self, raw: Params) -> Params:
        p_task = jax.nn.sigmoid(raw["p_task"])
        p_format = p_task * jax.nn.sigmoid(raw["p_format"])
        levels = {"p_task": p_task, "p_format": p_format, "p_none": p_format * jax.nn.sigmoid(raw["p_none"])}
        return {name: jnp.exp(raw[name]) for name in self.param_names[:3]} | levels

    def unconstrain(self, params: Params) -> Params:
        levels = {
            "p_task": logit(params["p_task"]),
            "p_format": logit(params["p_format"] / params["p_task"]),
            "p_none": logit(params["p_none"] / params["p_format"]),
        }
        return {name: safe_log(params[name]) for name in self.param_names[:3]} | levels

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        k = jnp.exp(q[0])
        lag_f, lag_t = x - q[1], x - q[2]  # ln(t / t_format), ln(t / t_task)
        # Each level over the one above it, and its logarithm: ln σ(a) = −softplus(−a), ∂ = 1 − σ(a).
        (s3, d3), (s2, d2), (s1, d1) = (sigmoid_pair(a) for a in (q[3], q[4], q[5]))
        step_t, step_f = (
            jax.nn.softplus(-q[4]),
            jax.nn.softplus(-q[5]),
        )  # ln(P_task/P_format), ln(P_format/P_none)
        z_f = k * step_f * lag_f
        z_t = z_f + k * step_t * lag_t  # ln odds of format and task against nothing
        top = jnp.maximum(jnp.maximum(z_f, z_t), 0.0)
        e_0, e_f, e_t = jnp.exp(-top), jnp.exp(z_f - top), jnp.exp(z_t - top)
        total = 1.0 / (e_0 + e_f + e_t)
        w_0, w_f, w_t = e_0 * total, e_f * total, e_t * total
        p_t = s3
        p_f = p_t * s2
        p_0 = p_f * s1
        p = w_0 * p_0 + w_f * p_f + w_t * p_t
        by_t = w_t * (p_t - p)  # ∂p/∂z_t, and by z_f below with z_t along
        by_f = w_f * (p_f - p) + by_t
        return p, (
            by_f * z_f + by_t * (z_t - z_f),
            -k * step_f * by_f,
            -k * step_t * by_t,
            d3 * p,
            d2 * (w_0 * p_0 + w_f * p_f) - d2 * k * lag_t * by_t,
            d1 * (w_0 * p_0) - d1 * k * lag_f * by_f,
        )

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        del background
        first, last, begin, half, rest = _landmarks(x, y, w)
        table = lambda values: _column(values, n_starts, y.dtype)  # noqa: E731
        p_task = jnp.clip(last + 0.95 * table(self.task_level) * (1 - last), 0.01, 0.995)
        between = table(self.format_level)
        p_format = jnp.minimum(
            jnp.exp(between * jnp.log(first) + (1 - between) * jnp.log(p_task)), 0.98 * p_task
        )
        p_none = jnp.minimum(first * table(self.none_level), 0.95 * p_format)
        speed = 2 * table(self.steep) / jnp.log(p_task / p_none)
        raw = {
            "efficiency": jnp.log(speed),
            "t_format": begin + table(self.format_at) * jnp.maximum(half - begin, 0.1),
            "t_task": half + table(self.task_at) * rest,
            "p_task": logit(p_task),
            "p_format": logit(p_format / p_task),
            "p_none": logit(p_none / p_format),
        }
        return _scattered(raw, len(self.steep), key)

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        return reach_by_bisection(self, params, level)

    def stages(self, params: Params) -> Params:
        """Shots until the format is as likely as nothing, and until the task is as likely as the format alone, each [J]."""
        return shots_of_stages(params, self.shot_offset)


def shots_of_stages(params: Params, offset: float) -> Params:
    """{"format": t_format − offset, "task": t_task − offset} in shots, 0 if before the first shot."""
    return {name: jnp.maximum(params[f"t_{name}"] - offset, 0.0) for name in ("format", "task")}
