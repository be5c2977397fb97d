"""Inference of the units of one bucket: modes, importance sampling, chains, and chains again where diagnostics are poor."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..model.latent import normal_prior, potential, start_vector
from ..model.spec import Spec
from ..seeds import stream
from ..units import Units, chunk_size, over_units
from . import coordinates, diagnostics, laplace, psis
from .chains import rows, sample_chains
from .coordinates import Coordinates
from .options import SamplerOptions
from .unit_draws import UnitDraws


def infer(
    spec: Spec,
    units: Units,
    raw: dict[str, np.ndarray],
    method: str,
    sampling: SamplerOptions,
    seed: np.random.SeedSequence,
    on_done: Callable[[int], None],
) -> UnitDraws:
    """Posteriors of all units of a bucket.

    Args:
      raw: parameters [U, G, …] of the point fits, from which modes are sought.
      method, sampling, on_done: see `posterior`.
    """
    data = units.data
    n_units = len(data.shots)
    chunk = chunk_size(n_units)

    def starts_of(data, raw):
        fitted = start_vector(spec, raw, data)
        plain = start_vector(spec, {n: _prior_centre(spec, n, v) for n, v in raw.items()}, data)
        return jnp.stack([fitted, 0.5 * (fitted + plain), plain])

    def values(theta, unit):
        """[B, n] potentials of theta [B, n, P]."""

        def one(theta, data):
            return jax.vmap(lambda t: potential(spec, t, data))(theta)

        return over_units(("values", spec), one, (theta, rows(data, unit)), chunk)

    def slopes(theta, unit):
        """[B, n, P] gradients at theta [B, n, P]."""

        def one(theta, data):
            return jax.vmap(jax.grad(lambda t: potential(spec, t, data)))(theta)

        return over_units(("slopes", spec), one, (theta, rows(data, unit)), chunk)

    starts = over_units(("starts", spec), starts_of, (data, raw), chunk)
    mode = laplace.best_modes(values, slopes, starts)
    total = sampling.n_chains * sampling.n_draws
    k_hat = np.full(n_units, np.nan)
    worth = np.full(n_units, np.inf)
    rng = np.random.default_rng(stream(seed, "proposals"))
    if method == "laplace":
        draws = laplace.normal_draws(rng, mode, total)
    else:
        proposals, ratios = laplace.importance_draws(rng, values, mode, sampling.n_importance)
        weights, k_hat = psis.smooth(ratios)
        worth = 1 / np.exp(2 * weights).sum(1)
        draws = np.take_along_axis(proposals, psis.resample(rng, weights, total)[..., None], 1)
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
        method=np.full(n_units, method, dtype=object),
    )
    if method == "laplace":
        on_done(n_units)
        return block
    todo = np.arange(n_units) if method == "nuts" else np.flatnonzero(~(k_hat <= sampling.max_k_hat))
    on_done(n_units - len(todo))
    if len(todo) == 0:
        return block
    # Independent draws of the importance sampler are dispersed starts near the typical set, and a first sketch of its shape.
    starts = block.theta[:, :, :: max(1, sampling.n_draws // (sampling.retries + 1))]
    laplace_covariance = mode.factor @ mode.factor.transpose(0, 2, 1)
    at = coordinates.fit(draws[todo], worth[todo], laplace_covariance[todo])
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
        again = ~checks["ok"].to_numpy() & diagnostics.mendable(checks, total)
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


def _prior_centre(spec: Spec, name: str, like: Array) -> Array:
    known = normal_prior(dict(spec.priors)[name])
    return jnp.full_like(like, known[0]) if known else jnp.zeros_like(like)
