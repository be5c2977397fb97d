"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) as a loss for the training loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ..errors import InputError
from ..models import GPT2
from .losses import token_nll


class Preferences(NamedTuple):
    """Pairs of sequences, with what the reference model says of each token.

    Attributes:
      chosen, rejected: int32[N, L].
      chosen_reference, rejected_reference: float32[N, L − 1], log probability in nats of tokens 1 … L − 1
        under the reference model. They are kept per token: their differences are then small where the models
        agree, and sums over long sequences lose no digits.
    """

    chosen: jax.Array
    rejected: jax.Array
    chosen_reference: jax.Array
    rejected_reference: jax.Array


row_log_probs = nnx.jit(lambda model, tokens: -token_nll(model, tokens))


def preference_pairs(
    reference: GPT2, chosen: jax.Array, rejected: jax.Array, *, batch_size: int = 64
) -> Preferences:
    """Pairs with the reference model's log probabilities, computed once.

    Train on them with `rows_batch_fn(pairs, batch_size)` and the loss `dpo_loss`.

    Args:
      reference: the model before preference tuning.
      chosen, rejected: int32[N, L].
      batch_size: sequences at a time.

    Raises:
      InputError: the arrays differ in shape, or are empty.
    """
    chosen, rejected = jnp.asarray(chosen), jnp.asarray(rejected)
    if chosen.shape != rejected.shape or chosen.ndim != 2 or not len(chosen):
        raise InputError(
            f"preferences: chosen has shape {chosen.shape}, rejected {rejected.shape}; give equal shapes [N, L]"
        )

    def log_probs(tokens):
        short = -len(tokens) % batch_size  # the last batch is filled up, so one program serves all
        filled = jnp.concatenate([tokens, jnp.broadcast_to(tokens[:1], (short, tokens.shape[1]))])
        parts = [
            row_log_probs(reference, filled[i : i + batch_size]) for i in range(0, len(filled), batch_size)
        ]
        return jnp.concatenate(parts)[: len(tokens)]

    return Preferences(chosen, rejected, log_probs(chosen), log_probs(rejected))


def dpo_loss(
    model: GPT2, batch: Preferences, beta: float = 0.1, pad: int | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """−ln σ( β [ (ln π(c) − ln π_ref(c)) − (ln π(r) − ln π_ref(r)) ] ), nats, mean over the pairs.

    Args:
      model: the model π being tuned.
      batch: pairs (c, r) with the log probabilities of π_ref.
      beta: strength of the pull towards the reference, β > 0; bind it with `functools.partial`.
      pad: a token that is never scored.

    Returns: (loss, metrics): `margin`, the mean of β [ … ], and `preferred`, the share of pairs where it is
      above 0.
    """
    number = len(batch.chosen)
    tokens = jnp.concatenate([batch.chosen, batch.rejected])
    reference = jnp.concatenate([batch.chosen_reference, batch.rejected_reference])
    log_ratio = -token_nll(model, tokens) - reference
    if pad is not None:
        log_ratio = jnp.where(tokens[:, 1:] == pad, 0.0, log_ratio)
    log_ratio = jnp.sum(log_ratio, axis=-1)
    margin = beta * (log_ratio[:number] - log_ratio[number:])
    metrics = {"margin": jnp.mean(margin), "preferred": jnp.mean((margin > 0).astype(jnp.float32))}
    return jnp.mean(jax.nn.softplus(-margin)), metrics
