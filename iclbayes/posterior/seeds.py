"""Random numbers of a posterior: one seed, split by what they are for, so that no two purposes share a stream.

The children of a `numpy.random.SeedSequence` have streams that are independent whatever the numbers of their parents; seeds made
by adding numbers collide (block 1 of seed 0 is then block 0 of another seed). The children are named here by their purpose rather
than counted as `spawn` does, so that an answer does not change when another is asked for first.
"""

from typing import Literal

import jax
import numpy as np
from jax import Array

Purpose = Literal["sampling", "proposals", "chains", "walk", "noise", "prior", "learning"]
PURPOSES: tuple[Purpose, ...] = ("sampling", "proposals", "chains", "walk", "noise", "prior", "learning")


def stream(seed: int | np.random.SeedSequence, purpose: Purpose, *path: int) -> np.random.SeedSequence:
    """The child of a seed for a purpose, and of that purpose's parts (a number of a block, an attempt …)."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(
        root.entropy, spawn_key=(*root.spawn_key, PURPOSES.index(purpose), *(int(part) for part in path))
    )


def unit_keys(seed: np.random.SeedSequence, n: int) -> np.ndarray:
    """[n, 2] raw data of the units' Threefry keys; `key_of` makes keys of them inside a program."""
    return seed.generate_state(2 * n, np.uint32).reshape(n, 2)


def key_of(raw: Array) -> Array:
    """JAX keys [...] of raw data [..., 2], whatever generator the user has made JAX's default; traceable."""
    return jax.random.wrap_key_data(raw, impl="threefry2x32")
