"""The JAX process: precision, cores, compiled programs, chunks in threads, the compilation cache.

XLA compiles slowly and on one core, and runs a loop such as a fit's on one core too. So everything here that works on many
things (fits, units of a posterior) goes through one program for a chunk of them, compiled once, and through the chunks in as many
threads as there are cores.
"""

import contextlib
import functools
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from .program_store import ProgramStore

TOGETHER = 512  # rows of a block of `in_blocks`

Effort = Literal["least", "little", "much"]  # of the compiler, see `compiler_options`

Job = TypeVar("Job")
Result = TypeVar("Result")


@contextlib.contextmanager
def precision(dtype: np.typing.DTypeLike = np.float64) -> Iterator[None]:
    """64-bit JAX inside the block if `dtype` is float64, whatever the user's own setting, which comes back afterwards."""
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        yield


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread for NumPy's linear algebra inside the block: threads that wait for each other over small matrices spin, which
    costs several times the work itself where other processes want the cores too."""
    with threadpool_limits(1, user_api="blas"):
        yield


def cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where `NPROC` says so, which XLA heeds too."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    wanted = os.environ.get("NPROC", "")
    return min(bound, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else bound


def workers() -> int:
    """Threads that run programs side by side: one a core on a CPU, else one, since a device keeps itself busy."""
    devices = jax.local_devices()
    return cores() if devices[0].platform == "cpu" and len(devices) == 1 else 1


def compiler_options(effort: Effort) -> dict[str, Any] | None:
    """What makes a CPU compile sooner; None for other devices.

    - "much": LLVM's lower level, whose programs run no slower than those of its highest.
    - "little": loops are emitted the plain way as well, which halves the time to compile and costs large batches of short curves
      a fifth of their speed.
    - "least": LLVM does not optimise at all, for what runs for less than it compiles: a third of the time of "little" to
      compile, one and a half to three times as long to run.
    """
    if jax.local_devices()[0].platform != "cpu":
        return None
    options: dict[str, Any] = {"xla_backend_optimization_level": 0 if effort == "least" else 1}
    if effort != "much":
        options["xla_cpu_use_fusion_emitters"] = False
    if effort == "least":
        options["xla_cpu_parallel_codegen_split_count"] = 1
    return options


def effort_for(rows: int, points: int, loops: bool = False) -> Effort:
    """For a program of so many rows (fits) with so many points in all.

    Args:
      loops: whether a point is a loop over nodes, see `Law.loops`.
    """
    if rows <= 8 and points <= 256 and not loops:
        return "least"
    return "little" if rows <= 128 else "much"


def compiled(lowered: jax.stages.Lowered, effort: Effort) -> jax.stages.Compiled:
    """The program, compiled with `compiler_options`; those that this XLA does not know are left out."""
    options = compiler_options(effort)
    try:
        return lowered.compile(options)
    except jax.errors.JaxRuntimeError:
        known = {name: value for name, value in (options or {}).items() if _known(name, value)}
        if known == (options or {}):
            raise
        return lowered.compile(known)


@functools.cache
def _known(name: str, value: Any) -> bool:
    """Whether XLA has an option."""
    try:
        jax.jit(lambda x: x).lower(0.0).compile({name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Programs:
    """Compiled programs, each built once per function, shapes, dtypes and options, whichever thread asks first.

    Attributes:
      compilations: programs built so far; a second call on the same shapes does not raise it.
      store: where programs are kept between processes, or None; see `use_program_store`.
    """

    def __init__(self) -> None:
        self.compilations = 0
        self.store: ProgramStore | None = None
        self._compiled: dict[Hashable, Callable] = {}
        self._building: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many programs are kept."""
        return len(self._compiled)

    def clear(self) -> None:
        """Lets go of all programs; the counter stays. Thousands of programs would use up a process's memory maps."""
        with self._lock:
            self._compiled.clear()
            self._building.clear()

    def run(
        self,
        name: Hashable,
        function: Callable,
        *arguments: Any,
        dtype: np.typing.DTypeLike = np.float64,
        effort: Effort = "little",
    ) -> Any:
        """`function(*arguments)`, compiled for the shapes of these arguments at the first call.

        Args:
          name: stands for the function and all that it closes over: the same name and shapes, the same program.
          function: traced in `precision(dtype)`; or what `jax.jit` made of one, with shardings of its own.
          arguments: pytrees of NumPy arrays.
          effort: see `compiler_options`.

        Returns:
          The function's pytree, in NumPy.
        """
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(a), np.result_type(a)) for a in leaves)
        key = (name, structure, shapes, np.dtype(dtype), effort)
        with precision(dtype):
            program = self._compiled.get(key) or self._build(key, function, arguments, effort)
            return jax.device_get(program(*arguments))

    def _build(self, key: Hashable, function: Callable, arguments: tuple, effort: Effort) -> Callable:
        with self._lock:  # for a moment; programs of different keys compile side by side
            gate = self._building.setdefault(key, threading.Lock())
        with gate:
            if key not in self._compiled:
                shapes = jax.tree.map(
                    lambda a: jax.ShapeDtypeStruct(np.shape(a), np.result_type(a)), arguments
                )
                program = self._stored(key, function, shapes, effort)
                if program is None:
                    jitted = function if hasattr(function, "lower") else jax.jit(function)
                    program = compiled(jitted.lower(*shapes), effort)
                with self._lock:
                    self.compilations += 1
                    self._compiled[key] = program
            return self._compiled[key]

    def _stored(self, key: Any, function: Callable, shapes: Any, effort: Effort) -> Callable | None:
        """The program by way of the store; None without one, or for what cannot be kept there."""
        if self.store is None or hasattr(function, "lower"):
            return None
        name, _, _, dtype, _ = key
        compiler = functools.partial(compiled, effort=effort)
        found = self.store.program(name, function, shapes, str(dtype), compiler, effort)
        if found is None:
            return None
        program, outcome = found
        return lambda *arguments: jax.tree.unflatten(outcome, program(*jax.tree.leaves(arguments)))


programs = Programs()  # the one that the whole package uses


def map_chunks(
    function: Callable[[Any], Any],
    arrays: Any,
    size: int,
    *,
    padding: Literal["last", "zero"] | None = "last",
    on_done: Callable[[int], None] = lambda n: None,
) -> Any:
    """`function` of chunks of `size` rows, in as many threads as `workers()`; the results joined.

    Args:
      function: takes a pytree like `arrays` with the leading axis [size] and returns one of arrays [size, …].
      arrays: pytree of arrays with a common leading axis [B], B ≥ 1.
      size: rows of a chunk.
      padding: what fills up the last chunk: copies of the last row, or zeros, whose results are dropped. None: nothing, for a
        function that takes any number of rows.
      on_done: called with the number of rows after each chunk, from any thread.

    Returns:
      The function's pytree, NumPy, with the leading axis [B].
    """
    arrays = jax.tree.map(np.asarray, arrays)
    batch = len(jax.tree.leaves(arrays)[0])

    def fill(a: np.ndarray, start: int) -> np.ndarray:
        rows = a[start : start + size]
        if len(rows) == size or padding is None:
            return rows
        rest = np.zeros_like(a[-1:]) if padding == "zero" else a[-1:]
        return np.concatenate([rows, np.repeat(rest, size - len(rows), axis=0)])

    joined, lock = [], threading.Lock()  # the results of all, made by the first chunk to end

    def one(start: int) -> None:
        rows = slice(start, min(start + size, batch))
        result = jax.tree.map(np.asarray, function(jax.tree.map(lambda a: fill(a, start), arrays)))
        with lock:
            if not joined:
                joined.append(jax.tree.map(lambda a: np.empty((batch, *a.shape[1:]), a.dtype), result))
        for whole, part in zip(jax.tree.leaves(joined[0]), jax.tree.leaves(result), strict=True):
            whole[rows] = part[: rows.stop - start]
        on_done(rows.stop - start)

    starts = range(0, batch, size)
    threads = workers()
    if threads > 1 and len(starts) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, starts))
    else:
        for start in starts:
            one(start)
    return joined[0]


def side_by_side(
    function: Callable[[Job, Callable[[], None]], Result],
    jobs: Sequence[Job],
    cost: Callable[[Job], float] = lambda job: 1.0,
) -> list[Result]:
    """`function(job, check)` of each job, in as many threads as `workers()`; results in the order of the jobs.

    For a few long jobs whose programs are too small to use more than one core each, such as the training of small models. The
    costliest begin first. A long job calls `check()` now and then, which ends it once another job has failed or the program was
    interrupted, so that the error is told at once.

    Args:
      function: takes a job and the check.
      jobs: any objects.
      cost: what a job costs beside the others.
    """
    threads = workers()
    if threads == 1 or len(jobs) < 2:
        return [function(job, lambda: None) for job in jobs]
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    def one(job: Job) -> Result:
        check()
        try:
            return function(job, check)
        except BaseException:
            stop.set()
            raise

    order = sorted(range(len(jobs)), key=lambda i: -cost(jobs[i]))
    with ThreadPoolExecutor(threads) as pool:
        begun = {i: pool.submit(one, jobs[i]) for i in order}
        try:
            wait(begun.values())
        except BaseException:  # Ctrl-C reaches the main thread alone
            stop.set()
            raise
    failed = (error for error in (f.exception() for f in begun.values()) if error is not None)
    for error in sorted(failed, key=lambda e: isinstance(e, _Stopped)):
        raise error
    return [begun[i].result() for i in range(len(jobs))]


class _Stopped(Exception):
    """Another job has failed."""


def in_blocks(function: Callable[[Any], Any], arrays: Any, size: int = TOGETHER) -> Any:
    """`function(arrays)` for arrays [B, …] (a pytree), made of `size` rows at a time where B is a multiple of `size`.

    For use inside a program. A search among starts is best off with as many fits as possible, for its queue then ends once
    instead of many times; what stands before and after it works on every point of every fit, and is several times slower where
    its arrays leave a core's cache.
    """
    batch = jax.tree.leaves(arrays)[0].shape[0]
    if batch <= size or batch % size:
        return function(arrays)
    blocks = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), arrays)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), jax.lax.map(function, blocks))


def use_compilation_cache(directory: str | os.PathLike | None = None) -> Path | None:
    """Turns on JAX's persistent compilation cache, so that a second run of the same job does not compile again.

    A setting of the process, for entry points alone (scripts, command line, tests). The folder is `directory`, else the one that
    JAX is set to already (by `$JAX_COMPILATION_CACHE_DIR`, for one), else `~/.cache/iclbayes/jax`. Where nothing can be written
    there, a line on stderr says so and the job goes on without a cache.

    Returns:
      The folder, or None without a cache.
    """
    already = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    path = Path(directory or already or "~/.cache/iclbayes/jax")
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass  # JAX would warn at every program that it cannot keep
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        reason = getattr(error, "strerror", None) or str(error)
        print(
            f"iclbayes: warning: no compilation cache at {path} ({reason}): programs compile anew in each run; "
            "set JAX_COMPILATION_CACHE_DIR to a folder that can be written",
            file=sys.stderr,
        )
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return path


def use_program_store(folder: Path | None) -> None:
    """Keeps programs in `programs` below the compilation cache's folder; None: no longer. A setting of the process."""
    programs.store = ProgramStore(folder / "programs") if folder else None


def use_cache(directory: str | os.PathLike | None = None) -> Path | None:
    """Keeps compiled programs between processes, as the commands do: `iclbayes.use_cache()` once, at the top of
    a notebook or script, before anything is fitted.

    A setting of the process. It turns on JAX's own cache, where programs of other users of JAX in this process go too, which is
    why importing the package does not do it.

    Args:
      directory: see `use_compilation_cache`, which says what happens where nothing can be written.

    Returns:
      The folder, or None without a cache.
    """
    folder = use_compilation_cache(directory)
    use_program_store(folder)
    return folder


def cache_folder(name: str) -> Path | None:
    """A folder of the name in that of the compilation cache; None where there is no cache."""
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return Path(folder) / name if folder else None
