"""What moved between two models, how strongly a task is believed in by shots, and how many shots reach a level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curves import Curves
from . import style
from .bands import Fitted, rows_of

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
    if _source(table):
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


def plot_overlay(
    one: Fitted,
    forecast: pd.DataFrame,
    pairs: Sequence[tuple[int, int, tuple[str, str]]],
    level: float | None = None,
    *,
    most: int = 12,
) -> Figure:
    """Two curves in each panel (the first `most`): points, and median and 90 % band of the expected probability.

    The median is dashed beyond the shots that were fitted.

    Args:
      one: what the forecast is of.
      forecast: from `Posterior.forecast`: columns shots, latent_median, latent_lo90, latent_hi90 for every curve.
      pairs: numbers of the two curves of each panel, and their names.
      level: drawn as a line.
    """
    shown = pairs[:most]
    figure, axes = style.panels(len(shown), sharey=True)
    for axis, (*both, names) in zip(axes, shown, strict=True):
        for i, (c, name) in enumerate(zip(both, names, strict=True)):
            _overlaid(axis, one, rows_of(one.curves, forecast, c), c, name, i)
        if level is not None:
            axis.axhline(level, color=style.GREY, linewidth=1, linestyle=":", label=f"probability {level:g}")
        axis.set_title(_shared_title(one.curves, both[0], both[1]), fontsize=style.TITLE)
        style.shots_axis(axis, float(forecast["shots"].max()))
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    style.shared_legend(figure, axes)
    style.left_out(figure, len(shown), len(pairs), "pairs")
    return figure


def _overlaid(axis: Axes, one: Fitted, rows: pd.DataFrame, curve: int, name: str, number: int) -> None:
    mine = slice(one.curves.start[curve], one.curves.start[curve + 1])
    shots, color = one.curves.shots[mine], style.color(number)
    x = rows["shots"].to_numpy(float)
    axis.fill_between(x, rows["latent_lo90"], rows["latent_hi90"], color=color, alpha=0.2, linewidth=0)
    last = float(shots[one.used[mine]].max(initial=0.0))
    label = style.short(name)
    style.split_line(axis, x, rows["latent_median"].to_numpy(float), last, color=color, label=label)
    axis.plot(shots, one.curves.prob[mine], style.MARKERS[number], color=color, markersize=3.2)


def _shared_title(curves: Curves, a: int, b: int) -> str:
    """Title of a panel with two curves: the columns in which they are alike."""
    first, second = (curves.keys.iloc[curves.group[c]].to_dict() for c in (a, b))
    values = {str(name): value for name, value in first.items() if second[name] == value}
    if len(set(curves.source)) > 1:
        values["source"] = curves.source[a]
    return style.panel_title(values) if values else ""


def plot_task_weights(table: pd.DataFrame, by: Sequence[str], largest: float, *, most: int = 16) -> Figure:
    """Weight of a task by shots drawn from it with 90 % bands: a panel per condition, a line per value of `by[0]`.

    Shots up to `largest`, the longest curve's, are shaded: the curves were measured there.

    Args:
      table: from `iclbayes.contrasts.posterior_table`: group columns, source, shots, median, lo90, hi90.
      by: the group columns.
      largest: shots of the longest curve.
      most: panels at most.
    """
    line, others = by[0], [*by[1:], *_source(table)] or ["source"]
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
        if others != ["source"] or _source(table):
            axis.set_title(style.panel_title(dict(zip(others, key, strict=True))), fontsize=style.TITLE)
    for axis in style.first_column(axes):
        style.probability_axis(axis, "posterior of the task")
    style.shared_legend(figure, axes)
    style.left_out(figure, shown, len(parts), "conditions")
    return figure


def plot_reach(
    table: pd.DataFrame, by: Sequence[str], level: float, largest: float, *, ax: Axes | None = None
) -> Figure:
    """Shots to the level: median, 50 % and 90 % intervals, with the chance of never at the right; a row per curve.

    Shots up to `largest`, the longest curve's, are shaded: the curves were measured there. A triangle stands at the edge where a
    median lies beyond it.

    Args:
      table: from `iclbayes.contrasts.reach_table`: group columns, source, q05, q25, q50, q75, q95, p_never.
      by: the group columns.
      level: the probability asked for.
      largest: shots of the longest curve.
    """
    shown = [*by, *_source(table)]
    labels = list(table.apply(lambda r: ", ".join(style.short(r[c]) for c in shown), axis=1))
    figure, axis = style.one_panel(ax, width=7.5, height=0.9 + 0.3 * len(table))
    quantiles = table[["q05", "q25", "q50", "q75", "q95"]].to_numpy(float)
    finite = quantiles[np.isfinite(quantiles)]
    far = 4 * max(largest, min(finite.max(initial=1.0), 100 * largest))
    color = style.PALETTE[0]
    axis.axvspan(0.0, largest, **style.SHADE)
    for y, (low, lower, middle, upper, high) in enumerate(np.minimum(quantiles, far)):
        axis.plot([low, high], [y, y], color=color, linewidth=1.5)
        axis.plot([lower, upper], [y, y], color=color, linewidth=4.5, solid_capstyle="butt")
        beyond = quantiles[y, 2] > far
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
        p = table["p_never"].iloc[y]
        told = "unknown" if np.isnan(p) else f"{100 * p:.0f} %"
        axis.text(1.02, y, told, transform=axis.get_yaxis_transform(), va="center", fontsize=style.SMALL)
    axis.text(1.02, -0.75, "never", transform=axis.get_yaxis_transform(), va="center", fontsize=style.SMALL)
    style.shots_axis(
        axis,
        far,
        f"shots to probability {level:g}: median, 50 % and 90 % interval\n(shaded: shots measured)",
    )
    axis.set_xlim(right=far)
    axis.set_yticks(range(len(table)), labels, fontsize=style.SMALL)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    return figure


def _source(table: pd.DataFrame) -> list[str]:
    """The column `source`, where it tells anything apart."""
    return ["source"] if len(set(table["source"]) - {""}) > 1 else []
