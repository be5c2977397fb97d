"""Samplers of documents, blocks and in-context prompts: jitted, batched, and given their key.

A hidden transition moves entity and slot independently by random permutations that do not depend on the
state. So all moves of a document are drawn at once, and stretches of it are composed in parallel before the
state is known: T steps take a depth of 2√T, which is what an accelerator needs, and a small program, which is
what the compiler needs.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from .world import World


class Documents(NamedTuple):
    """Rows of tokens [count, length] int32 and the HMM [count] that wrote each."""

    tokens: jax.Array
    hmm: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """In-context prompts of one example length.

    Attributes:
      tokens: [B, context] int32, filled up with PAD.
      positions: [B, N] int32, where the scored tokens stand in their row.
      answers: [B, N] int32, the right symbol at each scored position. The token that stands there was
        sampled, and may differ. The answer after n shots is in column n.
      source: [B] int32, the HMM that the examples are drawn from.
      start_slot: [B] int32, the slot that every example of the prompt starts in.
      k: states in an example (static).
      bos: whether BOS comes first (static).
    """

    tokens: jax.Array
    positions: jax.Array
    answers: jax.Array
    source: jax.Array
    start_slot: jax.Array
    k: int = dataclasses.field(metadata={"static": True})
    bos: bool = dataclasses.field(metadata={"static": True})

    @property
    def shots(self) -> jax.Array:
        """[N] int32, complete examples before each scored position: 0, 1, 2, …"""
        return jnp.arange(self.positions.shape[-1], dtype=jnp.int32)


def shots_per_prompt(k: int, context: int, bos: bool = False) -> int:
    """Number of examples in a prompt, ⌊(context − bos) / (k + 1)⌋; the shots scored are 0 … that number − 1.

    Raises:
      InputError: k < 2 (the scored token needs a state before it), or not one example fits.
    """
    if k < 2:
        raise InputError(f"prompts: example length k is {k}; give at least 2")
    number = (context - bool(bos)) // (k + 1)
    if number < 1:
        raise InputError(
            f"prompts: a context of {context} holds no example of length {k}; give at least {k + 1 + bos}"
        )
    return number


def mixture_logits(world: World, weights) -> jax.Array:
    """Log weights [H] over HMMs, normalised; uniform where `weights` is None.

    Raises:
      InputError: not one weight an HMM, or (outside of jit) weights that are negative or add up to 0.
    """
    n_hmms = world.config.hmms
    if weights is None:
        return jnp.full(n_hmms, -jnp.log(n_hmms), world.start.dtype)
    if not isinstance(weights, jax.core.Tracer) and not (
        np.all(np.asarray(weights) >= 0) and np.sum(weights) > 0
    ):
        raise InputError(f"mixture: weights are {weights}; give numbers of at least 0, not all of them 0")
    weights = jnp.asarray(weights, world.start.dtype)
    if weights.shape != (n_hmms,):
        raise InputError(
            f"mixture: weights have shape {weights.shape}; give one weight for each of {n_hmms} HMMs"
        )
    return jnp.log(weights) - jnp.log(jnp.sum(weights))


def sample_documents(
    world: World, key: jax.Array, count: int, length: int, *, weights=None, hmm=None
) -> Documents:
    """Pretraining documents: BOS and `length` − 1 symbols, each document written by one HMM.

    Args:
      world: the world.
      key: random key.
      count: number of documents.
      length: tokens in each, BOS included (10,240 in the paper).
      weights: mixture weights [H] over HMMs, uniform by default; they need not add up to 1.
      hmm: the HMM of every document instead: an integer, or [count] integers.

    Raises:
      InputError: a length below 2, or weights and hmm of the wrong shape.
    """
    if length < 2:
        raise InputError(f"documents: length is {length}; give at least 2, BOS included")
    return _documents(
        world, key, mixture_logits(world, weights), _given_hmm(world, hmm, count), count, length
    )


def sample_blocks(
    world: World, key: jax.Array, count: int, block: int, *, blocks: int = 10, weights=None, hmm=None
) -> Documents:
    """Independent blocks, each as if cut at random from its own document of `blocks` · `block` tokens.

    A share of 1 / `blocks` begins with BOS; the others begin in the middle of a document, in a state drawn
    from the exact marginal at that place, so that no document has to be run up to it. This is the stream to
    train on.

    Args:
      world: the world.
      key: random key.
      count: number of blocks.
      block: tokens in each.
      blocks: blocks in a document; 1 makes every block a whole document that begins with BOS.
      weights, hmm: as in `sample_documents`.
    """
    if block < 2 or blocks < 1:
        raise InputError(
            f"blocks: {blocks} blocks of {block} tokens; give at least 1 block of at least 2 tokens"
        )
    return _blocks(
        world, key, mixture_logits(world, weights), _given_hmm(world, hmm, count), count, block, blocks
    )


def cut_blocks(documents: Documents, block: int) -> Documents:
    """Cuts documents into blocks [count · length / block, block], in order.

    Raises:
      InputError: the length is no multiple of the block.
    """
    count, length = documents.tokens.shape
    if length % block:
        raise InputError(
            f"blocks: documents of {length} tokens do not divide into blocks of {block}; choose a divisor"
        )
    tokens = documents.tokens.reshape(count * (length // block), block)
    return Documents(tokens, jnp.repeat(documents.hmm, length // block))


def sample_prompts(
    world: World,
    key: jax.Array,
    count: int,
    k: int,
    context: int,
    *,
    bos: bool = False,
    weights=None,
    hmm=None,
) -> Prompts:
    """In-context prompts of ⌊(context − bos) / (k + 1)⌋ examples.

    An HMM and a start slot ≠ 0 are drawn for the whole prompt. Every example starts from a fresh uniform
    entity in that slot, runs k states of the HMM, and is followed by the delimiter. The k-th token of each
    example is scored; the right answer is the emission of the most probable transition from the state before
    it.

    Args:
      world: the world.
      key: random key.
      count: number of prompts B.
      k: states in an example, at least 2.
      context: row length; the rest of the row is PAD.
      bos: put BOS first.
      weights, hmm: the source, as in `sample_documents`.

    Raises:
      InputError: as `shots_per_prompt`, or weights and hmm of the wrong shape.
    """
    shots_per_prompt(k, context, bos)
    return _prompts(
        world,
        key,
        mixture_logits(world, weights),
        _given_hmm(world, hmm, count),
        count,
        int(k),
        context,
        bool(bos),
    )


def opening_states(world: World, block: int, blocks: int) -> jax.Array:
    """Marginals [blocks, H, E, S] of the hidden state at the first symbol of each block of a document.

    Row 0 is the document's start (the symbol after BOS); row j is start · A^(j·block − 1), in factored form.
    """
    config = world.config
    start = world.start.reshape(config.hmms, config.entities, config.slots)

    def advance(marginal, steps):
        entity = jnp.linalg.matrix_power(world.entity_transition, steps)
        slot = jnp.linalg.matrix_power(world.slot_transition, steps)
        moved = jnp.einsum("zes,ef,zst->zft", marginal, entity, slot)
        return moved / jnp.sum(moved, axis=(1, 2), keepdims=True)  # high powers drift by rounding

    if blocks == 1:
        return start[None]
    second = advance(start, block - 1)
    _, later = jax.lax.scan(lambda m, _: (advance(m, block), m), second, length=blocks - 1)
    return jnp.concatenate([start[None], later])


def _given_hmm(world, hmm, count: int):
    if hmm is None:
        return None
    n_hmms = world.config.hmms
    if not isinstance(hmm, jax.core.Tracer) and not np.all(
        (np.asarray(hmm) >= 0) & (np.asarray(hmm) < n_hmms)
    ):
        raise InputError(f"sampling: hmm is {hmm}; the world has HMMs 0 to {n_hmms - 1}")
    hmm = jnp.asarray(hmm, jnp.int32)
    if hmm.shape not in ((), (count,)):
        raise InputError(
            f"sampling: hmm has shape {hmm.shape}; give one integer or one for each of {count} rows"
        )
    return jnp.broadcast_to(hmm, (count,))


def _draw_hmm(bits, logits, hmm):
    """The given HMMs, or else one for each of the random uint32 `bits` [count]."""
    return _choose(bits, jnp.exp(logits)) if hmm is None else hmm


def _choose(bits, probabilities):
    """Indices with `probabilities` [..., n], float32 up to a constant, one for each of the uint32 `bits`
    [...].

    u lies in (0, 1] and counts the sums strictly below it, so what has probability 0 is never drawn.
    """
    total = jnp.cumsum(probabilities, axis=-1)
    u = ((bits >> 8) + 1).astype(total.dtype) * 2.0**-24
    return jnp.sum(total[..., :-1] < u[..., None] * total[..., -1:], axis=-1, dtype=jnp.int32)


def _index(bits, thresholds):
    """Indices with cumulative probabilities `thresholds` [..., n], one for each of the random uint32 `bits`
    [...]."""
    return jnp.sum(bits[..., None] >= thresholds[..., :-1], axis=-1, dtype=jnp.int32)


def _moves(world, bits, hmm):
    """Random maps of entities [..., E] and of slots [..., S] from random uint32 `bits` [2, ...]; the HMMs
    `hmm` broadcast against [...]."""
    entity = world.entity_permutations[_index(bits[0], world.entity_thresholds)]
    slot = world.slot_permutations[hmm, _index(bits[1], world.slot_thresholds[hmm])]
    return entity, slot


def _look_up(table, index):
    """table[..., index], the leading axes belonging together; the indices are known to be in range."""
    return jnp.take_along_axis(table, index, axis=-1, mode="promise_in_bounds")


def _walk(moves, first):
    """States [C·c, B] after each of the moves [c, C, B, n] (C stretches of c steps each), from `first`
    [B]."""
    identity = jnp.broadcast_to(jnp.arange(moves.shape[-1], dtype=moves.dtype), moves.shape[1:])

    def compose(so_far, move):
        so_far = _look_up(move, so_far)
        return so_far, so_far

    whole, composed = jax.lax.scan(compose, identity, moves)  # [C, B, n], [c, C, B, n]

    def follow(state, stretch):
        return _look_up(stretch, state[:, None])[:, 0], state

    _, begins = jax.lax.scan(follow, first, whole)  # [C, B], the state that each stretch begins in
    begins = jnp.broadcast_to(begins[..., None], (*moves.shape[:3], 1))
    return _look_up(composed, begins)[..., 0].swapaxes(0, 1).reshape(-1, first.shape[0])


def _bits(key, count, draws, steps):
    """Random uint32 [draws, count] for single draws, and [2, c, C, count] for the moves of C stretches of c
    steps, together at least `steps`. One call, for a generator is what XLA compiles longest."""
    stretch = max(1, math.isqrt(steps))
    stretches = -(-steps // stretch)
    bits = jax.random.bits(key, (draws + 2 * stretch * stretches, count), jnp.uint32)
    return bits[:draws], bits[draws:].reshape(2, stretch, stretches, count)


def _run(world, bits, hmm, state, steps):
    """Symbols [B, 1 + steps] emitted from the hidden state [B] on; `bits` for the moves."""
    entity, slot = state // world.config.slots, state % world.config.slots
    entity_moves, slot_moves = _moves(world, bits, hmm)
    entities = jnp.concatenate([entity[None], _walk(entity_moves, entity)])
    slots = jnp.concatenate([slot[None], _walk(slot_moves, slot)])
    return world.emission[entities, slots].T[:, : 1 + steps]


@functools.partial(jax.jit, static_argnames=("count", "length"))
def _documents(world, key, logits, hmm, count, length):
    draws, bits = _bits(key, count, 2, length - 2)
    hmm = _draw_hmm(draws[0], logits, hmm)
    state = _choose(draws[1], world.start[hmm])
    symbols = _run(world, bits, hmm, state, length - 2)
    bos = jnp.full((count, 1), world.config.bos, jnp.int32)
    return Documents(jnp.concatenate([bos, symbols], axis=1), hmm)


@functools.partial(jax.jit, static_argnames=("count", "block", "blocks"))
def _blocks(world, key, logits, hmm, count, block, blocks):
    draws, bits = _bits(key, count, 3, block - 1)
    hmm = _draw_hmm(draws[0], logits, hmm)
    place = (draws[1] % blocks).astype(jnp.int32)
    opening = opening_states(world, block, blocks).reshape(blocks, world.config.hmms, -1)
    state = _choose(draws[2], opening[place, hmm])
    symbols = _run(world, bits, hmm, state, block - 1)
    # A block that opens a document has BOS and one symbol less.
    opened = jnp.concatenate([jnp.full((count, 1), world.config.bos, jnp.int32), symbols[:, :-1]], axis=1)
    return Documents(jnp.where((place == 0)[:, None], opened, symbols), hmm)


@functools.partial(jax.jit, static_argnames=("count", "k", "context", "bos"))
def _prompts(world, key, logits, hmm, count, k, context, bos):
    config = world.config
    number = shots_per_prompt(k, context, bos)
    # Two columns for HMM and start slot, then a row for the first entities and two for every move.
    bits = jax.random.bits(key, (count, 2 + (2 * k - 1) * number), jnp.uint32)
    hmm = _draw_hmm(bits[:, 0], logits, hmm)
    # Remainders of 32 bits are uniform up to a relative 1e-8.
    start_slot = 1 + (bits[:, 1] % (config.slots - 1)).astype(jnp.int32)
    bits = jnp.moveaxis(bits[:, 2:].reshape(count, 2 * k - 1, number), 1, 0)
    entity = (bits[0] % config.entities).astype(jnp.int32)
    slot = jnp.broadcast_to(start_slot[:, None], entity.shape)
    moves = _moves(world, bits[1:].reshape(2, k - 1, count, number), hmm[:, None])

    def move(state, step):
        entity, slot = (_look_up(table, now[..., None])[..., 0] for table, now in zip(step, state))
        return (entity, slot), state

    (entity, slot), before = jax.lax.scan(move, (entity, slot), moves)
    symbols = jnp.concatenate([world.emission[before], world.emission[entity, slot][None]])
    # The most probable hidden transition is the product of the most probable entity and slot transitions.
    best_entity = jnp.argmax(world.entity_transition, axis=-1)[before[0][-1]]
    best_slot = jnp.argmax(world.slot_transition, axis=-1)[hmm[:, None], before[1][-1]]
    answers = world.emission[best_entity, best_slot]
    # Each example is followed by the delimiter, symbol 0.
    examples = jnp.pad(jnp.moveaxis(symbols, 0, -1), ((0, 0), (0, 0), (0, 1))).reshape(
        count, number * (k + 1)
    )

    tokens = jnp.full((count, context), config.pad, jnp.int32)
    tokens = tokens.at[:, bos : bos + examples.shape[1]].set(examples)
    if bos:
        tokens = tokens.at[:, 0].set(config.bos)
    positions = bos + jnp.arange(number, dtype=jnp.int32) * (k + 1) + k - 1
    return Prompts(
        tokens=tokens,
        positions=jnp.broadcast_to(positions, (count, number)),
        answers=answers,
        source=hmm,
        start_slot=start_slot,
        k=k,
        bos=bos,
    )
