"""Running one function of a unit over many units: chunks of one size, one compilation, a thread per core."""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from ..runtime import map_chunks, programs


def over_units(
    name: Hashable,
    function: Callable,
    arrays: Any,
    chunk: int,
    on_done: Callable[[int], None] = lambda n: None,
    mapped: bool = True,
) -> Any:
    """jit(vmap(function)) over the leading axis of every leaf of `arrays` (a tuple of pytrees), in chunks.

    Args:
      name: hashable; stands for the function and what it closes over. Same name and shapes: same program.
      function: takes one unit's arrays; traced in float64.
      arrays: tuple of pytrees of NumPy arrays, leading axis [U].
      chunk: units side by side in a program; padded by repeating the last unit.
      mapped: False for a function that takes arrays of many units, with the leading axis, itself.

    Returns:
      The function's pytree with leading axis [U], NumPy.
    """
    program = jax.vmap(function) if mapped else function
    return map_chunks(lambda some: programs.run(name, program, *some), arrays, chunk, on_done=on_done)


def chunk_size(n_units: int) -> int:
    """Units side by side in a program: 4, 16 or 64, the largest of which two fill up; few sizes, since each is compiled."""
    return 64 if n_units >= 128 else 16 if n_units >= 8 else 4


def keys(seed: int, n: int, stream: int = 0) -> np.ndarray:
    """[n, 2] raw data of independent keys; `jax.random.wrap_key_data` makes keys of them."""
    return np.asarray(
        jax.random.key_data(jax.random.split(jax.random.fold_in(jax.random.key(seed), stream), n))
    )
