"""What is known of a task before it was suppressed, as a law of two curves: the pretrained model's and the tuned one's.

Both follow the scoring law, the second with parameters that fine-tuning moved by an unknown amount:

    before:  p(n) = β + (γ − β) σ( o + K n ln(γ / β) ),             q = (logit γ, logit(β/γ), ln K, o), o = logit ρ
    after:   the same with q + d

One posterior of q and d is inferred from the whole curve before and the first shots after. The prior of d says how far
fine-tuning is thought to move each: little for γ and β, some for K, anywhere for ρ. So what few shots cannot tell is taken
from the pretrained model, with its own uncertainty.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from numpyro.distributions import Distribution
from scipy.optimize import least_squares
from scipy.special import expit

from ..curves import Curves
from ..laws.scoring import ScoringLaw
from ..posterior import PosteriorWarning, sample
from ..posterior.model.priors import normal


@dataclasses.dataclass(frozen=True)
class Recall:
    """How far fine-tuning is thought to move each parameter: standard deviations in the unconstrained scale."""

    gamma: float = 0.3  # of logit γ
    beta: float = 0.5  # of logit (β / γ)
    efficiency: float = 0.7  # of ln K
    odds: float = 4.0  # of logit ρ
    discrepancy: float = (
        0.01  # `point_draws`: added to each standard error of a probability, for no law is exactly true
    )

    def priors(self) -> dict[str, Distribution]:
        """Priors of the raw parameters of `Recalled`, by the names that `iclbayes.posterior` takes."""
        moved = {f"raw_{name}_moved": normal(0.0, getattr(self, name)) for name in PARTS}
        return moved | {f"raw_{name}": normal(*Recalled.ridge_at[name]) for name in PARTS}


RECALL = Recall()
PARTS = ("gamma", "beta", "efficiency", "odds")
MOVED = tuple(f"{name}_moved" for name in PARTS)


@dataclasses.dataclass(frozen=True)
class Recalled(ScoringLaw):
    """The scoring law of two curves, before and after: raw parameters q, and d under the names …_moved, all scalars."""

    name: str = "recalled_scoring"
    label: ClassVar[str] = "Bayesian (scoring), before and after"
    param_names: ClassVar[tuple[str, ...]] = (*PARTS, *MOVED)
    per_source: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[dict[str, tuple[str, ...]]] = {}
    ridge: ClassVar[float] = 0.02  # points fits are modes: d is never determined by the points alone
    ridge_at: ClassVar[dict[str, tuple[float, float]]] = {
        "gamma": (0.0, 2.0),
        "beta": (-1.0, 1.5),
        "efficiency": (-1.0, 2.0),
        "odds": (0.0, 3.0),
        **{f"{name}_moved": (0.0, getattr(RECALL, name)) for name in PARTS},
    }

    def raw_shapes(self, n_curves, background):
        del n_curves, background  # always two curves, each with a task of its own beside all others
        return dict.fromkeys(self.param_names, ())

    def constrain(self, raw):
        return dict(raw)

    def unconstrain(self, params):
        return dict(params)

    def local(self, raw):
        gamma, ratio, efficiency, odds = (
            jnp.stack([raw[name], raw[name] + raw[f"{name}_moved"]]) for name in PARTS
        )
        gamma = jax.nn.sigmoid(gamma)
        rate = jnp.exp(efficiency) * jax.nn.softplus(-ratio)  # K ln(γ/β)
        return jnp.stack([gamma * jax.nn.sigmoid(ratio), gamma * jax.nn.sigmoid(-ratio), odds, rate])

    def guess(self, x, y, w, n_starts, key, background):
        del background
        first = super().guess(x, y, w, n_starts, key, True)
        odds = first["prior"]
        still = jnp.zeros((n_starts,), y.dtype)
        raw = {"gamma": first["gamma"][:, 0], "beta": first["beta"][:, 0], "efficiency": first["efficiency"]}
        return {
            **raw,
            "odds": odds[:, 0],
            **dict.fromkeys(MOVED, still),
            "odds_moved": jnp.clip(odds[:, 1] - odds[:, 0], -4.0, 4.0),
        }


class Sight(NamedTuple):
    """One suppressed curve: the pretrained model's whole curve, and the first points after fine-tuning; arrays of equal length.

    Attributes:
      before, after: (shots, prob, stderr).
      level: probability to reach.
    """

    before: tuple[np.ndarray, np.ndarray, np.ndarray]
    after: tuple[np.ndarray, np.ndarray, np.ndarray]
    level: float


def posterior_draws(
    sights: Sequence[Sight],
    *,
    recall: Recall = RECALL,
    method: str = "psis",
    draws: int = 2000,
    seed: int = 0,
    **options,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the number of shots at which each curve is at its level, from the posterior of `Recalled`.

    Points have normal noise with the standard error given and an extra scale that is inferred (a law is never exactly true).

    Args:
      sights: the curves.
      recall: how far fine-tuning may move each parameter.
      method: of `iclbayes.posterior.sample`: "psis", "laplace" or "nuts".
      draws, seed: number of draws and their seed.
      **options: of `iclbayes.posterior.sample`.

    Returns:
      (shots [curves, draws], 0 from the start and inf for never; k̂ [curves] of importance sampling, NaN without).
    """
    chains = 4
    options = {
        "n_chains": chains,
        "n_draws": -(-draws // chains),
        "max_k_hat": np.inf,
        "discrepancy": None,
    } | options
    priors = recall.priors() | options.pop("priors", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # k̂ is returned
        found = sample(
            _pairs(sights),
            Recalled(),
            likelihood="normal",
            priors=priors,
            method=method,
            seed=seed,
            **options,
        )
    q = np.stack([found.params[name] + found.params[f"{name}_moved"] for name in PARTS], -1)  # [C, D, G, 4]
    q = q.reshape(-1, *q.shape[2:])
    level = np.array([sight.level for sight in sights])
    return law_reach(q, level).T, found.diagnostics()["k_hat"].to_numpy(float)


def point_draws(
    sights: Sequence[Sight], centres: np.ndarray, *, recall: Recall = RECALL, draws: int = 2000, seed: int = 0
) -> np.ndarray:
    """Draws [curves, draws] of the same, with the pretrained model's point fits, centres [curves, 4], taken for granted.

    Finds the mode of the posterior of q around its centre (least squares from several priors ρ), proposes from a Student t (5
    degrees of freedom) with the curvature there, and resamples by importance.
    """
    sd = np.array([getattr(recall, name) for name in PARTS])
    return np.stack(
        [
            _draws_around(*sight.after, centre, sight.level, sd, recall.discrepancy, draws, seed + number)
            for number, (sight, centre) in enumerate(zip(sights, centres, strict=True))
        ]
    )


def _draws_around(shots, prob, stderr, centre, level, sd, discrepancy, draws, seed) -> np.ndarray:
    error = np.hypot(np.nan_to_num(stderr, nan=discrepancy), discrepancy)

    def residuals(q):
        q = np.atleast_2d(q)
        gamma = expit(q[:, :1])
        beta = gamma * expit(q[:, 1:2])
        odds = q[:, 3:] + np.exp(q[:, 2:3]) * np.logaddexp(0.0, -q[:, 1:2]) * shots
        p = beta + (gamma - beta) * expit(odds)
        return np.concatenate([(p - prob) / error, (q - centre) / sd], axis=1)

    starts = [np.r_[centre[:3], centre[3] + step] for step in (0.0, -2.0, -4.0, -7.0, 2.0)]
    found = [least_squares(lambda q: residuals(q)[0], start, method="lm") for start in starts]
    best = min(found, key=lambda r: r.cost)
    factor = np.linalg.cholesky(np.linalg.inv(best.jac.T @ best.jac))
    rng = np.random.default_rng(seed)
    freedom = 5
    z = rng.standard_normal((2 * draws, 4))
    z = z / np.sqrt(rng.chisquare(freedom, (2 * draws, 1)) / freedom)
    q = best.x + z @ factor.T
    log_target = -0.5 * np.sum(residuals(q) ** 2, axis=1)
    log_proposal = -0.5 * (freedom + 4) * np.log1p(np.sum(z**2, axis=1) / freedom)
    weight = log_target - log_proposal
    weight = np.exp(weight - weight.max())
    return law_reach(q[rng.choice(len(q), draws, p=weight / weight.sum())], level)


def _pairs(sights: Sequence[Sight]) -> Curves:
    """Groups of two curves, before and after."""
    parts = [part for sight in sights for part in (sight.before, sight.after)]
    shots, prob, stderr = (np.concatenate([p[i] for p in parts]).astype(float) for i in range(3))
    unknown = np.full(len(shots), np.nan)
    return Curves(
        keys=pd.DataFrame({"curve": np.arange(len(sights))}),
        group=np.repeat(np.arange(len(sights)), 2),
        source=np.array(["before", "after"] * len(sights), dtype=object),
        start=np.concatenate([[0], np.cumsum([len(p[0]) for p in parts])]),
        shots=shots, prob=prob, weight=np.ones(len(shots)),
        stderr=np.where(stderr > 0, stderr, np.nan), n_correct=unknown, n_test=unknown,
    )  # fmt: skip


def law_reach(q: np.ndarray, level) -> np.ndarray:
    """n* of the scoring law for q [..., 4] = (logit γ, logit(β/γ), ln K, logit ρ): 0 from the start, inf for never."""
    gamma = expit(q[..., 0])
    beta = gamma * expit(q[..., 1])
    rate = np.exp(q[..., 2]) * np.logaddexp(0.0, -q[..., 1])  # K ln(γ / β)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = (level - beta) / (gamma - beta)
        n = (np.log(share) - np.log1p(-share) - q[..., 3]) / rate
    n = np.where(share >= 1, np.inf, np.where(share <= 0, 0.0, n))
    return np.maximum(np.nan_to_num(n, nan=np.inf, posinf=np.inf), 0.0)


def raw_scoring(frame: pd.DataFrame) -> np.ndarray:
    """[curves, 4], (logit γ, logit(β/γ), ln K, logit ρ) of rows of fitted parameters, kept off the boundaries."""
    gamma, prior = (np.clip(frame[name].to_numpy(), 1e-6, 1 - 1e-6) for name in ("gamma", "prior"))
    ratio = np.clip(frame["beta"].to_numpy() / gamma, 1e-3, 1 - 1e-3)
    logits = [np.log(p) - np.log1p(-p) for p in (gamma, ratio, prior)]
    return np.stack([*logits[:2], np.log(np.clip(frame["efficiency"].to_numpy(), 1e-4, 1e4)), logits[2]], -1)
