"""Many short curves in one file: what reading, fitting and writing cost, beside pandas and SciPy a group at a time.

    python experiments/bench_load.py                              # 30,000 groups of eight points, the power law
    python experiments/bench_load.py --groups 300000 --law bayesian_scoring
    python experiments/bench_load.py --groups 1250000 --command    # `iclbayes fit` in a process of its own; so much in chunks

CPU seconds of the process (user and system, all threads), so that a busy machine tells little less than an idle one, and the most
memory that was in use up to the end of each step. Programs are compiled, or read from the cache, before the clock runs. The peer
fits the power law to the first `--peer` groups by `scipy.optimize.curve_fit`, one after the other, and its time is scaled to all.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit

import iclbayes
from iclbayes.cli.parsing import parse_script
from iclbayes.comparison import to_text
from iclbayes.console import entry
from iclbayes.errors import check_whole
from iclbayes.files import write_csv

POINTS = 8
PIECE = 100_000  # groups that are made at a time
WARM = 4096  # groups that are fitted before the clock runs: their chunks have the shape of the others'


@dataclasses.dataclass(frozen=True)
class Config:
    """How much, and which law."""

    groups: int = 30_000
    """groups, each of one curve."""
    law: str = "power"
    """law to fit."""
    stderr: bool = False
    """write standard errors and intervals too."""
    peer: int = 1000
    """groups that the peer fits."""
    command: bool = False
    """time nothing but the command `iclbayes fit`, in a process of its own."""


def power_law(t: np.ndarray, c: float, alpha: float, e: float) -> np.ndarray:
    """exp(−C t^−α − E)."""
    return np.exp(-c * t**-alpha - e)


def make(groups: int, first: int = 0) -> pd.DataFrame:
    """Curves of the power law at 0, 1, 3, …, 127 shots with noise of 0.01; names count from `first`."""
    rng = np.random.default_rng(first)
    t = 2.0 ** np.arange(POINTS)
    c, alpha, e = (rng.uniform(low, high, (groups, 1)) for low, high in ((0.5, 2), (0.2, 1), (0.05, 0.4)))
    prob = np.clip(power_law(t, c, alpha, e) + rng.normal(0, 0.01, (groups, POINTS)), 0.001, 0.999)
    names = np.repeat([f"model-{i:07d}" for i in range(first, first + groups)], POINTS)
    return pd.DataFrame(
        {"model": names, "shots": np.tile(t - 1, groups).astype(int), "prob": prob.ravel().round(6)}
    )


def write(path: Path, groups: int) -> None:
    """Writes curves as CSV, a piece at a time."""
    for first in range(0, groups, PIECE):
        frame = make(min(PIECE, groups - first), first)
        frame.to_csv(path, index=False, mode="a", header=first == 0)


def megabytes() -> int:
    """The most memory that this process has used, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(config: Config) -> pd.DataFrame:
    """Times everything, prints the table."""
    check_whole("--groups", config.groups, 2 * WARM, 10**7)
    check_whole("--peer", config.peer, 1, config.groups)
    iclbayes.laws.get(config.law)
    rows = []

    def timed(what: str, action: Callable[[], object]) -> object:
        began = time.process_time()
        found = action()
        rows.append((what, time.process_time() - began, megabytes()))
        return found

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "curves.csv", Path(folder) / "fits.csv"
        write(path, config.groups)
        if config.command:
            return shown(config, command(path, out, config))
        frame = make(max(WARM, config.peer))
        warm = iclbayes.curves_from_frame(frame.iloc[: WARM * POINTS], group_by="model")
        iclbayes.fit(warm, config.law).to_frame(stderr=config.stderr)
        few = frame.iloc[: config.peer * POINTS]
        del frame, warm
        rows.append(("before", 0.0, megabytes()))
        curves = timed("read the file", lambda: iclbayes.read_curves(path, group_by="model"))
        fits = timed(f"fit {config.law}", lambda: iclbayes.fit(curves, config.law))
        table = timed("make the table", lambda: fits.to_frame(stderr=config.stderr))
        timed("write it as CSV", lambda: write_csv(table, out))
        timed("pandas' to_csv of the same", lambda: table.to_csv(out, index=False))
        timed("peer, a group at a time", lambda: peer(few))
        what, seconds, most = rows.pop()
        rows.append((what, seconds * config.groups / config.peer, most))
    return shown(config, rows)


def command(path: Path, out: Path, config: Config) -> list[tuple[str, float, int]]:
    """`iclbayes fit` on the file, in a process of its own whose programs are compiled: step, CPU seconds, peak memory."""
    words = [sys.executable, "-m", "iclbayes", "fit", str(path), "--group-by", "model", "--law", config.law]
    words += ["--out", str(out), "--force", *["--stderr"] * config.stderr]
    rows = []
    for what in ("iclbayes fit, compiling", "iclbayes fit"):
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise RuntimeError(f"{' '.join(words)}: failed")
        rows.append((what, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024))
    return rows


def shown(config: Config, rows: list[tuple[str, float, int]]) -> pd.DataFrame:
    """Prints the table."""
    found = pd.DataFrame(rows, columns=["step", "CPU s", "peak MB"]).round({"CPU s": 2})
    print(f"{config.groups:,} groups of {POINTS} points{', with standard errors' * config.stderr}\n")
    print(to_text(found, "markdown"))
    return found


def peer(frame: pd.DataFrame) -> pd.DataFrame:
    """The power law to each group by SciPy, as one would write it in a notebook."""
    rows = []
    for name, part in frame.groupby("model"):
        t, prob = part["shots"].to_numpy() + 1.0, part["prob"].to_numpy()
        best, covariance = curve_fit(power_law, t, prob, p0=(1.0, 0.5, 0.1), maxfev=5000)
        rows.append((name, *best, *np.sqrt(np.diag(covariance))))
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    return entry(lambda: run(parse_script(Config, arguments, "bench_load.py", __doc__.splitlines()[0])))


if __name__ == "__main__":
    sys.exit(main())
