"""Along curves: draws of the expected probability and of the next observation, densities of points, forecasts.

The functions that take a posterior are methods of `Posterior`.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ..curves import Curves, curve_columns
from ..errors import InputError
from . import batching
from .model.model import UnitData, noise_at, probability, shift, split_sites, unravel
from .units import median

if TYPE_CHECKING:
    from .result import Posterior

LEVELS = {"lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}


def draws(
    posterior: "Posterior",
    shots,
    *,
    observation: bool = False,
    n_test=None,
    most: int = 1000,
    seed: int | None = None,
):
    """Draws of the expected probability, or of the next observation, with the discrepancy where there is one.

    Args:
      shots: [n], the same for every curve; or a `Curves` with the same curves, whose own shots (and n_test, stderr) count.
      observation: draw observations (as probabilities), their noise included.
      n_test: test examples behind an observation; default: the curve's own (median), or those of the given `Curves`.
      most: draws at most (evenly thinned).
      seed: of the walk and the noise; default: the posterior's.

    Returns:
      [S, G, J, n] (NaN where a group has fewer sources), or [S, N] along the points of the given `Curves`.

    Raises:
      InputError: other curves than those of this posterior.
    """
    seed = posterior.seed if seed is None else seed
    own = isinstance(shots, Curves)
    take = _thinned(posterior, most)
    if own:
        out = np.full((len(take), len(shots.shots)), np.nan)
    else:
        shots = np.asarray(shots, float)
        if shots.ndim != 1 or not (shots >= 0).all():
            raise InputError("shots must be one axis of numbers ≥ 0, or a Curves")
        out = np.full(
            (len(take), posterior.curves.n_groups, int(posterior.curves.rank().max()) + 1, len(shots)), np.nan
        )
    rng = np.random.default_rng(seed)
    for number, block in enumerate(posterior.blocks):
        target = _targets(posterior, block, shots, n_test)
        value, noise = _probabilities(block, take, target["shots"], seed + 31 * number)
        if observation:
            trials, error = (np.broadcast_to(target[k][:, None], value.shape) for k in ("n_test", "stderr"))
            value = block.spec.likelihood.sample(rng, value, noise, trials, error)
        value = np.moveaxis(value, 1, 0)
        if own:
            out[:, target["where"][target["real"]]] = value[:, target["real"]]
        else:
            index = block.layout.curves
            out[:, posterior.curves.group[index], posterior.curves.rank()[index]] = value
    return out


def log_score(
    posterior: "Posterior", curves: Curves, *, most: int = 1000, seed: int | None = None
) -> np.ndarray:
    """ln of the predictive density (mass, for counts) of each point [N] of a `Curves` with the same curves."""
    seed = posterior.seed if seed is None else seed
    take = _thinned(posterior, most)
    value = _log_density(posterior, curves, take, seed)
    return np.logaddexp.reduce(value, axis=0) - np.log(len(take))


def log_likelihood(posterior: "Posterior") -> np.ndarray:
    """ln of the density of each point at each draw, [C, D, N] (also of the points that were not used)."""
    chains, draws = posterior.blocks[0].theta.shape[1:3]
    value = _log_density(posterior, posterior.curves, np.arange(chains * draws), posterior.seed)
    return value.reshape(chains, draws, -1)


def forecast(posterior: "Posterior", shots=None, *, n_test=None, most: int = 1000) -> pd.DataFrame:
    """Predictive distribution of the next observation (its noise included), a row per group, source and shots.

    Args:
      shots: [n] or a `Curves`; default: 60 points from 0 to the curves' largest number of shots, even in ln(1 + n).
      n_test: test examples behind the observation; default: the curve's own.

    Returns:
      Group columns, source, shots, mean, median, lo50, hi50, lo90, hi90, law.
    """
    if shots is None:
        top = posterior.curves.max_shots().max()
        shots = np.unique(np.round(np.expm1(np.linspace(0.0, np.log1p(top), 60))))
    values = posterior.draws(shots, observation=True, n_test=n_test, most=most)
    return frame_of(posterior.curves, shots, values).assign(law=posterior.law.name)


def frame_of(curves: Curves, shots, values: np.ndarray) -> pd.DataFrame:
    """Group columns, source, shots, mean, median, lo50, hi50, lo90, hi90 of draws as `Posterior.draws` returns them."""
    if isinstance(shots, Curves):
        curve, at, flat = shots.point_curve(), shots.shots, values
    else:
        shots = np.asarray(shots, float)
        curve = np.repeat(np.arange(curves.n_curves), len(shots))
        at = np.tile(shots, curves.n_curves)
        flat = values[:, curves.group, curves.rank()].reshape(len(values), -1)
    frame = curve_columns(curves).iloc[curve].reset_index(drop=True)
    frame = frame.assign(shots=at, mean=flat.mean(0), median=np.median(flat, 0))
    for name, level in LEVELS.items():
        frame[name] = np.quantile(flat, level, axis=0)
    return frame


def _thinned(posterior: "Posterior", most: int) -> np.ndarray:
    """Which draws to use: all, or `most` of them evenly."""
    total = int(np.prod(posterior.blocks[0].theta.shape[1:3]))
    return np.linspace(0, total - 1, min(most, total)).astype(int)


def _log_density(posterior: "Posterior", curves, take, seed):
    out = np.full((len(take), len(curves.shots)), np.nan)
    for number, block in enumerate(posterior.blocks):
        target = _targets(posterior, block, curves, None)
        likelihood = block.spec.likelihood
        p, noise = _probabilities(block, take, target["shots"], seed + 31 * number)
        where, real = target["where"], target["real"]
        y = curves.n_correct[where] if likelihood.counts else curves.prob[where]
        y = np.where(real, np.nan_to_num(y), 0.5 if not likelihood.counts else 0.0)[:, None]
        with jax.enable_x64(True):
            trials, error = jnp.asarray(target["n_test"][:, None]), jnp.asarray(target["stderr"][:, None])
            noise = {name: jnp.asarray(v) for name, v in noise.items()}
            trials, error = jnp.broadcast_to(trials, p.shape), jnp.broadcast_to(error, p.shape)
            value = np.asarray(likelihood.log_prob(jnp.asarray(p), noise, trials, error, jnp.asarray(y)))
        out[:, where[real]] = np.moveaxis(value, 1, 0)[:, real]
    return out


def _targets(posterior: "Posterior", block, shots, n_test):
    """Where to predict: point index, shots, real, n_test, stderr, each [U, G, J, n]."""
    index = block.layout.curves
    if isinstance(shots, Curves) and shots.n_curves != posterior.curves.n_curves:
        raise InputError(
            f"this posterior is of {posterior.curves.n_curves} curves, the ones given are {shots.n_curves}"
        )
    data = block.layout.data
    if isinstance(shots, Curves):
        sizes = np.diff(shots.start)
        length = max(int(sizes[index].max()), 1)
        where = np.minimum(shots.start[:-1][index][..., None] + np.arange(length), len(shots.shots) - 1)
        real = np.arange(length) < sizes[index][..., None]
        at, trials, error = shots.shots[where], shots.n_test[where], shots.stderr[where]
    else:
        at = np.broadcast_to(shots, (*index.shape, len(shots)))
        where, real = np.zeros(at.shape, int), np.ones(at.shape, bool)
        trials = error = np.full(at.shape, np.nan)
    seen = np.where(data.mask, data.n_test, np.nan)
    seen_error = np.where(data.mask & (data.stderr > 0), data.stderr, np.nan)
    trials = np.where(np.isnan(trials), median(seen), trials)
    error = np.where(np.isnan(error), median(seen_error), error)
    if n_test is not None:
        trials = np.full(at.shape, float(n_test))
    trials, error = np.broadcast_to(np.nan_to_num(trials, nan=1.0), at.shape), np.nan_to_num(error)
    return {
        "where": where,
        "shots": at,
        "real": real,
        "n_test": trials,
        "stderr": np.broadcast_to(error, at.shape),
    }


def _probabilities(block, take, at, seed):
    """Draws of p [U, S, G, J, n], with the walk outside the fitted range, and of the noise parameters there, which
    broadcast to that."""
    spec = block.spec
    flat = block.theta.reshape(len(block.theta), -1, block.theta.shape[-1])[:, take]

    def per_unit(key, theta, data, at):
        n_groups = data.shots.shape[0]
        blank = jnp.zeros(at.shape, at.dtype)
        there = data._replace(shots=at, n_test=blank, stderr=blank, obs=blank, mask=blank > 0)
        keys = jax.random.split(jax.random.wrap_key_data(key), len(theta))

        def one(key, theta):
            return _probability_beyond(
                spec, split_sites(spec, unravel(spec, theta, n_groups), data), there, key
            )

        return jax.vmap(one)(keys, theta)

    inputs = (batching.keys(seed, len(flat), 3), flat, block.layout.data, at)
    return batching.over_units(
        ("along", spec, len(take)), per_unit, inputs, min(16, batching.chunk_size(len(block.theta)))
    )


def _probability_beyond(spec, parts, data: UnitData, key):
    raw, extra = parts
    p = probability(spec, raw, extra, data)
    if spec.discrepancy:
        sigma = jnp.exp(extra["raw_discrepancy"])
        p = shift(p, spec.discrepancy.outside(key, sigma, data.first, data.last, data.shots))
    return p, noise_at(spec, extra, data.shots)
