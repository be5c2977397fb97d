"""Along curves: draws of the expected probability and of the next observation, densities of points, forecasts.

Functions of `PosteriorDraws`; `Posterior` has them as methods.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from numpy.typing import ArrayLike

from ..contrasts.tables import INTERVALS
from ..curves import Curves, curve_columns
from ..errors import InputError
from ..padding import pad_index
from .draws import PosteriorDraws
from .model.latent import prior_draws, split_sites, unravel
from .model.numpyro_model import Sites, noise_at, probability, shift
from .model.spec import Spec, UnitData
from .sampling.unit_draws import UnitDraws
from .seeds import key_of, stream, unit_keys
from .units import chunk_size, median, over_units

# The data have the say where they took away three quarters of the variance that the prior gives to the expected probability, half
# of its standard deviation; else the forecast is more the prior's than theirs. 1 − Var(posterior) / Var(prior) is known as the
# posterior contraction (Schad, Betancourt, Vasishth 2021, Psychological Methods 26, 103).
PRIOR_DOMINATED = 0.5
PRIOR_DRAWS = 500  # of the prior: they tell its spread to 3 %


class Along(NamedTuple):
    """Draws along curves, each [S, G, J, n] or [S, N].

    Attributes:
      latent: of the expected probability.
      observed: of the next observation at it.
      prior: of the expected probability under the prior alone, before any data; S of its own.
    """

    latent: np.ndarray
    observed: np.ndarray
    prior: np.ndarray


def draws(
    posterior: PosteriorDraws,
    shots: ArrayLike | Curves,
    *,
    observation: bool = False,
    n_test: float | None = None,
    most: int = 1000,
    seed: int | None = None,
) -> np.ndarray:
    """Draws [S, G, J, n] or [S, N] of the probability or of the next observation; see `Posterior.draws`."""
    found = along(posterior, shots, n_test=n_test, most=most, seed=seed, observed=observation, prior=False)
    return found.observed if observation else found.latent


def along(
    posterior: PosteriorDraws,
    shots: ArrayLike | Curves,
    *,
    n_test: float | None = None,
    most: int = 1000,
    seed: int | None = None,
    observed: bool = True,
    prior: bool = True,
) -> Along:
    """Draws of the probability, and (unless not wanted) of the observation at it and of the probability under the prior alone.

    Args:
      posterior, shots, n_test, most, seed: see `Posterior.draws`.
      observed, prior: whether these draws are wanted; NaN else.
    """
    seed = posterior.seed if seed is None else seed
    own = isinstance(shots, Curves)
    take = _thinned(posterior, most)
    if own:
        blank = np.full((len(take), len(shots.shots)), np.nan)
    else:
        shots = np.asarray(shots, float)
        if shots.ndim != 1 or not (shots >= 0).all():
            raise InputError("shots must be one axis of numbers ≥ 0, or a Curves")
        blank = np.full((len(take), posterior.curves.n_groups, posterior.n_sources, len(shots)), np.nan)
    before = np.arange(min(PRIOR_DRAWS, len(take)))
    found = Along(blank, blank.copy(), blank[before])
    rng = np.random.default_rng(stream(seed, "noise"))
    for number, block in enumerate(posterior.blocks):
        target = _targets(posterior, block, shots, n_test)
        keys = unit_keys(stream(seed, "walk", number), len(block.theta))
        value, noise = _probabilities(block, take, target.shots, keys)
        kinds: dict[str, np.ndarray] = {"latent": value}
        if observed:
            trials, error = (np.broadcast_to(a[:, None], value.shape) for a in (target.n_test, target.stderr))
            kinds["observed"] = block.spec.likelihood.sample(rng, value, noise, trials, error)
        if prior:
            kinds["prior"] = _prior_probabilities(block, before, target.shots, keys, seed)
        for name, kind in kinds.items():
            out, kind = getattr(found, name), np.moveaxis(kind, 1, 0)
            if own:
                out[:, target.where[target.real]] = kind[:, target.real]
            else:
                index = block.units.curves
                out[:, posterior.curves.group[index], posterior.curves.rank()[index]] = kind
    return found


def _prior_probabilities(
    block: UnitDraws, take: np.ndarray, at: np.ndarray, keys: np.ndarray, seed: int
) -> np.ndarray:
    """Draws of p [U, S, G, J, n] under the prior alone: `_probabilities` of draws of the prior, of no data."""
    data = block.units.data
    theta = prior_draws(block.spec, data.shots.shape[1], len(take), stream(seed, "prior"))
    theta = np.broadcast_to(theta[None, None], (len(block.theta), 1, *theta.shape))
    units = dataclasses.replace(block.units, data=data._replace(mask=np.zeros_like(data.mask)))
    none = dataclasses.replace(block, theta=theta, units=units)
    return _probabilities(none, np.arange(len(take)), at, keys)[0]


def log_score(
    posterior: PosteriorDraws, curves: Curves, *, most: int = 1000, seed: int | None = None
) -> np.ndarray:
    """ln of the predictive density of each point [N]; see `Posterior.log_score`."""
    seed = posterior.seed if seed is None else seed
    take = _thinned(posterior, most)
    value = _log_density(posterior, curves, take, seed)
    return np.logaddexp.reduce(value, axis=0) - np.log(len(take))


def log_likelihood(posterior: PosteriorDraws) -> np.ndarray:
    """ln of the density of each point at each draw, [C, D, N]; see `Posterior.log_likelihood`."""
    chains, per_chain = posterior.n_draws
    value = _log_density(posterior, posterior.curves, np.arange(chains * per_chain), posterior.seed)
    return value.reshape(chains, per_chain, -1)


def even_shots(top: float, n: int = 60) -> np.ndarray:
    """At most n whole numbers of shots from 0 to `top`, even in ln(1 + shots)."""
    return np.unique(np.round(np.expm1(np.linspace(0.0, np.log1p(top), n))))


def forecast(
    posterior: PosteriorDraws,
    shots: ArrayLike | Curves | None = None,
    *,
    n_test: float | None = None,
    most: int = 1000,
) -> pd.DataFrame:
    """Predictive distribution of the next observation as a table; see `Posterior.forecast`."""
    if shots is None:
        top = posterior.curves.max_shots().max()
        shots = even_shots(top)
    found = along(posterior, shots, n_test=n_test, most=most)
    return frame_of(posterior.curves, shots, found).assign(law=posterior.law.name)


def frame_of(curves: Curves, shots: ArrayLike | Curves, found: Along) -> pd.DataFrame:
    """The columns of `Posterior.forecast` but for `law`, of draws as `along` gives them; no rows beyond a curve's window."""
    if isinstance(shots, Curves):
        curve, at = shots.point_curve(), shots.shots
        latent, next_one, before = found
    else:
        shots = np.asarray(shots, float)
        curve = np.repeat(np.arange(curves.n_curves), len(shots))
        at = np.tile(shots, curves.n_curves)
        latent, next_one, before = (
            part[:, curves.group, curves.rank()].reshape(len(part), -1) for part in found
        )
    frame = curve_columns(curves).iloc[curve].reset_index(drop=True)
    frame = frame.assign(shots=at)
    for prefix, part in (("", next_one), ("latent_", latent)):
        frame[f"{prefix}mean"], frame[f"{prefix}median"] = part.mean(0), np.median(part, 0)
        for name, level in INTERVALS.items():
            frame[f"{prefix}{name}"] = np.quantile(part, level, axis=0)
    frame["observed"] = _observed(curves, curve, at)
    frame["prior_dominated"] = latent.std(0) > PRIOR_DOMINATED * before.std(0)
    inside = at <= curves.window[curve]
    return frame if inside.all() else frame[inside].reset_index(drop=True)


def _observed(curves: Curves, curve: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What was measured of each curve at each number of shots (a mean where it was measured more than once); NaN elsewhere."""
    known = pd.DataFrame({"curve": curves.point_curve(), "shots": curves.shots, "value": curves.prob})
    means = known.groupby(["curve", "shots"])["value"].mean()
    return means.reindex(pd.MultiIndex.from_arrays([curve, at])).to_numpy(float)


def _thinned(posterior: PosteriorDraws, most: int) -> np.ndarray:
    """Which draws to use: all, or `most` of them evenly."""
    total = int(np.prod(posterior.n_draws))
    return np.linspace(0, total - 1, min(most, total)).astype(int)


class _Target(NamedTuple):
    """Where a block predicts, each [U, G, J, n]: index of the point, shots, whether there is a point, n_test, stderr."""

    where: np.ndarray
    shots: np.ndarray
    real: np.ndarray
    n_test: np.ndarray
    stderr: np.ndarray


def _log_density(posterior: PosteriorDraws, curves: Curves, take: np.ndarray, seed: int) -> np.ndarray:
    out = np.full((len(take), len(curves.shots)), np.nan)
    for number, block in enumerate(posterior.blocks):
        target = _targets(posterior, block, curves, None)
        likelihood = block.spec.likelihood
        keys = unit_keys(stream(seed, "walk", number), len(block.theta))
        p, noise = _probabilities(block, take, target.shots, keys)
        where, real = target.where, target.real
        y = curves.n_correct[where] if likelihood.counts else curves.prob[where]
        y = np.where(real, np.nan_to_num(y), 0.5 if not likelihood.counts else 0.0)[:, None]
        with jax.enable_x64(True):
            trials, error = jnp.asarray(target.n_test[:, None]), jnp.asarray(target.stderr[:, None])
            noise = {name: jnp.asarray(v) for name, v in noise.items()}
            trials, error = jnp.broadcast_to(trials, p.shape), jnp.broadcast_to(error, p.shape)
            value = np.asarray(likelihood.log_prob(jnp.asarray(p), noise, trials, error, jnp.asarray(y)))
        out[:, where[real]] = np.moveaxis(value, 1, 0)[:, real]
    return out


def _targets(
    posterior: PosteriorDraws, block: UnitDraws, shots: np.ndarray | Curves, n_test: float | None
) -> _Target:
    index = block.units.curves
    if isinstance(shots, Curves):
        if shots.n_curves != posterior.curves.n_curves:
            raise InputError(
                f"this posterior is of {posterior.curves.n_curves} curves, the ones given are {shots.n_curves}"
            )
        where, real = pad_index(shots.start, index)
        at, trials, error = shots.shots[where], shots.n_test[where], shots.stderr[where]
    else:
        at = np.broadcast_to(shots, (*index.shape, len(shots)))
        where, real = np.zeros(at.shape, int), np.ones(at.shape, bool)
        trials = error = np.full(at.shape, np.nan)
    data = block.units.data
    seen = np.where(data.mask, data.n_test, np.nan)
    seen_error = np.where(data.mask & (data.stderr > 0), data.stderr, np.nan)
    trials = np.where(np.isnan(trials), median(seen), trials)
    error = np.where(np.isnan(error), median(seen_error), error)
    if n_test is not None:
        trials = np.full(at.shape, float(n_test))
    trials, error = np.nan_to_num(trials, nan=1.0), np.nan_to_num(error)
    return _Target(where, at, real, np.broadcast_to(trials, at.shape), np.broadcast_to(error, at.shape))


def _probabilities(
    block: UnitDraws, take: np.ndarray, at: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws of p [U, S, G, J, n], with the walk outside the fitted range, and of the noise parameters there, which
    broadcast to that."""
    spec = block.spec
    flat = block.theta.reshape(len(block.theta), -1, block.theta.shape[-1])[:, take]

    def per_unit(key: Array, theta: Array, data: UnitData, at: Array) -> tuple[Array, Sites]:
        n_groups = data.shots.shape[0]
        blank = jnp.zeros(at.shape, at.dtype)
        there = data._replace(shots=at, n_test=blank, stderr=blank, obs=blank, mask=blank > 0)

        def one(key: Array, theta: Array) -> tuple[Array, Sites]:
            raw, extra = split_sites(spec, unravel(spec, theta, n_groups), data)
            return _probability_beyond(spec, raw, extra, there, key)

        return jax.vmap(one)(jax.random.split(key_of(key), len(theta)), theta)

    return over_units(
        ("along", spec, len(take)),
        per_unit,
        (keys, flat, block.units.data, at),
        chunk_size(len(block.theta), most=16),
    )


def _probability_beyond(
    spec: Spec, raw: Sites, extra: Sites, data: UnitData, key: Array
) -> tuple[Array, Sites]:
    p = probability(spec, raw, extra, data)
    if spec.discrepancy:
        sigma = jnp.exp(extra["raw_discrepancy"])
        p = shift(p, spec.discrepancy.outside(key, sigma, data.first, data.last, data.shots))
    return p, noise_at(spec, extra, data.shots)
