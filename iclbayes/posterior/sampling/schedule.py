"""Inference of one block: modes, importance sampling, and NUTS in coordinates that are learnt on the way."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from .. import batching
from ..draws import UnitDraws
from ..model.model import Spec, potential, start_vector
from ..units import Units
from . import coordinates, diagnostics, laplace, nuts, psis
from .coordinates import Coordinates
from .options import SamplerOptions

STAGES = (0.25, 0.3, 0.45)  # of the warm-up; the coordinates are learnt anew after each but the last
WORTH = 0.3  # independent draws per draw of the warm-up, roughly
FIRST_STEP = 0.4
NOTES = ("energy", "diverging", "n_steps")


def infer(
    spec: Spec,
    layout: Units,
    raw: dict[str, np.ndarray],
    method: str,
    sampling: SamplerOptions,
    seed: int,
    on_done: Callable[[int], None],
) -> UnitDraws:
    """Posteriors of all units of a layout.

    Args:
      raw: parameters [U, G, …] of the point fits, from which modes are sought.
      method, sampling, on_done: see `posterior`.
    """
    data = layout.data
    n_units = len(data.shots)
    chunk = batching.chunk_size(n_units)

    def starts_of(data, raw):
        fitted = start_vector(spec, raw, data)
        plain = start_vector(spec, {n: _prior_centre(spec, n, v) for n, v in raw.items()}, data)
        return jnp.stack([fitted, 0.5 * (fitted + plain), plain])

    def values(theta, unit):
        """[B, n] potentials of theta [B, n, P]."""

        def one(theta, data):
            return jax.vmap(lambda t: potential(spec, t, data))(theta)

        return batching.over_units(("values", spec), one, (theta, _rows(data, unit)), chunk)

    def slopes(theta, unit):
        """[B, n, P] gradients at theta [B, n, P]."""

        def one(theta, data):
            return jax.vmap(jax.grad(lambda t: potential(spec, t, data)))(theta)

        return batching.over_units(("slopes", spec), one, (theta, _rows(data, unit)), chunk)

    starts = batching.over_units(("starts", spec), starts_of, (data, raw), chunk)
    mode = laplace.best_modes(values, slopes, starts)
    total = sampling.n_chains * sampling.n_draws
    k_hat = np.full(n_units, np.nan)
    worth = np.full(n_units, np.inf)
    rng = np.random.default_rng(seed)
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
        layout=layout,
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
            old = _rows(at, here)
            block, new = _nuts(
                block, now, old, start, sampling, target[now], length, seed + attempt + 1, report
            )
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
        todo, at = todo[again], _rows(at, again)
        if len(todo) == 0:
            break
    return block


def _put(array, where, values):
    array = array.copy()
    array[where] = values
    return array


def _nuts(block, todo, at, starts, sampling, target, thin, seed, on_done):
    """(the block with fresh chains of the units `todo`, the coordinates that their draws suggest).

    Args:
      at: coordinates of these units to begin with; starts: θ [T, C, P].
      target: [T] acceptance probability; thin: draws made for one that is kept.
    """
    spec, data = block.spec, _rows(block.layout.data, todo)
    n_todo = len(todo)
    n_max = max(sampling.n_draws, *_stages(sampling.n_warmup))
    name = ("nuts", spec, n_max, sampling.max_tree_depth)
    log_step = np.full((n_todo, sampling.n_chains), np.log(FIRST_STEP))
    work = np.zeros(n_todo)

    def program(keys, at, z, log_step, target, n, adapting, data):
        def lanes(z):
            return jax.vmap(jax.vmap(lambda t, d: potential(spec, t, d), (0, None)))(
                coordinates.to_theta(at, z), data
            )

        chains = nuts.run(
            lanes,
            jax.random.wrap_key_data(keys),
            z,
            log_step,
            target,
            n,
            adapting,
            n_max=n_max,
            max_depth=sampling.max_tree_depth,
        )
        return chains, coordinates.to_theta(at, chains.z)

    def stage(number, theta, n, adapting, on_done=lambda n: None):
        """(chains, draws θ [T, C, n, P]) that start at theta [T, C, P]; units of like work go side by side."""
        order = np.argsort(work, kind="stable")
        inputs = (
            batching.keys(seed, len(block.theta), number)[todo],
            at,
            coordinates.from_theta(at, theta),
            log_step,
            target,
            np.full(n_todo, n),
            np.full(n_todo, adapting),
            data,
        )
        chunk = _chunk(n_todo)
        found = batching.over_units(name, program, _rows(inputs, order), chunk, on_done, mapped=False)
        chains, draws = _rows(found, np.argsort(order))
        return chains, draws[:, :, :n]

    theta = starts
    lengths = _stages(sampling.n_warmup)
    for number, n in enumerate(lengths):
        chains, draws = stage(number, theta, n, True)
        theta = draws[:, :, -1]
        log_step = np.broadcast_to(chains.log_step.mean(1, keepdims=True), log_step.shape)
        work = chains.n_steps[:, :, :n].mean((1, 2))
        if number < len(lengths) - 1:
            at = _learn(draws[:, :, n // 3 :], at)
    parts = []
    for number in range(thin):
        report = on_done if number == thin - 1 else lambda n: None
        chains, draws = stage(len(lengths) + number, theta, sampling.n_draws, False, report)
        theta = draws[:, :, -1]
        parts.append({"theta": draws, **{k: getattr(chains, k)[:, :, : sampling.n_draws] for k in NOTES}})
    fresh = {name: np.concatenate([part[name] for part in parts], 2) for name in parts[0]}
    at = _learn(fresh["theta"], at)
    diverging = fresh["diverging"].reshape(n_todo, sampling.n_chains, -1, thin).any(-1)  # also those left out
    bfmi = diagnostics.e_bfmi(fresh["energy"])  # of successive energies: thinned ones differ more
    fresh = {name: value[:, :, thin - 1 :: thin] for name, value in fresh.items()}
    fresh |= {"diverging": diverging, "bfmi": bfmi, "method": "nuts"}
    new = {name: getattr(block, name).copy() for name in fresh}
    for name, value in fresh.items():
        new[name][todo] = value
    return dataclasses.replace(block, **new), at


def _learn(draws, at):
    n_units, n_chains, n, size = draws.shape
    worth = np.full(n_units, WORTH * n_chains * n)
    return coordinates.fit(draws.reshape(n_units, -1, size), worth, at.factor @ at.factor.transpose(0, 2, 1))


def _chunk(n_units: int) -> int:
    """Units side by side in a program of NUTS: few enough that not many wait for the slowest, and few sizes to compile."""
    return 16 if n_units >= 32 else 4 if n_units > 1 else 1


def _stages(n_warmup: int) -> list[int]:
    edges = np.round(np.cumsum((0, *STAGES)) * n_warmup).astype(int)
    return [int(n) for n in np.diff(edges) if n]


def _rows(tree, index):
    return jax.tree.map(lambda a: np.asarray(a)[index], tree)


def _prior_centre(spec, name, like):
    prior = dict(spec.priors)[name]
    return jnp.full_like(like, prior.loc) if isinstance(prior, dist.Normal) else jnp.zeros_like(like)
