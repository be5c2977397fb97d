"""What a learner that knows the HMMs predicts: forward filters in log space, batched over rows.

Emissions are deterministic, so after a symbol only the states that emit it survive. A filter is therefore a
table [m, H] of log weights over the m survivors and the HMMs, and a step multiplies it by the m × m block of
transitions between the survivors of two symbols. BOS is treated as a symbol with one state of its own, whose
transitions are the start probabilities.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from ..errors import InputError
from .sampling import Prompts, opening_states
from .walks import mixture_logits
from .world import World


def document_log_probs(
    world: World,
    tokens: jax.Array,
    *,
    blocks: int = 10,
    weights: ArrayLike | None = None,
    restart: float = 0.0,
) -> jax.Array:
    """ln P(token t | tokens before it in the row) of the ideal model of documents: one HMM for the whole row.

    The row begins with BOS, or else in the middle of a document: then its first state follows the exact
    marginal at the places where a document of `blocks` rows is cut, averaged over them.

    Args:
      world: the world.
      tokens: rows [B, L] of symbols, BOS only at the beginning. PAD is passed over.
      blocks: rows that a document is cut into. With 1, a row without BOS begins like a document all the same.
      weights: mixture weights [H] over HMMs; uniform by default.
      restart: probability of a jump to a uniform hidden state at every transition, which makes every row
        possible. 0 is the world itself.

    Returns:
      [B, L − 1] natural logarithms, for tokens 1 … L − 1; 0 at PAD, −inf where the row is impossible.

    Raises:
      InputError: tokens that are no rows [B, L] with L ≥ 2, or weights of the wrong shape.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise InputError(
            f"exact learner: tokens have shape {tokens.shape}; give rows [B, L] with L of at least 2"
        )
    return _document_log_probs(world, tokens, mixture_logits(world, weights), restart, blocks)


class MixtureNLL(NamedTuple):
    """The exact mixture's negative log likelihood, in nats per predicted token.

    Attributes:
      mean: over rows; the entropy bound, which no model of such rows can beat in expectation.
      stderr: its standard error, s / √B with s the standard deviation over rows (B − 1 below). Right where
        rows are documents, or blocks drawn independently.
      rows: [B], each row's. Subtract them from a model's NLL of the same rows to compare in pairs, which is
        far more exact than the two means are.
    """

    mean: jax.Array
    stderr: jax.Array
    rows: jax.Array


def mixture_nll(
    world: World, tokens: jax.Array, *, blocks: int = 10, weights: ArrayLike | None = None
) -> MixtureNLL:
    """Exact NLL of rows, −(1/T) Σ_t ln P(token t | tokens before it in the row).

    The sum is over the T tokens of a row after the first that are not PAD, which are those that a language
    model is trained to predict. Arguments and errors as in `document_log_probs`; `blocks` has to be that of
    `sample_blocks` or `cut_blocks`, and 1 for whole documents.
    """
    return nll_of_rows(world, tokens, document_log_probs(world, tokens, blocks=blocks, weights=weights))


def nll_of_rows(world: World, tokens: jax.Array, log_probs: jax.Array) -> MixtureNLL:
    """NLL of rows [B, L] from ln P of their tokens [B, L − 1], 0 at PAD."""
    count = jnp.maximum(jnp.sum(tokens[:, 1:] != world.config.pad, axis=1), 1)
    rows = -jnp.sum(log_probs, axis=1) / count
    spread = jnp.std(rows, ddof=1) if rows.size > 1 else jnp.full((), jnp.nan, rows.dtype)
    return MixtureNLL(jnp.mean(rows), spread / jnp.sqrt(rows.size), rows)


class Prediction(NamedTuple):
    """Log probabilities at the scored positions of prompts.

    Attributes:
      answer: [B, N] ln P(right answer | all tokens before it); NaN where the tokens before it are impossible,
        which takes a prior without the prompt's source.
      symbols: [B, N, V] the same for every symbol, or None unless asked for.
    """

    answer: jax.Array
    symbols: jax.Array | None


def exact_prompt(
    world: World, prompts: Prompts, *, weights: ArrayLike | None = None, symbols: bool = False
) -> Prediction:
    """The learner that knows how a prompt is drawn.

    It knows k, so where examples begin, that they are independent given the source z and the start slot s ≠ 0
    shared by all of them, and that each begins in a fresh uniform entity. With ℓ_i(z, s) the log likelihood
    of example i,

        P(answer in example n) = Σ_{z,s} W_n(z, s) P(answer | example n so far, z, s),
        W_n(z, s) ∝ weights_z · exp Σ_{i<n} ℓ_i(z, s) · P(example n so far | z, s).

    All ℓ_i come from one backward pass over all examples at once, W from their cumulative sum; the sum over s
    is the initial distribution of a forward pass, because the first state's slot is s.

    Args:
      world: the world.
      prompts: B prompts with N scored positions each.
      weights: the learner's prior [H] over sources; uniform by default.
      symbols: also return the distribution over all symbols.

    Raises:
      InputError: weights of the wrong shape.
    """
    return _exact_prompt(world, prompts, mixture_logits(world, weights), symbols)


def exact_pretraining(
    world: World,
    prompts: Prompts,
    *,
    blocks: int = 10,
    weights: ArrayLike | None = None,
    restart: float = 1e-6,
    symbols: bool = False,
) -> Prediction:
    """The ideal pretrained model: takes the prompt for a stretch of one document, written by one HMM.

    To it, the fresh entity and start slot after each delimiter are a transition like any other, and one that
    may be
    impossible: a mixture of few permutations leaves some pairs of states unconnected. Then a conditional
    probability given the prompt does not exist, and `restart` says what replaces it: at every transition the
    document jumps to a uniform hidden state with this small probability.

    Args:
      world: the world.
      prompts: B prompts with N scored positions each, with or without BOS.
      blocks: as in `document_log_probs`, for prompts without BOS.
      weights: the mixture weights [H] that it was pretrained with; uniform by default.
      restart: probability of a jump.
      symbols: also return the distribution over all symbols.

    Raises:
      InputError: restart outside (0, 1), or weights of the wrong shape.
    """
    if not 0 < restart < 1:
        raise InputError(f"exact learner: restart is {restart!r}; give a small probability above 0")
    return _exact_pretraining(world, prompts, mixture_logits(world, weights), restart, blocks, symbols)


class Tables(NamedTuple):
    """Arrays that the filters look up; state n = E·S is that of BOS."""

    emitters: jax.Array  # [V + 2, m] states that emit each token, −1 where there is none
    transition: jax.Array  # [(n + 1)², H] probabilities of hidden transitions
    log_emit: jax.Array  # [n + 1, H, V] ln probability of the next symbol


def state_tables(world: World, restart: ArrayLike) -> Tables:
    """The tables of a world whose documents jump to a uniform hidden state with probability `restart` at every transition."""
    config = world.config
    n = config.states
    hidden = (1 - restart) * world.transition() + restart / n
    hidden = jnp.concatenate([hidden, world.start[:, None, :]], axis=1)
    emits = world.emission.reshape(-1, 1) == jnp.arange(config.symbols)
    log_emit = jnp.log(jnp.einsum("zij,jv->izv", hidden, emits.astype(hidden.dtype), precision="highest"))
    transition = jnp.pad(hidden, ((0, 0), (0, 0), (0, 1)))  # nothing leads to BOS
    special = jnp.full((2, world.emitters.shape[1]), -1, jnp.int32).at[1, 0].set(n)  # PAD, BOS
    emitters = jnp.concatenate([world.emitters, special])
    return Tables(emitters, jnp.moveaxis(transition, 0, -1).reshape((n + 1) ** 2, config.hmms), log_emit)


def between(tables: Tables, now: jax.Array, then: jax.Array) -> jax.Array:
    """Transition probabilities [..., m, m, H] from the survivors `now` [..., m] to the survivors `then` [...,
    m]."""
    n_states = tables.log_emit.shape[0]
    block = tables.transition[now[..., :, None] * n_states + then[..., None, :]]
    return jnp.where(((now[..., :, None] >= 0) & (then[..., None, :] >= 0))[..., None], block, 0)


def log_matmul(log_weights: jax.Array, block: jax.Array) -> jax.Array:
    """ln Σ_i exp(log_weights[..., i, z]) · block[..., i, j, z], as [..., j, z].

    The largest weight of each HMM is taken out, so what is lost to underflow is at least e^87 times smaller
    than the survivor beside it; HMMs never drown each other.
    """
    largest = jnp.max(log_weights, axis=-2, keepdims=True)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    scaled = jnp.exp(log_weights - largest)
    return largest + jnp.log(jnp.sum(scaled[..., None, :] * block, axis=-3))


def _forward(tables: Tables, log_weights, survivors, token):
    """One step of the filter: log weights [..., m, H] of the survivors of the next token, and those
    survivors."""
    then = tables.emitters[token]
    return log_matmul(log_weights, between(tables, survivors, then)), then


def _predict(tables: Tables, log_weights, survivors, answers, symbols):
    """The next symbol's log probabilities, given the filter's log weights [..., m, H] after the last
    token."""
    log_weights = log_weights - logsumexp(log_weights, axis=(-2, -1), keepdims=True)
    n_states, n_hmms, n_symbols = tables.log_emit.shape
    of_answer = tables.log_emit.transpose(0, 2, 1)[survivors, answers[..., None]]  # [..., m, H]
    answer = logsumexp(log_weights + of_answer, axis=(-2, -1))
    if not symbols:
        return Prediction(answer, None)
    # Dense weights over states make the sum one matrix product; a symbol that underflows there is no rival to
    # be seen.
    where = (survivors[..., None] == jnp.arange(n_states)).astype(log_weights.dtype)
    dense = jnp.einsum("...mn,...mz->...nz", where, jnp.exp(log_weights), precision="highest")
    emit = jnp.exp(tables.log_emit).reshape(n_states * n_hmms, n_symbols)
    total = jnp.matmul(dense.reshape(*dense.shape[:-2], n_states * n_hmms), emit, precision="highest")
    return Prediction(answer, jnp.log(total))


def _first_weights(world: World, tables: Tables, token, logits, blocks, block):
    """Normalised log weights [B, m, H] of the survivors of the first token of a row, and those survivors."""
    opening = opening_states(world, block, blocks)
    opening = (jnp.mean(opening[1:], axis=0) if blocks > 1 else opening[0]).reshape(world.config.hmms, -1)
    # Every HMM has passed BOS with probability 1.
    opening = jnp.concatenate([opening, jnp.ones_like(opening[:, :1])], axis=1)
    survivors = tables.emitters[token]
    log_weights = jnp.where((survivors >= 0)[..., None], jnp.log(opening).T[survivors] + logits, -jnp.inf)
    return log_weights - logsumexp(log_weights, axis=(-2, -1), keepdims=True), survivors


def _filter(world, tables, tokens, logits, blocks):
    """Runs along rows [B, L]: log P of each token after the first [L − 1, B], and all weights [L, B, m,
    H]."""
    pad = world.config.pad
    first = _first_weights(world, tables, tokens[:, 0], logits, blocks, tokens.shape[1])

    def step(carry, token):
        log_weights, survivors = carry
        moved, then = _forward(tables, log_weights, survivors, token)
        log_prob = logsumexp(moved, axis=(-2, -1))
        # An impossible token leaves nothing to normalise: keep −inf, not NaN.
        moved = moved - jnp.where(jnp.isfinite(log_prob), log_prob, 0)[:, None, None]
        skip = token == pad
        log_weights = jnp.where(skip[:, None, None], log_weights, moved)
        survivors = jnp.where(skip[:, None], survivors, then)
        return (log_weights, survivors), (jnp.where(skip, 0, log_prob), log_weights)

    _, (log_probs, weights) = jax.lax.scan(step, first, tokens[:, 1:].T)
    return log_probs, jnp.concatenate([first[0][None], weights])


@functools.partial(jax.jit, static_argnames="blocks")
def _document_log_probs(world, tokens, logits, restart, blocks):
    return _filter(world, state_tables(world, restart), tokens, logits, blocks)[0].T


@functools.partial(jax.jit, static_argnames=("blocks", "symbols"))
def _exact_pretraining(world, prompts, logits, restart, blocks, symbols):
    tables = state_tables(world, restart)
    _, weights = _filter(world, tables, prompts.tokens, logits, blocks)
    before = prompts.positions - 1
    rows = jnp.arange(before.shape[0])[:, None]
    survivors = tables.emitters[prompts.tokens[rows, before]]
    return _predict(tables, weights[before, rows], survivors, prompts.answers, symbols)


@functools.partial(jax.jit, static_argnames="symbols")
def _exact_prompt(world, prompts, logits, symbols):
    config = world.config
    tables = state_tables(world, 0)
    count, number = prompts.positions.shape
    k = prompts.k
    examples = prompts.tokens[:, prompts.bos : prompts.bos + number * (k + 1)].reshape(count, number, k + 1)
    examples = jnp.moveaxis(examples[..., :k], -1, 0)  # [k, B, N]
    survivors = tables.emitters[examples[0]]
    there = (survivors >= 0)[..., None]

    # Backward: ln P(rest of the example | state now, HMM), from the last symbol to the first.
    def backward(carry, token):
        log_rest, then = carry
        now = tables.emitters[token]
        return (log_matmul(log_rest, between(tables, now, then).swapaxes(-3, -2)), now), None

    last = tables.emitters[examples[-1]]
    log_rest = jnp.broadcast_to(jnp.where((last >= 0)[..., None], 0.0, -jnp.inf), (*last.shape, config.hmms))
    log_rest = log_rest.astype(world.start.dtype)
    (log_rest, _), _ = jax.lax.scan(backward, (log_rest, last), examples[:-1], reverse=True)
    slots = survivors % config.slots
    of_slot = (slots[..., None] == jnp.arange(1, config.slots)) & there  # [B, N, m, S − 1]
    likelihood = logsumexp(jnp.where(of_slot[..., None, :], log_rest[..., None], -jnp.inf), axis=-3)
    # Only ratios between hypotheses matter; taking out the best of each example keeps the long sums accurate.
    best = jnp.max(likelihood, axis=(-2, -1), keepdims=True)
    likelihood = likelihood - jnp.where(jnp.isfinite(best), best, 0)  # [B, N, H, S − 1]
    seen = jnp.cumsum(likelihood, axis=1)
    evidence = jnp.concatenate([jnp.zeros_like(seen[:, :1]), seen[:, :-1]], axis=1) + logits[:, None]

    # Forward: begin with the hypotheses' weights on the first state's slot; slot 0 never begins an example.
    by_slot = jnp.pad(evidence, ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=-jnp.inf)
    log_weights = jnp.take_along_axis(by_slot.swapaxes(-2, -1), slots[..., None], axis=-2)
    log_weights = jnp.where(there, log_weights, -jnp.inf)

    def forward(carry, token):
        log_weights, survivors = carry
        return _forward(tables, log_weights, survivors, token), None

    (log_weights, survivors), _ = jax.lax.scan(forward, (log_weights, survivors), examples[1 : k - 1])
    return _predict(tables, log_weights, survivors, prompts.answers, symbols)
