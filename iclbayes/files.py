"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def check_place(path: str | os.PathLike) -> None:
    """Raises InputError if `path` is a folder, or in none that can be written."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first or choose another place")
    if not os.access(path.resolve().parent, os.W_OK):
        raise InputError(f"{path}: cannot write to the folder {path.parent}; choose another place")


def check_apart(outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]) -> None:
    """Raises InputError if an output is one of the inputs, by whatever name or link: a command never overwrites what it reads."""
    read = [Path(path) for path in inputs]
    for output in map(Path, outputs):
        for path in read:
            same = output.resolve() == path.resolve()
            if not same and output.exists() and path.exists():
                same = output.samefile(
                    path
                )  # hard links, and names that differ in case where that makes no difference
            if same:
                raise InputError(f"{output}: is the input {path} itself; write to another file")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path` with the same suffix; renames it to `path` if the block succeeds.

    If the block raises, the temporary file is removed and `path` is left as it was.

    Raises:
      InputError: the folder of `path` does not exist or cannot be written, or `path` is a folder itself.
    """
    path = Path(path)
    check_place(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot write there: {error.strerror}; choose another place") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(frame: "pd.DataFrame", path: str | os.PathLike) -> None:
    """Writes a table without its index as CSV, whole or not at all."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_table(frame: "pd.DataFrame", path: str | os.PathLike) -> None:
    """Writes a table as CSV, or as Parquet where the path ends so; whole or not at all."""
    if Path(path).suffix == ".parquet":
        with atomic_path(path) as temporary:
            frame.to_parquet(temporary, index=False)
    else:
        write_csv(frame, path)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)
