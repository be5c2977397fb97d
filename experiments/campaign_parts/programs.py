"""The programs that faults are thrown at."""

import importlib
from collections.abc import Callable, Sequence
from typing import Literal, get_args

Program = Literal["iclbayes", "synthetic", "suppression", "paper", "real_llms"]
MODULES = {name: "iclbayes.cli.main" if name == "iclbayes" else name for name in get_args(Program)}


def main_of(program: Program) -> Callable[[Sequence[str]], int]:
    """A program's entry point."""
    return importlib.import_module(MODULES[program]).main
