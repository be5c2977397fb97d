"""Samplers of documents, blocks and in-context prompts: jitted, batched, and given their key."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..errors import InputError
from .walks import choose, draw_hmm, draw_moves, given_hmm, look_up, mixture_logits, run, walk_bits
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


def sample_documents(
    world: World,
    key: jax.Array,
    count: int,
    length: int,
    *,
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
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
    return _documents(world, key, mixture_logits(world, weights), given_hmm(world, hmm, count), count, length)


def sample_blocks(
    world: World,
    key: jax.Array,
    count: int,
    block: int,
    *,
    blocks: int = 10,
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
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
        world, key, mixture_logits(world, weights), given_hmm(world, hmm, count), count, block, blocks
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
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
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
        given_hmm(world, hmm, count),
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


@functools.partial(jax.jit, static_argnames=("count", "length"))
def _documents(world, key, logits, hmm, count, length):
    draws, bits = walk_bits(key, count, 2, length - 2)
    hmm = draw_hmm(draws[0], logits, hmm)
    state = choose(draws[1], world.start[hmm])
    symbols = run(world, bits, hmm, state, length - 2)
    bos = jnp.full((count, 1), world.config.bos, jnp.int32)
    return Documents(jnp.concatenate([bos, symbols], axis=1), hmm)


@functools.partial(jax.jit, static_argnames=("count", "block", "blocks"))
def _blocks(world, key, logits, hmm, count, block, blocks):
    draws, bits = walk_bits(key, count, 3, block - 1)
    hmm = draw_hmm(draws[0], logits, hmm)
    place = (draws[1] % blocks).astype(jnp.int32)
    opening = opening_states(world, block, blocks).reshape(blocks, world.config.hmms, -1)
    state = choose(draws[2], opening[place, hmm])
    symbols = run(world, bits, hmm, state, block - 1)
    # A block that opens a document has BOS and one symbol less.
    opened = jnp.concatenate([jnp.full((count, 1), world.config.bos, jnp.int32), symbols[:, :-1]], axis=1)
    return Documents(jnp.where((place == 0)[:, None], opened, symbols), hmm)


@functools.partial(jax.jit, static_argnames=("count", "k", "context", "bos"))
def _prompts(world, key, logits, hmm, count, k, context, bos):
    config = world.config
    number = shots_per_prompt(k, context, bos)
    # Two columns for HMM and start slot, then a row for the first entities and two for every move.
    bits = jax.random.bits(key, (count, 2 + (2 * k - 1) * number), jnp.uint32)
    hmm = draw_hmm(bits[:, 0], logits, hmm)
    # Remainders of 32 bits are uniform up to a relative 1e-8.
    start_slot = 1 + (bits[:, 1] % (config.slots - 1)).astype(jnp.int32)
    bits = jnp.moveaxis(bits[:, 2:].reshape(count, 2 * k - 1, number), 1, 0)
    entity = (bits[0] % config.entities).astype(jnp.int32)
    slot = jnp.broadcast_to(start_slot[:, None], entity.shape)
    moves = draw_moves(world, bits[1:].reshape(2, k - 1, count, number), hmm[:, None])

    def move(state, step):
        entity, slot = (look_up(table, now[..., None])[..., 0] for table, now in zip(step, state))
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
