"""What priors learned from past curves are worth for the next one.

    python experiments/learned_priors.py ../shared/data/long_context_icl.csv --out experiments/learned_priors.md

Of curves of several models and tasks (averaged over runs, points beyond the context window left out) one task, or one model, is
left out; priors are learned from the others, whole, and its curves are forecast from the first part of their shots, with these
priors and with the defaults. Scores are of the observations after that part: CRPS, absolute error of the median, log score, and
the share that the 50 and 90 % intervals hold.

All posteriors are importance-sampled, whatever their k-hat, so that the two columns differ by the prior alone.
"""

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from forecast_coverage import collapsed, load, long_enough

import iclbayes
from iclbayes import posterior as bayes
from iclbayes.files import write_text
from iclbayes.metrics import score_draws
from iclbayes.runtime import use_cache

OPTIONS = {"max_k_hat": np.inf, "n_draws": 250}
SCORES = ["crps", "mae", "log_score", "in50", "in90"]


def folds(curves: iclbayes.Curves, by: str) -> Iterator[tuple[str, iclbayes.Curves, iclbayes.Curves]]:
    """(value left out, the other curves, its curves) for each value of a group column."""
    for value in curves.keys[by].unique():
        mine = (curves.keys[by] == value).to_numpy()
        yield str(value), curves.select(~mine), curves.select(mine)


def score(
    curves: iclbayes.Curves, law: str, fraction: float, priors: bayes.LearnedPriors | None
) -> pd.DataFrame:
    """Scores of every later observation of these curves."""
    curves = long_enough(curves, fraction)
    held = ~curves.within(fraction) & (curves.weight > 0)
    one = bayes.sample(curves, law, fraction=fraction, priors=priors, **OPTIONS)
    draws = one.draws(curves, observation=True)[:, held]
    table = score_draws(draws, curves.prob[held])
    return table.assign(mae=np.abs(np.median(draws, 0) - curves.prob[held]))


def table(curves: iclbayes.Curves, laws: list[str], fractions: list[float]) -> pd.DataFrame:
    rows = []
    for by in ("model", "task"):
        for value, rest, own in folds(curves, by):
            for law in laws:
                learned = bayes.learn_priors(rest, [law], n_draws=OPTIONS["n_draws"])
                for fraction in fractions:
                    for name, priors in (("default", None), ("learned", learned)):
                        index = {
                            "left out": f"one {by}",
                            "which": value,
                            "law": law,
                            "fraction": fraction,
                            "prior": name,
                        }
                        rows.append(score(own, law, fraction, priors).assign(**index))
            print(f"{by} {value}", flush=True)
    return pd.concat(rows, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", help="CSV of curves with model, task, selection, n_test and n_correct")
    parser.add_argument("--law", nargs="+", default=["staged", "logistic"])
    parser.add_argument("--fraction", nargs="+", type=float, default=[0.1, 0.2, 0.5])
    parser.add_argument("--out", help="Markdown file of the tables")
    args = parser.parse_args()
    use_cache()
    curves = load(args.path, by_run=False)
    curves = curves.with_weight((~collapsed(curves)).astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scored = table(curves, args.law, args.fraction)
    whole = (
        scored.groupby(["left out", "law", "fraction", "prior"], sort=False)[SCORES]
        .mean()
        .round(4)
        .reset_index()
    )
    each = scored.pivot_table(
        index=["left out", "which", "law"], columns=["fraction", "prior"], values="crps", sort=False
    ).round(4)
    each.columns = [f"{fraction:g}, {prior}" for fraction, prior in each.columns]
    text = f"{whole.to_markdown(index=False)}\n\nCRPS, one by one:\n\n{each.reset_index().to_markdown(index=False)}\n"
    print(text)
    if args.out:
        write_text(
            f"# What learned priors are worth\n\n{(__doc__ or '').split(chr(10), 2)[2].strip()}\n\n{text}",
            args.out,
        )


if __name__ == "__main__":
    main()
