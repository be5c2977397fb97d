"""The M-task laws: original and sampling, and contexts that mix sources.

    w_jm(n) ∝ ρ_m P[j,m]^(K n),    p_j(n) = Σ_m w_jm(n) P[j,m]                 (Arora et al. 2024, theorem 1, with K)

`bayesian_original` leaves every entry of P free, M J + (M − 1) + 1 parameters; `bayesian_sampling` has P[j,m] = γ_m if
m = j, else β_m, with β_m ≤ γ_m. With a background task M = J + 1, and column M has a β but no γ (no curve is its own).
Mixed contexts: with n_i examples from each source i in any order, w_m ∝ ρ_m Π_i P[i,m]^(K n_i).

Raw: prior = ln ρ_m − ln ρ_M for m < M; efficiency = ln K; probs, gamma = logit; beta = logit(β_m/γ_m), and logit β for the
background.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from .base import Law, Params, logit, safe_log
from .heterogeneous import HeterogeneousLaw
from .inversion import reach_by_bisection
from .scoring import ScoringLaw, logits_from_simplex, simplex_from_logits


def task_posterior(log_prior: Array, evidence: Array, axis: int = 0) -> Array:
    """w_m ∝ exp(log_prior_m + evidence_m) along `axis`; sums to 1."""
    return jax.nn.softmax(log_prior + evidence, axis=axis)


class TaskMixture(Law):
    """Shared by the M-task laws; subclasses say how the parameters fill ln P."""

    def log_probs(self, raw: Params) -> Array:
        """ln P [J, M]."""
        raise NotImplementedError

    def _shared(self, raw: Params) -> Params:
        return {"prior": simplex_from_logits(raw["prior"]), "efficiency": jnp.exp(raw["efficiency"])}

    def _shared_raw(self, params: Params) -> Params:
        return {"prior": logits_from_simplex(params["prior"]), "efficiency": safe_log(params["efficiency"])}

    def local(self, raw: Params) -> Array:
        log_p = self.log_probs(raw).T  # [M, J]
        log_prior = jnp.concatenate([raw["prior"], jnp.zeros((1,), log_p.dtype)])
        rows = jnp.broadcast_to(log_prior[:, None], log_p.shape)
        return jnp.concatenate(
            [rows, log_p, jnp.broadcast_to(jnp.exp(raw["efficiency"]), (1, log_p.shape[1]))]
        )

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        tasks = (q.shape[0] - 1) // 2
        log_prior, log_p, k = q[:tasks], q[tasks:-1], q[-1]
        kx = k * x
        w = task_posterior(log_prior, kx * log_p)
        p_m = jnp.exp(log_p)
        p = jnp.sum(w * p_m, axis=0)
        lean = w * (p_m - p)  # ∂p/∂(log odds of task m)
        d_log_p = w * p_m + kx * lean
        d_k = x * jnp.sum(log_p * lean, axis=0)
        return p, (*lean, *d_log_p, d_k)

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        return reach_by_bisection(self, params, level)


def _on_the_way(n_starts: int, background: int, dtype) -> Array:
    """How far each background task but the last is from β to γ [S, background − 1]; every other start has them higher up."""
    even = jnp.arange(1, max(int(background), 1), dtype=dtype) / max(int(background), 1)
    power = jnp.resize(jnp.array([1.0, 0.4, 2.0], dtype), (n_starts,))[:, None]
    return even**power


def _with_more(prior: Array, share: Array, background: int) -> Array:
    """Log ratios [S, M − 1] to the last task: the further a background is on its way, the less likely it is at 0 shots."""
    if background <= 1:
        return prior
    return jnp.concatenate([prior, share * jnp.mean(prior, axis=1, keepdims=True)], axis=1)


@dataclasses.dataclass(frozen=True)
class OriginalLaw(TaskMixture):
    """Every P[j,m] free: parameter `probs` [J, M]."""

    name: str = "bayesian_original"
    label: ClassVar[str] = "Bayesian (original)"
    param_names: ClassVar[tuple[str, ...]] = ("prior", "efficiency", "probs")
    per_source: ClassVar[tuple[str, ...]] = ("prior", "probs")

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        tasks = n_curves + int(background)
        return {"prior": (tasks - 1,), "efficiency": (), "probs": (n_curves, tasks)}

    def constrain(self, raw: Params) -> Params:
        return self._shared(raw) | {"probs": jax.nn.sigmoid(raw["probs"])}

    def unconstrain(self, params: Params) -> Params:
        return self._shared_raw(params) | {"probs": logit(params["probs"])}

    def log_probs(self, raw: Params) -> Array:
        return jax.nn.log_sigmoid(raw["probs"])

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        key_scoring, key_noise = jax.random.split(key)
        raw = ScoringLaw().guess(x, y, w, n_starts, key_scoring, background)
        n_curves = y.shape[0]
        tasks = n_curves + int(background)
        gamma, ratio = raw["gamma"], raw["beta"]
        beta = logit(jax.nn.sigmoid(gamma) * jax.nn.sigmoid(ratio))
        own = jnp.eye(n_curves, tasks, dtype=bool)
        probs = jnp.where(own, gamma[:, :, None], beta[:, :, None])
        # Further background tasks: what is believed between the beginning and the end, each on its way from β to γ. They stand
        # before the last task, to which the prior's ratios refer.
        share = _on_the_way(n_starts, background, y.dtype)  # [S, background − 1]
        between = (1 - share)[:, None] * beta[:, :, None] + share[:, None] * gamma[:, :, None]
        probs = probs.at[:, :, n_curves : tasks - 1].set(between) if background > 1 else probs
        # Exactly equal columns would be a saddle: nudge them apart.
        probs = probs + 0.1 * jax.random.normal(key_noise, probs.shape, probs.dtype)
        return {
            "prior": _with_more(raw["prior"], share, background),
            "efficiency": raw["efficiency"],
            "probs": probs,
        }


@dataclasses.dataclass(frozen=True)
class SamplingLaw(TaskMixture):
    """P[j,m] = γ_m if m = j, else β_m ≤ γ_m: parameters `gamma` [J], `beta` [M]."""

    name: str = "bayesian_sampling"
    label: ClassVar[str] = "Bayesian (sampling)"
    param_names: ClassVar[tuple[str, ...]] = ("prior", "efficiency", "gamma", "beta")
    per_source: ClassVar[tuple[str, ...]] = ("prior", "gamma", "beta")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"beta": ("gamma",)}

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        tasks = n_curves + int(background)
        return {"prior": (tasks - 1,), "efficiency": (), "gamma": (n_curves,), "beta": (tasks,)}

    def constrain(self, raw: Params) -> Params:
        return self._shared(raw) | {
            "gamma": jax.nn.sigmoid(raw["gamma"]),
            "beta": jnp.exp(self._log_beta(raw)),
        }

    def unconstrain(self, params: Params) -> Params:
        n_curves = params["gamma"].shape[0]
        ratio = logit(params["beta"][:n_curves] / params["gamma"])
        return self._shared_raw(params) | {
            "gamma": logit(params["gamma"]),
            "beta": jnp.concatenate([ratio, logit(params["beta"][n_curves:])]),
        }

    def _log_beta(self, raw):
        log_gamma = jax.nn.log_sigmoid(raw["gamma"])
        n_curves = log_gamma.shape[0]
        log_ratio = jax.nn.log_sigmoid(raw["beta"])
        return jnp.concatenate([log_gamma + log_ratio[:n_curves], log_ratio[n_curves:]])

    def log_probs(self, raw: Params) -> Array:
        log_gamma, log_beta = jax.nn.log_sigmoid(raw["gamma"]), self._log_beta(raw)
        n_curves, tasks = log_gamma.shape[0], log_beta.shape[0]
        own = jnp.eye(n_curves, tasks, dtype=bool)
        return jnp.where(own, log_gamma[:, None], jnp.broadcast_to(log_beta, own.shape))

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        raw = ScoringLaw().guess(x, y, w, n_starts, key, background)
        if background:
            beta = logit(jax.nn.sigmoid(raw["gamma"]) * jax.nn.sigmoid(raw["beta"]))
            share = _on_the_way(n_starts, background, y.dtype)
            low, high = jnp.mean(beta, axis=1, keepdims=True), jnp.mean(raw["gamma"], axis=1, keepdims=True)
            more = (1 - share) * low + share * high
            raw = raw | {
                "beta": jnp.concatenate([raw["beta"], more, low], axis=1),
                "prior": _with_more(raw["prior"], share, background),
            }
        return raw


@dataclasses.dataclass(frozen=True)
class MixedLaw(Law):
    """A Bayesian law on contexts that mix sources: w_m ∝ ρ_m Π_i P[i,m]^(K n_i).

    "Shots" are then an array [2 J, …]: the number of examples of each source, followed by the one-hot source of the query.
    All other methods are those of the law `base`. Fitted as one long curve per group (see `iclbayes.fit_mixed`).
    """

    base: Law = OriginalLaw()
    label: ClassVar[str] = "Bayesian, mixed contexts"

    def __post_init__(self):
        if isinstance(self.base, HeterogeneousLaw) or not isinstance(self.base, (ScoringLaw, TaskMixture)):
            raise ValueError(
                f"no mixed-context reading of the law {self.base.name!r}: use original, sampling or scoring"
            )

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        return self.base.raw_shapes(n_curves, background)

    def constrain(self, raw: Params) -> Params:
        return self.base.constrain(raw)

    def unconstrain(self, params: Params) -> Params:
        return self.base.unconstrain(params)

    def abscissa(self, shots: Array) -> Array:
        half = shots.shape[0] // 2
        return jnp.concatenate([self.base.abscissa(shots[:half]), shots[half:]])

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
        n_curves = x.shape[0] // 2
        counts, query = x[:n_curves, 0], x[n_curves:, 0]  # [J, n]
        # Read each source's points against the shots of that source alone.
        return self.base.guess(
            counts, jnp.broadcast_to(y, counts.shape), w * query, n_starts, key, background
        )

    def local(self, raw: Params) -> Array:
        log_p = log_probs(self.base, raw)  # [J, M]
        log_prior = jnp.concatenate([raw["prior"], jnp.zeros((1,), log_p.dtype)])
        return jnp.concatenate([log_prior, log_p.reshape(-1), jnp.exp(raw["efficiency"])[None]])[:, None]

    def point(self, q: Array, x: Array) -> Array:
        n_curves = x.shape[0] // 2
        tasks = (q.shape[0] - 1) // (n_curves + 1)
        log_prior, log_p, k = q[:tasks], q[tasks:-1].reshape(n_curves, tasks, *q.shape[1:]), q[-1]
        counts, query = x[:n_curves], x[n_curves:]
        evidence = k * jnp.sum(counts[:, None] * log_p, axis=0)
        w = task_posterior(log_prior, evidence)
        return jnp.sum(w * jnp.sum(query[:, None] * jnp.exp(log_p), axis=0), axis=0)

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        return Law.point_and_jacobian(self, q, x)


def log_probs(law: Law, raw: Params) -> Array:
    """ln P [J, M] of any Bayesian law, from raw parameters; for the scoring law P[j,m] = β_j off its own task."""
    if isinstance(law, TaskMixture):
        return law.log_probs(raw)
    log_gamma = jax.nn.log_sigmoid(raw["gamma"])
    log_beta = log_gamma + jax.nn.log_sigmoid(raw["beta"])
    own = jnp.eye(log_gamma.shape[0], raw["prior"].shape[0] + 1, dtype=bool)
    return jnp.where(own, log_gamma[:, None], log_beta[:, None])


def task_weights(law: Law, params: Params, shots: Array) -> Array:
    """Posterior over tasks after n shots from each source, w_jm(n).

    Args:
      law: a Bayesian law; for the heterogeneous one the weights are those at the median efficiency.
      params: its constrained parameters (one group).
      shots: [n].

    Returns:
      [J, M, n], summing to 1 over M.

    Raises:
      ValueError: the law is not Bayesian.
    """
    if "prior" not in law.param_names:
        raise ValueError(f"the law {law.name!r} has no tasks, so no posterior over tasks")
    raw = law.unconstrain(params)
    log_p = log_probs(law, raw)
    log_prior = jnp.concatenate([raw["prior"], jnp.zeros((1,), log_p.dtype)])
    kx = jnp.exp(raw["efficiency"]) * law.abscissa(jnp.asarray(shots, log_p.dtype))
    return task_posterior(log_prior[None, :, None], log_p[:, :, None] * kx, axis=1)


def mean_mixed(law: Law, params: Params, counts: Array, query: Array) -> Array:
    """Expected probability of the right answer after a context that mixes sources.

    p = Σ_m w_m P[query, m],   w_m ∝ ρ_m Π_i P[i,m]^(K n_i).

    Args:
      law: original, sampling or scoring law.
      params: its constrained parameters (one group).
      counts: [N, J], examples of each source in the context (in any order).
      query: [N], the index of the source that the query is drawn from.

    Returns:
      [N].
    """
    counts = jnp.asarray(counts)
    one_hot = jax.nn.one_hot(query, counts.shape[-1], dtype=params["prior"].dtype)
    shots = jnp.concatenate([counts.astype(one_hot.dtype), one_hot], axis=-1).T
    mixed = MixedLaw(name=f"{law.name}_mixed", base=law)
    return mixed.mean_raw(mixed.unconstrain(params), shots[:, None])[0]
