"""Held-out loss of a model, sequence by sequence, so that it can be paired with another predictor's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..errors import InputError
from ..models import GPT2
from .losses import sequence_nll


class EvalLoss(NamedTuple):
    """Held-out loss.

    Attributes:
      loss: nats per predicted token, over all sequences.
      stderr: its standard error, sequences being independent.
      nll: float64[N], nats summed over each sequence.
      tokens: float64[N], predicted tokens of each.
    """

    loss: float
    stderr: float
    nll: np.ndarray
    tokens: np.ndarray


_sequence_nll = nnx.jit(sequence_nll)


def evaluate(
    model: GPT2, tokens_NxL: jax.Array | np.ndarray, *, batch_size: int = 64, pad: int | None = None
) -> EvalLoss:
    """Loss on given sequences; the last batch is filled up, so one program serves all.

    Args:
      model: the model.
      tokens_NxL: int32[N, L].
      batch_size: sequences at a time.
      pad: a token that is never a target.

    Raises:
      InputError: there is no sequence.
    """
    number = len(tokens_NxL)
    if not number:
        raise InputError("evaluate: there are 0 sequences; give at least 1")
    batch_size = min(batch_size, number)
    parts = []
    for start in range(0, number, batch_size):
        batch = jnp.asarray(tokens_NxL[start : start + batch_size])
        short = batch_size - len(batch)
        if short:
            batch = jnp.concatenate([batch, jnp.repeat(batch[:1], short, axis=0)])
        parts.append([x[: batch_size - short] for x in _sequence_nll(model, batch, pad)])
    nll, count = (np.concatenate(p).astype(np.float64) for p in zip(*jax.device_get(parts), strict=True))
    loss = nll.sum() / count.sum()
    # Standard error of a ratio of means: residuals nll − loss · count over the mean count.
    residual = nll - loss * count
    stderr = np.sqrt(residual @ residual / max(number - 1, 1) / number) / count.mean()
    return EvalLoss(float(loss), float(stderr), nll, count)
