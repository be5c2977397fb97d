"""Random walks of hidden states, from which every sampler here is made.

A hidden transition moves entity and slot independently by random permutations that do not depend on the
state. So all moves of a row are drawn at once, and stretches of it are composed in parallel before the state
is known: T steps take a depth of 2√T, which is what an accelerator needs, and a small program, which is what
the compiler needs.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from ..errors import InputError
from .world import World


def mixture_logits(world: World, weights: ArrayLike | None) -> jax.Array:
    """Log weights [H] over HMMs, normalised; uniform where `weights` is None.

    Raises:
      InputError: not one weight an HMM, or (outside of jit) weights that are negative or add up to 0.
    """
    n_hmms = world.config.hmms
    if weights is None:
        return jnp.full(n_hmms, -jnp.log(n_hmms), world.start.dtype)
    if not isinstance(weights, Tracer) and not (np.all(np.asarray(weights) >= 0) and np.sum(weights) > 0):
        raise InputError(f"mixture: weights are {weights}; give numbers of at least 0, not all of them 0")
    weights = jnp.asarray(weights, world.start.dtype)
    if weights.shape != (n_hmms,):
        raise InputError(
            f"mixture: weights have shape {weights.shape}; give one weight for each of {n_hmms} HMMs"
        )
    return jnp.log(weights) - jnp.log(jnp.sum(weights))


def given_hmm(world: World, hmm: ArrayLike | None, count: int) -> jax.Array | None:
    if hmm is None:
        return None
    n_hmms = world.config.hmms
    if not isinstance(hmm, Tracer) and not np.all((np.asarray(hmm) >= 0) & (np.asarray(hmm) < n_hmms)):
        raise InputError(f"sampling: hmm is {hmm}; the world has HMMs 0 to {n_hmms - 1}")
    hmm = jnp.asarray(hmm, jnp.int32)
    if hmm.shape not in ((), (count,)):
        raise InputError(
            f"sampling: hmm has shape {hmm.shape}; give one integer or one for each of {count} rows"
        )
    return jnp.broadcast_to(hmm, (count,))


def draw_hmm(bits: jax.Array, logits: jax.Array, hmm: jax.Array | None) -> jax.Array:
    """The given HMMs, or else one for each of the random uint32 `bits` [count]."""
    return choose(bits, jnp.exp(logits)) if hmm is None else hmm


def choose(bits: jax.Array, probabilities: jax.Array) -> jax.Array:
    """Indices with `probabilities` [..., n], float32 up to a constant, one for each of the uint32 `bits`
    [...].

    u lies in (0, 1] and counts the sums strictly below it, so what has probability 0 is never drawn.
    """
    total = jnp.cumsum(probabilities, axis=-1)
    u = ((bits >> 8) + 1).astype(total.dtype) * 2.0**-24
    return jnp.sum(total[..., :-1] < u[..., None] * total[..., -1:], axis=-1, dtype=jnp.int32)


def index_of(bits: jax.Array, thresholds: jax.Array) -> jax.Array:
    """Indices with cumulative probabilities `thresholds` [..., n], one for each of the random uint32 `bits`
    [...]."""
    return jnp.sum(bits[..., None] >= thresholds[..., :-1], axis=-1, dtype=jnp.int32)


def draw_moves(world: World, bits: jax.Array, hmm: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Random maps of entities [..., E] and of slots [..., S] from random uint32 `bits` [2, ...]; the HMMs
    `hmm` broadcast against [...]."""
    entity = world.entity_permutations[index_of(bits[0], world.entity_thresholds)]
    slot = world.slot_permutations[hmm, index_of(bits[1], world.slot_thresholds[hmm])]
    return entity, slot


def look_up(table: jax.Array, index: jax.Array) -> jax.Array:
    """table[..., index], the leading axes belonging together; the indices are known to be in range."""
    return jnp.take_along_axis(table, index, axis=-1, mode="promise_in_bounds")


def walk(moves: jax.Array, first: jax.Array) -> jax.Array:
    """States [C·c, B] after each of the moves [c, C, B, n] (C stretches of c steps each), from `first`
    [B]."""
    identity = jnp.broadcast_to(jnp.arange(moves.shape[-1], dtype=moves.dtype), moves.shape[1:])

    def compose(so_far, move):
        so_far = look_up(move, so_far)
        return so_far, so_far

    whole, composed = jax.lax.scan(compose, identity, moves)  # [C, B, n], [c, C, B, n]

    def follow(state, stretch):
        return look_up(stretch, state[:, None])[:, 0], state

    _, begins = jax.lax.scan(follow, first, whole)  # [C, B], the state that each stretch begins in
    begins = jnp.broadcast_to(begins[..., None], (*moves.shape[:3], 1))
    return look_up(composed, begins)[..., 0].swapaxes(0, 1).reshape(-1, first.shape[0])


def walk_bits(key: jax.Array, count: int, draws: int, steps: int) -> tuple[jax.Array, jax.Array]:
    """Random uint32 [draws, count] for single draws, and [2, c, C, count] for the moves of C stretches of c
    steps, together at least `steps`. One call, for a generator is what XLA compiles longest."""
    stretch = max(1, math.isqrt(steps))
    stretches = -(-steps // stretch)
    bits = jax.random.bits(key, (draws + 2 * stretch * stretches, count), jnp.uint32)
    return bits[:draws], bits[draws:].reshape(2, stretch, stretches, count)


def run(world: World, bits: jax.Array, hmm: jax.Array, state: jax.Array, steps: int) -> jax.Array:
    """Symbols [B, 1 + steps] emitted from the hidden state [B] on; `bits` for the moves."""
    entity, slot = state // world.config.slots, state % world.config.slots
    entity_moves, slot_moves = draw_moves(world, bits, hmm)
    entities = jnp.concatenate([entity[None], walk(entity_moves, entity)])
    slots = jnp.concatenate([slot[None], walk(slot_moves, slot)])
    return world.emission[entities, slots].T[:, : 1 + steps]
