"""Figures of a suppression experiment: per method the curves with the forecasts on them and the parameters; all forecasts."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from .. import plots
from ..fit_blocks import NOT_DETERMINED, left_open
from ..laws import scales
from .sharing import final_steps

RAMP = ("#9ecae1", "#4292c6", "#08519c", "#6a51a3", "#3f007d", "#000000")  # amounts, from little to much
BEFORE = "#000000"
DOUBTFUL = {
    "logit": 2.0,
    "log": 1.0,
}  # standard error on that scale above which a parameter is not identified
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)  # of logit axes
EDGE = 1e-4  # probabilities are drawn between this and 1 less this


def interval(frame: pd.DataFrame, name: str, scale: scales.Scale) -> pd.DataFrame:
    """95 % intervals of a fitted parameter, symmetric on the scale on which it is free.

    Args:
      frame: rows with the columns `name` and `name`_se, and `not_identified` where the table of fits has it.
      scale: "logit" (probabilities) or "log" (K).

    Returns:
      value, low, high and `identified`: whether the standard error on that scale is at most 2 (logit) or 1 (log),
      and the fit does not say otherwise.
    """
    value, error = frame[name].to_numpy(float), frame[f"{name}_se"].to_numpy(float)
    if scale == "logit":
        value = np.clip(value, EDGE, 1 - EDGE)
    spread = scales.spread(value, error, scale)
    low, high = scales.interval(value, error, scale, 0.95)
    if scale == "logit":
        low, high = np.clip(low, EDGE, 1 - EDGE), np.clip(high, EDGE, 1 - EDGE)
    identified = np.isfinite(spread) & (spread <= DOUBTFUL[scale]) & ~left_open(frame, name)
    return pd.DataFrame(
        {"value": value, "low": low, "high": high, "identified": identified}, index=frame.index
    )


def draw_interval(
    axis: Axes, x: np.ndarray, rows: pd.DataFrame, *, color: str, marker: str = "o", label: str | None = None
) -> None:
    """Points with their intervals; what the curves do not identify is hollow and has no interval."""
    known = rows["identified"].to_numpy()
    axis.vlines(x[known], rows["low"][known], rows["high"][known], color=color, linewidth=1.2, alpha=0.8)
    axis.plot(x[known], rows["value"][known], marker, color=color, markersize=5, label=label)
    if not known.all():
        axis.plot(
            x[~known], rows["value"][~known], marker, color=color, markersize=5, markerfacecolor="white",
            label=NOT_DETERMINED,
        )  # fmt: skip


def figures(
    frame: pd.DataFrame, tables: dict[str, pd.DataFrame], *, favoured: int = 0, seed: int | None = None
) -> dict[str, Figure]:
    """Figures by name: `curves_METHOD` and `parameters_METHOD` of the deepest model, `forecast`, and `laws` where given.

    Args:
      frame: curves before and after fine-tuning.
      tables: from `analyse`.
      favoured: the task that was favoured.
      seed: one seed of the models, by default the first.
    """
    final = final_steps(frame)
    seed = final["seed"].min() if seed is None else seed
    deepest = final["layers"].max()

    def mine(table):
        return table[(table["layers"] == deepest) & (table["seed"] == seed)]

    fits = mine(tables["fits"])
    found = {}
    for method, part in mine(final).groupby("method", sort=False):
        ahead = mine(tables["forecast"])
        found[f"curves_{method}"] = plot_return(part, ahead[ahead["method"] == method], favoured)
        free = fits[(fits["hypothesis"] == "all_free") & (fits["method"] == method)]
        found[f"parameters_{method}"] = plot_parameters(free, favoured)
    if "laws" in tables:
        found["laws"] = _laws_by_amount(tables["laws"])
    found["forecast"] = plot_forecast(tables["forecast"])
    return found


def plot_return(frame: pd.DataFrame, forecast: pd.DataFrame, favoured: int) -> Figure:
    """Curves of one method: a row for each example length, a column for each task; before fine-tuning in black, then by amount.

    Bars are the 90 % intervals of the shots at which a suppressed task is back at a level, seen from the shaded first shots; a
    cross is where it was.
    """
    ks, sources = sorted(frame["k"].unique()), sorted(frame["source"].unique())
    amounts = sorted(a for a in frame["amount"].unique() if a > 0)
    colors = dict(zip(amounts, _ramp(len(amounts)), strict=True))
    forecast = forecast[forecast["forecaster"] == "knowledge"]
    forecast = forecast[forecast["window"] == forecast["window"].min()] if len(forecast) else forecast
    figure, axes = plots.panels(
        len(ks) * len(sources), columns=len(sources), width=2.5, height=2.0, sharey=True
    )
    at = iter(axes)
    for k in ks:
        for source in sources:
            axis = next(at)
            part = frame[(frame["k"] == k) & (frame["source"] == source)]
            top = part["shots"].max()
            for amount in (0, *amounts):
                rows = part[part["amount"] == amount].sort_values("shots")
                color = colors.get(amount, BEFORE)
                label = f"after {amount} documents" if amount else "before"
                width = 1.4 if amount else 1.8
                plots.line_with_band(axis, rows, color=color, linewidth=width, label=label, alpha=0.12)
            here = forecast[(forecast["k"] == k) & (forecast["source"] == source) & forecast["ahead"]]
            for row in here.itertuples():
                color = colors[row.amount]
                axis.hlines(row.level, row.lo90, min(row.hi90, top), color=color, linewidth=3, alpha=0.35)
                axis.plot(min(row.predicted, top), row.level, "|", color=color, markersize=8)
                axis.plot(row.observed, row.level, "x", color=color, markersize=5)
            if len(here):
                axis.axvspan(0, here["seen"].max(), color="#000000", alpha=0.06, linewidth=0)
            role = ", favoured" if source == favoured else ""
            axis.set_title(f"k = {k}, task {source}{role}", fontsize=8)
            axis.tick_params(labelsize=7)
            plots.shots_axis(axis, top, "")
    for axis in axes[:: len(sources)]:
        axis.set_ylabel("probability of\nthe right answer", fontsize=8)
    for axis in axes[-len(sources) :]:
        axis.set_xlabel("shots", fontsize=8)
    axes[0].plot([], [], "|", color="#555555", markersize=8, label="forecast of a return (bar: 90 %)")
    axes[0].plot([], [], "x", color="#555555", markersize=5, label="return observed")
    plots.shared_legend(figure, axes, columns=6)
    return figure


def plot_parameters(fits: pd.DataFrame, favoured: int) -> Figure:
    """What each amount did to ρ (logit scale), K (log scale), γ and β, with 95 % intervals: a row for each parameter, a column
    for each example length."""
    ks, amounts = sorted(fits["k"].unique()), sorted(fits["amount"].unique())
    sources = sorted(fits["source"].unique())
    rows: tuple[tuple[str, str, scales.Scale], ...] = (
        ("prior", "prior ρ", "logit"),
        ("efficiency", "efficiency K", "log"),
        ("gamma", "γ", "logit"),
        ("beta", "β", "logit"),
    )
    figure, axes = plots.panels(len(rows) * len(ks), columns=len(ks), width=2.8, height=1.7, sharey="row")
    at = iter(axes)
    for name, label, scale in rows:
        for k in ks:
            axis = next(at)
            part = fits[fits["k"] == k]
            lines = sources if name != "efficiency" else sources[:1]
            for i, source in enumerate(lines):
                mine = part[part["source"] == source].sort_values("amount")
                x = np.searchsorted(amounts, mine["amount"]) + 0.12 * (i - (len(lines) - 1) / 2)
                color = plots.color(i) if name != "efficiency" else "#333333"
                title = (
                    f"task {source}{', favoured' if source == favoured else ''}"
                    if name != "efficiency"
                    else None
                )
                draw_interval(
                    axis,
                    x,
                    interval(mine, name, scale),
                    color=color,
                    marker=plots.MARKERS[i % len(plots.MARKERS)],
                    label=title,
                )
                axis.plot(x, interval(mine, name, scale)["value"], color=color, linewidth=0.7, alpha=0.6)
            if name in ("prior", "efficiency"):
                axis.set_yscale(scale)
            axis.set_xlim(-0.6, len(amounts) - 0.4)
            axis.set_xticks(
                range(len(amounts)), ["before" if a == 0 else f"{a:g}" for a in amounts], fontsize=7
            )
            axis.tick_params(labelsize=7, axis="y")
            if name in ("prior", "efficiency"):
                axis.minorticks_off()
            if name == "prior":
                axis.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
            if name == "efficiency":
                axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            if name == "prior":
                axis.set_title(f"k = {k}", fontsize=9)
            if name == "beta":
                axis.set_xlabel("documents", fontsize=8)
            if k == ks[0]:
                axis.set_ylabel(label, fontsize=8)
    plots.shared_legend(figure, axes, columns=6)
    return figure


def _ramp(number: int) -> list[str]:
    """Colours of so many amounts."""
    return [RAMP[min(i, len(RAMP) - 1)] for i in range(number)] if number > 3 else list(RAMP[:3][:number])


def _laws_by_amount(table: pd.DataFrame) -> Figure:
    """Mean NRMSE of each law against the amount, a panel for each method and fraction."""
    grouped = table.groupby(["method", "fraction", "amount", "law"], sort=False)["nrmse"]
    means = grouped.mean().reset_index().assign(nrmse_se=grouped.sem().to_numpy())
    means["panel"] = [
        f"{m}, {'all shots' if f == 1 else f'first {100 * f:g} %'}"
        for m, f in zip(means["method"], means["fraction"])
    ]
    means["law"] = means["law"].map(plots.law_label)
    # A law that runs away at one amount should not flatten the others.
    limited = means.assign(nrmse=means["nrmse"].clip(upper=2.0))
    return plots.plot_parameter(
        limited, x="amount", y="nrmse", line="law", panel="panel",
        labels={"amount": "documents", "nrmse": "mean NRMSE (cut at 2)", "panel": "", "law": ""}, logy=True,
    )  # fmt: skip


def plot_forecast(table: pd.DataFrame) -> Figure:
    """Forecasts with their 90 % intervals beside what happened, a panel for each window.

    Returns that did not come within the prompt stand in the shaded strip at the right, forecasts of never, or of more than four
    times the shots that the prompt holds, in that at the top.
    """
    table = table[table["forecaster"] == "knowledge"]
    windows = sorted(table["window"].unique())
    figure, axes = plots.panels(len(windows), width=4.2, height=3.8, sharey=True)
    top = float(table["max_shots"].max())
    for axis, window in zip(axes, windows, strict=True):
        draw_returns(axis, table[table["window"] == window], top)
        axis.set_title(f"from the first {100 * window:g} % of the shots", fontsize=9)
    axes[0].set_ylabel("shots to the return, forecast", fontsize=9)
    plots.shared_legend(figure, axes)
    return figure


def draw_returns(axis: Axes, rows: pd.DataFrame, top: float) -> None:
    """Shots to returns, observed along x, forecast along y, a colour for each method; equal on the grey line.

    Args:
      axis: where to draw.
      rows: of `reemergence.forecast`: method, observed, predicted, lo90, hi90.
      top: shots that the longest prompt holds.
    """
    strip, far, end = 1.3 * top, 1.7 * top, 2.3 * top  # at the right: not back within the prompt
    ceiling, never, roof = 4.0 * top, 6.0 * top, 9.0 * top  # at the top: never
    plots.shots_axis(axis, top, "shots to the return, observed")
    plots.shots_axis(axis, ceiling, "", vertical=True)
    axis.axvspan(strip, end, color="#000000", alpha=0.06, linewidth=0)
    axis.axhspan(ceiling, roof, color="#000000", alpha=0.06, linewidth=0)
    axis.plot([0, top], [0, top], color="#999999", linewidth=1)
    rng = np.random.default_rng(0)
    for i, (method, part) in enumerate(rows.groupby("method", sort=False)):
        observed = np.where(np.isinf(part["observed"]), far, part["observed"])
        observed = (1 + observed) * np.exp(
            rng.uniform(-0.03, 0.03, len(part))
        ) - 1  # equal ones beside each other
        low, middle, high = (
            np.where(part[c] > ceiling, never, part[c]) for c in ("lo90", "predicted", "hi90")
        )
        axis.vlines(observed, low, high, color=plots.color(i), alpha=0.3, linewidth=1)
        axis.plot(
            observed,
            middle,
            plots.MARKERS[i],
            color=plots.color(i),
            markersize=3.5,
            alpha=0.8,
            label=str(method).upper(),
        )
    axis.set_xlim(-0.15, end)
    axis.set_ylim(-0.15, roof)
    for ticks, place, label in (
        (axis.set_xticks, far, "not in\nthe prompt"),
        (axis.set_yticks, never, "never"),
    ):
        numbers = axis.get_xticks() if place == far else axis.get_yticks()
        ticks([*numbers, place], [*(f"{n:,.0f}" for n in numbers), label], fontsize=8)
