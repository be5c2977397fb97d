"""Losses of a language model, in the form that the training loop takes: (model, batch) -> (loss, metrics)."""

import jax
import jax.numpy as jnp

from ..models import GPT2


def token_nll(model: GPT2, tokens_BxL: jax.Array) -> jax.Array:
    """Negative log likelihood in nats of every token given those before it, float32[B, L − 1].

    −ln softmax(logits_i)[token_{i+1}], the log-softmax in float32 whatever the compute dtype.
    """
    logits_BxLxV = model.unembed(model.hidden(tokens_BxL)[:, :-1]).astype(jnp.float32)
    return cross_entropy(logits_BxLxV, tokens_BxL[:, 1:])


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """−ln softmax(logits)[target] for logits [..., V] and targets int32[...].

    The target's logit is picked by a comparison with all V symbols: for the small vocabularies of this
    library the gradient is then an elementwise expression, where that of a gather is a scatter.
    """
    hit = targets[..., None] == jnp.arange(logits.shape[-1], dtype=targets.dtype)
    picked = jnp.sum(jnp.where(hit, logits, 0), axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - picked


def lm_loss(
    model: GPT2, tokens_BxL: jax.Array, pad: int | jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean NLL per predicted token, nats.

    Args:
      model: the model.
      tokens_BxL: int32[B, L].
      pad: a token that is never a target (it fills up rows); every token counts unless given.
        Bind it with `functools.partial(lm_loss, pad=…)`.

    Returns: (loss, {}).
    """
    nll = token_nll(model, tokens_BxL)
    if pad is None:
        return jnp.mean(nll), {}
    weight = (tokens_BxL[:, 1:] != pad).astype(nll.dtype)
    return jnp.sum(nll * weight) / jnp.maximum(jnp.sum(weight), 1), {}


def sequence_nll(
    model: GPT2, tokens_BxL: jax.Array, pad: int | jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Sums over each sequence: (NLL in nats float32[B], number of predicted tokens float32[B])."""
    nll = token_nll(model, tokens_BxL)
    weight = jnp.ones_like(nll) if pad is None else (tokens_BxL[:, 1:] != pad).astype(nll.dtype)
    return jnp.sum(nll * weight, axis=-1), jnp.sum(weight, axis=-1)
