"""ICL curves on prompts of the synthetic world: of a GPT-2, and of the two exact learners.

    prompts = icl_prompts(world, key, ks=(3, 10), count=1000, context=128)   # draw once, share among learners
    scores  = score_model(model, prompts)                      # one PromptScores for each k
    ideal   = score_exact(world, prompts, "exact_prompt")      # the same prompts, so learners are paired
    frame   = icl_curves(scores, learner="gpt2", layers=3)     # rows: learner, layers, source, k, shots, …

The gather of the answers' log probabilities happens on the device: hidden states are unembedded only where
an answer is scored, and what comes back to the host is two numbers an answer. Prompts of all k are scored in
batches of one shape, so that there is one compilation a model, which later calls find again.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx

from .errors import InputError
from .ginc.exact import exact_pretraining, exact_prompt
from .ginc.examples import exact_examples
from .ginc.sampling import Prompts, sample_prompts, shots_per_prompt
from .ginc.world import World
from .models.gpt2 import GPT2

EXACT_LEARNERS = {
    "exact_prompt": exact_prompt,
    "exact_pretraining": exact_pretraining,
    "exact_examples": exact_examples,
}


class PromptScores(NamedTuple):
    """What one learner makes of B prompts of one example length, on the host.

    Attributes:
      k: states in an example.
      source: [B] int, the HMM of each prompt.
      log_prob: [B, N] float32, ln P(right answer | prompt up to it), column n after n shots.
      correct: [B, N] bool, whether the right answer is the most probable token.
    """

    k: int
    source: np.ndarray
    log_prob: np.ndarray
    correct: np.ndarray


def icl_prompts(
    world: World,
    key: jax.Array,
    *,
    ks: Sequence[int] = (3, 5, 8, 10),
    count: int = 1000,
    context: int = 1024,
    bos: bool = False,
) -> tuple[Prompts, ...]:
    """Prompts to measure ICL curves on: for each k `count` prompts of ⌊(context − bos) / (k + 1)⌋ examples.

    The sources take turns (0, 1, …, H − 1, 0, …), so every curve rests on the same number of prompts, give or
    take one; all else is drawn as in `ginc.sample_prompts`.

    Args:
      world: the world.
      key: random key. The prompts of one k do not depend on which other k are asked for.
      ks: example lengths, each at least 2.
      count: prompts for each k, at least two a source, which a standard error needs.
      context: tokens in a row.
      bos: put BOS first.

    Raises:
      InputError: no k, a k twice, too few prompts, or a context that holds no example.
    """
    ks = tuple(int(k) for k in ks)
    if not ks or len(set(ks)) < len(ks):
        raise InputError(f"ICL prompts: example lengths are {ks}; give at least one, each once")
    if count < 2 * world.config.hmms:
        raise InputError(
            f"ICL prompts: {count} prompts for {world.config.hmms} sources; "
            f"give at least {2 * world.config.hmms}"
        )
    hmm = np.arange(count) % world.config.hmms
    return tuple(
        sample_prompts(world, jax.random.fold_in(key, k), count, k, context, bos=bos, hmm=hmm) for k in ks
    )


def cut_prompts(prompts: Prompts, context: int) -> Prompts:
    """Prompts that fit `context` tokens: longer ones are cut after a whole example, shorter ones left alone.

    Raises:
      InputError: the context holds no example.
    """
    if prompts.tokens.shape[1] <= context:
        return prompts
    number = min(shots_per_prompt(prompts.k, context, prompts.bos), prompts.positions.shape[1])
    end = prompts.bos + number * (prompts.k + 1)
    return Prompts(
        # What is right of the last scored answer has no influence; PAD would be as good as what stands there.
        tokens=jnp.pad(prompts.tokens[:, :end], ((0, 0), (0, context - end)), mode="edge"),
        positions=prompts.positions[:, :number],
        answers=prompts.answers[:, :number],
        source=prompts.source,
        start_slot=prompts.start_slot,
        k=prompts.k,
        bos=prompts.bos,
    )


def score_model(
    model: GPT2 | tuple[nnx.GraphDef, nnx.State], prompts: Sequence[Prompts], *, batch: int | None = None
) -> tuple[PromptScores, ...]:
    """Scores prompts with a GPT-2.

    Made to be called again and again while a model trains: the compiled function is found again by the
    structure of the model and the shape of the prompts, whatever the weights.

    Args:
      model: the model, or its `nnx.split`, which saves splitting it at every call.
      prompts: one element a k, all with rows of the same length. Rows longer than the model's context are cut
        at a whole example.
      batch: rows scored at once, by default 16 on CPUs, whose caches hold no more, and 64 elsewhere. The last
        batch is filled up with rows that are thrown away.

    Returns:
      One `PromptScores` for each element, in order. Probabilities are over the model's whole vocabulary.

    Raises:
      InputError: the model's vocabulary or context is too small for the prompts, or rows differ in length.
    """
    graphdef, state = nnx.split(model) if isinstance(model, nnx.Module) else model
    config = (model if isinstance(model, nnx.Module) else nnx.merge(graphdef, state)).config
    prompts = tuple(cut_prompts(one, config.context) for one in prompts)
    tokens, positions, answers = _stack(prompts)
    if tokens.max() >= config.vocab_size:
        raise InputError(
            f"ICL curves: prompts contain token {tokens.max()} but the model's vocabulary has "
            f"{config.vocab_size}; give a model of this world"
        )
    if batch is None:
        batch = 16 if jax.default_backend() == "cpu" else 64
    score = functools.partial(score_rows, graphdef, state)
    log_prob, correct = _in_batches(score, (tokens, positions, answers), batch)
    return _unstack(prompts, log_prob, correct)


def score_exact(
    world: World,
    prompts: Sequence[Prompts],
    learner: str = "exact_prompt",
    *,
    batch: int = 64,
    **options: Any,
) -> tuple[PromptScores, ...]:
    """Scores prompts with an exact learner of `iclbayes.ginc`.

    Args:
      world: the world that the prompts were drawn from.
      prompts: one element a k.
      learner: "exact_prompt" (knows how prompts are drawn), "exact_pretraining" (takes the prompt for a
        stretch of one document) or "exact_examples" (for a row made of examples).
      batch: rows scored at once.
      **options: of that learner: `weights` [H], the prior over HMMs; `blocks`, `restart` for
        "exact_pretraining"; `ks`, the lengths that rows are drawn with, for "exact_examples".

    Returns:
      One `PromptScores` for each element, in order.

    Raises:
      InputError: an unknown learner, or as that learner does.
    """
    if learner not in EXACT_LEARNERS:
        raise InputError(f"ICL curves: learner {learner!r} is unknown; choose {', '.join(EXACT_LEARNERS)}")

    def score(one):
        prediction = EXACT_LEARNERS[learner](world, one, symbols=True, **options)
        return prediction.answer, jnp.argmax(prediction.symbols, axis=-1) == one.answers

    return tuple(
        PromptScores(one.k, np.asarray(one.source), *_in_batches(lambda part: score(*part), (one,), batch))
        for one in prompts
    )


def icl_curves(scores: Sequence[PromptScores], **columns: Any) -> pd.DataFrame:
    """Averages scores over the prompts of each source.

    Returns:
      A row for each k, source and number of shots: first `columns` (constants such as learner="gpt2"), then
        source, k: the HMM and the example length;
        shots: complete examples before the answer, 0, 1, 2, …;
        prob: mean probability of the right answer over the prompts;
        stderr: standard error of `prob`, s / √n with s the standard deviation over prompts (n − 1 below);
          NaN where n is 1;
        accuracy: share of prompts where the right answer is the most probable token;
        nll: −ln(prob), nats: of the mean probability, not the mean of −ln;
        n: number of prompts.
    """
    frames = []
    for one in scores:
        probs = np.exp(one.log_prob.astype(np.float64))
        for source in np.unique(one.source):
            here = one.source == source
            prob, n = probs[here].mean(0), int(here.sum())
            spread = probs[here].std(0, ddof=1) if n > 1 else np.full_like(prob, np.nan)
            with np.errstate(divide="ignore"):
                nll = -np.log(prob)
            rows = {
                "source": int(source),
                "k": one.k,
                "shots": np.arange(prob.size),
                "prob": prob,
                "stderr": spread / np.sqrt(n),
                "accuracy": one.correct[here].mean(0),
                "nll": nll,
                "n": n,
            }
            frames.append(pd.DataFrame({**columns, **rows}))
    return pd.concat(frames, ignore_index=True)


@functools.partial(jax.jit, static_argnums=0)
def score_rows(
    graphdef: nnx.GraphDef, state: nnx.State, rows: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """ln P(answer) and whether it is the most probable token, both [B, N], for rows (tokens [B, L], positions
    [B, N], answers [B, N])."""
    tokens, positions, answers = rows
    model = nnx.merge(graphdef, state)
    hidden = model.hidden(tokens)
    before = jnp.take_along_axis(hidden, (positions - 1)[..., None], axis=1)  # [B, N, D]
    logits = model.unembed(before)  # [B, N, V]
    of_answer = jnp.take_along_axis(logits, answers[..., None], axis=-1)[..., 0]
    log_prob = of_answer - jax.nn.logsumexp(logits, axis=-1)
    return log_prob, jnp.argmax(logits, axis=-1) == answers


def _stack(prompts: Sequence[Prompts]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts of all k as one table: tokens [R, L], positions and answers [R, most N], filled up with 1 and
    0."""
    lengths = {one.tokens.shape[1] for one in prompts}
    if len(lengths) != 1:
        raise InputError(
            f"ICL curves: prompts have rows of {sorted(lengths)} tokens; draw them with one context"
        )
    most = max(one.positions.shape[1] for one in prompts)

    def filled(array, value):
        return np.pad(array, ((0, 0), (0, most - array.shape[1])), constant_values=value)

    return (
        np.concatenate([np.asarray(one.tokens) for one in prompts]),
        np.concatenate([filled(np.asarray(one.positions), 1) for one in prompts]),
        np.concatenate([filled(np.asarray(one.answers), 0) for one in prompts]),
    )


def _unstack(prompts, log_prob, correct) -> tuple[PromptScores, ...]:
    ends = np.cumsum([len(one.source) for one in prompts])[:-1]
    parts = zip(prompts, np.split(log_prob, ends), np.split(correct, ends))
    return tuple(
        PromptScores(
            one.k, np.asarray(one.source), p[:, : one.positions.shape[1]], c[:, : one.positions.shape[1]]
        )
        for one, p, c in parts
    )


def _in_batches(score, rows, batch: int):
    """Applies `score` to slices of `rows`, a pytree of arrays [R, …]; all slices are in flight at once, and
    are fetched together."""
    if batch < 1:
        raise InputError(f"ICL curves: batch is {batch}; give at least 1")
    count = len(jax.tree.leaves(rows)[0])
    batch = min(batch, count)
    results = []
    for first in range(0, count, batch):
        index = np.minimum(np.arange(first, first + batch), count - 1)
        results.append(score(jax.tree.map(lambda leaf, index=index: leaf[index], rows)))
    return tuple(np.concatenate(parts)[:count] for parts in zip(*jax.device_get(results)))
