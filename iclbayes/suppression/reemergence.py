"""When does a suppressed task come back? A forecast from the first shots of its curve, with an interval, and its test.

What is known before: the pretrained model's own curve of that task. What is seen: the first few shots after fine-tuning. If
fine-tuning left the knowledge in place, the new prior ρ is all that the few shots have to tell: `recall` has the posterior that
says so. Without that knowledge few shots say next to nothing; `forecast` gives the plain law fitted to them beside it.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from ..errors import InputError
from ..fits import fit
from .before_after import RECALL, Recall, Sight, law_reach, point_draws, posterior_draws, raw_scoring
from .sharing import FAMILY, amount_curves

PLATEAU = 0.2  # share of the pretrained curve's last shots whose mean is its plateau


def shots_back(shots: np.ndarray, prob: np.ndarray, stderr: np.ndarray, level: float) -> float:
    """Shots at which a measured curve is at `level` for good: where its rising regression (pool adjacent violators, weights
    1 / stderr²) crosses it, interpolated between shots; 0 from the start, inf if not within the curve."""
    known = np.isfinite(stderr) & (stderr > 0)
    smallest = stderr[known].min() if known.any() else 1.0
    smooth = isotonic_regression(prob, weights=np.where(known, stderr, smallest) ** -2.0).x
    above = smooth >= level
    if not above.any():
        return np.inf
    first = int(np.argmax(above))
    if first == 0:
        return float(shots[0])
    rise = smooth[first] - smooth[first - 1]
    return float(shots[first - 1] + (level - smooth[first - 1]) / rise * (shots[first] - shots[first - 1]))


def forecast(
    frame: pd.DataFrame,
    *,
    favoured: int = 0,
    windows: Sequence[float] = (0.1, 0.2),
    recall: Recall = RECALL,
    method: Literal["psis", "laplace", "nuts", "point"] = "psis",
    seed: int = 0,
) -> pd.DataFrame:
    """Forecasts of the return of every suppressed task, beside what happened.

    The level is half of the pretrained model's plateau, the mean of the last 20 % of its shots. Windows are shots ≤ window × the
    curve's largest number of shots.

    Args:
      frame: curves with the columns layers, seed, k, source, method, amount, step, shots, prob, stderr; method "none" is the
        pretrained model.
      favoured: the task that was favoured; all others are suppressed.
      windows: shares of the shots to see.
      recall: how far fine-tuning may have moved each parameter.
      method: how the forecast is inferred: `posterior_draws` by "psis", "laplace" or "nuts", or `point_draws`, which takes the
        pretrained model's point fit for granted.
      seed: of the draws.

    Returns:
      A row for each method, layers, seed, k, amount, source, window and forecaster ("knowledge": as this module says; "alone":
      the scoring law fitted to the windows of all sources together, without interval):
        level, start (measured at 0 shots), seen (largest number of shots in the window), max_shots, observed (shots to be back at
        the level; 0 if never below, inf if not within the prompt), predicted (median), lo90, hi90, p_never;
        error: |log₂ (1 + predicted) / (1 + observed)|; where the return lies beyond the prompt, the least that the error can be;
        covered: whether the interval holds what is observed (beyond the prompt: whether it reaches there);
        ahead: whether the return was still to come at the end of the window and came within the prompt;
        k_hat: of the importance weights, above 0.7 is doubtful (NaN where there are none).

    Raises:
      InputError: a pretrained curve is missing, or an unknown method.
    """
    if method not in ("psis", "laplace", "nuts", "point"):
        raise InputError(f"forecast: method {method!r} is unknown; choose psis, laplace, nuts or point")
    curves = amount_curves(frame)
    largest = curves.max_shots()
    labels = curves.keys.iloc[curves.group].reset_index(drop=True).assign(source=curves.source)
    names = [tuple(row) for row in labels[[*FAMILY, "source"]].itertuples(index=False)]
    points = [slice(a, b) for a, b in zip(curves.start[:-1], curves.start[1:], strict=True)]
    measured = [tuple(getattr(curves, f)[p] for f in ("shots", "prob", "stderr")) for p in points]
    pretrained = {names[c]: int(c) for c in np.flatnonzero(labels["amount"] == 0)}
    rows, sights = [], []
    for c in np.flatnonzero((labels["amount"] > 0) & (labels["source"] != favoured)):
        if names[c] not in pretrained:
            raise InputError(
                f"forecast: no pretrained curve of {dict(zip([*FAMILY, 'source'], names[c], strict=True))}"
            )
        before = measured[pretrained[names[c]]]
        level = before[1][before[0] >= (1 - PLATEAU) * before[0].max()].mean() / 2
        shots, prob, _ = measured[c]
        observed = shots_back(*measured[c], level)
        for window in windows:
            seen = shots <= window * largest[c] * (1 + 1e-12)
            sights.append(Sight(before, tuple(x[seen] for x in measured[c]), level))
            last = shots[seen].max()
            rows.append(
                {
                    "curve": int(c), **labels.loc[c].to_dict(), "window": window, "level": level, "start": prob[0],
                    "seen": last, "max_shots": largest[c], "observed": observed,
                    "ahead": bool(last < observed < np.inf),
                }
            )  # fmt: skip
    common = pd.DataFrame(rows)
    if method == "point":
        known = raw_scoring(
            fit(curves.select(curves.keys["amount"].to_numpy() == 0), "bayesian_scoring").to_frame()
        )
        order = {names[c]: i for i, c in enumerate(pretrained.values())}
        centres = known[[order[names[c]] for c in common["curve"]]]
        draws, k_hat = point_draws(sights, centres, recall=recall, seed=seed), np.nan
    else:
        draws, k_hat = posterior_draws(sights, recall=recall, method=method, seed=seed)
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=1, method="inverted_cdf")
    observed, top = common["observed"].to_numpy(), common["max_shots"].to_numpy()
    inside = np.where(np.isfinite(observed), (low <= observed) & (observed <= high), high >= top)
    knowledge = common.assign(
        forecaster="knowledge", predicted=middle, lo90=low, hi90=high, p_never=np.isinf(draws).mean(1),
        covered=inside.astype(float), k_hat=k_hat,
    )  # fmt: skip
    plain = np.empty(len(common))
    for window in windows:
        raw = raw_scoring(fit(curves, "bayesian_scoring", fraction=window).to_frame())
        here = (common["window"] == window).to_numpy()
        plain[here] = law_reach(raw[common["curve"][here]], common["level"][here].to_numpy())
    alone = common.assign(forecaster="alone", predicted=plain, p_never=np.isinf(plain).astype(float))
    table = pd.concat([knowledge, alone], ignore_index=True).drop(columns="curve")
    table["error"] = _error(*(table[c].to_numpy(float) for c in ("predicted", "observed", "max_shots")))
    return table


def _error(predicted, observed, max_shots) -> np.ndarray:
    """|log₂ (1 + predicted) / (1 + observed)|; for a return beyond the prompt, log₂ of how far short the forecast falls."""
    late = np.isinf(observed)
    reached = np.where(late, max_shots, observed)
    with np.errstate(invalid="ignore"):
        error = np.log2(1 + predicted) - np.log2(1 + reached)
    return np.where(late, np.maximum(-error, 0.0), np.abs(error))


def forecast_summary(table: pd.DataFrame, by: Sequence[str] = ("forecaster", "window")) -> pd.DataFrame:
    """Median absolute error in log₂ shots and coverage of the 90 % interval.

    Returns:
      A row for each value of `by`: n, median_error and coverage over all curves; n_ahead, median_error_ahead and coverage_ahead
      over those whose return was still to come at the end of the window and came within the prompt.
    """
    ahead = table[table["ahead"]]
    columns = {}
    for suffix, part in (("", table), ("_ahead", ahead)):
        groups = part.groupby(list(by))
        columns[f"n{suffix}"] = groups.size()
        columns[f"median_error{suffix}"] = groups["error"].median()
        columns[f"coverage{suffix}"] = groups["covered"].mean()
    summary = pd.DataFrame(columns).reset_index()
    return summary.assign(n_ahead=summary["n_ahead"].fillna(0).astype(int))
