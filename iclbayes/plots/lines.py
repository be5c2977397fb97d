"""Measured curves."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style


def line_with_band(
    axis: Axes,
    rows: pd.DataFrame,
    *,
    color: str,
    value: str = "prob",
    stderr: str | None = "stderr",
    alpha: float = 0.15,
    **line: Any,
) -> None:
    """A measured curve as a line, with a band of ± 2 standard errors where they are known.

    Args:
      rows: columns `shots`, `value` and, where there is one, `stderr`, in the order of the shots.
      alpha: of the band.
      line: how the line looks, of `Axes.plot`.
    """
    axis.plot(rows["shots"], rows[value], color=color, **line)
    if stderr is not None and stderr in rows and rows[stderr].notna().any():
        low, high = rows[value] - 2 * rows[stderr], rows[value] + 2 * rows[stderr]
        axis.fill_between(rows["shots"], low, high, color=color, alpha=alpha, linewidth=0)


def plot_lines(
    frame: pd.DataFrame,
    *,
    panel: str | Sequence[str],
    line: str,
    value: str = "prob",
    stderr: str | None = "stderr",
    columns: int = 4,
    label: Callable[[object], str] = str,
    panel_label: Callable[[Any], str] | None = None,
    ylabel: str = style.PROBABILITY,
    figure: style.Canvas | None = None,
) -> Figure:
    """Measured curves: a panel per value of `panel`, a line per value of `line`, bands of ± 2 standard errors.

    Args:
      frame: columns `shots`, `value`, `panel` and `line`, and `stderr` where there is one.
      label, panel_label: names of lines and panels; `panel_label` is given the value of `panel` (a tuple for several columns),
        by default the title is "column = value".
      figure: to draw in, of constrained layout, or a part of one, instead of a new one.
    """
    by = [panel] if isinstance(panel, str) else list(panel)
    groups = list(frame.groupby(by, sort=True))
    lines = list(dict.fromkeys(frame[line]))
    canvas, axes = style.panels_in(figure, len(groups), columns=columns, sharey=True)
    for axis, (key, part) in zip(axes, groups, strict=True):
        for i, name in enumerate(lines):
            rows = part[part[line] == name].sort_values("shots")
            if rows.empty:
                continue
            line_with_band(
                axis, rows, value=value, stderr=stderr, label=label(name), linewidth=1.5, **style.look(i)
            )
        values = dict(zip(by, key, strict=True))
        named = panel_label(key if len(by) > 1 else key[0]) if panel_label else style.panel_title(values)
        axis.set_title(named, fontsize=style.TITLE)
        style.shots_axis(axis, part["shots"].max())
    for axis in style.first_column(axes):
        axis.set_ylabel(ylabel, fontsize=style.LABEL)
    style.shared_legend(canvas, axes)
    return style.figure_of(canvas)
