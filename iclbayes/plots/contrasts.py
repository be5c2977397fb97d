"""What moved between two models, and how strongly a task is believed in by shots."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import InputError
from ..fit_blocks import NOT_DETERMINED
from . import style
from .reach import sources

SYMBOLS = {"prior": "logit of the prior ρ", "efficiency": "ln K", "spread": "ln of the spread s"}
SYMBOLS |= {"gamma": "logit γ", "beta": "logit β"}
VERDICTS = {
    "up": ("moved", style.PALETTE[1], "o"),
    "down": ("moved", style.PALETTE[1], "o"),
    "same": ("same", style.PALETTE[0], "s"),
    "unclear": ("unclear", style.GREY, "D"),
}


def plot_contrast(table: pd.DataFrame, tolerance: float, *, figure: style.Canvas | None = None) -> Figure:
    """Shift of each parameter from the first to the second of each pair with its 90 % interval: a panel for each parameter.

    Args:
      table: from `iclbayes.contrasts.contrast`: before, after, group columns, source, parameter, shift, lo90, hi90, moved.
      tolerance: shifts up to this count as none; they are shaded.
      figure: to draw in, of constrained layout, or a part of one (`Figure.subfigures`), instead of a new one; `plot_shift` draws
        one parameter in axes of yours.
    """
    names = list(dict.fromkeys(table["parameter"]))
    most = max((table["parameter"] == name).sum() for name in names)
    canvas, axes = style.panels_in(figure, len(names), columns=2, width=5.4, height=1.0 + 0.3 * most)
    for axis, name in zip(axes, names, strict=True):
        plot_shift(table, name, tolerance, ax=axis)
    style.shared_legend(canvas, axes)
    return style.figure_of(canvas)


def plot_shift(table: pd.DataFrame, parameter: str, tolerance: float, *, ax: Axes | None = None) -> Axes:
    """One parameter of `plot_contrast`, in `ax` if it is given.

    What the data hardly say about one pair must not flatten the others: the axis ends at three times the largest end of an
    interval with a verdict (at least 2), and a triangle stands where an interval goes on.

    Raises:
      InputError: a parameter that is not in the table.
    """
    rows = table[table["parameter"] == parameter]
    if rows.empty:
        known = ", ".join(dict.fromkeys(table["parameter"]))
        raise InputError(f"no parameter {parameter!r}; there are {known}")
    figure, axis = style.one_panel(ax, width=5.4, height=1.0 + 0.3 * len(rows))
    axis.axvspan(-tolerance, tolerance, **style.SHADE)
    axis.axvline(0, color=style.GREY, linewidth=1)
    ends = rows.loc[rows["moved"] != "unclear", ["lo90", "hi90"]].to_numpy()
    limit = 3 * max(2 / 3, np.abs(ends).max(initial=0.0))
    every = rows[["lo90", "hi90"]].to_numpy(float)
    if np.abs(every[~np.isnan(every)]).max(initial=0.0) > limit:
        axis.set_xlim(-limit, limit)
    for y, (_, row) in enumerate(rows.iterrows()):
        if np.isnan(row["shift"]):
            axis.text(
                0.5,
                y,
                NOT_DETERMINED,
                transform=axis.get_yaxis_transform(),
                ha="center",
                va="center",
                **style.NOTE,
            )
            continue
        word, color, marker = VERDICTS[row["moved"]]
        axis.plot([row["lo90"], row["hi90"]], [y, y], color=color, linewidth=2)
        for end, sign, triangle in ((row["lo90"], -1, "<"), (row["hi90"], 1, ">")):
            if sign * end > limit:
                axis.plot(sign * limit, y, triangle, color=color, markersize=7, clip_on=False)
        axis.plot(row["shift"], y, marker, color=color, markersize=6, label=word, linestyle="none")
    axis.set_yticks(range(len(rows)), _pairs(rows, table), fontsize=style.SMALL)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(f"shift of {SYMBOLS.get(parameter, parameter)}", fontsize=style.LABEL)
    if ax is None:
        style.shared_legend(figure, [axis])
    return axis


def _pairs(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Names of the pairs in the rows of a parameter: what is compared, its group, and its source where sources tell anything."""
    before_parameter = table.columns[: list(table.columns).index("parameter")]
    others = [c for c in before_parameter if c not in ("before", "after", "source")]
    named = bool(sources(table))
    labels = []
    for _, row in rows.iterrows():
        parts = [
            f"{style.short(row['before'])} → {style.short(row['after'])}",
            *(style.short(row[c]) for c in others),
        ]
        labels.append(", ".join([*parts, *([str(row["source"])] if named and row["source"] != "" else [])]))
    return labels


def plot_task_weights(
    table: pd.DataFrame,
    by: Sequence[str],
    largest: float,
    *,
    most: int = 16,
    figure: style.Canvas | None = None,
) -> Figure:
    """Weight of a task by shots drawn from it with 90 % bands: a panel per condition, a line per value of `by[0]`.

    Shots up to `largest`, the longest curve's, are shaded: the curves were measured there.

    Args:
      table: from `iclbayes.contrasts.posterior_table`: group columns, source, shots, median, lo90, hi90.
      by: the group columns.
      largest: shots of the longest curve.
      most: panels at most.
      figure: to draw in, of constrained layout, or a part of one, instead of a new one.
    """
    line, others = by[0], [*by[1:], *sources(table)] or ["source"]
    parts = list(table.groupby(others, sort=False))
    lines = list(dict.fromkeys(table[line]))
    shown = min(len(parts), most)
    canvas, axes = style.panels_in(figure, shown, sharey=True, columns=4)
    for axis, (key, part) in zip(axes, parts, strict=False):
        axis.axvspan(0.0, largest, label="shots measured", **style.SHADE)
        for i, name in enumerate(lines):
            rows = part[part[line] == name]
            if len(rows):
                drawn = style.look(i)
                axis.fill_between(
                    rows["shots"], rows["lo90"], rows["hi90"], color=drawn["color"], alpha=0.2, linewidth=0
                )
                axis.plot(rows["shots"], rows["median"], label=style.short(name), linewidth=1.6, **drawn)
        style.shots_axis(axis, float(part["shots"].max()))
        style.probability_axis(axis)
        if others != ["source"] or sources(table):
            axis.set_title(style.panel_title(dict(zip(others, key, strict=True))), fontsize=style.TITLE)
    for axis in style.first_column(axes):
        style.probability_axis(axis, "posterior of the task")
    style.shared_legend(canvas, axes)
    style.left_out(canvas, shown, len(parts), "conditions")
    return style.figure_of(canvas)
