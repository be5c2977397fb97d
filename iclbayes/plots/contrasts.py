"""What moved between two models, and how strongly a task is believed in by shots."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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


def plot_contrast(table: pd.DataFrame, tolerance: float) -> Figure:
    """Shift of each parameter from the first to the second of each pair with its 90 % interval; the tolerance is shaded.

    What the data hardly say about one parameter must not flatten the others: the axis ends at three times the largest end of an
    interval with a verdict (at least 2), and a triangle stands where an interval goes on.

    Args:
      table: from `iclbayes.contrasts.contrast`: before, after, group columns, source, parameter, shift, lo90, hi90, moved.
      tolerance: shifts up to this count as none.
    """
    names = list(dict.fromkeys(table["parameter"]))
    others = [
        c
        for c in table.columns[: list(table.columns).index("parameter")]
        if c not in ("before", "after", "source")
    ]
    labels = table.apply(
        lambda r: ", ".join(
            [f"{style.short(r['before'])} → {style.short(r['after'])}", *(style.short(r[c]) for c in others)]
        ),
        axis=1,
    )
    if sources(table):
        labels = labels + np.where(table["source"] == "", "", ", " + table["source"].astype(str))
    table = table.assign(label=labels)
    most = max((table["parameter"] == name).sum() for name in names)
    figure, axes = style.panels(len(names), columns=2, width=5.4, height=1.0 + 0.3 * most)
    for axis, name in zip(axes, names, strict=True):
        rows = table[table["parameter"] == name]
        axis.axvspan(-tolerance, tolerance, **style.SHADE)
        axis.axvline(0, color=style.GREY, linewidth=1)
        ends = rows.loc[rows["moved"] != "unclear", ["lo90", "hi90"]].to_numpy()
        limit = 3 * max(2 / 3, np.abs(ends).max(initial=0.0))
        if np.nanmax(np.abs(rows[["lo90", "hi90"]].to_numpy()), initial=0.0) > limit:
            axis.set_xlim(-limit, limit)
        for y, (_, row) in enumerate(rows.iterrows()):
            word, color, marker = VERDICTS[row["moved"]]
            axis.plot([row["lo90"], row["hi90"]], [y, y], color=color, linewidth=2)
            for end, sign, triangle in ((row["lo90"], -1, "<"), (row["hi90"], 1, ">")):
                if sign * end > limit:
                    axis.plot(sign * limit, y, triangle, color=color, markersize=7, clip_on=False)
            axis.plot(row["shift"], y, marker, color=color, markersize=6, label=word, linestyle="none")
        axis.set_yticks(range(len(rows)), list(rows["label"]), fontsize=style.SMALL)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(f"shift of {SYMBOLS.get(name, name)}", fontsize=style.LABEL)
    style.shared_legend(figure, axes)
    return figure


def plot_task_weights(table: pd.DataFrame, by: Sequence[str], largest: float, *, most: int = 16) -> Figure:
    """Weight of a task by shots drawn from it with 90 % bands: a panel per condition, a line per value of `by[0]`.

    Shots up to `largest`, the longest curve's, are shaded: the curves were measured there.

    Args:
      table: from `iclbayes.contrasts.posterior_table`: group columns, source, shots, median, lo90, hi90.
      by: the group columns.
      largest: shots of the longest curve.
      most: panels at most.
    """
    line, others = by[0], [*by[1:], *sources(table)] or ["source"]
    parts = list(table.groupby(others, sort=False))
    lines = list(dict.fromkeys(table[line]))
    shown = min(len(parts), most)
    figure, axes = style.panels(shown, sharey=True, columns=4)
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
    style.shared_legend(figure, axes)
    style.left_out(figure, shown, len(parts), "conditions")
    return figure
