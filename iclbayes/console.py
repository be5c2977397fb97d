"""What the command line and the scripts share: a guarded entry, progress bars, warnings and tables on the terminal."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
    """Warnings of a category that the block gives become lines on stderr, each once, with `where` before them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", category)
        yield
    for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, category)):
        warn(f"{where}: {text}" if where else text)


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


def print_comparison(table: "pd.DataFrame", style: str = "plain") -> None:
    """Prints mean NRMSE per law and fraction, over how many curves, and the paired t-tests; of `iclbayes.compare`'s table."""
    from .comparison import common_curves, mean_table, paired_tests, to_text

    counts = list(dict.fromkeys(len(wide) for wide in common_curves(table).values()))
    told = ", ".join(map(str, counts))
    print(f"\nMean NRMSE over {told} curves, by the share of shots that was fitted\n")
    print(to_text(mean_table(table), style, index=True))
    tests = paired_tests(table)
    if len(tests):
        print("\nPaired t-tests of NRMSE over curves, best law against each other one\n")
        print(to_text(tests, style))
