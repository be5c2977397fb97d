"""When does a suppressed task come back? A forecast from the first shots of its curve, with an interval, and its test.

What is known before: the pretrained model's own curve of that task, hence its fitted γ, β and K. What is seen: the first few
shots after fine-tuning. If fine-tuning left the knowledge in place, the new prior ρ is all that the few shots have to tell, so
the forecast is a posterior under the scoring law with a normal prior on the unconstrained parameters around the pretrained fit:
tight for γ and β, loose for K, hardly any for ρ. Without that knowledge few shots say next to nothing; `forecast` gives the plain
law fitted to the same shots beside it, for comparison.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression, least_squares

from ..files import InputError
from ..fits import fit
from .sharing import FAMILY, amount_curves

PLATEAU = 0.2  # share of the pretrained curve's last shots whose mean is its plateau


@dataclasses.dataclass(frozen=True)
class Recall:
    """How far fine-tuning is thought to move each parameter: standard deviations in the unconstrained scale, around the
    pretrained fit. `discrepancy` is added to each point's standard error, for no law is exactly true."""

    gamma: float = 0.3  # of logit γ
    beta: float = 0.5  # of logit (β / γ)
    efficiency: float = 0.7  # of ln K
    prior: float = 4.0  # of logit ρ
    discrepancy: float = 0.01  # of the probability


RECALL = Recall()


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


def law_reach(q: np.ndarray, level) -> np.ndarray:
    """n* of the scoring law for q [..., 4] = (logit γ, logit(β/γ), ln K, logit ρ): 0 from the start, inf for never."""
    gamma = _expit(q[..., 0])
    beta = gamma * _expit(q[..., 1])
    rate = np.exp(q[..., 2]) * np.logaddexp(0.0, -q[..., 1])  # K ln(γ / β)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = (level - beta) / (gamma - beta)
        n = (np.log(share) - np.log1p(-share) - q[..., 3]) / rate
    n = np.where(share >= 1, np.inf, np.where(share <= 0, 0.0, n))
    return np.maximum(np.nan_to_num(n, nan=np.inf, posinf=np.inf), 0.0)


def reach_draws(
    shots: np.ndarray,
    prob: np.ndarray,
    stderr: np.ndarray,
    centre: np.ndarray,
    level: float,
    *,
    recall: Recall = RECALL,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Draws [draws] of the number of shots at which one curve is at `level`, from its first points.

    Finds the mode of the posterior (least squares from several priors ρ), proposes from a Student t (5 degrees of freedom) with
    the curvature there, and resamples by importance.

    Args:
      shots, prob, stderr: [n], the points seen.
      centre: [4], (logit γ, logit(β/γ), ln K, logit ρ) of the pretrained model.
      level: probability to reach.
      recall: widths of the prior and the discrepancy.
      draws, seed: number of draws and their seed.
    """
    sd = np.array([recall.gamma, recall.beta, recall.efficiency, recall.prior])
    error = np.hypot(np.nan_to_num(stderr, nan=recall.discrepancy), recall.discrepancy)

    def residuals(q):
        q = np.atleast_2d(q)
        gamma = _expit(q[:, :1])
        beta = gamma * _expit(q[:, 1:2])
        odds = q[:, 3:] + np.exp(q[:, 2:3]) * np.logaddexp(0.0, -q[:, 1:2]) * shots
        p = beta + (gamma - beta) * _expit(odds)
        return np.concatenate([(p - prob) / error, (q - centre) / sd], axis=1)

    starts = [np.r_[centre[:3], centre[3] + step] for step in (0.0, -2.0, -4.0, -7.0, 2.0)]
    found = [least_squares(lambda q: residuals(q)[0], start, method="lm") for start in starts]
    best = min(found, key=lambda r: r.cost)
    factor = np.linalg.cholesky(np.linalg.inv(best.jac.T @ best.jac))
    rng = np.random.default_rng(seed)
    freedom = 5
    z = rng.standard_normal((2 * draws, 4))
    scale = np.sqrt(rng.chisquare(freedom, (2 * draws, 1)) / freedom)
    z = z / scale
    q = best.x + z @ factor.T
    log_target = -0.5 * np.sum(residuals(q) ** 2, axis=1)
    log_proposal = -0.5 * (freedom + 4) * np.log1p(np.sum(z**2, axis=1) / freedom)
    weight = log_target - log_proposal
    weight = np.exp(weight - weight.max())
    return law_reach(q[rng.choice(len(q), draws, p=weight / weight.sum())], level)


def forecast(
    frame: pd.DataFrame,
    *,
    favoured: int = 0,
    windows: Sequence[float] = (0.1, 0.2),
    recall: Recall = RECALL,
    draw: Callable[..., np.ndarray] = reach_draws,
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
      recall: what the forecast from knowledge takes for granted.
      draw: takes the place of `reach_draws` (same arguments), for posteriors of another make.
      seed: of the draws.

    Returns:
      A row for each method, layers, seed, k, amount, source, window and forecaster ("knowledge": as this module says; "alone":
      the scoring law fitted to the windows of all sources together, without interval):
        level, start (measured at 0 shots), seen (largest number of shots in the window), max_shots, observed (shots to be back at
        the level; 0 if never below, inf if not within the prompt), predicted (median), lo90, hi90, p_never;
        error: |log₂ (1 + predicted) / (1 + observed)|; where the return lies beyond the prompt, the least that the error can be;
        covered: whether the interval holds what is observed (beyond the prompt: whether it reaches there);
        ahead: whether the return was still to come at the end of the window and came within the prompt.

    Raises:
      InputError: a pretrained curve is missing.
    """
    curves = amount_curves(frame)
    pretrained = curves.select(curves.keys["amount"].to_numpy() == 0)
    known = fit(pretrained, "bayesian_scoring").to_frame().set_index([*FAMILY, "source"])
    alone = {w: fit(curves, "bayesian_scoring", fraction=w).to_frame() for w in windows}
    largest = curves.max_shots()
    points = [slice(a, b) for a, b in zip(curves.start[:-1], curves.start[1:], strict=True)]
    labels = curves.keys.iloc[curves.group].reset_index(drop=True).assign(source=curves.source)
    plateaus = {}
    for c in np.flatnonzero(labels["amount"] == 0):
        shots, prob = curves.shots[points[c]], curves.prob[points[c]]
        plateaus[tuple(labels.loc[c, [*FAMILY, "source"]])] = prob[shots >= (1 - PLATEAU) * largest[c]].mean()
    rows = []
    for c in np.flatnonzero((labels["amount"] > 0) & (labels["source"] != favoured)):
        name = tuple(labels.loc[c, [*FAMILY, "source"]])
        if name not in plateaus:
            raise InputError(f"forecast: no pretrained curve of {dict(zip([*FAMILY, 'source'], name))}")
        level = plateaus[name] / 2
        shots, prob, stderr = (getattr(curves, f)[points[c]] for f in ("shots", "prob", "stderr"))
        observed = shots_back(shots, prob, stderr, level)
        centre = _raw(known.loc[name])
        for window in windows:
            seen = shots <= window * largest[c] * (1 + 1e-12)
            found = draw(
                shots[seen], prob[seen], stderr[seen], centre, level, recall=recall, seed=seed + int(c)
            )
            quantiles = np.quantile(found, [0.05, 0.5, 0.95], method="inverted_cdf")
            plain = law_reach(_raw(alone[window].loc[c]), level)
            common = {
                **labels.loc[c].to_dict(), "window": window, "level": level, "start": prob[0],
                "seen": shots[seen].max(), "max_shots": largest[c], "observed": observed,
                "ahead": bool(shots[seen].max() < observed < np.inf),
            }  # fmt: skip
            rows.append(
                {
                    **common, "forecaster": "knowledge", "predicted": quantiles[1], "lo90": quantiles[0],
                    "hi90": quantiles[2], "p_never": np.isinf(found).mean(),
                    "covered": float(quantiles[0] <= observed <= quantiles[2]
                                     if np.isfinite(observed) else quantiles[2] >= largest[c]),
                }
            )  # fmt: skip
            rows.append(
                {
                    **common, "forecaster": "alone", "predicted": float(plain), "lo90": np.nan, "hi90": np.nan,
                    "p_never": float(np.isinf(plain)), "covered": np.nan,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
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


def _raw(row) -> np.ndarray:
    """(logit γ, logit(β/γ), ln K, logit ρ) of a row of fitted parameters, kept off the boundaries."""
    gamma, prior = np.clip([row["gamma"], row["prior"]], 1e-6, 1 - 1e-6)
    ratio = np.clip(row["beta"] / gamma, 1e-3, 1 - 1e-3)
    logits = [np.log(p) - np.log1p(-p) for p in (gamma, ratio, prior)]
    return np.array([logits[0], logits[1], np.log(np.clip(row["efficiency"], 1e-4, 1e4)), logits[2]])


def _expit(x):
    return 0.5 * (1 + np.tanh(0.5 * x))
