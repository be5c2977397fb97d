"""Disks that are full: a limit on the size of the files that a process may write.

Beyond the limit the system refuses further bytes (EFBIG), just as a full disk does (ENOSPC). Python ignores the signal that comes
with it (SIGXFSZ).
"""

import contextlib
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """While the block runs, no file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path, names: Sequence[str]) -> dict[str, bytes | None]:
    """Bytes of files by name, None for those that are not there."""
    paths = {name: folder / name for name in names}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def changed(before: dict[str, bytes | None], after: dict[str, bytes | None], limit: int) -> list[str]:
    """Names of files that are neither as they were nor, within the limit, written anew and whole."""
    return [
        name
        for name, content in after.items()
        if content != before[name] and (content is None or len(content) > limit or not _whole(name, content))
    ]


def _whole(name: str, content: bytes) -> bool:
    """Whether a file that differs at each writing (it holds the time) has its end."""
    ends = {".pdf": b"%%EOF", ".svg": b"</svg>", ".html": b"</html>"}
    return content.rstrip().endswith(ends.get(Path(name).suffix, b"\0"))
