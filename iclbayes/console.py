"""What the command line and the scripts share: a guarded entry, progress bars, and warnings on the terminal."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from .errors import InputError


def entry(action: Callable[[], object]) -> int:
    """Runs a program's `action` with JAX's compilation cache on; a user's mistake becomes one line on stderr.

    Returns:
      The exit status: 0, 2 after an `InputError`, 130 after Ctrl-C, 1 where the reader of a pipe has gone.
    """

    def cached() -> None:
        from .runtime import use_compilation_cache

        use_compilation_cache()
        action()

    return guarded(cached)


def guarded(action: Callable[[], object]) -> int:
    """`entry` for an action that compiles nothing."""
    try:
        action()
    except InputError as error:
        print(f"iclbayes: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iclbayes: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def warn(text: str) -> None:
    """A warning as one line on stderr."""
    print(f"iclbayes: warning: {text}", file=sys.stderr)


@contextlib.contextmanager
def warnings_as_lines(category: type[Warning], where: str = "") -> Iterator[None]:
    """Warnings of a category that the block gives become lines on stderr at once, each once, after `where`; others are silent."""
    told = set()

    def show(message: Warning | str, kind: type[Warning], *_: object, **__: object) -> None:
        text = str(message)
        if issubclass(kind, category) and text not in told:
            told.add(text)
            warn(f"{where}: {text}" if where else text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


class progress:
    """A progress bar on stderr, safe to advance from threads: `with progress("fitting", "fit") as advance: advance(3)`."""

    def __init__(self, what: str, unit: str, total: int | None = None):
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        self._bar = tqdm(desc=what, unit=unit, total=total, dynamic_ncols=True, disable=None, mininterval=0.2)

    def __enter__(self) -> "progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, n: int = 1) -> None:
        with self._bar.get_lock():
            self._bar.update(n)

    def note(self, text: str) -> None:
        """Shows a text behind the bar."""
        self._bar.set_postfix_str(text)
