"""How many shots reach a level: a row for each curve."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ..fit_blocks import NOT_DETERMINED
from . import layout, style

MOST = 40  # rows of a figure


def plot_reach(
    table: pd.DataFrame,
    by: Sequence[str],
    level: float,
    largest: ArrayLike,
    *,
    ax: Axes | None = None,
    most: int = MOST,
    page: int | None = None,
    size: style.Size | None = None,
) -> Axes:
    """Shots to the level: median, 50 % and 90 % intervals, with the chance of never at the right; a row per curve.

    Returns the axes: `ax` if it is given, those of a figure of their own else.

    Shots up to `largest` are shaded: the curves were measured there. A triangle stands at the edge where a median lies beyond it.
    A row without numbers says that the data do not determine them.

    Args:
      table: from `iclbayes.contrasts.reach_table`: group columns, source, q05, q25, q50, q75, q95, p_never.
      by: the group columns.
      level: the probability asked for.
      largest: shots of the longest curve, or those of every row's own.
      ax: where to draw, instead of in a figure of its own.
      most: rows at most, and no more than a figure of this size has room for.
      page: which of the pages of so many rows, from 0; the first is drawn where none is named.
      size: of the figure, in inches; else it grows with its rows.
    """
    everything = len(table)
    most = fitting_rows(most, size)
    tops = np.broadcast_to(np.asarray(largest, float), everything)
    end = _end(table, float(tops.max(initial=1.0)))
    first = most * (page or 0)
    table, tops = table.iloc[first:].head(most), tops[first:]
    figure, axis = style.one_panel(ax, width=7.5, height=0.9 + 0.3 * len(table), size=size)
    for y, (_, row) in enumerate(table.iterrows()):
        axis.axvspan(0.0, tops[y], 1 - (y + 1) / len(table), 1 - y / len(table), **style.SHADE)
        _row(axis, y, row, end)
    axis.text(1.02, 1.0, "never", transform=axis.transAxes, va="bottom", fontsize=style.SMALL)
    what = f"shots to probability {level:g}: median, 50 % and 90 % interval\n(shaded: shots measured)"
    laws = set(table["law"]) if "law" in table else set()
    if len(laws) == 1:
        what = what.replace("\n(", f",\nby {style.law_label(str(laws.pop()))} (")
    style.shots_axis(axis, end, what)
    axis.set_xlim(right=end)
    axis.set_yticks(range(len(table)), _labels(table, by), fontsize=style.SMALL)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    if ax is None:
        layout.say_which(figure, everything, most, page)
    return axis


def fitting_rows(most: int, size: style.Size | None) -> int:
    """Rows that a figure of a size in inches has room for, `most` at most."""
    return most if size is None else min(most, max(1, int((size[1] - 0.9) / 0.22)))


def _end(table: pd.DataFrame, largest: float) -> float:
    """Where the axis ends: beyond all medians and intervals, but not where a hundred times the longest curve would be."""
    finite = table[["q05", "q25", "q50", "q75", "q95"]].to_numpy(float)
    return 4 * max(largest, min(finite[np.isfinite(finite)].max(initial=1.0), 100 * largest))


def _labels(table: pd.DataFrame, by: Sequence[str]) -> list[str]:
    shown = [*by, *([] if "source" in by else sources(table))]
    if not shown:
        return ["the curve"] * len(table)
    return [", ".join(style.short(row[c]) for c in shown) for _, row in table.iterrows()]


def sources(table: pd.DataFrame) -> list[str]:
    """The column `source`, where it tells anything apart."""
    return ["source"] if len(set(table["source"]) - {""}) > 1 else []


def _row(axis: Axes, y: int, row: pd.Series, end: float) -> None:
    color = style.PALETTE[0]
    low, lower, middle, upper, high = (min(float(row[q]), end) for q in ("q05", "q25", "q50", "q75", "q95"))
    axis.plot([low, high], [y, y], color=color, linewidth=1.5)
    axis.plot([lower, upper], [y, y], color=color, linewidth=4.5, solid_capstyle="butt")
    beyond = row["q50"] > end
    axis.plot(
        middle,
        y,
        ">" if beyond else "o",
        color="white",
        markeredgecolor=color,
        markersize=6 if beyond else 3.5,
        zorder=3,
        clip_on=False,
    )
    if np.isnan(row["p_never"]):
        at = axis.get_yaxis_transform()
        axis.text(0.5, y, NOT_DETERMINED, transform=at, ha="center", va="center", **style.NOTE)
        return
    told = f"{100 * row['p_never']:.0f} %"
    axis.text(1.02, y, told, transform=axis.get_yaxis_transform(), va="center", fontsize=style.SMALL)
