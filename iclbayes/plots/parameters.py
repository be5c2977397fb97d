"""Fitted parameters against a condition."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ..laws import scales
from . import style


def plot_parameter(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    line: str,
    panel: str | None = None,
    labels: Mapping[str, str] | None = None,
    logy: bool = False,
) -> Figure:
    """A fitted parameter against a condition: a line with markers per value of `line`, a panel per value of `panel`.

    Args:
      frame: columns `x`, `y`, `line` and `panel`; error bars come from the column of standard errors `{y}_se` if there: one
        of them either way in log odds (probabilities) or the logarithm.
      labels: what the columns are called on the figure; an empty name leaves the value alone.
      logy: logarithmic y.
    """
    labels = labels or {}

    def named(column: str, value: object) -> str:
        name = labels.get(column, column)
        return style.panel_title({name: value}) if name else style.short(value)

    groups = list(frame.groupby(panel, sort=True)) if panel else [("", frame)]
    lines = sorted(frame[line].unique())
    figure, axes = style.panels(len(groups), sharey=True, height=3.0)
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
            axis.errorbar(
                [at[v] + shift for v in rows[x]],
                rows[y],
                yerr=error,
                marker=style.MARKERS[i % len(style.MARKERS)],
                markersize=5,
                linewidth=1.3,
                capsize=2,
                label=named(line, name),
                **style.look(i),
            )
        axis.set_xticks(range(len(ticks)), [style.short(v) for v in ticks])
        axis.set_xlabel(labels.get(x, x), fontsize=style.LABEL)
        if panel:
            axis.set_title(named(panel, key), fontsize=style.TITLE)
        if logy:
            axis.set_yscale("log")
    axes[0].set_ylabel(labels.get(y, y), fontsize=style.LABEL)
    style.shared_legend(figure, axes)
    return figure
