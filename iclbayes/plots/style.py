"""The one look of all figures: palette, shots axis, titles of panels, legends, and how a figure is saved.

Colours are the Okabe–Ito palette, which colour-blind people can tell apart, with a wine red in the place of its yellow, which is
lost on white. Measured lines differ in dash too; where a law or a band goes beyond the shots that were fitted, its line is dashed
and the shots that were fitted are shaded.
"""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from ..curves import Curves
from ..errors import InputError
from ..files import write_bytes
from ..laws import LAWS, scales
from ..metrics import standard_errors

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 2)))
MARKERS = "osD^vPX*"
INK = "#333333"  # points as measured
GREY = "#777777"  # what is undecided, and lines to compare with
SHADE = {"color": "#000000", "alpha": 0.06, "linewidth": 0, "zorder": 0}
SUFFIXES = (".png", ".pdf", ".svg")
TITLE, LABEL, SMALL = 9, 9, 8  # sizes of letters, in points
LEGEND = 0.7  # height that a legend below the panels takes, in inches
Size = tuple[float, float]  # width and height of a figure, in inches
Canvas = Figure | SubFigure  # what panels are drawn in
NOTE = {
    "fontsize": SMALL,
    "color": "#555555",
    "backgroundcolor": "white",
}  # words in the place of what is not drawn
PROBABILITY = "probability of\nthe right answer"


def color(i: int) -> str:
    """Colour of the i-th line, law or method."""
    return PALETTE[i % len(PALETTE)]


def look(i: int) -> dict[str, Any]:
    """Colour and dash of the i-th measured line."""
    return {"color": color(i), "linestyle": DASHES[i % len(DASHES)]}


def law_label(name: str) -> str:
    """A law's name for people."""
    law = LAWS.get(name)
    if name == "stacked":
        return "stack of laws"
    return name if law is None else law.label + (", log shots" if law.log_shots else "")


def with_law(title: str | None, name: str | None) -> str | None:
    """The title of a legend with the law that all lines are of, where there is one."""
    by = None if name is None else law_label(name) if name == "stacked" else f"law {law_label(name)}"
    return ", ".join(part for part in (title, by) if part) or None


def short(value: object) -> str:
    """A value for a title: whole numbers without a point, names without the folder or owner before them."""
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    return str(value).rstrip("/").split("/")[-1].replace("$", r"\$")  # a dollar is none of mathematics


def panel_title(values: Mapping[str, object], width: int = 34) -> str:
    """`model = x, task = y`, in lines of about `width` letters."""
    lines = [""]
    for name, value in values.items():
        part = f"{name} = {short(value)}"
        if lines[-1] and len(lines[-1]) + len(part) + 2 > width:
            lines[-1] += ","
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return "\n".join(lines)


def curve_values(curves: Curves, curve: int) -> dict[str, object]:
    """What one curve is of: its group's columns, and its source where sources tell anything apart."""
    values = {str(name): value for name, value in curves.keys.iloc[curves.group[curve]].items()}
    if len(set(curves.source)) > 1 and "source" not in values:
        values["source"] = curves.source[curve]
    return values


def curve_title(curves: Curves, curve: int) -> str:
    """Title of one curve's panel, of its `curve_values`."""
    return panel_title(curve_values(curves, curve))


def panels(
    n: int,
    *,
    columns: int = 4,
    width: float = 3.2,
    height: float = 2.6,
    size: Size | None = None,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels in rows of at most `columns`; `options` go to `Figure.subplots`.

    Panels are `width` by `height` inches; or the figure is of a `size` in inches, and its panels come as near as they can to that
    shape.
    """
    canvas, axes = panels_in(None, n, columns=columns, width=width, height=height, size=size, **options)
    return figure_of(canvas), axes


def panels_in(
    figure: Canvas | None,
    n: int,
    *,
    columns: int = 4,
    width: float = 3.2,
    height: float = 2.6,
    size: Size | None = None,
    **options: Any,
) -> tuple[Canvas, list[Axes]]:
    """`panels` that fill a figure that is there, of constrained layout, or a part of one (`Figure.subfigures`)."""
    size = room(figure, size)
    columns = min(n, columns) if size is None else best_columns(n, size, width / height)
    rows = -(-n // columns)
    if figure is None:
        natural = (max(width * columns, 4.5), height * rows + LEGEND)
        figure = Figure(figsize=natural if size is None else size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).reshape(-1))
    for axis in axes[n:]:
        axis.set_visible(False)
    for axis in axes[:n]:
        dress(axis)
    if options.get("sharey"):
        for axis in axes[:n]:
            axis.tick_params(labelleft=axis.get_subplotspec().is_first_col())
    return figure, axes[:n]


def room(figure: Canvas | None, size: Size | None) -> Size | None:
    """Width and height in inches that panels have: those of a figure that is there, or else the `size` asked for, if one is."""
    return size if figure is None else inches(figure)


def inches(figure: Canvas) -> Size:
    """Width and height of a figure, or of a part of one."""
    dpi = figure.get_figure(root=True).dpi
    return figure.bbox.width / dpi, figure.bbox.height / dpi


def best_columns(n: int, size: Size, shape: float) -> int:
    """Columns in which n panels that fill a figure are near to `shape`, their width by their height, with few places empty."""
    room = max(size[1] - LEGEND, 0.5)

    def off(columns: int) -> float:
        rows = -(-n // columns)
        return abs(float(np.log(size[0] / columns / (room / rows) / shape))) + (rows * columns - n) / n

    return min(range(1, n + 1), key=off)


def fitting_panels(most: int, size: Size | None) -> int:
    """Panels that a figure of a size in inches has room for, `most` at most; `most` for a figure that grows with them."""
    if size is None:
        return most
    return min(most, max(1, int(size[0] / 2.0)) * max(1, int((size[1] - LEGEND) / 1.6)))


def panel_size(n: int) -> dict[str, Any]:
    """Width and height of a panel of n, in inches: one alone is larger, so that a long legend below leaves room for it."""
    return {"width": 6.5, "height": 3.2} if n == 1 else {}


def dress(axis: Axes) -> None:
    """Grid, spines and sizes of letters of one panel."""
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=SMALL)


def one_panel(ax: Axes | None, **options: Any) -> tuple[Figure, Axes]:
    """A panel to draw in: `ax` with its figure, or a new figure's."""
    if ax is None:
        figure, (axis,) = panels(1, **options)
        return figure, axis
    dress(ax)
    return figure_of(ax), ax


def shots_axis(axis: Axes, largest: float, label: str = "shots", *, vertical: bool = False) -> None:
    """Shots as x (as y if `vertical`): 0, 1, 10, … on a scale that is linear to 1 and logarithmic beyond, in whole numbers."""
    largest = max(float(largest), 1.0)
    decades = int(np.log10(largest) + 1e-9)
    if largest < 60:
        ticks = [t for t in (1, 2, 5, 10, 20, 50) if t <= largest]
    else:
        ticks = [10**e for e in range(0, decades + 1, 1 if decades < 6 else 2)]
    (axis.set_yscale if vertical else axis.set_xscale)("symlog", linthresh=1, linscale=0.4)
    shots = axis.yaxis if vertical else axis.xaxis
    shots.set_major_locator(FixedLocator([0, *ticks]))
    shots.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    shots.set_minor_locator(NullLocator())
    shots.set_minor_formatter(NullFormatter())
    shots.set_label_text(label, fontsize=LABEL)
    (axis.set_ylim if vertical else axis.set_xlim)(-0.15, largest * 1.12)


def probability_axis(axis: Axes, label: str | None = None) -> None:
    """Probabilities from 0 to 1 as y."""
    axis.set_ylim(-0.02, 1.02)
    if label is not None:
        axis.set_ylabel(label, fontsize=LABEL)


def first_column(axes: Sequence[Axes]) -> list[Axes]:
    """The panels at the left edge of a figure, which carry the label of y."""
    specs = [(axis, axis.get_subplotspec()) for axis in axes]
    return [axis for axis, spec in specs if spec is not None and spec.is_first_col()]


def measured(
    axis: Axes,
    curves: Curves,
    curve: int,
    used: np.ndarray,
    labels: tuple[str | None, str | None] = ("measured, fitted", "measured, held out"),
    *,
    color: str = INK,
    marker: str = "o",
) -> None:
    """Points of a curve with one standard error either way in log odds: filled if `used` [N], else hollow; named in the legend.

    Standard errors are the file's, or √(p (1 − p) / n) of counts; none is drawn where p is 0 or 1.
    """
    mine = slice(curves.start[curve], curves.start[curve + 1])
    shots, prob, error = curves.shots[mine], curves.prob[mine], standard_errors(curves)[mine]
    around = one_sigma(prob, error, "logit")
    for mask, label, face in ((used[mine], labels[0], color), (~used[mine], labels[1], "white")):
        if not mask.any():
            continue
        bars = mask & np.isfinite(around).all(0)
        if bars.any():
            axis.errorbar(
                shots[bars],
                prob[bars],
                yerr=around[:, bars],
                fmt="none",
                ecolor=color,
                elinewidth=0.7,
                alpha=0.6,
            )
        points(axis, shots[mask], prob[mask], label, face, color=color, marker=marker)


def points(
    axis: Axes,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    label: str | None,
    face: str,
    *,
    color: str = INK,
    marker: str = "o",
) -> None:
    """Points as measured, in front of the lines; of none, their entry in the legend."""
    axis.plot(
        x,
        y,
        marker,
        color=color,
        markersize=3.2,
        markerfacecolor=face,
        markeredgewidth=0.8,
        label=label,
        zorder=3,
    )


def one_sigma(value: np.ndarray, stderr: np.ndarray, scale: scales.Scale) -> np.ndarray:
    """Lengths [2, n] of error bars down and up: one standard error on the scale without ends; NaN where it is unknown there."""
    return np.abs(np.array(scales.one_sigma(value, stderr, scale)) - value)


def fitted_range(axis: Axes, shots: np.ndarray, label: str = "fitted range") -> None:
    """Shades the shots from the smallest to the largest that were fitted."""
    if len(shots):
        axis.axvspan(float(shots.min()), float(shots.max()), label=label, **SHADE)


def crossing(axis: Axes, level: float, quantiles: Sequence[float], color: str, label: str | None) -> None:
    """Where a curve is at a level: a dot at the median number of shots, a bar from the 5 % to the 95 % quantile.

    What lies beyond the axis is not drawn; a triangle at its end says that the median or the bar goes on.
    """
    low, middle, high = (float(q) for q in quantiles)
    end = axis.get_xlim()[1]
    if (
        not low < end or high == 0
    ):  # nor where it is not known, or the curve is above the level from the start
        return
    look: dict[str, Any] = {"color": color, "clip_on": False, "zorder": 4}
    axis.plot([low, min(high, end)], [level, level], linewidth=3, solid_capstyle="butt", alpha=0.7, **look)
    if middle < end:
        axis.plot(middle, level, "D", markersize=4.5, markeredgecolor="white", label=label, **look)
    if high > end:
        axis.plot(end, level, ">", markersize=6, **look)


def level_line(axis: Axes, level: float) -> None:
    """The probability that is asked about."""
    axis.axhline(level, color=GREY, linewidth=1, linestyle=":", label=f"probability {level:g}", zorder=1)


def split_line(axis: Axes, x: np.ndarray, y: np.ndarray, last: float, **options: Any) -> None:
    """A line that is drawn through up to x = `last` and dashed beyond; `label` names it once."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    beyond = x > last
    if beyond.any() and not beyond.all() and last not in x:  # let both parts meet at `last`
        y = np.insert(y, np.argmax(beyond), np.interp(last, x, y))
        x = np.insert(x, np.argmax(beyond), last)
    inside = x <= last
    if inside.any():
        axis.plot(x[inside], y[inside], linestyle="-", **options)
        options.pop("label", None)
    if (x > last).any():
        axis.plot(x[x >= last], y[x >= last], linestyle=(0, (4, 2)), **options)


def shared_legend(figure: Canvas, axes: Sequence[Axes], columns: int = 4, title: str | None = None) -> None:
    """One legend under all panels, each entry once; never over data, in fewer columns than asked where the figure is narrow."""
    found: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(),
            found.keys(),
            loc="outside lower center",
            ncols=fitting_columns(list(found), columns, 72 * inches(figure)[0] / SMALL),
            title=title,
            title_fontsize=SMALL,
            fontsize=SMALL,
            frameon=False,
        )


def fitting_columns(labels: Sequence[str], most: int, width: float) -> int:
    """Columns, at most `most`, in which a legend's labels, filled in column by column, fit a width in heights of a letter."""
    for columns in range(min(most, len(labels)), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(list(labels), columns)]
        if sum(0.6 * letters + 5 for letters in longest) <= width:  # 5: handle and the spaces around it
            return columns
    return 1


def left_out(figure: Canvas, shown: int, all_of_them: int, what: str = "curves") -> None:
    """Says above the panels that there are more than are drawn."""
    if all_of_them > shown:
        figure.suptitle(f"the first {shown} of {all_of_them} {what}", fontsize=TITLE)


def save(figure: Figure | Axes, path: str | os.PathLike, dpi: int = 150) -> None:
    """Writes a figure, or that of some axes, as PNG, PDF or SVG, whole or not at all. Raises InputError for another suffix."""
    check_suffix(path)
    figure = figure_of(figure)
    kind = os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
    field = "Software" if kind == "png" else "Creator"
    drawn = io.BytesIO()  # on a full disk matplotlib's own files fail in ways of their own
    figure.savefig(drawn, format=kind, dpi=dpi, metadata={field: "iclbayes"})  # known as ours
    write_bytes(drawn.getvalue(), path)


def figure_of(drawn: Canvas | Axes) -> Figure:
    """The whole figure that something is drawn in."""
    found = drawn.get_figure(root=True)
    assert isinstance(found, Figure)
    return found


def check_suffix(path: str | os.PathLike) -> None:
    """Raises InputError unless the path ends like a picture."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: figures are written as {', '.join(SUFFIXES)}; change the ending")
