"""What is known of a task before it was suppressed, as a law of two curves: the pretrained model's and the tuned one's.

Both follow the scoring law, with shots that may count for less and less, the second with parameters that fine-tuning moved by an
unknown amount:

    before:  p(n) = β + (γ − β) σ( o + K x(n) ln(γ / β) ),          q = (logit γ, logit(β/γ), ln K, o), o = logit ρ
    after:   the same with q + d
    both:    x(n) = ((1 + n)^λ − 1) / λ,  0 < λ < 1                 (Box, Cox 1964)

At λ = 1 all shots count alike, as in the scoring law; towards 0 the log odds grow as ln(1 + n), as those of real models do. One
posterior of q, d and λ is inferred from the whole curve before and the first shots after. The prior of d says how far
fine-tuning is thought to move each: γ, β and K some, for it may cost knowledge, ρ anywhere. So what few shots cannot tell comes
from the pretrained model, with its own uncertainty; what the height may have lost, few shots cannot tell, and a return that may
never be whole is forecast as one.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution
from scipy.optimize import least_squares

from ..curves import Curves
from ..laws.base import Law, Params
from ..laws.scoring import ScoringLaw, local_of
from ..posterior import PosteriorWarning, sample
from ..posterior.model.priors import normal


@dataclasses.dataclass(frozen=True)
class ShiftPrior:
    """How far fine-tuning is thought to move each parameter: standard deviations in the unconstrained scale."""

    gamma: float = 1.0  # of logit γ
    beta: float = 1.0  # of logit (β / γ)
    efficiency: float = 0.7  # of ln K
    odds: float = 4.0  # of logit ρ
    discrepancy: float = (
        0.01  # `point_draws`: added to each standard error of a probability, for no law is exactly true
    )

    def priors(self) -> dict[str, Distribution]:
        """Priors of the raw parameters of `BeforeAfter`, by the names that `iclbayes.posterior` takes."""
        moved = {f"raw_{name}_moved": normal(0.0, getattr(self, name)) for name in PARTS}
        return moved | {f"raw_{name}": normal(*BeforeAfter.ridge_at[name]) for name in (*PARTS, "bend")}


SHIFT_PRIOR = ShiftPrior()
PARTS = ("gamma", "beta", "efficiency", "odds")  # the order of q
MOVED = tuple(f"{name}_moved" for name in PARTS)


def slowed(shots: Array, power: ArrayLike) -> Array:
    """x(n) = ((1 + n)^λ − 1) / λ for λ > 0: n itself at 1, ln(1 + n) towards 0."""
    return jnp.expm1(power * jnp.log1p(shots)) / power


@dataclasses.dataclass(frozen=True)
class BeforeAfter(ScoringLaw):
    """The law of two curves, before and after: raw parameters q, d under the names …_moved, and bend = logit λ, all scalars."""

    name: str = "scoring_before_after"
    label: ClassVar[str] = "Bayesian (scoring), before and after"
    param_names: ClassVar[tuple[str, ...]] = (*PARTS, *MOVED, "bend")
    per_source: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[dict[str, tuple[str, ...]]] = {}
    ridge: ClassVar[float] = 0.02  # points fits are modes: d is never determined by the points alone
    ridge_at: ClassVar[dict[str, tuple[float, float]]] = {
        "gamma": (0.0, 2.0),
        "beta": (-1.0, 1.5),
        "efficiency": (-1.0, 2.0),
        "odds": (0.0, 3.0),
        "bend": (1.5, 2.5),  # of logit λ: 0.07 to 0.997, with most of its mass near one of both ends
        **{f"{name}_moved": (0.0, getattr(SHIFT_PRIOR, name)) for name in PARTS},
    }

    def raw_shapes(self, n_curves: int, background: int) -> dict[str, tuple[int, ...]]:
        del n_curves, background  # always two curves, each with a task of its own beside all others
        return dict.fromkeys(self.param_names, ())

    def constrain(self, raw: Params) -> Params:
        return dict(raw)

    def unconstrain(self, params: Params) -> Params:
        return dict(params)

    def local(self, raw: Params) -> Array:
        two = local_of(*self._both(raw)[:-1])
        return jnp.concatenate([two, jnp.broadcast_to(jax.nn.sigmoid(raw["bend"]), (1, 2))])

    def point(self, q: Array, x: Array) -> Array:
        return ScoringLaw().point(q[:-1], slowed(x, q[-1]))

    def point_and_jacobian(self, q: Array, x: Array) -> tuple[Array, tuple[Array, ...]]:
        return Law.point_and_jacobian(self, q, x)

    def shots_to_reach(self, params: Params, level: Array) -> Array:
        return jax.vmap(_reach, in_axes=(1, None))(self._both(params), level)

    @staticmethod
    def _both(params: Params) -> Array:
        """q of both curves with logit λ behind it [5, 2]."""
        before, moved = (jnp.stack([params[name] for name in names]) for names in (PARTS, MOVED))
        bend = jnp.broadcast_to(params["bend"], (1, 2))
        return jnp.concatenate([jnp.stack([before, before + moved], axis=1), bend])

    def guess(self, x: Array, y: Array, w: Array, n_starts: int, key: Array, background: int) -> Params:
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
            "bend": still,
        }


class CurvePair(NamedTuple):
    """One suppressed curve: the pretrained model's whole curve, and the first points after fine-tuning.

    Attributes:
      before, after: (shots, prob, stderr), three arrays of equal length.
    """

    before: tuple[np.ndarray, np.ndarray, np.ndarray]
    after: tuple[np.ndarray, np.ndarray, np.ndarray]


def posterior_draws(
    pairs: Sequence[CurvePair],
    *,
    shift_prior: ShiftPrior = SHIFT_PRIOR,
    method: Literal["psis", "laplace", "nuts"] = "psis",
    draws: int = 2000,
    seed: int = 0,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the parameters after fine-tuning, from the posterior of `BeforeAfter`.

    Points have normal noise with the standard error given and an extra scale that is inferred (a law is never exactly true).

    Args:
      pairs: the curves.
      shift_prior: how far fine-tuning may move each parameter.
      method: of `iclbayes.posterior.sample`: "psis", "laplace" or "nuts".
      draws, seed: number of draws and their seed.
      **options: of `iclbayes.posterior.sample`.

    Returns:
      (q + d with logit λ behind it [curves, draws, 5]; k̂ [curves] of importance sampling, NaN without).
    """
    chains = 4
    options = {
        "n_chains": chains,
        "n_draws": -(-draws // chains),
        "max_k_hat": np.inf,
        "discrepancy": None,
    } | options
    priors = shift_prior.priors() | options.pop("priors", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # k̂ is returned
        found = sample(
            _as_curves(pairs),
            BeforeAfter(),
            likelihood="normal",
            priors=priors,
            method=method,
            seed=seed,
            **options,
        )
    moved = [found.params[name] + found.params[f"{name}_moved"] for name in PARTS]
    q = np.stack([*moved, found.params["bend"]], -1)  # [C, D, G, 5]
    q = q.reshape(-1, *q.shape[2:]).swapaxes(0, 1)
    return q, found.diagnostics()["k_hat"].to_numpy(float)


def point_draws(
    pairs: Sequence[CurvePair],
    centres: np.ndarray,
    *,
    shift_prior: ShiftPrior = SHIFT_PRIOR,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Draws [curves, draws, 4] of q + d, with the pretrained model's point fits, centres [curves, 4], taken for granted, λ = 1.

    Finds the mode of the posterior of q around its centre (least squares from several priors ρ), proposes from a Student t (5
    degrees of freedom) with the curvature there, and resamples by importance.
    """
    sd = np.array([getattr(shift_prior, name) for name in PARTS])
    longest = max(len(pair.after[0]) for pair in pairs)
    streams = np.random.SeedSequence(seed).spawn(len(pairs))
    found = []
    for pair, centre, stream in zip(pairs, centres, streams, strict=True):
        shots, prob, stderr = pair.after
        error = np.hypot(np.nan_to_num(stderr, nan=shift_prior.discrepancy), shift_prior.discrepancy)
        # Points that are none have an infinite error, so that one program serves curves of all lengths.
        rest = (0, longest - len(shots))
        points = np.pad(shots, rest), np.pad(prob, rest), np.pad(error, rest, constant_values=np.inf)
        found.append(_draws_around((*points, centre, sd), draws, np.random.default_rng(stream)))
    return np.stack(found)


@jax.jit
def _residuals(q, shots, prob, error, centre, sd):
    """Standardised residuals [n + 4] of the points and of the prior, for q [4]."""
    p = ScoringLaw().point(local_of(*q)[:, None], shots)
    return jnp.concatenate([(p - prob) / error, (q - centre) / sd])


_slopes = jax.jit(jax.jacfwd(_residuals))
_many_residuals = jax.jit(jax.vmap(_residuals, in_axes=(0, *[None] * 5)))


def _draws_around(known, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [draws, 4] for what `_residuals` takes beside q."""
    centre, freedom = known[3], 5
    with jax.enable_x64(True):
        starts = [np.r_[centre[:3], centre[3] + step] for step in (0.0, -2.0, -4.0, -7.0, 2.0)]
        found = [
            least_squares(
                lambda q: np.asarray(_residuals(q, *known)),
                start,
                jac=lambda q: np.asarray(_slopes(q, *known)),  # pyright: ignore[reportArgumentType]
                method="lm",
            )
            for start in starts
        ]
        best = min(found, key=lambda r: r.cost)
        factor = np.linalg.cholesky(np.linalg.inv(best.jac.T @ best.jac))
        z = rng.standard_normal((2 * draws, 4))
        z = z / np.sqrt(rng.chisquare(freedom, (2 * draws, 1)) / freedom)
        q = best.x + z @ factor.T
        log_target = -0.5 * np.sum(np.asarray(_many_residuals(q, *known)) ** 2, axis=1)
    log_proposal = -0.5 * (freedom + 4) * np.log1p(np.sum(z**2, axis=1) / freedom)
    weight = log_target - log_proposal
    weight = np.exp(weight - weight.max())
    return q[rng.choice(len(q), draws, p=weight / weight.sum())]


def _as_curves(pairs: Sequence[CurvePair]) -> Curves:
    """Groups of two curves, before and after."""
    parts = [part for pair in pairs for part in pair]
    shots, prob, stderr = (np.concatenate([p[i] for p in parts]).astype(float) for i in range(3))
    unknown = np.full(len(shots), np.nan)
    return Curves(
        keys=pd.DataFrame({"curve": np.arange(len(pairs))}),
        group=np.repeat(np.arange(len(pairs)), 2),
        source=np.array(["before", "after"] * len(pairs), dtype=object),
        start=np.concatenate([[0], np.cumsum([len(p[0]) for p in parts])]),
        shots=shots, prob=prob, weight=np.ones(len(shots)),
        stderr=np.where(stderr > 0, stderr, np.nan), n_correct=unknown, n_test=unknown,
    )  # fmt: skip


def _reach(q, level):
    """n* [] for q [4], a task of its own beside all others, or q with logit λ behind it [5]."""
    logit_gamma, logit_ratio, log_efficiency, odds = q[:4]
    gamma = jax.nn.sigmoid(logit_gamma)
    params = {
        "prior": jax.nn.sigmoid(jnp.stack([odds, -odds])),
        "efficiency": jnp.exp(log_efficiency),
        "gamma": gamma[None],
        "beta": (gamma * jax.nn.sigmoid(logit_ratio))[None],
    }
    x = ScoringLaw().shots_to_reach(params, level)[0]
    power = _power(q)
    return jnp.expm1(jnp.log1p(power * x) / power)


def _power(q):
    """λ of q [5]; 1 for q [4]."""
    return jax.nn.sigmoid(q[4]) if q.shape[0] > len(PARTS) else 1.0


def _mean(q, shots):
    return ScoringLaw().point(local_of(*q[:4])[:, None], slowed(shots, _power(q)))


_mean_of_many = jax.jit(jax.vmap(_mean))
_reach_of_many = jax.jit(jax.vmap(_reach))


def curves_of(q: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """p(n) in float64 for q [curves, 4], the scoring law, or [curves, 5], with logit λ, and shots [curves, n]: [curves, n]."""
    with jax.enable_x64(True):
        return np.asarray(_mean_of_many(np.asarray(q, float), np.asarray(shots, float)))


def shots_to_level(q: np.ndarray, level: ArrayLike) -> np.ndarray:
    """n* in float64 for q […, 4], the scoring law, or […, 5], with logit λ, and levels that broadcast against […].

    0 from the start, inf for never.
    """
    q = np.asarray(q, float)
    level = np.broadcast_to(np.asarray(level, float), q.shape[:-1])
    with jax.enable_x64(True):
        return np.asarray(_reach_of_many(q.reshape(-1, q.shape[-1]), level.reshape(-1))).reshape(level.shape)


def q_of(frame: pd.DataFrame, margin: float = 1e-12) -> np.ndarray:
    """q [curves, 4] of rows of fitted parameters, each probability and ratio kept `margin` off its boundaries."""
    gamma, prior = (np.clip(frame[name].to_numpy(), margin, 1 - margin) for name in ("gamma", "prior"))
    ratio = np.clip(frame["beta"].to_numpy() / gamma, margin, 1 - margin)
    logits = [np.log(p) - np.log1p(-p) for p in (gamma, ratio, prior)]
    efficiency = np.log(np.clip(frame["efficiency"].to_numpy(), 1e-12, 1e12))
    return np.stack([*logits[:2], efficiency, logits[2]], -1)
