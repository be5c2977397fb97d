"""Tables of what draws say of every curve: its parameters, the weight of its task, the shots at which it is at a level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..curves import Curves, curve_columns
from .draws import ParameterDraws, horizons, source_params

REACH = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
INTERVALS = {"lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}
BAND = {"median": 0.5} | INTERVALS
SORTED = 256  # rows of draws that are sorted at a time: they stay in a core's cache


def quantiles(draws: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Quantiles [L, R] of draws [R, S] of R things, between draws as `numpy.quantile` takes them, NaN where a draw is.

    Sorted row by row, which takes a fifth of the time of `numpy.quantile`'s selection along a first axis of draws.
    """
    at = np.asarray(levels, float) * (draws.shape[1] - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, draws.shape[1] - 1), at - low
    out = np.empty((len(at), len(draws)))
    for begin in range(0, len(draws), SORTED):
        rows = np.sort(draws[begin : begin + SORTED], axis=1)
        below, above = rows[:, low], rows[:, high]
        with np.errstate(invalid="ignore"):  # ∞ − ∞
            found = np.where(below == above, below, below + (above - below) * share)
        out[:, begin : begin + SORTED] = np.where(np.isnan(rows[:, -1:]), np.nan, found).T
    return out


def parameter_table(one: ParameterDraws) -> pd.DataFrame:
    """What draws say of every parameter.

    Returns:
      A row per curve and parameter (efficiency and spread once per group, source ""): group columns, source, parameter, median,
      lo90, hi90, and `undetermined`, whether the data leave it open (`one.undetermined()`), so that its numbers mean nothing.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    keys, at = curve_columns(one.curves), (one.curves.group, one.curves.rank())
    opened, tables = one.undetermined(), []
    for name, value in source_params(one).items():
        if value.ndim == 2:
            frame, draws, vague = one.curves.keys.assign(source=""), value, opened[name]
        else:
            frame, draws, vague = keys, value[:, *at], opened[name][at]
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        columns = {"median": middle, "lo90": low, "hi90": high, "undetermined": vague}
        tables.append(frame.assign(parameter=name, **columns))
    return pd.concat(tables, ignore_index=True)


def posterior_table(one: ParameterDraws, shots: ArrayLike) -> pd.DataFrame:
    """Weight of each curve's own task after n shots from it, w_jj(n).

    Returns:
      Group columns, source, shots, median, lo50, hi50, lo90, hi90; a row per curve and number of shots.
    """
    shots = np.asarray(shots, float)
    curves, rank = one.curves, one.curves.rank()
    own = one.task_weights(shots)[:, curves.group, rank, rank]  # [S, curves, n]
    keys = curve_columns(curves)
    frame = keys.iloc[np.repeat(np.arange(len(keys)), len(shots))].reset_index(drop=True)
    frame = frame.assign(shots=np.tile(shots, len(keys)))
    own = np.moveaxis(own, 0, -1).reshape(-1, len(own))
    for name, value in zip(BAND, quantiles(own, list(BAND.values())), strict=True):
        frame[name] = value
    return frame


def reach_table(one: ParameterDraws, level: float, *, horizon: float | None = None) -> pd.DataFrame:
    """Quantiles over draws of the shots at which each curve is at `level`, and the chance that it never is.

    Args:
      one: draws of a posterior or around point fits.
      level: a probability.
      horizon: more shots than this count as never, and so do more than fit the context window; default: `horizon_of` the curves.

    Returns:
      Group columns, source, level, q05, q25, q50, q75, q95 (shots; inf for never), p_never (share of the draws that are not at
      the level within `horizon` shots), horizon, law; a row per curve. NaN where a point fit does not determine them.
    """
    shots = one.shots_to_reach(level, horizon=horizon)
    return reach_quantiles(one.curves, shots, level, horizons(one.curves, horizon)).assign(law=one.law.name)


def reach_quantiles(curves: Curves, shots: np.ndarray, level: float, horizon: np.ndarray) -> pd.DataFrame:
    """`reach_table` without its column `law`, from draws of the shots [S, G, J] and their horizons [C]."""
    draws = shots[:, curves.group, curves.rank()]
    known = ~np.isnan(draws).any(0)
    safe = np.where(known, draws, 0.0)
    frame = curve_columns(curves).assign(level=level)
    for name, q in REACH.items():
        frame[name] = np.where(known, np.quantile(safe, q, axis=0, method="inverted_cdf"), np.nan)
    never = np.where(known, np.isinf(safe).mean(0), np.nan)
    return frame.assign(p_never=never, horizon=horizon)
