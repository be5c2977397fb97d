"""What the command line and the scripts share: a guarded entry, progress bars, and warnings on the terminal."""

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator

from .errors import InputError, of_system, one_line, shown


def entry(action: Callable[[], object]) -> int:
    """Runs a program's `action` with both caches of programs (lowered, compiled) on; a user's mistake becomes one line on stderr.

    Returns:
      The exit status: 0, 2 after an `InputError`, an error of the operating system or too little memory, 130 after Ctrl-C, 1
      where the reader of a pipe has gone.
    """

    def cached() -> None:
        from .runtime import use_cache

        # Of a home that cannot be written, and a cache that cannot grow, one line is enough: ours.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        use_cache()
        action()

    return guarded(cached)


def guarded(action: Callable[[], object]) -> int:
    """`entry` for an action that compiles nothing."""
    try:
        action()
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("iclbayes: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()  # perhaps it is what cannot be written, and what is left in it would be told a second time
        return _fail(of_system(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(
            error
        ):  # which is how XLA says it
            raise
        return _fail(f"this needs more memory than there is ({one_line(error)}); ask for less at a time")
    return 0


def _fail(text: str) -> int:
    print(f"iclbayes: error: {shown(text)}", file=sys.stderr)
    return 2


def _silence_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str) -> None:
    """A warning as one line on stderr."""
    print(f"iclbayes: warning: {shown(text)}", file=sys.stderr)


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


PULSE = 10.0  # seconds between two lines on how far a program is, where stderr is no terminal


class progress:
    """How far a step is: a bar on a terminal, else a line every ten seconds or so, on stderr; safe to advance from threads.

    with progress("fitting", "fit", total=12) as advance: advance(3)

    Args:
      what, unit: of which step, in what it is counted (a singular).
      total: how many there are, if that is known.
      first: what is done before the first advance, such as "compiling"; said until then.
      show: a bar or none, and no lines; default: a bar on a terminal, lines elsewhere.
      clock: seconds.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        show: bool | None = None,
        first: str = "",
        clock: Callable[[], float] = time.monotonic,
    ):
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        big = (total or 0) >= 10_000
        hide = None if show is None else not show  # None: hidden unless stderr is a terminal
        self._bar = tqdm(
            desc=what,
            unit=unit,
            total=total,
            disable=hide,
            dynamic_ncols=True,
            mininterval=0.2,
            unit_scale=big,
        )
        self._silent = show is False or not self._bar.disable
        self._what, self._unit, self._total, self._clock = what, unit, total, clock
        self._before = first
        self._ended = threading.Event()
        if first:
            self._bar.set_postfix_str(first)
        self._done = 0
        self._begun = self._told = clock()
        self._first: tuple[float, int] | None = None  # when it was first advanced, and how much was done then

    def __enter__(self) -> "progress":
        if not self._silent and self._before:
            threading.Thread(target=self._tell_before, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._bar.close()

    def _tell_before(self) -> None:
        """Lines now and then until the first advance."""
        while not self._ended.wait(PULSE):
            with self._bar.get_lock():
                if self._first is not None:
                    return
                self._tell(self._clock())

    def __call__(self, n: int = 1) -> None:
        with self._bar.get_lock():
            now = self._clock()
            if self._first is None:
                self._first = (now, self._done + n)
                if self._before:
                    self._bar.set_postfix_str("", refresh=False)
            self._bar.update(n)
            self._done += n
            if not self._silent and now - self._told >= PULSE and self._done != self._total:
                self._tell(now)

    def _tell(self, now: float) -> None:
        self._told = now
        print(f"iclbayes: {self._what}: {self._far(now)}", file=sys.stderr, flush=True)

    def _far(self, now: float) -> str:
        of = "" if self._total is None else f" of {self._total:,}"
        many = "" if (self._total or self._done) == 1 else "s"
        said = f"{self._done:,}{of} {self._unit}{many} after {duration(now - self._begun)}"
        # What stands before the first advance (compiling, what an earlier run had done) says nothing of the speed.
        if self._first is None and self._before:
            return f"{said}, {self._before}"
        since, before = self._first or (now, self._done)
        if self._total is None or self._done == before:
            return said
        left = (now - since) * (self._total - self._done) / (self._done - before)
        return f"{said}, about {duration(left)} left"

    def note(self, text: str) -> None:
        """Shows a text behind the bar."""
        self._bar.set_postfix_str(text)


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
