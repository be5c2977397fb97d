"""One process at a time: a lock file that says who holds it, and that nobody holds once its process has ended."""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows; there two processes are not told apart
    fcntl = None


@contextlib.contextmanager
def locked(lock: str | os.PathLike, what: str | os.PathLike) -> Iterator[None]:
    """Holds the lock file `lock` while the block runs; it is removed afterwards.

    The system gives the lock (`flock`) back when its process ends, however it ends, so a file left by a killed process holds
    nobody up. On file systems without such locks, a file of a live process of this host, or of another host, counts as held.

    Args:
      lock: path of the lock file; its folder is there.
      what: what is written under it, as the user calls it.

    Raises:
      InputError: another process holds it, or the file cannot be made.
    """
    lock = Path(lock)
    try:
        handle = _take(lock)
    except OSError as error:
        raise InputError(f"{what}: cannot write there: {error.strerror}; choose another place") from None
    if handle is None:
        raise InputError(f"{what}: {_holder(lock)} is writing there; wait for it or choose another place")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is held, so that nobody holds a file without a name
        os.close(handle)


def _take(lock: Path) -> int | None:
    """A descriptor of the held file; None if another process holds it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(handle, lock):
                os.close(handle)
                return None
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
                return handle
        except FileNotFoundError:
            pass  # its holder has just removed it
        except BaseException:  # such as a full disk, on which the holder cannot be noted
            with contextlib.suppress(OSError):
                lock.unlink()
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, lock: Path) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return not _seems_held(lock)  # a file system without locks


def _read(lock: Path) -> dict:
    try:
        found = json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _seems_held(lock: Path) -> bool:
    found = _read(lock)
    if not isinstance(found.get("pid"), int) or found.get("host") != socket.gethostname():
        return bool(found)
    try:
        os.kill(found["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return found["pid"] != os.getpid()


def _holder(lock: Path) -> str:
    found = _read(lock)
    pid, host = found.get("pid"), found.get("host")
    if not isinstance(pid, int) or not isinstance(host, str):
        return "another process"
    return f"process {pid} on {host!r}".replace("'", "")
