"""Simulation-based calibration of the posteriors of every law × likelihood, with and without the discrepancy.

    python experiments/calibration.py --n 100 --out calibration.csv        # all 132 cells, about five hours of one core
    python experiments/calibration.py --laws power --likelihoods binomial  # two cells in two minutes

Parameters and observations are drawn from the numpyro model itself; the rank of each true parameter among the draws of its
posterior is then uniform if, and only if, the posterior is right on average (Talts et al. 2018, arXiv 1804.06788). The ranks are
turned into normal scores and tested for mean, variance and shape; the same tests applied to the posterior squeezed by a
fifth about its mean say whether they have the power to notice. Ranked are all parameters (of the original law only those that
do not depend on the names of tasks) and the expected probability at 0, 4 and 64 shots; the curves have 8 points.

The CSV has a row per cell and quantity and is written after every cell; a second call does the cells that are missing.
calibration.md has the results.
"""

import argparse
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import numpyro
import pandas as pd
from scipy import stats

import iclbayes
from iclbayes import laws, posterior
from iclbayes.files import atomic_path
from iclbayes.posterior.model import model as models
from iclbayes.posterior.model.discrepancy import RandomWalk
from iclbayes.posterior.model.likelihoods import LIKELIHOODS
from iclbayes.runtime import use_compilation_cache

SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
ASKED = np.array([0, 3, 7])  # points at which the expected probability is ranked, too
# The posterior of an amplitude and a floor that only their sum is known of is L-shaped: short chains miss one arm of it.
LONG = {"n_chains": 4, "n_warmup": 300, "n_draws": 150, "retries": 1}
NAMED = (
    "prior",
    "probs",
)  # of the original law: tasks are named by nothing, so these depend on the order of the draws
CELLS = [(law, likelihood, walk) for walk in (False, True) for likelihood in LIKELIHOODS for law in laws.LAWS]


def simulate(law, likelihood, discrepancy, n, seed=0):
    """(curves, {quantity: true values [n]}) from the model itself: draws of its prior, then of its observations."""
    law = laws.get(law)
    shape = (n, 1, len(SHOTS))
    kind = LIKELIHOODS[likelihood]
    shots = np.broadcast_to(SHOTS, shape)
    data = models.UnitData(
        shots=shots,
        obs=np.zeros(shape),
        mask=np.ones(shape, bool),
        n_test=np.full(shape, 100.0),
        stderr=np.full(shape, 0.02 if likelihood == "normal" else 0.0),
        first=shots[..., 0],
        last=shots[..., -1],
    )
    spec = models.make_spec(law, kind, 1, law.joint, discrepancy)
    with jax.enable_x64(True):
        seeded = numpyro.handlers.seed(models.model, seed)
        trace = numpyro.handlers.trace(seeded).get_trace(spec, data)  # obs=None simulates
        sites = {name: site["value"] for name, site in trace.items()}
        raw = {name: sites[f"raw_{name}"] for name in spec.shapes}
        extra = {
            k: v for k, v in sites.items() if k == "steps" or k.removeprefix("raw_") in dict(spec.priors)
        }
        p = np.asarray(models.probability(spec, raw, extra, data))
    obs = np.asarray(sites["obs"])
    prob = obs / 100 if kind.counts else obs
    curves = iclbayes.Curves.from_arrays(
        SHOTS, np.clip(prob, 0, 1), n_test=data.n_test if kind.counts else None
    )
    if likelihood == "normal":  # whose draws may lie outside 0 and 1, which a file may not
        stderr = np.full(len(curves.shots), 0.02)
        curves = iclbayes.Curves(**{**vars(curves), "stderr": stderr, "prob": prob.ravel()})
    found = {k: s["value"] for k, s in trace.items() if s["type"] == "deterministic"}
    truth = {name: np.asarray(value).reshape(n, -1)[:, 0] for name, value in found.items()}
    return curves, truth | {f"p({SHOTS[i]:g})": p[:, 0, i] for i in ASKED}


def normal_scores(draws, truth):
    """Φ⁻¹ of the rank of each truth [n] among its draws [S, n]: standard normal for a calibrated posterior."""
    return stats.norm.ppf(((draws < truth).sum(0) + 0.5) / (len(draws) + 1))


def p_value(scores) -> float:
    """Smallest p-value, times their number, of three tests of standard normality: mean, variance, Kolmogorov–Smirnov."""
    n = len(scores)
    mean = 2 * stats.norm.sf(abs(scores.mean()) * np.sqrt(n))
    spread = stats.chi2(n).cdf((scores**2).sum())
    return min(1.0, 3 * min(mean, 2 * min(spread, 1 - spread), stats.kstest(scores, "norm").pvalue))


def unbounded(name, value):
    """On a scale without ends. Ranks do not change; squeezing is cleaner."""
    if name in ("prior", "gamma", "beta", "probs") or name.startswith("p("):
        return stats.logistic.ppf(np.clip(value, 1e-12, 1 - 1e-12))
    return np.log(value)


def scores(law, likelihood, discrepancy, n, options, seed=0):
    """({quantity: normal scores [n]}, {quantity: those of the posterior squeezed by a fifth}) of n simulated curves."""
    curves, truth = simulate(law, likelihood, discrepancy, n, seed)
    with warnings.catch_warnings():
        # Poor diagnostics: all curves count all the same.
        warnings.simplefilter("ignore", posterior.PosteriorWarning)
        one = posterior.posterior(curves, law, likelihood=likelihood, discrepancy=discrepancy, **options)
    draws = {k: v.reshape(-1, n, *v.shape[3:]) for k, v in one.params.items()}
    draws = {k: v.reshape(len(v), n, -1)[..., 0] for k, v in draws.items()}
    p = one.draws(SHOTS[ASKED])[:, :, 0]
    draws |= {f"p({SHOTS[i]:g})": p[..., k] for k, i in enumerate(ASKED)}
    right, narrow = {}, {}
    for name, value in draws.items():
        if law.startswith("bayesian_original") and name in NAMED:
            continue
        value, true = unbounded(name, value), unbounded(name, truth[name])
        right[name] = normal_scores(value, true)
        centre = value.mean(0)
        narrow[name] = normal_scores(centre + 0.8 * (value - centre), true)
    return right, narrow


def calibrate(law, likelihood, discrepancy, n, options, seed=0):
    """({quantity: p-value}, {quantity: p-value of the squeezed posterior}) of n simulated curves."""
    found = scores(law, likelihood, discrepancy, n, options, seed)
    return tuple({name: p_value(s) for name, s in one.items()} for one in found)


def report(table: pd.DataFrame) -> str:
    """Markdown: the smallest p-value of each cell, with that of the squeezed posterior behind it."""
    lines = []
    for walk, part in table.groupby("discrepancy"):
        best = part.groupby(["law", "likelihood"])[["p", "p_squeezed"]].min()
        shown = best.apply(lambda r: f"{r['p']:.2g} ({r['p_squeezed']:.0e})", axis=1).unstack()
        shown = shown.reindex([name for name in laws.LAWS if name in shown.index])
        shown = shown[[name for name in LIKELIHOODS if name in shown]]
        lines += [
            f"{'With' if walk else 'Without'} the discrepancy:",
            "",
            "| law | " + " | ".join(shown) + " |",
        ]
        lines += ["|---" * (1 + shown.shape[1]) + "|"]
        lines += [f"| {law} | " + " | ".join(row.fillna("–")) + " |" for law, row in shown.iterrows()]
        lines += [""]
    n = len(table)
    return "\n".join(
        [
            *lines,
            f"{table.groupby(['law', 'likelihood', 'discrepancy']).ngroups} cells, {n} quantities. Smallest p-value "
            f"{table.p.min():.2g}, expected of that many right ones about {1 / n:.2g}. Below 0.05 are "
            f"{(table.p < 0.05).mean():.1%} of the right and {(table.p_squeezed < 0.05).mean():.0%} of the squeezed ones; "
            f"mean square of the normal scores, median over quantities: {table.variance.median():.3f} "
            f"(squeezed: {table.variance_squeezed.median():.2f}).",
        ]
    )


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", nargs="+", default=[*laws.LAWS], choices=[*laws.LAWS], metavar="LAW")
    parser.add_argument(
        "--likelihoods", nargs="+", default=[*LIKELIHOODS], choices=[*LIKELIHOODS], metavar="NAME"
    )
    parser.add_argument("--discrepancy", choices=("without", "with", "both"), default="both")
    parser.add_argument("--n", type=int, default=100, help="simulated curves a cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("calibration.csv"))
    args = parser.parse_args(argv)
    use_compilation_cache()
    table = (
        pd.read_csv(args.out)
        if args.out.exists()
        else pd.DataFrame(columns=["law", "likelihood", "discrepancy", "n", "seed"])
    )
    done = table[(table.n == args.n) & (table.seed == args.seed)]
    done = set(zip(done.law, done.likelihood, done.discrepancy))
    wanted = {"without": (False,), "with": (True,), "both": (False, True)}[args.discrepancy]
    cells = [
        c
        for c in CELLS
        if c[0] in args.laws and c[1] in args.likelihoods and c[2] in wanted and c not in done
    ]
    for i, (law, likelihood, walk) in enumerate(cells):
        start = time.perf_counter()
        discrepancy = RandomWalk() if walk else None
        right, narrow = scores(law, likelihood, discrepancy, args.n, LONG, args.seed)
        rows = [
            {
                "law": law,
                "likelihood": likelihood,
                "discrepancy": walk,
                "n": args.n,
                "seed": args.seed,
                "quantity": name,
                "p": p_value(right[name]),
                "p_squeezed": p_value(narrow[name]),
                "mean": right[name].mean(),
                "variance": (right[name] ** 2).mean(),
                "variance_squeezed": (narrow[name] ** 2).mean(),
            }
            for name in right
        ]
        table = pd.concat([table, pd.DataFrame(rows)]) if len(table) else pd.DataFrame(rows)
        jax.clear_caches()  # hundreds of compiled programs would use up the address ranges that a process may have
        with atomic_path(args.out) as temporary:
            table.to_csv(temporary, index=False, float_format="%.4g")
        worst = min(rows, key=lambda r: r["p"])
        took = time.perf_counter() - start
        print(
            f"{i + 1}/{len(cells)} {law}, {likelihood}{', discrepancy' if walk else ''}: smallest p {worst['p']:.2g} "
            f"({worst['quantity']}), squeezed {min(r['p_squeezed'] for r in rows):.1e}, {took:.0f} s",
            flush=True,
        )
    print(report(table[(table.n == args.n) & (table.seed == args.seed)]))


if __name__ == "__main__":
    main()
