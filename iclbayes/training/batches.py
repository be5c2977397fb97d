"""Batch functions: where the batch of an update comes from."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from ..errors import InputError


def rows_batch_fn(rows: Any, batch_size: int, *, seed: int = 0, shuffle: bool = True) -> Partial:
    """Batches from stored rows, epoch after epoch, each epoch in a new order that `seed` determines.

    Batches do not straddle epochs: rows left over at the end of an epoch, fewer than a batch, are dropped.

    Args:
      rows: arrays with one leading axis N in common (any pytree); they are moved to the device once.
      batch_size: rows in a batch, at most N.
      seed: of the order.
      shuffle: keep the order of the rows if False.

    Returns: a batch function (key, step) -> rows of the batch, for `train`.

    Raises:
      InputError: the arrays differ in length, or hold less than a batch.
    """
    rows = jax.tree.map(jnp.asarray, rows)
    lengths = {x.shape[0] for x in jax.tree.leaves(rows)}
    if len(lengths) != 1:
        raise InputError(f"batches: the arrays have {sorted(lengths)} rows; give as many in each")
    if not 1 <= batch_size <= min(lengths):
        raise InputError(f"batches: a batch of {batch_size} from {min(lengths)} rows; give at most that many")
    draw = functools.partial(_rows_at, batch_size=batch_size, shuffle=shuffle)  # static
    return jax.tree_util.Partial(draw, rows, jax.random.key(seed))


def steps_for_epochs(number: int, batch_size: int, epochs: float = 1) -> int:
    """Updates in so many epochs of `number` rows, at least 1."""
    return max(1, round(epochs * (number // batch_size)))


def _rows_at(rows, order_key, key, step, *, batch_size, shuffle):
    del key  # the order follows from its own key and the step
    number = jax.tree.leaves(rows)[0].shape[0]
    per_epoch = number // batch_size
    first = (step % per_epoch) * batch_size
    if not shuffle:
        index = first + jnp.arange(batch_size)
    else:
        order = jax.random.permutation(jax.random.fold_in(order_key, step // per_epoch), number)
        index = jax.lax.dynamic_slice(order, (first,), (batch_size,))
    return jax.tree.map(lambda x: x[index], rows)
