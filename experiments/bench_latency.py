"""What a user waits for before anything happens: CPU and wall seconds of new processes, medians of several.

    python experiments/bench_latency.py [--repeats 5]

`fit` fits two laws to two small curves, with JAX's compilation cache warm from an unmeasured run before, so that it shows imports
and tracing, not compilation. CPU seconds are user and system time of the process and its children. On two cores of a loaded
machine wall seconds scatter twofold, CPU seconds by a tenth.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import tyro

from iclbayes.comparison import to_text
from iclbayes.console import guarded

CURVES = """model,shots,n_correct,n_test
a,0,40,200
a,1,52,200
a,2,66,200
a,4,90,200
a,8,120,200
a,16,141,200
a,32,150,200
b,0,20,200
b,1,24,200
b,2,31,200
b,4,50,200
b,8,82,200
b,16,120,200
b,32,140,200
"""

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import iclbayes": ["-c", "import iclbayes"],
    "import iclbayes; iclbayes.fit": ["-c", "import iclbayes; iclbayes.fit"],
    "iclbayes --help": ["-m", "iclbayes", "--help"],
    "iclbayes fit --help": ["-m", "iclbayes", "fit", "--help"],
    "iclbayes fit, two laws": [
        *("-m", "iclbayes", "fit", "curves.csv", "--group-by", "model"),
        *("--law", "bayesian_scoring", "--law", "logistic"),
    ],
}


@dataclasses.dataclass(frozen=True)
class Config:
    repeats: int = 5
    """measured runs of each process."""


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """(CPU, wall) seconds of one process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - began


def run(config: Config, commands: dict[str, list[str]] = COMMANDS) -> pd.DataFrame:
    """Measures and prints a row for each process; the first run of each is not counted."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "curves.csv").write_text(CURVES)
        for what, arguments in commands.items():
            seconds([sys.executable, *arguments], folder)
            found = [seconds([sys.executable, *arguments], folder) for _ in range(config.repeats)]
            cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
            rows.append((what, cpu, wall))
    table = pd.DataFrame(rows, columns=["process", "CPU seconds", "wall seconds"])
    print(to_text(table, digits=2))
    return table


if __name__ == "__main__":
    sys.exit(guarded(lambda: run(tyro.cli(Config, description=__doc__.splitlines()[0]))))
