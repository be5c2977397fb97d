"""Priors learned from past curves: what a law's parameters were, curve by curve, says what they will be for the next.

A raw parameter θ of curve i is taken to be drawn from a population, a normal whose mean and variance are inferred:

    θ_i ~ Normal(μ, τ²),   μ | τ² ~ Normal(m, τ² / κ),   τ² ~ InverseGamma(ν / 2, ν s² / 2),   κ = ν = 1

with m and s of the default prior, which so counts as much as one more curve. Parameters are independent of each other in the
population; entries of one parameter (a group's sources) share theirs.

The curves' own posteriors under some normal prior π are sampled once; in the population a draw θ of curve i then has the
weight Normal(θ | μ, τ²) / π(θ), so Gibbs sampling alternates between one draw of each curve, chosen by these weights, and
(μ, τ²) given the chosen ones, which is conjugate. What is learned is the predictive distribution of the next curve's θ, a normal
with the median and the 90 % range of its draws. All this is done twice: the second time the curves' posteriors are sampled under
the prior that the first taught, where the weights are almost even.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd

from ..curves import Curves
from ..digests import arrays_digest
from ..errors import InputError
from ..laws import Law, get
from .model.latent import normal_prior, split_sites
from .model.learned import Z90, LearnedPriors, Normal, natural_quantiles
from .model.numpyro_model import Sites
from .model.priors import law_priors
from .model.spec import Spec, UnitData, make_spec
from .result import Posterior
from .sampler import sample
from .seeds import stream
from .stacking import STACK

FEWEST = 3  # groups below which no population can be told
SWEEPS, BURN_IN = 2000, 200
ROUNDS = 2  # of posteriors, the second under the prior that the first taught
MOST = 1000  # draws of a posterior among which the Gibbs sampler chooses


def learn_priors(
    curves: Curves,
    laws: Sequence[str | Law] = STACK,
    *,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda n: None,
    **options: Any,
) -> LearnedPriors:
    """Priors of laws for the next curve, learned from these.

    Args:
      curves: a library of past curves, of the kind of which the next will be; 3 groups or more.
      laws: names or laws.
      seed: of all random numbers.
      on_done: called with a number of posteriors after each chunk of them.
      options: of `iclbayes.posterior.sample`, such as likelihood and background.

    Returns:
      `LearnedPriors`, for `sample(…, priors=…)` and `stack(…, priors=…)`.

    Raises:
      InputError: fewer than 3 groups; what `sample` raises.
    """
    if curves.n_groups < FEWEST:
        raise InputError(
            f"learning priors: {curves.n_groups} groups tell no population; give {FEWEST} or more (see group_by)"
        )
    found = {}
    for number, law in enumerate(map(get, laws)):
        learned: LearnedPriors | None = None
        # Importance sampling alone: a prior from many curves does not hang on a poor k̂ of a few of them, and chains take ten
        # times as long (means within 0.1, standard deviations within 0.1, on nine curves).
        chosen: dict[str, Any] = {"max_k_hat": np.inf} | options
        for attempt in range(ROUNDS):
            with warnings.catch_warnings():  # a single curve's poor posterior is one of many here
                warnings.simplefilter("ignore")
                one = sample(curves, law, seed=seed, priors=learned, on_done=on_done, **chosen)
            rng = np.random.default_rng(stream(seed, "learning", number, attempt))
            learned = LearnedPriors({law.name: population(one, rng)})
        assert learned is not None
        found |= learned.laws
    return LearnedPriors(found, described(curves))


def described(curves: Curves) -> dict[str, Any]:
    """What priors were learned from: how many curves and points, and a digest of their values."""
    used = curves.weight > 0
    digest = arrays_digest({"shots": curves.shots[used], "prob": curves.prob[used]})
    return {"groups": curves.n_groups, "curves": curves.n_curves, "points": int(used.sum()), "digest": digest}


def learned_table(priors: LearnedPriors, law: str) -> pd.DataFrame:
    """Learned priors of a law beside its default ones, natural scale.

    Returns:
      A row per parameter: parameter, median, lo90, hi90, default_median, default_lo90, default_hi90 (NaN for parameters of the
      noise and the discrepancy, whose defaults depend on the likelihood), learned.
    """
    own = {name: Normal(*_normal(prior)) for name, prior in law_priors(get(law)).items()}
    unknown = Normal(np.nan, np.nan)
    rows = []
    for name, one in priors.laws[law].items():
        default = natural_quantiles(law, name, own.get(name, unknown))
        row = natural_quantiles(law, name, one) | {f"default_{key}": value for key, value in default.items()}
        rows.append({"parameter": name} | row | {"learned": one.learned})
    return pd.DataFrame(rows)


def population(one: Posterior, rng: np.random.Generator) -> dict[str, Normal]:
    """The predictive normal of every raw parameter of the next curve, from the posteriors of all curves of one law.

    Args:
      one: its priors are normal.
      rng: draws by the Gibbs sampler.

    Returns:
      Name → `Normal`, also of the parameters of noise and discrepancy.
    """
    draws = one.over_draws("raw", _raw)
    names = list(draws[0])
    default = np.array([_normal_of(_default_priors(one.blocks[0].spec), name) for name in names])
    blocks = [_weighed(block.spec, found, names) for block, found in zip(one.blocks, draws, strict=True)]
    centre, scale = default.T
    mean, variance = centre.copy(), scale**2
    future = []
    for sweep in range(BURN_IN + SWEEPS):
        count, total, squares = (np.zeros(len(names)) for _ in range(3))
        for sums, entries, base in blocks:
            chosen = _choose(rng, sums, base, mean, variance)
            count += len(sums) * entries
            total += chosen[:, 0].sum(0)
            squares += chosen[:, 1].sum(0)
        weight = count + 1
        middle = (total + centre) / weight
        spread = scale**2 + squares + centre**2 - weight * middle**2
        variance = np.maximum(spread, 1e-12) / rng.chisquare(count + 1)
        mean = middle + np.sqrt(variance / weight) * rng.standard_normal(len(names))
        if sweep >= BURN_IN:
            future.append(mean + np.sqrt(variance) * rng.standard_normal(len(names)))
    lo, mid, hi = np.quantile(future, [0.05, 0.5, 0.95], axis=0)
    sd = (hi - lo) / (2 * Z90)
    learned = np.clip(1 - (sd / scale) ** 2, 0.0, 1.0)
    return {name: Normal(*map(float, row)) for name, *row in zip(names, mid, sd, learned, strict=True)}


def _raw(spec: Spec, sites: Sites, data: UnitData) -> Sites:
    """Raw parameters of a unit with a prior of their own, flattened: those of the law, of the noise and of the discrepancy."""
    raw, extra = split_sites(spec, sites, data)
    extra = {name.removeprefix("raw_"): value for name, value in extra.items() if name.startswith("raw_")}
    return {name: jnp.ravel(value) for name, value in (dict(raw) | extra).items()}


def _default_priors(spec: Spec) -> Spec:
    return make_spec(spec.law, spec.likelihood, spec.n_curves, spec.background, spec.discrepancy)


def _normal_of(spec: Spec, name: str) -> tuple[float, float]:
    return _normal(dict(spec.priors)[name])


def _normal(prior: dist.Distribution) -> tuple[float, float]:
    known = normal_prior(prior)
    assert known is not None  # all defaults are, and so are learned ones
    return float(known[0]), float(known[1])


def _weighed(spec: Spec, found: Sites, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a block's draws: sums of θ and of θ² over a parameter's entries [U, S, 2, P], how many these are [P], −ln π [U, S]."""
    sums, entries, base = [], [], 0.0
    for name in names:
        value = np.asarray(found[name])
        value = value.reshape(len(value), -1, value.shape[-1])
        thin = max(1, value.shape[1] // MOST)
        value = value[:, ::thin]
        sums.append(np.stack([value.sum(-1), (value**2).sum(-1)], -1))
        entries.append(value.shape[-1])
        if value.shape[-1]:
            centre, scale = _normal_of(spec, name)
            base = base + 0.5 * (((value - centre) / scale) ** 2).sum(-1)
    return np.stack(sums, -1), np.array(entries), np.asarray(base)


def _choose(
    rng: np.random.Generator,
    sums: np.ndarray,
    base: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> np.ndarray:
    """θ and θ² [U, 2, P] of one draw of each unit, chosen with the weights Normal(θ | mean, variance) / π(θ)."""
    rows, draws = sums.shape[:2]
    slope = np.concatenate([mean / variance, -0.5 / variance])
    log_weight = base + sums.reshape(rows, draws, -1) @ slope
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    cumulative = np.cumsum(weight, 1)
    at = (cumulative < rng.random((rows, 1)) * cumulative[:, -1:]).sum(1)
    return sums[np.arange(rows), np.minimum(at, draws - 1)]
