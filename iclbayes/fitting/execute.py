"""Running fits on the hardware at hand: precision, few shapes, threads, devices, hosts.

A data set of any size is cut into chunks of 8, 32, 128, 512 or (single short curves) 1,024 fits, padded with fits of weight 0
(they end at once), so that a law compiles once per bucket of points. On a CPU the chunks run in as many threads as there are
cores, because XLA runs one such loop on one core; on several devices each chunk is sharded over a mesh of all local devices, each
running its own loop; after `jax.distributed.initialize()` the hosts take the chunks in turn and gather the results.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..errors import InputError
from .batch import FitResult, fit_batch
from .objective import Problem

CHUNKS = (8, 32, 128, 512)
QUICK = 128  # fits of a chunk up to which compiling soon is worth more than running fast
LARGE, SHORT = 1024, 512  # fits of a chunk, where each is a single curve of at most so many points
_compiled: dict = {}
_lock = threading.Lock()
_building: dict = {}
compilations = 0  # how often a chunk program was built; a second call on the same shapes must not raise it


@contextlib.contextmanager
def precision(dtype: np.dtype) -> Iterator[None]:
    """64-bit JAX inside the block if `dtype` is float64, whatever the user's own setting, which comes back afterwards."""
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        yield


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@functools.cache
def compiler_options(quick: bool = True) -> dict | None:
    """What makes a CPU compile sooner: LLVM's lower level, whose programs run no slower, and (quick) loops emitted the plain way,
    which halves the time again and costs large batches of short curves a fifth of their speed. Options that XLA has no more are
    left out."""
    if jax.local_devices()[0].platform != "cpu":
        return None
    wanted = {"xla_backend_optimization_level": 1} | ({"xla_cpu_use_fusion_emitters": False} if quick else {})
    known = {}
    for name, value in wanted.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x).lower(0.0).compile({name: value})
            known[name] = value
    return known


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
    batch = prob.shape[0]
    devices = jax.local_devices()
    workers = cores() if devices[0].platform == "cpu" and len(devices) == 1 else 1
    hosts = jax.process_count()
    # Hosts have to cut alike, whatever the cores of each.
    size = _chunk_size(batch, prob.shape[1:], workers if hosts == 1 else 2, _devices_of_each_host(), hosts)
    arrays = [np.asarray(a, dtype) for a in (shots, prob, weight)]
    starts = list(range(0, batch, size))
    mine = starts[jax.process_index() :: hosts]

    def one(start):
        stop = min(start + size, batch)
        chunk = [_pad(a[start:stop], size) for a in arrays]
        with precision(dtype):
            program = _program(problem, chunk, n_starts, max_steps, optimizer, tuple(devices))
            result = jax.device_get(program(*chunk, np.asarray(jax.random.key_data(jax.random.key(seed)))))
        on_done(stop - start)
        return jax.tree.map(lambda a: np.asarray(a)[: stop - start], result)

    if workers > 1 and len(mine) > 1:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(one, mine))
    else:
        parts = [
            one(start) for start in mine or starts[:1]
        ]  # a host without a chunk still has to know the shapes
    if hosts > 1:
        return _gather(parts, starts, mine, size, batch, dtype)
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def _devices_of_each_host() -> int:
    counts = {sum(d.process_index == host for d in jax.devices()) for host in range(jax.process_count())}
    if len(counts) > 1:
        raise InputError(f"hosts have {min(counts)} to {max(counts)} devices; give each the same number")
    return counts.pop()


def _chunk_size(batch: int, shape: tuple[int, int], workers: int, n_devices: int, hosts: int = 1) -> int:
    """The largest chunk of which every worker of every host gets one, and a host at least two if it has a single device.

    On several devices a chunk is a multiple of their number, and a host gets one if it can.

    The queue of a chunk's starts ends with few of them left, so large chunks waste less. Of joint groups the matrices of all
    starts would need gigabytes, of long curves the points, and they gain nothing.
    """
    if n_devices > 1:
        smallest, largest = n_devices * CHUNKS[0], n_devices * CHUNKS[-1]
        return max(smallest, min(largest, _round_up(-(-batch // hosts), smallest)))
    n_curves, n_points = shape
    sizes = (*CHUNKS, LARGE) if n_curves == 1 and n_points <= SHORT else CHUNKS
    for size in reversed(sizes):
        if batch >= max(2, workers) * size * hosts:
            return size
    return sizes[0] if batch > 1 else 1


def _round_up(n: int, step: int) -> int:
    # Powers of two times the step: few shapes.
    size = step
    while size < n:
        size *= 2
    return size


def _pad(a: np.ndarray, size: int) -> np.ndarray:
    if len(a) == size:
        return a
    out = np.zeros((size, *a.shape[1:]), a.dtype)
    out[: len(a)] = a
    return out


def _program(problem, chunk, n_starts, max_steps, optimizer, devices):
    """The compiled program for these shapes, built once even if several threads ask at the same time."""
    shapes = tuple((a.shape, str(a.dtype)) for a in chunk)
    name = (problem, shapes, n_starts, max_steps, optimizer, devices)
    with _lock:
        if name in _compiled:
            return _compiled[name]
        gate = _building.setdefault(name, threading.Lock())
    with gate:
        if name not in _compiled:
            _compiled[name] = _build(problem, chunk, n_starts, max_steps, optimizer, devices)
    return _compiled[name]


def _build(problem, chunk, n_starts, max_steps, optimizer, devices):
    global compilations
    compilations += 1

    def fits(shots, prob, weight, key_data):
        return fit_batch(
            problem,
            shots,
            prob,
            weight,
            key=jax.random.wrap_key_data(key_data),
            n_starts=n_starts,
            max_steps=max_steps,
            optimizer=optimizer,
        )

    if len(devices) > 1:
        # shard_map, not sharded jit: each device then loops until its own fits are done, without talking to the others.
        mesh = Mesh(np.array(devices), ("fit",))
        split = NamedSharding(mesh, P("fit"))
        specs = (P("fit"), P("fit"), P("fit"), P())
        mapped = jax.shard_map(fits, mesh=mesh, in_specs=specs, out_specs=P("fit"), check_vma=False)
        same = NamedSharding(mesh, P())
        jitted = jax.jit(mapped, in_shardings=(split, split, split, same), out_shardings=split)
    else:
        jitted = jax.jit(fits)
    arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in chunk]
    key_data = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    return jitted.lower(*arguments, key_data).compile(compiler_options(quick=len(chunk[0]) <= QUICK))


def _gather(parts, starts, mine, size, batch, dtype):
    """Results of all hosts, on every host: each contributes its chunks in a buffer of full length."""
    from jax.experimental import multihost_utils

    full = len(starts) * size
    owner = np.arange(len(starts)) % jax.process_count()

    def one(*leaves):
        shape = leaves[0].shape[1:]
        buffer = np.zeros((full, *shape), leaves[0].dtype)
        for start, leaf in zip(mine, leaves):
            buffer[start : start + len(leaf)] = leaf
        with precision(dtype):
            gathered = np.asarray(multihost_utils.process_allgather(jnp.asarray(buffer), tiled=False))
        return gathered[np.repeat(owner, size), np.arange(full)][:batch]

    return jax.tree.map(one, *parts)
