"""The command line `iclbayes`: names of commands and the modules that hold them, imported when they are called."""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..console import entry, guarded
from ..errors import InputError


class Options(Protocol):
    """A command's dataclass of options."""

    def run(self) -> object: ...


class Command(NamedTuple):
    """Where a command stands and what it does."""

    module: str
    options: str  # its dataclass of options, with `run()`
    does: str


COMMANDS = {
    "fit": Command("fit", "Fit", "fit laws to curves: parameters, standard errors, a figure"),
    "compare": Command(
        "compare", "Compare", "which law describes the curves best, and which extrapolates best"
    ),
    "posterior": Command(
        "posterior", "PosteriorCommand", "how many shots, and how sure: posteriors and forecasts"
    ),
    "contrast": Command(
        "contrast", "Contrast", "what differs between two conditions, such as base and instruct, and how sure"
    ),
    "report": Command(
        "report", "ReportCommand", "one HTML file to send round: the answer, charts, tables, caveats"
    ),
    "learn-prior": Command(
        "learn_prior",
        "LearnPrior",
        "learn from past curves what to expect of the next, for posterior --prior",
    ),
    "collect": Command("collect", "Collect", "measure curves of a language model"),
    "import-lm-eval": Command(
        "import_lm_eval", "ImportLmEval", "curves from results of lm-evaluation-harness"
    ),
    "import-inspect": Command("import_inspect", "ImportInspect", "curves from logs of inspect_ai"),
    "example": Command("example", "Example", "write small example files to try all this with"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `iclbayes`. Returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["-h"], ["--help"]):
        print(overview())
        return 0
    if arguments[:1] == ["--version"]:
        from .. import __version__

        print(f"iclbayes {__version__}")
        return 0
    parsed: list[Options] = []

    def read() -> None:
        parsed.append(command_of(arguments))

    return guarded(read) or entry(parsed[0].run)


def overview() -> str:
    """The text of `iclbayes --help`."""
    width = max(map(len, COMMANDS)) + 3
    lines = [f"  {name:{width}}{command.does}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: iclbayes COMMAND ...",
            "",
            "Bayesian scaling laws for in-context learning: how a language model's behaviour changes with the number",
            "of examples (shots) in its prompt.",
            "",
            "commands:",
            *lines,
            "",
            "iclbayes COMMAND --help lists the options of a command; iclbayes --version prints the version.",
        ]
    )


def command_of(arguments: Sequence[str]) -> Options:
    """The options of the command that `arguments` name, an instance of its dataclass.

    Raises:
      InputError: there is no such command, or its options are wrong.
    """
    known = ", ".join(COMMANDS)
    if not arguments:
        raise InputError(f"no command: give one of {known}; see iclbayes --help")
    name = arguments[0]
    if name not in COMMANDS:
        from .parsing import nearest

        what = "option" if name.startswith("-") else "command"
        near = nearest(name, [*COMMANDS, "--help", "--version"])
        hint = f"did you mean {near}?" if near else f"the commands are {known}"
        raise InputError(f"unknown {what} {name}; {hint}")
    from .parsing import parse

    command = COMMANDS[name]
    module = importlib.import_module(f"{__package__}.{command.module}")
    return parse(getattr(module, command.options), arguments[1:], f"iclbayes {name}")
