"""Simulation-based calibration of the posteriors of every law × likelihood, with and without the discrepancy.

    python experiments/calibration.py --n 100 --out calibration.csv        # all 132 cells, about five hours of one core
    python experiments/calibration.py --laws power --likelihoods binomial  # two cells in two minutes

The method is that of `iclbayes.posterior.calibration`: curves of 8 points are drawn from the model itself, and the ranks of the
true parameters, and of the expected probability at 0, 4 and 64 shots, must be uniform among the draws of their posteriors.

The CSV has a row per cell and quantity and is written after every cell; a second call does the cells that are missing.
calibration.md has the results.
"""

import argparse
import time
from pathlib import Path

import jax
import pandas as pd

from iclbayes import laws
from iclbayes.files import atomic_path
from iclbayes.posterior import LIKELIHOODS, RandomWalk
from iclbayes.posterior.calibration import p_value, scores
from iclbayes.runtime import programs, use_cache

# The posterior of an amplitude and a floor that only their sum is known of is L-shaped: short chains miss one arm of it.
LONG = {"n_chains": 4, "n_warmup": 300, "n_draws": 150, "retries": 1}
CELLS = [(law, likelihood, walk) for walk in (False, True) for likelihood in LIKELIHOODS for law in laws.LAWS]


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
    use_cache()
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
        right, narrow = scores(law, likelihood, discrepancy, args.n, seed=args.seed, **LONG)
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
        programs.clear()
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
