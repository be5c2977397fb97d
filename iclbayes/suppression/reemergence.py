"""When does a suppressed task come back? A forecast from the first shots of its curve, with an interval, and its test.

What is known before: the pretrained model's own curve of that task. What is seen: the first few shots after fine-tuning. If
fine-tuning left the knowledge in place, the new prior ρ is all that the few shots have to tell: `before_after` has the posterior
that says so, and doubts it. `unforeseen` is what no law tells of the shots to come. Without that knowledge few shots say next to
nothing; `forecast` gives the plain law fitted to them beside it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from ..contrasts.tables import BAND
from ..errors import InputError
from ..fit_blocks import NOT_DETERMINED
from ..fits import fit
from ..posterior.answers import share_text, shots_apart, shots_text
from ..posterior.identification import WIDEST
from .before_after import (
    SHIFT_PRIOR,
    CurvePair,
    ShiftPrior,
    point_draws,
    posterior_draws,
    q_of,
    shots_to_level,
)
from .sharing import FAMILY, amount_curves
from .unforeseen import HORIZON, UNFORESEEN, Paths, Unforeseen, paths

LEVELS = (0.25, 0.5, 0.75)  # shares of the way back
CASES = ("ahead", "seen", "at start", "beyond")
MOST_SHOTS, MOST_DRAWS = 40, 500  # of a band
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


def plateau(shots: np.ndarray, prob: np.ndarray) -> float:
    """Mean probability over the last 20 % of a curve's shots."""
    return float(prob[shots >= (1 - PLATEAU) * shots.max()].mean())


def forecast(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """The first table of `forecast_with_bands`, whose options it takes."""
    return forecast_with_bands(frame, **options)[0]


def forecast_with_bands(
    frame: pd.DataFrame,
    *,
    favoured: int = 0,
    windows: Sequence[float] = (0.1, 0.2),
    levels: Sequence[float] = LEVELS,
    shift_prior: ShiftPrior = SHIFT_PRIOR,
    unforeseen: Unforeseen = UNFORESEEN,
    method: Literal["psis", "laplace", "nuts", "point"] = "psis",
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts of the return of every suppressed task, beside what happened.

    A level is a share of the way from the suppressed zero-shot probability to the pretrained model's plateau (the mean of the
    last 20 % of its shots). Windows are shots ≤ window × the curve's largest number of shots.

    Args:
      frame: curves with the columns layers, seed, k, source, method, amount, step, shots, prob, stderr; method "none" is the
        pretrained model.
      favoured: the task that was favoured; all others are suppressed.
      windows: shares of the shots to see.
      levels: shares of the way back.
      shift_prior: how far fine-tuning may have moved each parameter.
      unforeseen: how far the curve may part from the law beyond the window.
      method: how the forecast is inferred: `posterior_draws` by "psis", "laplace" or "nuts", or `point_draws`, which takes the
        pretrained model's point fit for granted.
      seed: of the draws.

    Returns:
      (returns, bands). The first has a row for each method, layers, seed, k, amount, source, window, share of the way and
      forecaster ("knowledge": as this module says; "alone": the scoring law fitted to the windows of all sources together,
      without interval):
        share; level (that probability), start (measured at 0 shots), seen (largest number of shots in the window), max_shots,
        observed (shots to be back at the level; 0 if never below, inf if not within the prompt), predicted (median), lo90, hi90,
        p_never (not within 100,000 shots);
        error: |log₂ (1 + predicted) / (1 + observed)|; where the return lies beyond the prompt, the least that the error can be;
        covered: whether the interval holds what is observed (beyond the prompt: whether it reaches there);
        case: "ahead" (the return was still to come at the end of the window and came within the prompt), "seen" (it came within
        the window), "at start" (never below the level) or "beyond" (not within the prompt); ahead: whether it is the first;
        k_hat: of the importance weights, above 0.7 is doubtful (NaN where there are none).
      The second has, for each method, layers, seed, k, amount, source and window, the whole curve as "knowledge" forecasts it, at
      up to 40 numbers of its shots: shots, seen, and latent_median, latent_lo50, latent_hi50, latent_lo90, latent_hi90 of the
      expected probability.

    Raises:
      InputError: a pretrained curve is missing, a share outside (0, 1), or an unknown method.
    """
    if method not in ("psis", "laplace", "nuts", "point"):
        raise InputError(f"forecast: method {method!r} is unknown; choose psis, laplace, nuts or point")
    if not all(0 < share < 1 for share in levels):
        raise InputError(f"forecast: levels are {tuple(levels)}; give shares of the way back between 0 and 1")
    curves = amount_curves(frame)
    largest = curves.max_shots()
    labels = curves.keys.iloc[curves.group].reset_index(drop=True).assign(source=curves.source)
    names = [tuple(row) for row in labels[[*FAMILY, "source"]].itertuples(index=False)]
    points = [slice(a, b) for a, b in zip(curves.start[:-1], curves.start[1:], strict=True)]
    measured = [tuple(getattr(curves, f)[p] for f in ("shots", "prob", "stderr")) for p in points]
    pretrained = {names[c]: int(c) for c in np.flatnonzero(labels["amount"] == 0)}
    rows, pairs = [], []
    for c in np.flatnonzero((labels["amount"] > 0) & (labels["source"] != favoured)):
        if names[c] not in pretrained:
            raise InputError(
                f"forecast: no pretrained curve of {dict(zip([*FAMILY, 'source'], names[c], strict=True))}"
            )
        before = measured[pretrained[names[c]]]
        shots, prob, stderr = measured[c]
        top = plateau(before[0], before[1])
        reached = {share: prob[0] + share * (top - prob[0]) for share in levels}
        observed = {share: shots_back(shots, prob, stderr, level) for share, level in reached.items()}
        for window in windows:
            seen = shots <= window * largest[c] * (1 + 1e-12)
            pairs.append(CurvePair(before, (shots[seen], prob[seen], stderr[seen])))
            for share, level in reached.items():
                rows.append(
                    {
                        "curve": int(c), "pair": len(pairs) - 1, **labels.loc[c].to_dict(), "window": window, "share": share,
                        "level": level, "start": prob[0], "seen": shots[seen].max(), "max_shots": largest[c],
                        "observed": observed[share], "case": _case(observed[share], shots[seen].max()),
                    }
                )  # fmt: skip
    common = pd.DataFrame(rows)
    common["ahead"] = common["case"] == "ahead"
    if method == "point":
        known = q_of(
            fit(curves.select(curves.keys["amount"].to_numpy() == 0), "bayesian_scoring").to_frame(), 1e-3
        )
        order = {names[c]: i for i, c in enumerate(pretrained.values())}
        first = common.drop_duplicates("pair")
        centres = known[[order[names[c]] for c in first["curve"]]]
        q, k_hat = (
            point_draws(pairs, centres, shift_prior=shift_prior, seed=seed),
            np.full(len(pairs), np.nan),
        )
    else:
        q, k_hat = posterior_draws(pairs, shift_prior=shift_prior, method=method, seed=seed)
    pair, level = common["pair"].to_numpy(), common["level"].to_numpy()
    first = common.drop_duplicates("pair")
    curves_ahead = paths(q, first["seen"].to_numpy(float), unforeseen, seed)
    draws = np.concatenate([curves_ahead.shots_to(i, level[pair == i]) for i in range(len(q))])
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=1, method="inverted_cdf")
    observed, top = common["observed"].to_numpy(), common["max_shots"].to_numpy()
    inside = np.where(np.isfinite(observed), (low <= observed) & (observed <= high), high >= top)
    knowledge = common.assign(
        forecaster="knowledge", predicted=middle, lo90=low, hi90=high, p_never=np.isinf(draws).mean(1),
        covered=inside.astype(float), k_hat=k_hat[pair],
    )  # fmt: skip
    plain = np.empty(len(common))
    for window in windows:
        alone = q_of(fit(curves, "bayesian_scoring", fraction=window).to_frame())
        here = (common["window"] == window).to_numpy()
        plain[here] = shots_to_level(alone[common["curve"][here]], level[here])
    alone = common.assign(forecaster="alone", predicted=plain, p_never=np.isinf(plain).astype(float))
    table = pd.concat([knowledge, alone], ignore_index=True).drop(columns=["curve", "pair"])
    table["error"] = forecast_error(
        *(table[c].to_numpy(float) for c in ("predicted", "observed", "max_shots"))
    )
    return table, _bands(first, curves_ahead, [measured[c][0] for c in common["curve"].unique()])


def _bands(first: pd.DataFrame, ahead: Paths, shots: Sequence[np.ndarray]) -> pd.DataFrame:
    """Quantiles over draws of curves.

    Args:
      first: a row for each pair: curve, pair, and what tells it apart.
      ahead: of the pairs; MOST_DRAWS of their draws are used.
      shots: measured, of each curve, in the order in which curves come.
    """
    kept = ["method", "layers", "seed", "k", "amount", "source", "window", "seen"]
    order = {curve: i for i, curve in enumerate(first["curve"].unique())}
    grids = [_thinned(shots[order[curve]]) for curve in first["curve"]]
    step = max(1, ahead.q.shape[1] // MOST_DRAWS)
    few = ahead._replace(q=ahead.q[:, ::step], stretch=ahead.stretch[:, ::step], drift=ahead.drift[:, ::step])
    longest = max(map(len, grids))  # one shape for all
    p = [
        few.at(i, np.pad(np.log1p(grid), (0, longest - len(grid)), mode="edge"))
        for i, grid in enumerate(grids)
    ]
    parts = []
    for (_, row), grid, mine in zip(first.iterrows(), grids, p, strict=True):
        levels = np.quantile(mine[:, : len(grid)], list(BAND.values()), axis=0)
        columns = {f"latent_{name}": value for name, value in zip(BAND, levels, strict=True)}
        parts.append(pd.DataFrame({**{name: row[name] for name in kept}, "shots": grid, **columns}))
    return pd.concat(parts, ignore_index=True)


def _thinned(shots: np.ndarray) -> np.ndarray:
    """Up to MOST_SHOTS of some shots, even in ln(1 + n), the first and the last among them."""
    scale = np.log1p(shots)
    wanted = np.linspace(scale[0], scale[-1], MOST_SHOTS)
    return shots[np.unique(np.abs(scale[:, None] - wanted).argmin(axis=0))]


def _case(observed: float, seen: float) -> str:
    if observed <= 0:
        return "at start"
    if observed <= seen:
        return "seen"
    return "ahead" if np.isfinite(observed) else "beyond"


def forecast_error(predicted: np.ndarray, observed: np.ndarray, max_shots: np.ndarray) -> np.ndarray:
    """|log₂ (1 + predicted) / (1 + observed)|; for a return beyond the prompt, log₂ of how far short the forecast falls."""
    late = np.isinf(observed)
    reached = np.where(late, max_shots, observed)
    with np.errstate(invalid="ignore"):
        error = np.log2(1 + predicted) - np.log2(1 + reached)
    return np.where(late, np.maximum(-error, 0.0), np.abs(error))


def forecast_summary(table: pd.DataFrame, by: Sequence[str] = ("forecaster", "window")) -> pd.DataFrame:
    """How many returns lay ahead, and how well those were forecast; the other cases are counted and not judged.

    Returns:
      A row for each value of `by`:
        n_ahead: returns still to come at the end of the window that came within the prompt; of these median_error_ahead in log₂
        shots and coverage_ahead of the 90 % interval (NaN where there are none, or no interval);
        n_seen, n_at_start, n_beyond: returns within the window; never below the level; not within the prompt; n: all.
    """
    by = list(by)
    ahead = table[table["ahead"]].groupby(by)
    counts = table.groupby([*by, "case"]).size().unstack("case").reindex(columns=CASES).fillna(0).astype(int)
    counts.columns = [f"n_{case.replace(' ', '_')}" for case in CASES]
    summary = pd.DataFrame(
        {
            "n_ahead": counts["n_ahead"],
            "median_error_ahead": ahead["error"].median(),
            "coverage_ahead": ahead["covered"].mean(),
        }
    ).join(counts.drop(columns="n_ahead"))
    return summary.assign(n=table.groupby(by).size()).reset_index()


def return_sentences(table: pd.DataFrame) -> list[str]:
    """A line for each forecast with knowledge: the shots to a share of the way back, or that these are not determined.

    Args:
      table: of `forecast`.
    """
    return [
        f"{100 * row['share']:g} % of the way back ({row['level']:.2f}), from {shots_text(row['seen'])} shots: {_said(row)}"
        for _, row in table[table["forecaster"] == "knowledge"].iterrows()
    ]


def _said(row: pd.Series) -> str:
    low, high, never = row["lo90"], row["hi90"], share_text(row["p_never"])
    within = f"never within {HORIZON:,.0f} shots: {never}"
    if np.isinf(low):
        return f"not to be expected; {within}"
    if np.isinf(row["predicted"]):
        return f"may never come; {within}, and if it comes, after {shots_text(low)} shots or more"
    if np.isinf(high) or np.log((1 + high) / (1 + low)) > WIDEST:
        return f"{NOT_DETERMINED} (90 %: {shots_text(low)} shots to {shots_text(high)}); {within}"
    count, ends = shots_apart((row["predicted"], low, high))
    return f"after {count} shots (90 %: {ends})"
