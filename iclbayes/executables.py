"""Compiled programs as bytes: what a process needs neither to lower nor to compile again.

JAX's own compilation cache is found by a program's lowered form, so that a process has to lower each program before it may look.
Here a program is found by what it is made of. The bytes are machine code and a pickle that JAX reads, and are trusted as far as
the files that hold them: see `program_store`.
"""

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax


def usable() -> bool:
    """Whether programs of this process can be kept: one CPU device that nobody chose otherwise."""
    devices = jax.local_devices()
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return len(devices) == 1 and devices[0].platform == "cpu" and chosen is None


def name(key: str) -> str:
    """The name of a program's file, of the text that says what it is made of."""
    return hashlib.sha256(f"{key} {_machine()}".encode()).hexdigest()


@functools.cache
def _machine() -> str:
    """What a CPU's machine code depends on beside the program: the processor, its instructions, and what XLA was told; and whose
    it is, since nobody reads the files of another user."""
    told = [os.environ.get(variable, "") for variable in ("XLA_FLAGS", "NPROC")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    user = os.getuid() if hasattr(os, "getuid") else ""
    return repr((platform.system(), platform.machine(), _processor(), cores, told, user))


def _processor() -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
        return "\n".join(
            x
            for x in lines
            if x.startswith(("vendor_id", "cpu family", "model", "flags", "CPU ", "Features"))
        )
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=5).stdout
    return platform.processor()


@contextlib.contextmanager
def kept_elsewhere() -> Iterator[None]:
    """Keeps what is compiled inside the block out of JAX's own cache, where this JAX has a setting for it."""
    try:
        from jax._src.config import persistent_cache_min_compile_time_secs as least

        setting = least(1e9)
    except (ImportError, TypeError):
        setting = contextlib.nullcontext()
    with setting:
        yield


def to_bytes(program: jax.stages.Compiled) -> bytes:
    """A compiled program of flat arrays.

    Raises:
      ValueError: JAX cannot, or it calls code outside itself, such as LAPACK's, which a process has to make ready first.
    """
    from jax.experimental import serialize_executable

    text = program.as_text()
    if text is None or "custom_call_target" in text:
        raise ValueError("the program calls code outside itself")
    try:
        return zlib.compress(serialize_executable.serialize(program)[0], 1)
    except Exception as error:
        raise ValueError(error) from None


def from_bytes(body: bytes, n_arguments: int, n_results: int) -> Callable[..., Any]:
    """What `to_bytes` was given: takes `n_arguments` arrays and returns a list of `n_results`."""
    from jax.experimental import serialize_executable

    arguments = jax.tree.structure((tuple(range(n_arguments)), {}))
    return serialize_executable.deserialize_and_load(
        zlib.decompress(body),
        arguments,
        jax.tree.structure(list(range(n_results))),
        execution_devices=jax.local_devices(),
    )


def or_else(program: Callable[..., Any], make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """The program, or what `make` returns if its first call shows that this machine cannot run it."""
    lock, ran = threading.Lock(), False

    def run(*arguments: Any) -> Any:
        nonlocal program, ran
        if ran:
            return program(*arguments)
        with lock:
            if not ran:
                try:
                    result = jax.block_until_ready(program(*arguments))
                except jax.errors.JaxRuntimeError:
                    program = make()
                    result = program(*arguments)
                ran = True
                return result
        return program(*arguments)

    return run
