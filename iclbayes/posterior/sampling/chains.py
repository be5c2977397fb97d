"""Chains of NUTS for many units: a warm-up in stages, in coordinates that are learnt on the way, then the draws that are kept."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..model.latent import potential
from ..seeds import key_of, stream, unit_keys
from ..units import over_units
from . import coordinates, diagnostics, nuts
from .coordinates import Coordinates
from .options import SamplerOptions
from .unit_draws import UnitDraws

# Shares of the warm-up; the coordinates are learnt anew after each stage but the last. They grow, as the windows of Stan's
# warm-up do, because each stage moves in better coordinates, so that its draws are worth more; the last only settles the step
# size, on which all later draws depend.
STAGES = (0.25, 0.3, 0.45)
# Independent draws per draw of the warm-up: what the effective sample size of these chains comes to (of 2,000 draws 530 to 640
# for the default law on real curves). It only says how much the draws count beside the earlier estimate of their covariance.
WORTH = 0.3
FIRST_STEP = 0.4  # in standard deviations; an acceptance of 0.9 in ten nearly normal dimensions ends near it
NOTES = ("energy", "diverging", "n_steps")


def sample_chains(
    block: UnitDraws,
    todo: np.ndarray,
    at: Coordinates,
    starts: np.ndarray,
    sampling: SamplerOptions,
    target: np.ndarray,
    thin: int,
    seed: np.random.SeedSequence,
    on_done: Callable[[int], None],
) -> tuple[UnitDraws, Coordinates]:
    """Fresh chains of some units.

    Args:
      block: draws so far, of U units.
      todo: [T] the units to sample.
      at: their coordinates to begin with.
      starts: [T, C, P] their θ to begin with.
      sampling: numbers of chains and draws, depth of the trees.
      target: [T] acceptance probability.
      thin: draws made for one that is kept.
      seed: of the momenta and choices.
      on_done: called with the number of units after each finished chunk of the last draws.

    Returns:
      (the block with these units' chains replaced, the coordinates that their draws suggest).
    """
    spec, data = block.spec, rows(block.units.data, todo)
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
            key_of(keys),
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
            unit_keys(stream(seed, "chains", number), len(block.theta))[todo],
            at,
            coordinates.from_theta(at, theta),
            log_step,
            target,
            np.full(n_todo, n),
            np.full(n_todo, adapting),
            data,
        )
        chunk = _chunk(n_todo)
        found = over_units(name, program, rows(inputs, order), chunk, on_done, mapped=False)
        chains, draws = rows(found, np.argsort(order))
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


def rows(tree: Any, index: np.ndarray) -> Any:
    """Some rows of every array of a pytree, in NumPy."""
    return jax.tree.map(lambda a: np.asarray(a)[index], tree)
