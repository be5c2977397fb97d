"""Speed and quality of the fitting engine beside SciPy, in one run on the same cores.

    python experiments/bench_fit.py                 # every row but `scale`, about 10 minutes on two cores
    python experiments/bench_fit.py --rows single joint_scoring
    python experiments/bench_fit.py --rows scale --largest 1000000

Each row prints what was fitted, seconds of the first call (compilation included) and of later ones, fits per second, the
peer's in a plain loop and with one process for every core, and the ratios. Times are medians of `--repeats` runs after one
warm-up call (single curves: of twice as many, engine and peer in turns); the peer is timed on a sample, from the engine's
own first guesses. See bench_fit.md for what the numbers mean.
"""

import dataclasses
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(
        variable, "1"
    )  # SciPy gets one process per core below; threads inside them only get in the way

import jax
import numpy as np
import pandas as pd
import tyro
from scipy import optimize

import iclbayes
from iclbayes import laws
from iclbayes.comparison import compare, to_text
from iclbayes.console import entry
from iclbayes.fitting import Status
from iclbayes.runtime import cores

ROWS = ("single", "joint_scoring", "joint_original", "grid", "table", "scale")
STARTS = 8


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    rows: tuple[str, ...] = ("single", "joint_scoring", "joint_original", "grid", "table")
    """single, joint_scoring, joint_original, grid, table, scale."""
    repeats: int = 5
    """runs after the warm-up, of which the median counts."""
    curves: int = 4096
    """single curves in a batch."""
    largest: int = 1_000_000
    """single curves in the largest file of `scale`."""
    data: Path = Path("../shared/data/long_context_icl.csv")
    """real curves for `table`."""
    out: Path | None = None
    """write the rows to this CSV file too."""


def single_curves(count: int, points: int = 100, noise: float = 0.01, seed: int = 0):
    """Logistic curves of NLL with noise, [count, points], and the shots."""
    rng = np.random.default_rng(seed)
    t = np.arange(points) + 1.0
    big, floor = rng.uniform(0.5, 2.0, (count, 1)), rng.uniform(0.1, 0.5, (count, 1))
    kappa, t_0 = rng.uniform(0.8, 2.5, (count, 1)), np.exp(rng.uniform(1.0, 4.0, (count, 1)))
    prob = np.exp(-(big / (1 + (t / t_0) ** kappa) + floor))
    return np.arange(points), np.clip(prob + noise * rng.standard_normal(prob.shape), 0, 1)


def groups(count: int, sources: int = 5, points: int = 256, noise: float = 0.01, seed: int = 0):
    """Groups of the scoring law with noise, [count, sources, points], and the shots."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(sources, 4.0), count)
    gamma = rng.uniform(0.6, 0.95, (count, sources))
    beta = gamma * rng.uniform(0.2, 0.6, (count, sources))
    rate = np.exp(rng.uniform(-4.5, -2.0, (count, 1)))[..., None] * np.log(gamma / beta)[..., None]
    n = np.arange(points)
    s = 1 / (1 + np.exp(-(np.log(prior / (1 - prior))[..., None] + rate * n)))
    prob = beta[..., None] + (gamma - beta)[..., None] * s
    return n, np.clip(prob + noise * rng.standard_normal(prob.shape), 0, 1)


# The peer. Its starting points are the engine's own, so that neither has better first guesses.


def starting_points(law, shots: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """The engine's first guesses for groups [G, J, n], raw parameters [G, STARTS, P]."""
    from iclbayes.fitting.losses import squared
    from iclbayes.fitting.problem import Problem

    n_curves = prob.shape[1]
    problem = Problem(law, squared, n_curves, law.joint and n_curves == 1)
    with jax.enable_x64(True):
        x = np.broadcast_to(np.asarray(law.abscissa(np.asarray(shots, float))), prob.shape[1:])

        def one(y):
            raw = law.guess(x, y, np.ones_like(x), STARTS, jax.random.key(0), problem.background)
            return problem.ravel(raw)

        return np.asarray(jax.jit(jax.vmap(one))(prob))


def logistic_numpy(t, big, kappa, t_0, floor):
    """The logistic law in raw parameters."""
    with np.errstate(over="ignore"):
        return np.exp(-(np.exp(big) / (1 + (t / np.exp(t_0)) ** np.exp(kappa)) + np.exp(floor)))


def curve_fit_one(arguments) -> float:
    """Best mean squared error of `scipy.optimize.curve_fit` from every start; names sorted: E, L, kappa, t_0."""
    t, y, starts = arguments
    best = np.inf
    for floor, big, kappa, t_0 in starts:
        try:
            found, _ = optimize.curve_fit(logistic_numpy, t, y, p0=(big, kappa, t_0, floor))
        except RuntimeError:
            continue
        best = min(best, float(np.mean((logistic_numpy(t, *found) - y) ** 2)))
    return best


def scoring_numpy(theta, n, sources):
    """Residual-free predictions of the scoring law; raw parameters in the engine's order: beta, efficiency, gamma, prior."""
    ratio, efficiency, gamma_raw, prior = np.split(theta, [sources, sources + 1, 2 * sources + 1])
    gamma = 1 / (1 + np.exp(-gamma_raw))
    share = 1 / (1 + np.exp(-ratio))
    z = np.append(prior, 0.0)
    odds = np.array([z[j] - np.logaddexp.reduce(np.delete(z, j)) for j in range(sources)])
    s = 1 / (1 + np.exp(-(odds[:, None] - np.exp(efficiency[0]) * np.log(share)[:, None] * n)))
    return gamma[:, None] * (share[:, None] + (1 - share)[:, None] * s)


def original_numpy(theta, n, sources):
    """Predictions of the original law; raw parameters in the engine's order: efficiency, prior, probs."""
    log_prior = np.append(theta[1:sources], 0.0)
    log_p = -np.logaddexp(0.0, -theta[sources:].reshape(sources, sources))  # [J, M]
    z = log_prior[None, :, None] + np.exp(theta[0]) * log_p[:, :, None] * n
    w = np.exp(z - z.max(axis=1, keepdims=True))
    return (w * np.exp(log_p)[:, :, None]).sum(1) / w.sum(1)


def least_squares_one(arguments) -> float:
    """Best mean squared error of `scipy.optimize.least_squares` (finite differences) from every start."""
    predict, n, y, starts = arguments
    best = np.inf
    for start in starts:
        try:
            with np.errstate(all="ignore"):
                found = optimize.least_squares(
                    lambda theta: (predict(theta, n, len(y)) - y).reshape(-1),
                    start,
                )
        except ValueError:
            continue
        best = min(best, 2 * found.cost / y.size)
    return best


def time_peer(function, jobs, alone: int, repeats: int = 1) -> tuple[float, float, np.ndarray]:
    """Jobs a second of a plain loop (over the first `alone` jobs, the median of `repeats`) and of a process on every core, and
    the results.

    The processes are spawned, since JAX runs threads in this one.
    """
    function(jobs[0])
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for job in jobs[:alone]:
            function(job)
        seconds.append(time.perf_counter() - began)
    loop = alone / float(np.median(seconds))
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        pool.map(_nothing, range(2 * cores()))  # the processes are up before the clock starts
        began = time.perf_counter()
        results = pool.map(function, jobs, chunksize=1)
        return loop, len(jobs) / (time.perf_counter() - began), np.array(results)


def _nothing(_):
    return None


def time_engine(curves, law, repeats: int, **options):
    """(first call, median of later calls, the fits)."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        fits = iclbayes.fit(curves, law, n_starts=STARTS, **options)
        seconds.append(time.perf_counter() - began)
    return seconds[0], float(np.median(seconds[1:] or seconds)), fits


def row_single(config: Config) -> dict:
    """Single four-parameter curves of 100 points from 8 starts, against `scipy.optimize.curve_fit`."""
    shots, prob = single_curves(config.curves)
    sample = min(256, config.curves)
    starts = starting_points(laws.logistic, shots, prob[:sample, None])
    jobs = [(shots + 1.0, prob[i], starts[i]) for i in range(sample)]
    curves = iclbayes.Curves.from_arrays(shots, prob)
    first, _, fits = time_engine(curves, "logistic", 1)
    _, pool, peer_loss = time_peer(curve_fit_one, jobs, sample)
    # Engine and peer in turns, since the machine's speed changes from one minute to the next.
    seconds, peer_seconds = [], []
    for _ in range(2 * config.repeats):
        began = time.perf_counter()
        for job in jobs[: sample // 4]:
            curve_fit_one(job)
        peer_seconds.append(time.perf_counter() - began)
        seconds.append(time_engine(curves, "logistic", 0)[0])
    later, loop = float(np.median(seconds)), sample // 4 / float(np.median(peer_seconds))
    many = iclbayes.fit(curves, "logistic", n_starts=32, seed=1)
    best = np.minimum(many.loss[:, 0], fits.loss[:, 0])
    best[:sample] = np.minimum(best[:sample], peer_loss)
    good = np.mean(fits.loss[:, 0] <= 1.001 * best)
    return {
        "work": f"{config.curves} single curves x 100 points",
        "first_s": first,
        "later_s": later,
        "per_s": config.curves / later,
        "peer_per_s": loop,
        "peer_all_cores_per_s": pool,
        "target": ">= 100 times; 99.5 % within 1.001 of the best known",
        "quality": f"{100 * good:.2f} % within 1.001 of the best of 32 more starts and SciPy "
        f"(SciPy: {100 * np.mean(peer_loss <= 1.001 * best[:sample]):.1f} % of {sample})",
    }


def row_joint(config: Config, law, predict, sample: int, target: str) -> dict:
    """Joint fits of 64 groups of 5 sources × 256 shots from 8 starts, against `scipy.optimize.least_squares`."""
    n, prob = groups(64)
    starts = starting_points(law, n, prob[:sample])
    jobs = [(predict, n, prob[i], starts[i]) for i in range(sample)]
    loop, pool, peer_loss = time_peer(least_squares_one, jobs, sample // 2)
    first, later, fits = time_engine(iclbayes.Curves.from_arrays(n, prob), law, config.repeats)
    ratio = fits.loss[:sample] / peer_loss
    return {
        "work": f"64 groups x 5 x 256, {law.name}",
        "first_s": first,
        "later_s": later,
        "per_s": 64 / later,
        "peer_per_s": loop,
        "peer_all_cores_per_s": pool,
        "target": target,
        "quality": f"loss over SciPy's: {ratio.min():.4f} to {ratio.max():.4f} on {sample} groups; "
        f"{100 * np.mean(fits.status == Status.CONVERGED):.0f} % converged",
    }


COLD = """
import json, sys, time
began = time.perf_counter()
import numpy as np, iclbayes
n, prob = np.load(sys.argv[1]).values()
curves = iclbayes.Curves.from_arrays(n, prob)
table = iclbayes.compare(curves, fractions=(0.05, 0.1, 0.2, 0.5, 1.0))
print(json.dumps({"seconds": time.perf_counter() - began, "missing": int(table.nrmse.isna().sum()), "rows": len(table)}))
"""


def row_grid(config: Config) -> dict:
    """Six laws × 5 fractions on 20 groups of 5 × 256 in a new process without any compilation cache."""
    del config
    n, prob = groups(20)
    # SciPy on a sample at every fraction's own number of points: two groups of the scoring law (sampling is of the same size),
    # five curves of the logistic law (for the three baselines), every other start of one group of the original law, times two,
    # since some starts take a hundred times as long as others.
    peer_loop = peer_pool = 0.0
    for fraction in (0.05, 0.1, 0.2, 0.5, 1.0):
        shots = n[n <= fraction * n.max()]
        seen = prob[:, :, : len(shots)]
        guesses = [starting_points(laws.bayesian_scoring, shots, seen[i : i + 1])[0] for i in range(2)]
        joint = [(scoring_numpy, shots, seen[i], guesses[i]) for i in range(2)]
        guesses = [starting_points(laws.logistic, shots, seen[0, j][None, None])[0] for j in range(5)]
        single = [(shots + 1.0, seen[0, j], guesses[j]) for j in range(5)]
        joint_loop, joint_pool, _ = time_peer(least_squares_one, joint, 1)
        single_loop, single_pool, _ = time_peer(curve_fit_one, single, 5)
        some = starting_points(laws.bayesian_original, shots, seen[:1])[0, ::2]
        began = time.perf_counter()
        least_squares_one((original_numpy, shots, seen[0], some))
        original = STARTS / len(some) * (time.perf_counter() - began)
        peer_loop += 20 * (2 / joint_loop + 15 / single_loop + original)
        peer_pool += 20 * (2 / joint_pool + 15 / single_pool + original / cores())
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "grid.npz", n=n, prob=prob)
        done = subprocess.run(
            [sys.executable, "-c", COLD, str(Path(folder) / "grid.npz")],
            env={k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"},
            capture_output=True,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout.splitlines()[-1])
    fits = 20 * 5 * 18
    return {
        "work": "grid: 6 laws x 5 fractions x 20 groups of 5 x 256, cold start",
        "first_s": told["seconds"],
        "later_s": np.nan,
        "per_s": fits / told["seconds"],
        "peer_per_s": fits / peer_loop,
        "peer_all_cores_per_s": fits / peer_pool,
        "target": ">= 50 times (about a minute)",
        "quality": f"{told['rows']} rows, {told['missing']} NRMSE missing",
    }


SPEC_TABLE = {
    "bayesian_scoring": (0.0481, 0.0975, 0.2335),
    "bayesian_scoring_log": (0.0345, 0.0418, 0.0719),
    "bayesian_heterogeneous": (0.0239, 0.0327, 0.1867),
    "logistic": (0.0344, 0.0413, 0.0721),
    "power": (0.0617, 0.1097, 0.1437),
}


def spec_table(config: Config) -> pd.DataFrame:
    """Median NRMSE on the real curves with random examples, default settings, beside the figures to reach."""
    curves = iclbayes.read_curves(config.data, group_by=["model", "task", "selection"])
    curves = curves.select(curves.keys["selection"].eq("random").to_numpy())
    fractions = (1.0, 0.5, 0.1)
    names = [*SPEC_TABLE, *(n for n in laws.LAWS if n not in SPEC_TABLE)]
    table = compare(curves, names, fractions)
    medians = table.pivot_table(index="law", columns="fraction", values="nrmse", aggfunc="median", sort=False)
    rows = []
    for name in names:
        for f, to_reach in zip(fractions, SPEC_TABLE.get(name, (np.nan,) * 3), strict=True):
            rows.append((name, f, medians.loc[name, f], to_reach))
    return pd.DataFrame(rows, columns=["law", "fraction", "median_nrmse", "to_reach"])


SCALE = """
import json, resource, sys, time
import iclbayes
from iclbayes.runtime import use_compilation_cache
from iclbayes.stream import fit_stream
use_compilation_cache()
began = time.perf_counter()
fit_stream(sys.argv[1], sys.argv[2], ["logistic"], group_by=["curve"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.perf_counter() - began, "peak_mb": peak}))
"""


def row_scale(config: Config) -> list[dict]:
    """A hundredth of `largest` single curves against all of them, through files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (config.largest // 100, config.largest):
            path = Path(folder) / f"{count}.parquet"
            with pq.ParquetWriter(
                path, pa.schema([("curve", "int64"), ("shots", "int64"), ("prob", "float64")])
            ) as writer:
                for start in range(0, count, 10_000):
                    size = min(10_000, count - start)
                    shots, prob = single_curves(size, seed=start)
                    curve = np.repeat(np.arange(start, start + size), len(shots))
                    columns = {"curve": curve, "shots": np.tile(shots, size), "prob": prob.reshape(-1)}
                    writer.write_table(pa.table(columns))
            command = [sys.executable, "-c", SCALE, str(path), str(Path(folder) / "fits.parquet")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout.splitlines()[-1])
            rows.append({"curves": count, **told, "per_s": count / told["seconds"]})
            path.unlink()
            print(f"scale: {rows[-1]}", flush=True)
    return rows


def run(config: Config) -> None:
    """Runs the rows and prints the tables."""
    unknown = set(config.rows) - set(ROWS)
    if unknown:
        raise iclbayes.InputError(f"unknown row {unknown.pop()!r}: choose from {', '.join(ROWS)}")
    print(
        f"JAX {jax.__version__} on {jax.default_backend()}, {cores()} cores, {STARTS} starts a fit\n",
        flush=True,
    )
    makers = {
        "single": lambda: row_single(config),
        "joint_scoring": lambda: row_joint(config, laws.bayesian_scoring, scoring_numpy, 4, ">= 90 times"),
        "joint_original": lambda: row_joint(
            config, laws.bayesian_original, original_numpy, 2, ">= 300 times"
        ),
        "grid": lambda: row_grid(config),
    }
    found = []
    for name in config.rows:
        if name in makers:
            row = makers[name]()
            row["ratio"] = row["per_s"] / row["peer_per_s"]
            row["ratio_all_cores"] = row["per_s"] / row["peer_all_cores_per_s"]
            found.append(row)
            print(
                f"{row['work']}: {row['per_s']:.1f} fits/s; SciPy in a loop {row['peer_per_s']:.2f}, on all cores "
                f"{row['peer_all_cores_per_s']:.2f}; ratio {row['ratio']:.0f} and {row['ratio_all_cores']:.0f} "
                f"({row['target']}); first call {row['first_s']:.1f} s; {row['quality']}",
                flush=True,
            )
    if found:
        table = pd.DataFrame(found)
        print(
            "\n"
            + to_text(
                table[
                    [
                        "work",
                        "first_s",
                        "later_s",
                        "per_s",
                        "peer_per_s",
                        "peer_all_cores_per_s",
                        "ratio",
                        "ratio_all_cores",
                    ]
                ],
                digits=2,
            )
        )
        if config.out is not None:
            table.to_csv(config.out, index=False)
    if "table" in config.rows:
        if config.data.exists():
            print("\nMedian NRMSE on real curves, default settings\n")
            print(to_text(spec_table(config)))
        else:
            print(f"\ntable: {config.data} is not here; skipped")
    if "scale" in config.rows:
        rows = row_scale(config)
        small, large = rows[0], rows[-1]
        print(
            f"\nscale: {large['curves'] // small['curves']} times the curves took "
            f"{large['seconds'] / small['seconds']:.1f} times the time and "
            f"{100 * (large['peak_mb'] / small['peak_mb'] - 1):.0f} % more memory (peak {large['peak_mb']:.0f} MB)"
        )
    print(
        f"\npeak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(entry(lambda: run(tyro.cli(Config, description=__doc__.splitlines()[0]))))
