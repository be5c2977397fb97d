"""Tables of a suppression experiment, from its curves."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ..comparison import compare
from .reemergence import forecast_summary, forecast_with_bands
from .sharing import HYPOTHESES, amount_curves, attribution, compare_sharing, shifts


def analyse(
    frame: pd.DataFrame,
    *,
    favoured: int = 0,
    hypotheses: Sequence[str] = tuple(HYPOTHESES),
    laws: Sequence[str] = (),
    fractions: Sequence[float] = (0.1, 0.5, 1.0),
    windows: Sequence[float] = (0.1, 0.2),
    forecaster: Literal["psis", "laplace", "nuts", "point"] = "psis",
    on_done: Callable[[int], None] = lambda n: None,
) -> dict[str, pd.DataFrame]:
    """Everything that is computed from the curves of a suppression experiment.

    Args:
      frame: rows of curves with method, amount and step; method "none" is the pretrained model.
      favoured: the task that was favoured.
      hypotheses: what to compare, names of `HYPOTHESES`.
      laws, fractions: laws to compare by amount; none by default.
      windows, forecaster: of the forecast, see `forecast_with_bands` (its `method`).
      on_done: called with the number of fits after each finished chunk.

    Returns:
      `fits` (parameters with standard errors under each hypothesis), `sharing`, `shifts`, `attribution`, `forecast` and
      `forecast_bands` (of `forecast_with_bands`), `forecast_summary`, and `laws` if laws are given. See the functions of these
      names.
    """
    curves = amount_curves(frame)
    sharing, fits = compare_sharing(curves, hypotheses, on_done=on_done)
    free = fits["all_free"]
    forecasts, bands = forecast_with_bands(frame, favoured=favoured, windows=windows, method=forecaster)
    parts = [forecast_summary(forecasts, ("forecaster", "window")).assign(method="all")]
    parts.append(forecast_summary(forecasts, ("method", "forecaster", "window")))
    summary = pd.concat(parts, ignore_index=True)
    tables = {
        "fits": pd.concat(
            [f.to_frame(stderr=True).assign(hypothesis=name) for name, f in fits.items()], ignore_index=True
        ),
        "sharing": sharing,
        "shifts": shifts(free, favoured),
        "attribution": attribution(free, favoured),
        "forecast": forecasts,
        "forecast_bands": bands,
        "forecast_summary": summary[["method", *(c for c in summary.columns if c != "method")]],
    }
    if laws:
        tables["laws"] = compare(curves, laws, fractions, on_done=on_done)
    return tables


def summaries(tables: dict[str, pd.DataFrame]) -> dict[str, tuple[str, pd.DataFrame]]:
    """The short tables to print and to put into a text: name -> (caption, table)."""
    sharing = tables["sharing"].groupby(["method", "hypothesis"], sort=False)
    means = sharing[["n_params", "rmse", "chi2", "aic"]].mean().reset_index()
    means["best"] = sharing["aic"].apply(lambda x: (x == 0).mean()).to_numpy()
    moved = mean_attribution(tables["attribution"])
    table = tables["shifts"]
    # What the curves leave open has no shift and counts neither in the medians nor in the shares.
    shift = table.assign(moved=(table["z"].abs() > 2).astype(float).where(table["z"].notna())).groupby(
        ["method", "amount", "role", "parameter"], sort=False
    )
    shift = shift.agg(shift=("shift", "median"), moved=("moved", "mean")).reset_index()
    shift = shift.pivot_table(
        index=["method", "amount", "role"], columns="parameter", values=["shift", "moved"], sort=False
    )
    shift.columns = [name if what == "shift" else f"{name}_moved" for what, name in shift.columns]
    return {
        "sharing": (
            "Which parameters do the amounts share? Means over models and k; chi2 is (residual / standard error)² a point, aic "
            "is less the best one's, best the share of cases where it is the lowest",
            means,
        ),
        "attribution": (
            "Share of the curves' change that each part of the law explains (Shapley; means over curves in proportion to the "
            "squared change); change is the root mean square change of the probability; curves whose parameters are determined "
            "before and after count in the shares, so many of so many",
            moved,
        ),
        "shifts": (
            "Shift of each parameter from the pretrained model, ln K and logits of ρ, γ, β (medians over the curves that "
            "determine it before and after); _moved is the share of them where it is above two standard errors",
            shift.reset_index(),
        ),
        "forecast": (
            "Forecast of the shots at which a suppressed task is back at 25, 50 and 75 % of the way from its zero-shot "
            "probability to its pretrained plateau, from the first shots (window): returns still to come then (ahead), "
            "their median error in log₂ shots, share of them within the 90 % interval; the other cases are only counted",
            _readable(tables["forecast_summary"]),
        ),
    }


def mean_attribution(table: pd.DataFrame) -> pd.DataFrame:
    """Shares by method, amount and role, each curve counting in proportion to its squared change: what hardly moved has shares
    that mean nothing.

    Args:
      table: of `attribution`.

    Returns:
      method, amount, role; change (root mean square over all curves); prior, efficiency, knowledge (shares, NaN where no curve
      determines them); determined (how many curves do, and so count in the shares), of (how many there are).
    """
    parts, by = ["prior", "efficiency", "knowledge"], ["method", "amount", "role"]
    square = table["change"] ** 2
    known = table[parts].notna().all(axis=1)
    weighted = table[parts].mul(square, axis=0).assign(square=square).where(known)
    total = table[by].join(weighted).assign(every=square, determined=known, of=1)
    total = total.groupby(by, sort=False).sum()
    mean = total[parts].div(total["square"].where(total["square"] > 0), axis=0)
    mean.insert(0, "change", np.sqrt(total["every"] / total["of"]))
    return mean.assign(determined=total["determined"].astype(int), of=total["of"]).reset_index()


def _readable(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary of the forecasts under names that a reader needs no key for; what was not judged is a blank."""
    shown = summary.rename(
        columns={
            "n": "cases", "n_ahead": "ahead", "median_error_ahead": "median error", "coverage_ahead": "within 90 %",
            "n_seen": "already back", "n_at_start": "never below", "n_beyond": "not back in the prompt",
        }
    )  # fmt: skip
    shown["forecaster"] = shown["forecaster"].map(
        {"knowledge": "with the pretrained curve", "alone": "first shots alone"}
    )
    for name, form in (("median error", "{:.2f}"), ("within 90 %", "{:.0%}")):
        shown[name] = [
            "–" if np.isnan(v) else "infinite" if np.isinf(v) else form.format(v) for v in shown[name]
        ]
    return shown[
        [
            "method", "forecaster", "window", "cases", "ahead", "median error", "within 90 %", "already back",
            "never below", "not back in the prompt",
        ]
    ]  # fmt: skip
