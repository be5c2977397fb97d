"""Writing files so that a reader never sees half of one."""

import contextlib
import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, shown

if TYPE_CHECKING:
    import pandas as pd

_ASKING = threading.Lock()  # the umask can be asked for only by setting another for a moment


def check_place(path: str | os.PathLike) -> None:
    """Raises InputError if `path` is a folder or a device, has a name that no file can have, or is in no folder to write in."""
    with _told_of(path):
        _check_place(Path(path))


def is_csv(path: Path) -> bool:
    """Whether the file is CSV, perhaps in gzip."""
    return path.suffix == ".csv" or path.suffixes[-2:] == [".csv", ".gz"]


def check_folder(path: str | os.PathLike) -> None:
    """Raises InputError unless `path` is a folder to write in, or one that can be made with those above it."""
    with _told_of(path):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)  # as in `_check_place`
        found = Path(os.path.realpath(path))
        while not found.exists():
            found = found.parent
        if not found.is_dir():
            raise InputError(f"{path}: {found} is a file; choose another folder")
        with tempfile.TemporaryFile(dir=found):
            pass


@contextlib.contextmanager
def _told_of(path: str | os.PathLike) -> Iterator[None]:
    """What the system says of a place that cannot be written, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a null byte, a loop of links
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{shown(str(path), 200)}: cannot be written: {reason}; choose another place"
        ) from None


def _check_place(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.stat(path)  # fails for names that no file can have, and for loops of links
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no ordinary file; choose another place")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first or choose another place")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass  # what may be written there is not always what its permissions say
    except OSError as error:
        reason = f"cannot write to the folder {path.parent}: {error.strerror}"
        raise InputError(f"{path}: {reason}; choose another place") from None


def check_apart(outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]) -> None:
    """Raises InputError if an output is one of the inputs, by whatever name or link: a command never overwrites what it reads."""
    read = [Path(path) for path in inputs]
    for output in map(Path, outputs):
        for path in read:
            if _same(output, path):
                raise InputError(f"{output}: is the input {path} itself; write to another file")


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have is that of no input
        if os.path.realpath(one) == os.path.realpath(other):
            return True
        return one.samefile(other)  # hard links, and names that differ in case where that makes no difference
    return False


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, private: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path` with the same suffix; renames it to `path` if the block succeeds.

    If the block raises, the temporary file is removed and `path` is left as it was. A private file is for this user alone,
    whatever the umask.

    Raises:
      InputError: the folder of `path` does not exist or cannot be written, or `path` is a folder itself, or the block or the
        renaming met an error of the operating system, such as a full disk.
    """
    path = Path(path)
    check_place(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot write there: {error.strerror}; choose another place") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if not private:  # it was made for this user alone
            with _ASKING:
                mask = os.umask(0)
                os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (temporary, path):
            raise  # of another file
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; what was there before is unchanged"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(new: Path, old: Path) -> None:
    """Puts the folder `new` in the place of `old`, which is removed after it has been replaced, never before.

    Where the system can exchange two names at once, there is no moment without a folder of that name.
    """
    if not old.exists():
        new.rename(old)
        return
    if _exchange(new, old):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = Path(tempfile.mkdtemp(dir=old.parent, prefix=f".{old.name[:40]}-old-"))
    old.rename(aside / old.name)
    try:
        new.rename(old)
    except OSError:
        (aside / old.name).rename(old)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names (Linux, renameat2); False where that cannot be done."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def write_csv(frame: "pd.DataFrame", path: str | os.PathLike) -> None:
    """Writes a table without its index as CSV, whole or not at all."""
    from .csv_text import write  # pandas and Arrow: not needed by who writes no tables

    with atomic_path(path) as temporary:
        write(frame, temporary)


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
        temporary.write_text(text, encoding="utf-8")


def write_bytes(content: bytes, path: str | os.PathLike) -> None:
    """Writes a binary file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
