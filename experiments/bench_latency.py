"""What a user waits for, from the start of a process to its end: CPU and wall seconds, medians of several.

    python experiments/bench_latency.py [--repeats 5] [--only TEXT]

Commands run on six simulated curves of ten points, two of them on 200 curves of 23 points and on eight real ones, in processes
of their own, with a full cache (an unmeasured run before) or an empty one, and beside them what one would run instead:
`scipy.optimize.curve_fit` with its covariance, and numpyro's NUTS for one law, curve by curve.
CPU seconds are user and system time of the process and its children. On two cores of a loaded machine wall
seconds scatter twofold, CPU seconds by a tenth to a third.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from iclbayes.comparison import to_text
from iclbayes.console import guarded

SHOTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
LONGER = tuple(np.unique(np.round(np.geomspace(1, 500, 26)).astype(int))[:23].tolist())
ON = ("curves.csv", "--group-by", "model")

CURVE_FIT = """
import numpy as np, pandas as pd
from scipy.optimize import curve_fit
def logistic(n, low, high, t, k):
    return low + (high - low) / (1 + ((n + 1) / t) ** -k)
for name, c in pd.read_csv("curves.csv").groupby("model"):
    p = (c.n_correct / c.n_test).to_numpy()
    limits = [0, 0, 0.1, 0.1], [1, 1, 1e4, 9]
    best, covariance = curve_fit(logistic, c.shots, p, p0=(p.min(), p.max(), 10.0, 1.0), bounds=limits)
    print(name, best, np.sqrt(np.diag(covariance)))
"""
NUTS = """
import jax, numpyro, numpyro.distributions as dist, pandas as pd
from numpyro.infer import MCMC, NUTS
jax.config.update("jax_enable_x64", True)
def model(n, trials, right):
    low = numpyro.sample("low", dist.Beta(1, 3))
    rise = numpyro.sample("rise", dist.Beta(2, 2))
    t = numpyro.sample("t", dist.LogNormal(2, 2))
    k = numpyro.sample("k", dist.LogNormal(0, 1))
    p = low + (1 - low) * rise / (1 + ((n + 1) / t) ** -k)
    numpyro.sample("right", dist.Binomial(trials, p), obs=right)
options = {"num_warmup": 1000, "num_samples": 500, "num_chains": 4, "chain_method": "vectorized", "progress_bar": False}
for name, c in pd.read_csv("curves.csv").groupby("model"):
    sampler = MCMC(NUTS(model, target_accept_prob=0.9), **options)
    sampler.run(jax.random.key(0), c.shots.to_numpy(float), c.n_test.to_numpy(), c.n_correct.to_numpy())
    print(name, {key: float(value.mean()) for key, value in sampler.get_samples().items()})
"""


@dataclasses.dataclass(frozen=True)
class Process:
    """What is run, whether it finds its programs in a cache, and whether a run has a seed that no run before it had: draws of
    the same seed are kept, and a command that finds them samples nothing."""

    arguments: tuple[str, ...]
    cache: str = "full"
    own_seed: bool = False

    def of_run(self, number: int) -> tuple[str, ...]:
        """The arguments of a run."""
        return (*self.arguments, "--seed", str(number)) if self.own_seed else self.arguments


def iclbayes(*arguments: str) -> tuple[str, ...]:
    """Arguments of Python for a command of the package."""
    return ("-m", "iclbayes", *arguments)


FIT = iclbayes("fit", *ON, "--law", "bayesian_scoring", "--law", "logistic")
ONE_LAW = iclbayes("posterior", *ON, "--law", "logistic")
STACK = iclbayes("posterior", *ON, "--level", "0.5")
MANY = iclbayes("posterior", "many.csv", "--group-by", "model", "--law", "logistic")
REAL = iclbayes("posterior", "real.csv", "--group-by", "model", "--group-by", "task", "--fraction", "0.2")
PROCESSES = {
    "python -c pass": Process(("-c", "pass"), "-"),
    "import iclbayes": Process(("-c", "import iclbayes"), "-"),
    "import iclbayes; iclbayes.fit": Process(("-c", "import iclbayes; iclbayes.fit"), "-"),
    "iclbayes --help": Process(iclbayes("--help"), "-"),
    "iclbayes fit --help": Process(iclbayes("fit", "--help"), "-"),
    "(SciPy: curve_fit, one law)": Process(("-c", CURVE_FIT), "-"),
    "iclbayes fit, two laws": Process(FIT),
    "iclbayes fit, two laws, empty cache": Process(FIT, "empty"),
    "(numpyro: NUTS, one law)": Process(("-c", NUTS), "-"),
    "iclbayes posterior, one law": Process(ONE_LAW, own_seed=True),
    "iclbayes posterior, one law, empty cache": Process(ONE_LAW, "empty"),
    "iclbayes posterior, stack of three laws": Process(STACK, own_seed=True),
    "iclbayes posterior, stack of three laws, the same command again": Process(STACK),
    "iclbayes posterior, stack of three laws, empty cache": Process(STACK, "empty"),
    "iclbayes posterior, one law, 200 curves of 23 points": Process(MANY, own_seed=True),
    "iclbayes posterior, stack of three laws, eight real curves of probabilities": Process(
        REAL, own_seed=True
    ),
}


@dataclasses.dataclass(frozen=True)
class Config:
    repeats: int = 5
    """measured runs of each process."""
    only: str = ""
    """a part of the names of the processes to run; default: all."""


def simulated(
    n_curves: int = 6, n_test: int = 200, seed: int = 0, shots: Sequence[int] = SHOTS
) -> pd.DataFrame:
    """Counts around logistic curves in log shots."""
    rng = np.random.default_rng(seed)
    shots = np.array(shots)
    parts = []
    for i in range(n_curves):
        low, high, t, k = (
            rng.uniform(0.05, 0.2),
            rng.uniform(0.6, 0.9),
            rng.uniform(4, 30),
            rng.uniform(0.8, 1.6),
        )
        p = low + (high - low) / (1 + ((shots + 1) / t) ** -k)
        right = rng.binomial(n_test, p)
        parts.append(pd.DataFrame({"model": f"m{i}", "shots": shots, "n_correct": right, "n_test": n_test}))
    return pd.concat(parts, ignore_index=True)


def measured() -> pd.DataFrame:
    """The eight longest curves of small real models that ship with these experiments: probabilities with standard errors."""
    table = pd.read_csv(Path(__file__).parent / "results" / "real_llms" / "curves.csv")
    table = table[["model", "task", "source", "shots", "prob", "stderr"]].dropna()
    named = ["model", "task", "source"]
    longest = table.groupby(named).size().nlargest(8).index
    return table.set_index(named).loc[longest].reset_index()


def seconds(arguments: tuple[str, ...], folder: Path, cache: Path) -> tuple[float, float, float]:
    """(CPU seconds, wall seconds, peak memory in GB) of one process."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=told
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        if status:
            raise RuntimeError(told.read().decode()[-2000:])
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1e6


def measure(process: Process, repeats: int, folder: Path) -> list[float]:
    """Medians of `seconds`."""
    found = []
    with tempfile.TemporaryDirectory() as warm:
        if process.cache != "empty":
            seconds(process.of_run(0), folder, Path(warm))
        for number in range(1, repeats + 1):
            if process.cache == "empty":
                with tempfile.TemporaryDirectory() as cold:
                    found.append(seconds(process.of_run(number), folder, Path(cold)))
            else:
                found.append(seconds(process.of_run(number), folder, Path(warm)))
    return [statistics.median(column) for column in zip(*found, strict=True)]


def run(config: Config, processes: dict[str, Process] | None = None) -> pd.DataFrame:
    """Measures and prints a row for each process."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated().to_csv(folder / "curves.csv", index=False)
        simulated(200, 250, 1, LONGER).to_csv(folder / "many.csv", index=False)
        measured().to_csv(folder / "real.csv", index=False)
        for what, process in (processes or PROCESSES).items():
            if config.only in what:
                rows.append((what, *measure(process, config.repeats, folder)))
                print(f"{what}: {rows[-1][1]:.1f} CPU s, {rows[-1][2]:.1f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows, columns=["process", "CPU seconds", "wall seconds", "peak GB"])
    print(to_text(table, digits=2))
    return table


if __name__ == "__main__":
    sys.exit(guarded(lambda: run(tyro.cli(Config, description=__doc__.splitlines()[0]))))
