"""Inference of the units of one bucket: modes, importance sampling, chains, and chains again where diagnostics are poor."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from ...runtime import Effort, map_chunks, one_blas_thread, programs
from ..model.latent import potential, prior_scales, walk_size
from ..model.spec import Spec, UnitData
from ..seeds import stream
from ..units import Units, chunk_size
from . import conditional_modes, coordinates, diagnostics, importance, laplace, mixture, psis
from .chains import rows, sample_chains
from .coordinates import Coordinates
from .options import SamplerOptions
from .starts import starts
from .unit_draws import UnitDraws

ROWS = 4  # rows of many draws whose densities a CPU takes in one call: the arrays of more leave its cache and take twice the time
PLACES = 8  # for each of the units side by side, whose gradients are taken in one call
MOST_HELD, MOST_COORDINATES = 20, 60  # beyond, paths to the arms of a posterior cost more than chains


@one_blas_thread()
def infer(
    spec: Spec,
    units: Units,
    method: str,
    sampling: SamplerOptions,
    seed: np.random.SeedSequence,
    on_done: Callable[[int], None],
) -> UnitDraws:
    """Posteriors of all units of a bucket.

    Args:
      spec, units: what is inferred, from which points.
      method, sampling, on_done: see `sample`.
      seed: of all random numbers.
    """
    block, worth, trusted = approximate(spec, units, method, sampling, seed)
    n_units = len(block.theta)
    if method == "laplace":
        todo = np.arange(0)
    elif method in ("auto", "psis"):
        todo = np.flatnonzero(~trusted)
    else:
        todo = np.arange(n_units)
    on_done(n_units - len(todo))
    if len(todo) == 0:
        return block
    draws = block.theta.reshape(n_units, -1, block.theta.shape[-1])
    laplace_covariance = block.mode.factor @ block.mode.factor.transpose(0, 2, 1)
    at = coordinates.fit(draws[todo], worth[todo], laplace_covariance[todo])
    return with_chains(block, todo, at, sampling, seed, on_done)


def approximate(
    spec: Spec,
    units: Units,
    method: str,
    sampling: SamplerOptions,
    seed: np.random.SeedSequence,
) -> tuple[UnitDraws, np.ndarray, np.ndarray]:
    """Draws around the modes: of the normal approximation for "laplace", else importance-resampled.

    Returns:
      (the draws, [U] how many independent draws they are worth, [U] whether importance sampling was enough).
    """
    data = units.data
    n_units = len(data.shots)
    # Modes and paths ask for few points at many places: there a call costs more than what it computes.
    few, places = n_units < 8, max(16, chunk_size(n_units))
    side = ROWS if jax.default_backend() == "cpu" else chunk_size(n_units)

    def over(
        name: str, one: Callable, theta: np.ndarray, unit: np.ndarray, size: int, effort: Effort = "little"
    ) -> Any:
        """`one` of each row of theta and the data of its unit, which are looked up chunk by chunk."""

        def some(chunk: tuple[np.ndarray, np.ndarray]) -> Any:
            return programs.run((name, spec), jax.vmap(one), chunk[0], rows(data, chunk[1]), effort=effort)

        return map_chunks(some, (theta, unit), size)

    def values(theta: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """[B, n] potentials of theta [B, n, P]."""

        def one(theta: Array, data: UnitData) -> Array:
            return jax.vmap(lambda t: potential(spec, t, data))(theta)

        if theta.shape[1] >= importance.PART:
            return over("values", one, theta, unit, side, "little" if few and not spec.law.loops else "much")
        if few:
            return with_slopes(theta, unit)[0]
        return over("values", one, theta, unit, places)

    def with_slopes(theta: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Potentials [B, n] and gradients [B, n, P] at theta [B, n, P], one program for any n. With few units a call costs the
        same without gradients, and a program of its own would have to be compiled."""

        def one(theta: Array, data: UnitData) -> tuple[Array, Array]:
            return jax.value_and_grad(lambda t: potential(spec, t, data))(theta)

        flat = theta.reshape(-1, theta.shape[2]), unit.repeat(theta.shape[1])
        value, slope = over("slopes", one, *flat, PLACES * places)
        return value.reshape(theta.shape[:2]), slope.reshape(theta.shape)

    def slopes(theta: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """[B, n, P] gradients at theta [B, n, P]."""
        return with_slopes(theta, unit)[1]

    n_groups = data.shots.shape[1]
    walk = walk_size(spec, n_groups)
    mode = laplace.best_modes(values, slopes, starts(spec, n_groups, values, n_units), walk)
    total = sampling.n_chains * sampling.n_draws
    k_hat = np.full(n_units, np.nan)
    worth, trusted = np.full(n_units, np.inf), np.zeros(n_units, bool)
    rng = np.random.default_rng(stream(seed, "proposals"))
    if method == "laplace":
        found = laplace.normal_draws(rng, mode, -(-total // importance.PART) * importance.PART)
        draws, k_hat = found[:, :total], laplace.k_hat(values, mode, found, importance.PART)
    else:
        scale, held = prior_scales(spec, n_groups)
        if len(held) > MOST_HELD or len(scale) > MOST_COORDINATES:
            held = held[:0]
        start = conditional_modes.components(values, slopes, mode, scale, held, importance.COMPONENTS, walk)
        first = importance.importance_draws(rng, values, start, sampling.n_importance, walk)
        draws, worth, k_hat = _resampled(rng, first, total)
        share = worth / first.x.shape[1]
        trusted = sampling.trusted(k_hat, share)
        poor = np.flatnonzero(~sampling.trusted(k_hat, share / 2))
        if len(poor):
            second = importance.second_effort(rng, values, slopes, first, poor, 2 * sampling.n_importance)
            found = _resampled(rng, second, total)
            enough = sampling.trusted(found[2], found[1] / second.x.shape[1])
            better = enough | ((found[2] < k_hat[poor]) & ~trusted[poor])
            for mine, new in zip((draws, worth, k_hat, trusted), (*found, enough), strict=True):
                mine[poor[better]] = new[better]
    shape = (n_units, sampling.n_chains, sampling.n_draws)
    block = UnitDraws(
        spec=spec,
        units=units,
        mode=mode,
        theta=draws.reshape(*shape, -1),
        energy=np.full(shape, np.nan),
        diverging=np.zeros(shape, bool),
        n_steps=np.zeros(shape, int),
        bfmi=np.full(shape[:2], np.nan),
        k_hat=k_hat,
        method=np.full(n_units, "laplace" if method == "laplace" else "psis", dtype=object),
    )
    return block, worth, trusted


def _resampled(
    rng: np.random.Generator, proposed: importance.Proposed, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws [U, total, P], [U] how many independent draws they are worth, [U] k̂)."""
    weights, k_hat = psis.smooth(proposed.ratio)
    draws = np.take_along_axis(proposed.x, psis.resample(rng, weights, total)[..., None], 1)
    return draws, mixture.worth(np.exp(weights)), k_hat


def with_chains(
    block: UnitDraws,
    todo: np.ndarray,
    at: Coordinates,
    sampling: SamplerOptions,
    seed: np.random.SeedSequence,
    on_done: Callable[[int], None],
) -> UnitDraws:
    """The block with chains of the units `todo` [T], sampled again while their diagnostics are poor and that may help.

    Args:
      at: coordinates of these units to begin with.
      sampling, seed, on_done: as in `infer`.
    """
    n_units = len(block.theta)
    # Independent draws of the importance sampler are dispersed starts near the typical set.
    starts = block.theta[:, :, :: max(1, sampling.n_draws // (sampling.retries + 1))]
    target = np.full(n_units, sampling.target_accept)
    thin = np.ones(n_units, int)
    for attempt in range(sampling.retries + 1):
        report = on_done if attempt == 0 else lambda n: None
        for length in np.unique(thin[todo]):  # 1 in the first attempt
            now = todo[thin[todo] == length]
            here = np.isin(todo, now)
            start = starts[now, :, attempt % starts.shape[2]]
            old = rows(at, here)
            chains = stream(seed, "chains", attempt)
            block, new = sample_chains(block, now, old, start, sampling, target[now], length, chains, report)
            at = Coordinates(*(_put(a, here, b) for a, b in zip(at, new, strict=True)))
        checks = block.checks(todo)
        again = ~checks["ok"].to_numpy() & diagnostics.mendable(checks, sampling.n_chains * sampling.n_draws)
        # Smaller steps against divergences, longer chains for the rest.
        diverged = checks["divergences"].to_numpy() > 0
        slow = ~(checks["r_hat"] <= diagnostics.MAX_RHAT) | ~(
            checks[["ess_bulk", "ess_tail"]].min(axis=1) >= diagnostics.MIN_ESS
        )
        target[todo[diverged]] = 1 - (1 - target[todo[diverged]]) / 4
        thin[todo[slow.to_numpy()]] *= 2
        todo, at = todo[again], rows(at, again)
        if len(todo) == 0:
            break
    return block


def _put(array: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[where] = values
    return array
