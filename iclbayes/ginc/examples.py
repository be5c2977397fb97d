"""Documents made of examples: pretraining rows drawn as in-context prompts are, and what an exact learner of them knows.

A row has one HMM z, one start slot s ≠ 0 and one example length k from a list. Each example starts in a fresh
uniform entity in that slot, runs k states of the HMM, and is followed by the delimiter; the last one is cut
where the row ends. Nothing says where examples begin: the delimiter is also the symbol of slot 0, so a learner
infers z, s and k together.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from ..errors import InputError
from .exact import Prediction, between, log_matmul, state_tables
from .sampling import Documents, Prompts
from .walks import draw_hmm, draw_moves, given_hmm, mixture_logits, walk, walk_bits
from .world import World


def check_lengths(ks: Sequence[int]) -> tuple[int, ...]:
    """Example lengths as a tuple.

    Raises:
      InputError: there is none, one is below 1, or one stands there twice.
    """
    lengths = tuple(int(k) for k in ks)
    if not lengths or min(lengths) < 1 or len(set(lengths)) < len(lengths):
        raise InputError(f"examples: lengths are {tuple(ks)}; give whole numbers of at least 1, each once")
    return lengths


def sample_examples(
    world: World,
    key: jax.Array,
    count: int,
    length: int,
    ks: Sequence[int],
    *,
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
) -> Documents:
    """Rows made of examples, without BOS and without PAD.

    Args:
      world: the world.
      key: random key.
      count: number of rows.
      length: tokens in each, at least 2.
      ks: example lengths; each row has one of them, all equally probable.
      weights: mixture weights [H] over HMMs, uniform by default; they need not add up to 1.
      hmm: the HMM of every row instead: an integer, or [count] integers.

    Raises:
      InputError: a length below 2, wrong example lengths, or weights and hmm of the wrong shape.
    """
    if length < 2:
        raise InputError(f"examples: rows of {length} tokens; give at least 2")
    ks, hmm = check_lengths(ks), given_hmm(world, hmm, count)
    return _examples(world, key, mixture_logits(world, weights), hmm, count, length, ks)


@functools.partial(jax.jit, static_argnames=("count", "length", "ks"))
def _examples(world, key, logits, hmm, count, length, ks):
    config = world.config
    draws, bits = walk_bits(key, count, 3, length)
    hmm = draw_hmm(draws[0], logits, hmm)
    # Remainders of 32 bits are uniform up to a relative 1e-8.
    start_slot = 1 + (draws[1] % (config.slots - 1)).astype(jnp.int32)
    k = jnp.asarray(ks, jnp.int32)[draws[2] % len(ks)]
    stretch, stretches = bits.shape[1:3]
    position = (
        jnp.arange(stretches) * stretch + jnp.arange(stretch)[:, None]
    )  # as `walk` puts the moves in order
    place = position[..., None] % (k + 1)  # [c, C, B], in its example; k is the delimiter's
    # The first move of an example forgets where it comes from: every entity goes to a fresh one, every slot to s.
    fresh = (bits[0] % config.entities).astype(jnp.int32)[..., None]
    entity_moves, slot_moves = draw_moves(world, bits, hmm)
    first = (place == 0)[..., None]
    entity_moves = jnp.where(first, fresh, entity_moves)
    slot_moves = jnp.where(first, start_slot[:, None], slot_moves)
    origin = jnp.zeros((count,), jnp.int32)
    symbols = world.emission[walk(entity_moves, origin), walk(slot_moves, origin)]
    # The delimiter takes the place of a state that nobody sees: the next move forgets it.
    place = place.swapaxes(0, 1).reshape(-1, count)
    return Documents(jnp.where(place == k, 0, symbols)[:length].T, hmm)


def example_log_probs(
    world: World, tokens: jax.Array, ks: Sequence[int], *, weights: ArrayLike | None = None
) -> jax.Array:
    """ln P(token t | tokens before it in the row) of the learner that knows how rows made of examples are drawn.

    It filters over HMM, start slot, example length and hidden state; of the length it knows only the list. With
    place p = t mod (k + 1), the weights W of the hypotheses h = (z, s, k) and the survivors' weights w go on as

        p = 0       w(state) = W(h) / E   where the state's slot is s and it emits the token
        0 < p < k   w(state) = Σ w(before) P_z(before → state)   where the state emits the token
        p = k       W(h) stays where the token is the delimiter, and is 0 elsewhere.

    Args:
      world: the world.
      tokens: rows [B, L] without BOS. PAD is passed over, at the end of a row.
      ks: the example lengths.
      weights: mixture weights [H] over HMMs; uniform by default.

    Returns:
      [B, L − 1] natural logarithms, for tokens 1 … L − 1; 0 at PAD, −inf where the row is impossible.

    Raises:
      InputError: tokens that are no rows [B, L] with L ≥ 2, wrong example lengths, or weights of the wrong shape.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise InputError(
            f"exact learner: tokens have shape {tokens.shape}; give rows [B, L] with L of at least 2"
        )
    return _log_probs(world, tokens, mixture_logits(world, weights), check_lengths(ks))


def exact_examples(
    world: World,
    prompts: Prompts,
    ks: Sequence[int],
    *,
    weights: ArrayLike | None = None,
    symbols: bool = False,
) -> Prediction:
    """What the learner of `example_log_probs` says at the scored positions of prompts.

    It differs from `exact_prompt` only in that it has to find out the example length, mostly from the first
    delimiter.

    Args:
      world: the world.
      prompts: B prompts with N scored positions each, without BOS.
      ks: the example lengths that rows are drawn with.
      weights: mixture weights [H] over HMMs; uniform by default.
      symbols: also return the distribution over all symbols.

    Raises:
      InputError: prompts with BOS or of a length that is not in the list, or as `example_log_probs` does.
    """
    ks = check_lengths(ks)
    if prompts.bos or prompts.k not in ks:
        raise InputError(
            f"exact learner: prompts of length {prompts.k}{' after BOS' * prompts.bos}; rows made of examples "
            f"have lengths {', '.join(map(str, ks))} and no BOS"
        )
    return _predictions(world, prompts, mixture_logits(world, weights), ks, symbols)


def _hypotheses(world: World, ks):
    """(HMM, start slot, length) of each hypothesis, three int32 [H (S − 1) K]."""
    config = world.config
    grid = jnp.meshgrid(
        jnp.arange(config.hmms), jnp.arange(1, config.slots), jnp.asarray(ks, jnp.int32), indexing="ij"
    )
    return tuple(part.reshape(-1) for part in grid)


def _filter(world: World, tokens, logits, ks, predict: bool) -> tuple[jax.Array, Any]:
    """Runs along rows [B, L]: ln P of each token [L, B]; with `predict` also P of every symbol in its place [L, B, V]."""
    config, tables = world.config, state_tables(world, 0)
    hmm, start_slot, k = _hypotheses(world, ks)
    prior = logits[hmm] - jnp.log(float((config.slots - 1) * len(ks)))
    emit = jnp.exp(tables.log_emit)  # [n + 1, H, V] of the next symbol
    opens = world.emission.T[1:, :, None] == jnp.arange(config.symbols)  # [S − 1, E, V]
    opens = jnp.mean(opens.astype(emit.dtype), axis=1)  # of an example's first symbol, by its slot
    delimiter = jnp.arange(config.symbols) == 0

    def next_symbol(log_weights, survivors, place):
        """P of every symbol [B, V]: of a first state, of the delimiter, and of a transition, by what each hypothesis
        takes the place for."""
        weights = jnp.exp(log_weights)  # [B, m, h]
        by_hypothesis = jnp.sum(weights, axis=1)
        shape = (config.hmms, config.slots - 1, len(ks))
        first = jnp.where(place == 0, by_hypothesis, 0).reshape(-1, *shape).sum((1, 3))
        ends = jnp.where(place == k, by_hypothesis, 0).sum(1)
        inside = (
            jnp.where((place > 0) & (place < k), weights, 0).reshape(*weights.shape[:2], *shape).sum((-2, -1))
        )
        moved = jnp.einsum("bmz,bmzv->bv", inside, emit[survivors], precision="highest")
        return jnp.matmul(first, opens, precision="highest") + ends[:, None] * delimiter + moved

    def step(carry, now):
        log_weights, survivors = carry  # [B, m, h] of the survivors [B, m] of the last token, normalised
        token, position = now
        place = position % (k + 1)
        guessed = next_symbol(log_weights, survivors, place) if predict else None
        then = tables.emitters[token]
        moved = log_matmul(log_weights, between(tables, survivors, then)[..., hmm])
        total = logsumexp(log_weights, axis=-2, keepdims=True)  # [B, 1, h]
        starts = (then[..., None] >= 0) & (then[..., None] % config.slots == start_slot)
        fresh = jnp.where(starts, total - jnp.log(float(config.entities)), -jnp.inf)
        # The evidence stands on the first of the delimiter's states; on which makes no difference.
        ended = (token == 0)[:, None, None] & (jnp.arange(then.shape[-1]) == 0)[:, None]
        ended = jnp.where(ended, total, -jnp.inf)
        new = jnp.where(place == 0, fresh, jnp.where(place == k, ended, moved))
        log_prob = logsumexp(new, axis=(-2, -1))
        # An impossible token leaves nothing to normalise: keep −inf, not NaN.
        new = new - jnp.where(jnp.isfinite(log_prob), log_prob, 0)[:, None, None]
        skip = token == config.pad
        new = jnp.where(skip[:, None, None], log_weights, new)
        then = jnp.where(skip[:, None], survivors, then)
        return (new, then), (jnp.where(skip, 0, log_prob), guessed)

    count, width = tokens.shape[0], tables.emitters.shape[1]
    begin = jnp.where(jnp.arange(width)[:, None] == 0, prior, -jnp.inf)
    begin = jnp.broadcast_to(begin, (count, width, len(hmm)))
    survivors = jnp.broadcast_to(tables.emitters[0], (count, width))
    steps = tokens.T, jnp.arange(tokens.shape[1])
    return jax.lax.scan(step, (begin, survivors), steps)[1]


@functools.partial(jax.jit, static_argnames="ks")
def _log_probs(world, tokens, logits, ks):
    return _filter(world, tokens, logits, ks, False)[0][1:].T


@functools.partial(jax.jit, static_argnames=("ks", "symbols"))
def _predictions(world, prompts, logits, ks, symbols):
    _, probs = _filter(world, prompts.tokens, logits, ks, True)
    at = probs[prompts.positions, jnp.arange(prompts.positions.shape[0])[:, None]]  # [B, N, V]
    answer = jnp.take_along_axis(at, prompts.answers[..., None], axis=-1)[..., 0]
    return Prediction(jnp.log(answer), jnp.log(at) if symbols else None)
