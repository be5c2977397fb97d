"""Along curves: draws of the expected probability and of the next observation, densities of points, forecasts.

Functions of `PosteriorDraws`; `Posterior` has them as methods.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from numpy.typing import ArrayLike

from ..contrasts.tables import BAND, quantiles
from ..curves import Curves, curve_columns
from ..errors import InputError
from ..padding import bucket_length, pad_index
from .draws import PosteriorDraws
from .identification import PRIOR_DOMINATED
from .model.latent import prior_draws, split_sites, unravel
from .model.likelihoods import EDGE, Likelihood
from .model.numpyro_model import Sites, noise_at, probability
from .model.spec import Spec, UnitData
from .sampling.unit_draws import UnitDraws
from .seeds import stream
from .units import median, over_units

PRIOR_DRAWS = 500  # of the prior: they tell its spread to 3 %
PART, ROWS = 500, 4  # draws of a unit in a row of a program, rows of a call
POINTS = 4096  # in a row of the program of densities
FILLING = (
    20_000  # points of rows that padding may add: computing them takes less time than reading another program
)


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


class _Drawn(NamedTuple):
    """Draws theta [U, S, P] of units, and the data [U, …] that they are conditioned on."""

    theta: np.ndarray
    data: UnitData


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
      observed, prior: whether these draws are wanted; none of them else.
    """
    seed = posterior.seed if seed is None else seed
    own = isinstance(shots, Curves)
    take = _thinned(posterior, most)
    if own:
        points: tuple[int, ...] = (len(shots.shots),)
    else:
        shots = np.asarray(shots, float)
        if shots.ndim != 1 or not shots.size or not (shots >= 0).all():
            raise InputError("shots must be one axis of numbers ≥ 0, at least one of them, or a Curves")
        points = (posterior.curves.n_groups, posterior.n_sources, len(shots))
    before = np.arange(min(PRIOR_DRAWS, len(take)))
    sizes = {
        "latent": len(take),
        "observed": len(take) if observed else 0,
        "prior": len(before) if prior else 0,
    }
    # Draws of a point stand together: tables sort them.
    found = {name: np.full((*points, size), np.nan) for name, size in sizes.items()}
    rng = np.random.default_rng(stream(seed, "noise"))
    for number, block in enumerate(posterior.blocks):
        target = _targets(posterior, block, shots, n_test)
        drawn = [_Drawn(_taken(block, take), block.units.data)]
        if prior:
            drawn.append(_of_prior(block, len(before), seed))
        walk = np.random.default_rng(stream(seed, "walk", number))
        (value, noise), *others = _probabilities(block, drawn, target.shots, walk)
        for some in _slices(len(value)):
            kinds = {"latent": value[some]}
            if observed:
                trials, error = (
                    np.broadcast_to(a[some, None], value[some].shape) for a in (target.n_test, target.stderr)
                )
                scatter = {name: array[some] for name, array in noise.items()}
                kinds["observed"] = block.spec.likelihood.sample(rng, value[some], scatter, trials, error)
            if prior:
                kinds["prior"] = others[0][0][some]
            for name, kind in kinds.items():
                rows = np.moveaxis(kind, 1, -1)
                if own:
                    real = target.real[some]
                    found[name][target.where[some][real]] = rows[real]
                else:
                    index = block.units.curves[some]
                    found[name][posterior.curves.group[index], posterior.curves.rank()[index]] = rows
    return Along(**{name: np.moveaxis(array, -1, 0) for name, array in found.items()})


def _slices(n_units: int) -> Iterator[slice]:
    """A few units at a time, whose draws stay in a core's cache."""
    return (slice(begin, begin + ROWS) for begin in range(0, n_units, ROWS))


def _of_prior(block: UnitDraws, n: int, seed: int) -> _Drawn:
    """n draws of the prior, of no data."""
    data = block.units.data
    theta = prior_draws(block.spec, data.shots.shape[1], n, stream(seed, "prior"))
    theta = np.broadcast_to(theta, (len(block.theta), *theta.shape))
    return _Drawn(theta, data._replace(mask=np.zeros_like(data.mask)))


def _taken(block: UnitDraws, take: np.ndarray) -> np.ndarray:
    """Some of all draws of each unit: theta [U, S, P]."""
    return block.theta.reshape(len(block.theta), -1, block.theta.shape[-1])[:, take]


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
        latent, next_one, before = (part.T for part in found)
    else:
        shots = np.asarray(shots, float)
        curve = np.repeat(np.arange(curves.n_curves), len(shots))
        at = np.tile(shots, curves.n_curves)
        latent, next_one, before = (
            np.moveaxis(part, 0, -1)[curves.group, curves.rank()].reshape(-1, len(part)) for part in found
        )
    frame = curve_columns(curves).iloc[curve].reset_index(drop=True)
    frame = frame.assign(shots=at)
    for prefix, rows in (("", next_one), ("latent_", latent)):
        frame[f"{prefix}mean"] = rows.mean(1)
        levels = quantiles(rows, list(BAND.values()))
        frame = frame.assign(**{f"{prefix}{name}": row for name, row in zip(BAND, levels, strict=True)})
    frame["observed"] = _observed(curves, curve, at)
    frame["prior_dominated"] = latent.std(1) > PRIOR_DOMINATED * before.std(1)
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
        walk = np.random.default_rng(stream(seed, "walk", number))
        drawn = _Drawn(_taken(block, take), block.units.data)
        ((p, noise),) = _probabilities(block, [drawn], target.shots, walk)
        where, real = target.where, target.real
        y = curves.n_correct[where] if likelihood.counts else curves.prob[where]
        y = np.where(real, np.nan_to_num(y), 0.5 if not likelihood.counts else 0.0)[:, None]
        value = _point_densities(likelihood, p, noise, target.n_test[:, None], target.stderr[:, None], y)
        out[:, where[real]] = np.moveaxis(value, 1, 0)[:, real]
    return out


def _point_densities(
    likelihood: Likelihood, p: np.ndarray, noise: dict[str, np.ndarray], *others: np.ndarray
) -> np.ndarray:
    """ln of the density of each point, the shape of p; noise, and n_test, stderr, y (`others`) broadcast to that.

    A program of the likelihood alone, of rows of points: the same for all laws.
    """

    def row(p: np.ndarray) -> np.ndarray:
        flat = np.broadcast_to(p, shape).ravel()
        return np.pad(flat, (0, -len(flat) % POINTS), mode="edge").reshape(-1, POINTS)

    shape = p.shape
    arrays = (row(p), {name: row(value) for name, value in noise.items()}, *map(row, others))

    def density(p: Array, noise: Sites, n_test: Array, stderr: Array, y: Array) -> Array:
        return likelihood.log_prob(p, noise, n_test, stderr, y)

    found = over_units(("density", likelihood), density, arrays, ROWS)
    return found.ravel()[: p.size].reshape(shape)


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
    block: UnitDraws, drawn: Sequence[_Drawn], at: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Of each of several sets of draws, those of p [U, S, G, J, n] at shots [U, G, J, n], with the walk outside the fitted range,
    and of the noise parameters there, which broadcast to that.

    All of them go through one program, `PART` draws of a unit in a row of it, at a number of points of which there are few.
    """
    spec, n = block.spec, at.shape[-1]
    rows, counts = [], []
    for theta, data in drawn:
        parts = -(-theta.shape[1] // PART)
        index = np.minimum(np.arange(parts * PART), theta.shape[1] - 1)
        rows.append((
            theta[:, index].reshape(-1, PART, theta.shape[2]),
            *(jax.tree.map(lambda a, parts=parts: a.repeat(parts, 0), tree) for tree in (data, at)),
        ))  # fmt: skip
        counts.append(len(rows[-1][0]))
    theta, data, shots = jax.tree.map(lambda *a: np.concatenate(a), *rows)
    length = points_length(n, len(theta))
    shots = shots[..., np.minimum(np.arange(length), n - 1)]

    def per_row(theta: Array, data: UnitData, at: Array) -> tuple[Array, Sites, Array]:
        n_groups = data.shots.shape[0]
        blank = jnp.zeros(at.shape, at.dtype)
        there = data._replace(shots=at, n_test=blank, stderr=blank, obs=blank, mask=blank > 0)

        def one(theta: Array) -> tuple[Array, Sites, Array]:
            raw, extra = split_sites(spec, unravel(spec, theta, n_groups), data)
            sigma = jnp.exp(extra["raw_discrepancy"]) if spec.discrepancy else jnp.zeros(n_groups)
            return probability(spec, raw, extra, there), noise_at(spec, extra, at), sigma

        return jax.vmap(one)(theta)

    found = over_units(
        ("along", spec), per_row, (theta, data, shots), ROWS, effort="much" if spec.law.loops else "little"
    )
    out, begin = [], 0
    for (theta, data), count in zip(drawn, counts, strict=True):
        mine = jax.tree.map(lambda a, b=begin, c=count: a[b : b + c], found)
        begin += count
        units, n_draws = theta.shape[:2]
        p, noise, sigma = jax.tree.map(
            lambda a, u=units, s=n_draws: a.reshape(u, -1, *a.shape[2:])[:, :s], mine
        )
        noise = {
            name: value[..., :n] if value.shape[-1] == length else value for name, value in noise.items()
        }
        _go_beyond(spec, p, sigma, data, at, rng)
        out.append((p[..., :n], noise))
    return out


def _go_beyond(
    spec: Spec, p: np.ndarray, sigma: np.ndarray, data: UnitData, at: np.ndarray, rng: np.random.Generator
) -> None:
    """Adds a draw of the walk outside the fitted range to the log odds of p [U, S, G, J, n], in place."""
    out = (at < data.first[..., None]) | (at > data.last[..., None])
    columns = np.flatnonzero(out.any((0, 1, 2)))
    if spec.discrepancy is None or not len(columns):
        return
    scale = np.broadcast_to(np.moveaxis(sigma, 1, -1)[:, :, None], (*at.shape[:3], p.shape[1]))
    for some in _slices(len(p)):
        delta = spec.discrepancy.outside(
            rng, scale[some], data.first[some], data.last[some], at[some][..., columns]
        )
        before = p[some][..., columns]
        odds = before / (1 - before) * np.exp(np.clip(np.moveaxis(delta, 3, 1), -60.0, 60.0))
        moved = np.clip(odds / (1 + odds), EDGE, 1 - EDGE)
        p[some, ..., columns] = np.where(out[some, None][..., columns], moved, before)


def points_length(n: int, n_rows: int) -> int:
    """Points of a row to which n are padded: few numbers, since each is a program, unless the rows are many."""
    few = 16 if n <= 16 else -(-n // 192) * 192
    return few if n_rows * (few - n) <= FILLING else int(bucket_length(n))
