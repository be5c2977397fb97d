"""Compiled programs as bytes: what a process needs neither to lower nor to compile again.

JAX's own compilation cache is found by a program's lowered form, so that a process has to lower each program before it may look.
Here a program is found by what it is made of. The bytes are machine code and a pickle that JAX reads, so they are trusted as far
as JAX's cache is, and no further: only files that belong to this user, and that no other may write, are read.
"""

import functools
import hashlib
import os
import platform
import stat
import zlib
from collections.abc import Callable
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
    """What a CPU's machine code depends on beside the program: the processor, its instructions, and what XLA was told."""
    told = [os.environ.get(name, "") for name in ("XLA_FLAGS", "NPROC")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
        kind = "\n".join(
            x for x in lines if x.startswith(("vendor_id", "cpu family", "model", "flags", "Features"))
        )
    except (OSError, UnicodeDecodeError):
        kind = platform.processor()
    return repr((platform.platform(), kind, cores, told))


def private(path: Path) -> bool:
    """Whether a file belongs to this user (or the system's), and no other may write it."""
    found = path.stat()
    own = not hasattr(os, "getuid") or found.st_uid in (os.getuid(), 0)
    return own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def to_bytes(program: jax.stages.Compiled) -> bytes:
    """A compiled program of flat arrays.

    Raises:
      ValueError: JAX cannot, or it calls code outside itself, such as LAPACK's, which a process has to make ready first.
    """
    from jax.experimental import serialize_executable

    if "custom_call_target" in (program.as_text() or ""):
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
    """The program, and from the time on that this machine cannot run it, what `make` returns."""

    def run(*arguments: Any) -> Any:
        nonlocal program
        try:
            return jax.block_until_ready(program(*arguments))
        except jax.errors.JaxRuntimeError:
            program = make()
            return program(*arguments)

    return run
