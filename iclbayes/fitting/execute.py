"""Running fits on the hardware at hand: few shapes, threads, devices, hosts.

A data set of any size is cut into chunks of 8, 32, 128, 512 or (single short curves) 1,024 fits, padded with fits of weight 0
(they end at once), so that a law compiles once per bucket of points. On a CPU the chunks run in as many threads as there are
cores, because XLA runs one such loop on one core; on several devices each chunk is sharded over a mesh of all local devices, each
running its own loop; after `jax.distributed.initialize()` the hosts take the chunks in turn and gather the results.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..errors import InputError
from ..runtime import effort_for, map_chunks, precision, programs, workers
from .batch import fit_batch
from .objective import Problem
from .result import FitResult

CHUNKS = (8, 32, 128, 512)
LARGE, SHORT = 1024, 512  # fits of a chunk, where each is a single curve of at most so many points


def _in_range(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values ≥ 0 in a precision; those beyond its largest number become that number."""
    most = np.finfo(dtype).max
    return np.asarray(np.minimum(values, most) if np.max(values, initial=0.0) > most else values, dtype)


def run(
    problem: Problem,
    shots: np.ndarray,
    prob: np.ndarray,
    weight: np.ndarray,
    *,
    n_starts: int,
    max_steps: int,
    optimizer: optax.GradientTransformation,
    seed: int,
    dtype: np.dtype,
    on_done: Callable[[int], None] = lambda n: None,
) -> FitResult:
    """Fits B groups; arrays [B, S, n] in NumPy, `FitResult` of NumPy arrays with leading axis [B].

    `on_done(n)` is called after every n finished fits, from any thread.
    """
    batch, shape = prob.shape[0], prob.shape[1:]
    devices = jax.local_devices()
    hosts = jax.process_count()
    # Hosts have to cut alike, whatever the cores of each.
    size = chunk_size(batch, shape, workers() if hosts == 1 else 2, devices_of_each_host(), hosts)
    arrays = [_in_range(a, dtype) for a in (shots, prob, weight)]
    owner = np.arange(batch) // size % hosts  # hosts take the chunks in turn
    if hosts > 1:
        mine = np.flatnonzero(owner == jax.process_index())
        # Who gets no chunk still has to know the shapes of the result.
        arrays = [a[mine if len(mine) else slice(size)] for a in arrays]

    def fits(shots, prob, weight, words):
        return fit_batch(
            problem,
            shots,
            prob,
            weight,
            key=jax.random.wrap_key_data(words, impl="threefry2x32"),
            n_starts=n_starts,
            max_steps=max_steps,
            optimizer=optimizer,
        )

    words = key_data(seed)
    name = ("fits", problem, n_starts, max_steps, optimizer, tuple(devices))
    function = _on_each(devices, fits) if len(devices) > 1 else fits
    effort = effort_for(size, size * shape[0] * shape[1], problem.law.loops)
    result = map_chunks(
        lambda chunk: programs.run(name, function, *chunk, words, dtype=dtype, effort=effort),
        arrays,
        size,
        padding="zero",
        on_done=on_done,
    )
    return gather(result, owner, dtype) if hosts > 1 else result


def chunk_size(batch: int, shape: tuple[int, int], workers: int, n_devices: int, hosts: int = 1) -> int:
    """The largest chunk of which every worker of every host gets one, and a host at least two if it has a single device.

    On several devices a chunk is a multiple of their number, and a host gets one if it can.

    The queue of a chunk's starts ends with few of them left, so large chunks waste less. Of joint groups the matrices of all
    starts would need gigabytes, of long curves the points, and they gain nothing.

    Args:
      batch: B fits in all.
      shape: curves S and points n of each.
      workers: programs that a host with one device runs at a time.
      n_devices: of each host.
      hosts: how many.
    """
    if n_devices > 1:
        smallest, largest = n_devices * CHUNKS[0], n_devices * CHUNKS[-1]
        wanted, size = -(-batch // hosts), smallest
        while size < wanted:  # powers of two times the smallest: few shapes
            size *= 2
        return min(largest, size)
    n_curves, n_points = shape
    sizes = (*CHUNKS, LARGE) if n_curves == 1 and n_points <= SHORT else CHUNKS
    for size in reversed(sizes):
        if batch >= max(2, workers) * size * hosts:
            return size
    return sizes[0] if batch > 1 else 1


def key_data(seed: int) -> np.ndarray:
    """[2] what `jax.random.key(seed)` holds in 64-bit JAX; to ask JAX for it compiles a program."""
    seed = int(seed)  # of NumPy, it might not hold the masks
    return np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def devices_of_each_host() -> int:
    """Devices of every host, alike. Raises InputError where they differ."""
    counts = {sum(d.process_index == host for d in jax.devices()) for host in range(jax.process_count())}
    if len(counts) > 1:
        raise InputError(f"hosts have {min(counts)} to {max(counts)} devices; give each the same number")
    return counts.pop()


def _on_each(devices: list, fits: Callable) -> Callable:
    """The function `fits(shots, prob, weight, words)` with its fits spread over the devices."""
    # shard_map, not sharded jit: each device then loops until its own fits are done, without talking to the others.
    mesh = Mesh(np.array(devices), ("fit",))
    split, same = NamedSharding(mesh, P("fit")), NamedSharding(mesh, P())
    specs = (P("fit"), P("fit"), P("fit"), P())
    mapped = jax.shard_map(fits, mesh=mesh, in_specs=specs, out_specs=P("fit"), check_vma=False)
    return jax.jit(mapped, in_shardings=(split, split, split, same), out_shardings=split)


def gather(result: FitResult, owner: np.ndarray, dtype: np.dtype) -> FitResult:
    """Results of all B fits on every host, from those that each made; owner [B] is the host of each fit."""
    from jax.experimental import multihost_utils

    mine = np.flatnonzero(owner == jax.process_index())

    def one(leaf: np.ndarray) -> np.ndarray:
        buffer = np.zeros((len(owner), *leaf.shape[1:]), leaf.dtype)
        buffer[mine] = leaf[: len(mine)]
        with precision(dtype):
            gathered = np.asarray(multihost_utils.process_allgather(jnp.asarray(buffer), tiled=False))
        return gathered[owner, np.arange(len(owner))]

    return jax.tree.map(one, result)
