"""Running one function of a unit over many units: chunks of one size, one compilation, a thread per core."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from ..fitting import execute

_programs: dict = {}
compilations = 0  # programs built so far; a second call with the same shapes must not raise it


def over_units(
    name: Any,
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
    n_units = len(jax.tree.leaves(arrays)[0])
    arrays = jax.tree.map(np.asarray, arrays)
    signature = (name, chunk, tuple((a.shape[1:], str(a.dtype)) for a in jax.tree.leaves(arrays)))
    starts = range(0, n_units, chunk)

    def one(start):
        stop = min(start + chunk, n_units)
        take = np.minimum(np.arange(start, start + chunk), n_units - 1)
        with execute.precision(np.dtype(np.float64)):
            out = jax.device_get(program(*jax.tree.map(lambda a: a[take], arrays)))
        on_done(stop - start)
        return jax.tree.map(lambda a: np.asarray(a)[: stop - start], out)

    program = _program(signature, jax.vmap(function) if mapped else function, arrays, chunk)
    workers = execute.cores() if jax.local_devices()[0].platform == "cpu" else 1
    if workers > 1 and len(starts) > 1:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(one, starts))
    else:
        parts = [one(start) for start in starts]
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def chunk_size(n_units: int) -> int:
    """Units side by side in a program: 4, 16 or 64, the largest of which two fill up; few sizes, since each is compiled."""
    return 64 if n_units >= 128 else 16 if n_units >= 8 else 4


def _program(signature, function, arrays, chunk):
    global compilations
    if signature not in _programs:
        compilations += 1
        with execute.precision(np.dtype(np.float64)):
            shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct((chunk, *a.shape[1:]), a.dtype), arrays)
            _programs[signature] = jax.jit(function).lower(*shapes).compile(execute.compiler_options())
    return _programs[signature]
