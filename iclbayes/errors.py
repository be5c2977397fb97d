"""What the package raises when the user can mend something, and what it warns of."""

import math
import numbers
import os
from collections.abc import Sequence


class InputError(ValueError):
    """A mistake in what the user gave: one line saying what is wrong, where, and what to do about it.

    What the message quotes from files may hold line ends and escapes; they become ?, as in `printable`.
    """

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


class CurvesWarning(UserWarning):
    """Curves were read, but perhaps not as they were meant."""


def one_line(error: BaseException, most: int = 160) -> str:
    """An error's text in one line of letters that can be printed, cut between words."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def printable(text: str) -> str:
    """The text in one line, with ? for what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(text: str, most: int = 1000) -> str:
    """A message as it may go to a terminal: `printable`, and with its middle left out where it is endless."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most * 3 // 4]} … {text[-most // 4 :]}"


def of_system(error: OSError) -> str:
    """What the operating system says, with the file that it says it of, where it names one."""
    reason = error.strerror or one_line(error)
    if error.filename is None:
        return f"the system says: {reason}"
    return f"{os.fsdecode(error.filename)}: {reason}; mend that or choose another place"


def check_whole(name: str, value: object, least: int, most: int) -> int:
    """The value as an integer. Raises InputError unless it is a whole number from `least` to `most`."""
    if not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise InputError(f"{name} is {shown(str(value), 40)}; give a whole number from {least} to {most:,}")
    return int(value)


def check_fraction(name: str, value: float) -> float:
    """The value. Raises InputError unless it is a share of the shots, above 0 and up to 1."""
    if not 0 < value <= 1:
        raise InputError(f"{name} {value} is not in (0, 1]; give a share of the shots, above 0 and up to 1")
    return value


def check_above_zero(name: str, value: float) -> float:
    """The value. Raises InputError unless it is a finite number above 0."""
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value}; give a finite number above 0")
    return value


def check_each_once(name: str, values: Sequence) -> None:
    """Raises InputError unless there are values, and none of them twice."""
    if not values:
        raise InputError(f"{name}: nothing is given; give at least one")
    if len(set(values)) < len(values):
        raise InputError(f"{name} {shown(' '.join(map(str, values)), 200)}: give each once")
