"""NUTS over many units at once: numpyro's kernel, mapped over units and chains inside one program.

The coordinates are those in which the Laplace approximation is a standard normal, theta = mode + factor z: linear correlations
(the prior ρ against K ln γ/β, for example) are gone before the first step, and what is left is for the step size and a diagonal
mass matrix to adapt. Mapped chains take as many leapfrog steps as the longest tree of their batch; whitened, trees are
short and of like size, and units run in small batches, one per core at a time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.infer.hmc import hmc


class Chains(NamedTuple):
    """Draws of one unit.

    Attributes:
      theta: [C, D, P].
      energy: [C, D] Hamiltonian at each draw.
      diverging: [C, D].
      n_steps: [C, D] leapfrog steps.
      accept: [C, D] mean acceptance probability of the trajectory.
      step_size: [C].
    """

    theta: Array
    energy: Array
    diverging: Array
    n_steps: Array
    accept: Array
    step_size: Array


def run_unit(
    key: Array,
    potential: Callable[[Array], Array],
    centre: Array,
    factor: Array,
    starts: Array,
    *,
    n_warmup: int,
    n_draws: int,
    target_accept: Array | float,
    max_tree_depth: int,
) -> Chains:
    """Chains of one unit in z, theta = centre + factor z, from starts z [C, P]. Traceable; batch with `jax.vmap`."""

    def whitened(z):
        value = potential(centre + factor @ z)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    init_kernel, sample_kernel = hmc(whitened, algo="NUTS")

    def chain(key, start):
        state = init_kernel(
            start,
            num_warmup=n_warmup,
            step_size=0.5,
            adapt_mass_matrix=True,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            rng_key=key,
        )
        state = jax.lax.fori_loop(0, n_warmup, lambda _, s: sample_kernel(s), state)

        def draw(state, _):
            state = sample_kernel(state)
            return state, (state.z, state.energy, state.diverging, state.num_steps, state.accept_prob)

        state, (z, *rest) = jax.lax.scan(draw, state, None, length=n_draws)
        return Chains(centre + z @ factor.T, *rest, state.adapt_state.step_size)

    return jax.vmap(chain)(jax.random.split(key, starts.shape[0]), starts)
