"""Parameters of a law: point fits against a condition, posteriors of many models side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..errors import InputError
from ..fit_blocks import NOT_DETERMINED, left_open
from ..laws import scales
from . import style
from .reach import sources

NAMES = {"prior": "prior ρ", "efficiency": "efficiency K", "spread": "spread s", "gamma": "γ", "beta": "β"}


def plot_parameter(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    line: str,
    panel: str | None = None,
    labels: Mapping[str, str] | None = None,
    logy: bool = False,
    figure: style.Canvas | None = None,
) -> Figure:
    """A fitted parameter against a condition: a line with markers per value of `line`, a panel per value of `panel`.

    Where the column `not_identified` of a table of fits names the parameter, its marker is grey and hollow and has no bar: the
    data do not determine it.

    Args:
      frame: columns `x`, `y`, `line` and `panel`; error bars come from the column of standard errors `{y}_se` if there: one
        of them either way in log odds (probabilities) or the logarithm.
      labels: what the columns are called on the figure; an empty name leaves the value alone.
      logy: logarithmic y.
      figure: to draw in, of constrained layout, or a part of one, instead of a new one.
    """
    labels = labels or {}

    def named(column: str, value: object) -> str:
        name = labels.get(column, column)
        return style.panel_title({name: value}) if name else style.short(value)

    groups = list(frame.groupby(panel, sort=True)) if panel else [("", frame)]
    lines = sorted(frame[line].unique())
    canvas, axes = style.panels_in(figure, len(groups), sharey=True, height=3.0)
    ticks = sorted(frame[x].unique())
    at = {v: i for i, v in enumerate(ticks)}
    for axis, (key, part) in zip(axes, groups, strict=True):
        for i, name in enumerate(lines):
            rows = part[part[line] == name].sort_values(x)
            error = None
            if f"{y}_se" in rows:
                value, stderr = rows[y].to_numpy(float), rows[f"{y}_se"].to_numpy(float)
                error = style.one_sigma(value, stderr, scales.scale_of(y))
            shift = 0.06 * (i - (len(lines) - 1) / 2)
            place = np.array([at[v] + shift for v in rows[x]])
            vague = left_open(rows, y)
            if error is not None:
                error = np.where(vague, np.nan, error)
            axis.errorbar(
                place,
                rows[y],
                yerr=error,
                marker=style.MARKERS[i % len(style.MARKERS)],
                markersize=5,
                linewidth=1.3,
                capsize=2,
                label=named(line, name),
                **style.look(i),
            )
            if vague.any():
                axis.plot(
                    place[vague],
                    rows[y].to_numpy(float)[vague],
                    style.MARKERS[i % len(style.MARKERS)],
                    color=style.GREY,
                    markerfacecolor="white",
                    markersize=5,
                    linestyle="none",
                    label=NOT_DETERMINED,
                    zorder=4,
                )
        axis.set_xticks(range(len(ticks)), [style.short(v) for v in ticks])
        axis.set_xlabel(labels.get(x, x), fontsize=style.LABEL)
        if panel:
            axis.set_title(named(panel, key), fontsize=style.TITLE)
        if logy:
            axis.set_yscale("log")
    axes[0].set_ylabel(labels.get(y, y), fontsize=style.LABEL)
    style.shared_legend(canvas, axes)
    return style.figure_of(canvas)


def plot_intervals(
    table: pd.DataFrame,
    parameters: str | Sequence[str],
    by: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Parameters of a law with their 90 % intervals: a row for each model or curve, a colour for each parameter.

    What the data do not determine (column `undetermined`) is grey and hollow, without a say in where the axis ends; a triangle
    stands where its interval goes on.

    Args:
      table: of `iclbayes.contrasts.parameter_table`: group columns, source ("" for what a group has
        once), parameter, median, lo90, hi90, and `undetermined` where it is known.
      parameters: one, such as "efficiency", or some of one kind, such as ("gamma", "beta").
      by: the group columns, by which rows are named.
      ax: where to draw, instead of in a figure of its own.

    Raises:
      InputError: a parameter that is not in the table.
    """
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    known = list(dict.fromkeys(table["parameter"]))
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise InputError(f"no parameter {', '.join(missing) or 'named'}; there are {', '.join(known)}")
    table = table[table["parameter"].isin(names)]
    shown = [*by, *([] if "source" in by else sources(table))]
    rows = [", ".join(style.short(row[c]) for c in shown if row[c] != "") for _, row in table.iterrows()]
    places = {label: y for y, label in enumerate(dict.fromkeys(rows))}
    figure, axis = style.one_panel(ax, width=6.0, height=1.0 + 0.28 * len(places))
    table = table.assign(row=[places[label] for label in rows])
    vague = table["undetermined"].to_numpy(bool) if "undetermined" in table else np.zeros(len(table), bool)
    low, high = _limits(table[~vague] if not vague.all() else table, names)
    for _, row in table.assign(vague=vague).iterrows():
        i = names.index(row["parameter"])
        y = row["row"] + 0.22 * (i - (len(names) - 1) / 2)
        color = style.GREY if row["vague"] else style.color(i)
        ends = np.clip([row["lo90"], row["hi90"]], low, high)
        axis.plot(ends, [y, y], color=color, linewidth=1.6, linestyle=":" if row["vague"] else "-")
        for end, value, marker in ((low, row["lo90"], "<"), (high, row["hi90"], ">")):
            if (value - end) * (1 if marker == ">" else -1) > 0:
                axis.plot(end, y, marker, color=color, markersize=4, clip_on=False)
        axis.plot(
            np.clip(row["median"], low, high),
            y,
            style.MARKERS[i % len(style.MARKERS)],
            color=color,
            markerfacecolor="white" if row["vague"] else color,
            markersize=5,
            label=NOT_DETERMINED if row["vague"] else NAMES.get(row["parameter"], row["parameter"]),
            linestyle="none",
        )
    if scales.scale_of(names[0]) != "logit" or low > 0:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(low, high)
    axis.set_yticks(range(len(places)), list(places), fontsize=style.SMALL)
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(
        ", ".join(NAMES.get(name, name) for name in names) + ": median and 90 % interval",
        fontsize=style.LABEL,
    )
    if ax is None and (len(names) > 1 or vague.any()):
        style.shared_legend(figure, [axis])
    return axis


def _limits(table: pd.DataFrame, names: Sequence[str]) -> tuple[float, float]:
    """Ends of the axis: 0 and 1 for probabilities, a logarithmic range for what has none, and for probabilities near 0."""
    low, high = float(table["lo90"].min()), float(table["hi90"].max())
    middle = float(table["median"].min())
    if scales.scale_of(names[0]) == "logit":
        return (max(low, middle / 100) / 1.5, 1.0) if 0 < middle < 0.01 else (0.0, 1.0)
    return max(low, middle / 1000) / 1.3, min(high, 1000 * float(table["median"].max())) * 1.3
