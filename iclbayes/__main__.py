"""The process of a command: `iclbayes`, or `python -m iclbayes`."""

import gc
import sys

from .cli.main import main


def program() -> int:
    """`cli.main.main` in a process of its own, which has little use for the garbage collector: imports make hundreds of thousands
    of objects that stay, and to look through them again and again, and once more at the exit, takes a fifth of a short command's
    time."""
    gc.set_threshold(20_000, 20, 50)
    status = main()
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(program())
