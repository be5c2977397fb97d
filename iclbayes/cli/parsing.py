"""Arguments as typed to a dataclass of options; whatever is wrong with them is one line."""

import contextlib
import dataclasses
import difflib
import io
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from ..errors import InputError

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], program: str) -> T:
    """An instance of the dataclass `kind` from command-line arguments.

    `--law a b` is read as `--law a --law b`.

    Raises:
      InputError: the arguments do not fit; with the nearest option or choice where one is near.
      SystemExit: with status 0, after the help was asked for.
    """
    flags = options(kind)
    check_flags(arguments, flags, program)
    repeated = {flag for flag, default in flags.items() if isinstance(default, tuple)}
    return _told_in_one_line(kind, program, args=spread_values(list(arguments), repeated))


def parse_script(
    kind: type[T], arguments: Sequence[str] | None, program: str, description: str, default: T | None = None
) -> T:
    """`parse` for a script, whose flags of a dataclass in the dataclass have its name in front (`--world.seed`).

    Args:
      kind: the dataclass.
      arguments: those of the command line by default.
      program, description: for messages and the help.
      default: an instance with the defaults.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    check_flags(arguments, options(kind, nested=True), program)
    more: dict[str, Any] = {} if default is None else {"default": default}
    return _told_in_one_line(kind, program, args=arguments, description=description, **more)


def _told_in_one_line(kind: type[T], program: str, **how: Any) -> T:
    """What tyro makes of arguments; its box of what is wrong with them as an InputError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=program, **how)
    except SystemExit as end:
        if not end.code:
            raise
        text = one_line(said.getvalue(), _mistake(end))
        raise InputError(text if "choose one of" in text else f"{text}; see {program} --help") from None


def _mistake(end: BaseException) -> InputError | None:
    """The InputError of ours that ended in tyro's exit, if there was one."""
    cause: BaseException | None = end
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__context__
    return cause


def options(kind: type, nested: bool = False, before: str = "") -> dict[str, object]:
    """Flags of a dataclass and of the dataclasses in it, with their defaults.

    Args:
      kind: the dataclass.
      nested: flags of a dataclass in it have its name in front.
      before: what stands in front of all.
    """
    found: dict[str, object] = {}
    for field, inner in _fields(kind):
        name = field.name.replace("_", "-")
        if inner is not None:
            found |= options(inner, nested, f"{before}{name}." if nested else before)
        else:
            found[f"--{before}{name}"] = field.default
            if isinstance(field.default, bool):
                found[f"--{before}no-{name}"] = field.default
    return found


def _fields(kind: type) -> Iterator[tuple[dataclasses.Field, type | None]]:
    """Fields of a dataclass, each with its dataclass if it is one."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field, hints[field.name] if dataclasses.is_dataclass(hints[field.name]) else None


def check_flags(arguments: Sequence[str], flags: dict[str, object], program: str) -> None:
    """Raises InputError for an option that is unknown, naming the nearest one."""
    for argument in arguments:
        if argument == "--":
            return
        if not re.match(r"--[^\d.]", argument):
            continue
        flag = argument.split("=", 1)[0].replace("_", "-")
        if flag != "--help" and flag not in flags:
            near = nearest(flag, flags)
            hint = f"did you mean {near}?" if near else f"see {program} --help"
            raise InputError(f"unknown option {argument.split('=', 1)[0]}; {hint}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` may have been meant for, if one is near; dashes in front do not count."""
    names = {name.lstrip("-"): name for name in known}
    near = difflib.get_close_matches(word.lstrip("-"), names, 1, 0.6)
    return names[near[0]] if near else None


def spread_values(arguments: list[str], repeated: set[str]) -> list[str]:
    """`--law a b` → `--law a --law b`, for flags that may be repeated, once the positional argument has been given."""
    if not arguments or arguments[0].startswith("-"):
        return arguments
    spread, flag = arguments[:1], None
    fresh = False
    for argument in arguments[1:]:
        if argument.startswith("--"):
            name = argument.replace("_", "-")
            flag, fresh = (name if name in repeated else None), True
        elif flag is not None:
            if not fresh:
                spread.append(flag)
            fresh = False
        spread.append(argument)
    return spread


def one_line(box: str, mistake: InputError | None = None) -> str:
    """What tyro says under the title of a box of many lines, up to the box's first rule, as one line in our words.

    Args:
      box: what it printed, which breaks long words.
      mistake: what we had said, unbroken, if that is what the box is about.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).strip("\n").splitlines()[1:]
    said: list[str] = []
    for line in (line.strip("│| ") for line in lines):
        if not re.match(r"[─╰-]{5}", line):
            said.append(line)
        elif said:
            break
    text = re.sub(r"\s+", " ", " ".join(said)).strip().rstrip(".")
    if mistake is not None:
        where = re.match(r"(Error parsing \S+: )?", text)
        text = (where[0] if where else "") + str(mistake).rstrip(".")
    choice = re.fullmatch(r"invalid choice '(.*)' for argument '-*(.*)'\. Expected one of \((.*)\)", text)
    if choice:
        value, option, known = choice[1], choice[2], re.findall(r"'([^']*)'", choice[3])
        if "None" in known:  # of an option that may be left out, in no order
            known = sorted(set(known) - {"None"})
        near = nearest(value, known)
        hint = f"; did you mean {near}?" if near else ""
        return f"unknown {option} {value!r}: choose one of {', '.join(known)}{hint}"
    text = re.sub(r"^Missing from .*?: ", "missing: ", text)
    text = re.sub(r"^Error parsing (\S+):", r"\1:", text)
    text = re.sub(r"^data: ", "", text)  # no option is called so: it is our dataclass for files of curves
    return f"{text[:1].lower()}{text[1:]}"
