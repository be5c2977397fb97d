"""Freed memory, given back to the system."""

import contextlib
import ctypes
import sys

MANY = 200_000  # rows from which on it is worth its milliseconds


def release(rows: int = MANY) -> None:
    """Gives back what the allocators of C and Arrow keep of freed memory: glibc a heap for every thread, Arrow whatever it ever
    held at one time. Does nothing where it cannot, and behind work on fewer than `MANY` rows."""
    if rows < MANY:
        return
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
