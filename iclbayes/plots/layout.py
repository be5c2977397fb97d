"""What a figure's panels show, pages of panels, and what is asked of a whole figure: title, label, size.

A panel holds one curve; or, with an *overlay*, the curves that differ in one column alone.
"""

import io
import os
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from ..curves import Curves
from ..errors import InputError
from ..files import write_bytes
from . import style

SIZES: dict[str, style.Size] = {"slide": (8.0, 4.5), "paper": (6.5, 4.5)}
SMALLEST, LARGEST = 1.0, 60.0  # inches
DPI = 240  # dots an inch of a figure whose size is asked for: a slide has 1,920 by 1,080

T = TypeVar("T")


class Panel(NamedTuple):
    """The curves of one panel.

    Attributes:
      values: what they have in common, for its title.
      curves: their numbers.
      labels: what tells them apart; of a single curve, "".
    """

    values: Mapping[str, object]
    curves: tuple[int, ...]
    labels: tuple[str, ...]


def panels_of(curves: Curves, overlay: str | None = None) -> list[Panel]:
    """A panel for each curve; or, with an overlay, for the curves that differ in that column alone ("source": of a group).

    Raises:
      InputError: no such column; more curves in a panel than can be told apart.
    """
    everything = [style.curve_values(curves, c) for c in range(curves.n_curves)]
    if overlay is None:
        return [Panel(values, (c,), ("",)) for c, values in enumerate(everything)]
    known = [*map(str, curves.keys), *(["source"] if len(set(curves.source)) > 1 else [])]
    if overlay not in known:
        raise InputError(
            f"no column {overlay!r} tells these curves apart, so none can be laid over another; "
            + (f"there are {', '.join(known)}" if known else "there is one curve only")
        )
    together: dict[tuple, list[int]] = {}
    for c, values in enumerate(everything):
        key = tuple(value for name, value in values.items() if name != overlay)
        together.setdefault(key, []).append(c)
    most = max(map(len, together.values()))
    if most > len(style.PALETTE):
        raise InputError(
            f"{most} curves differ in {overlay!r} alone, more than the {len(style.PALETTE)} that can be told apart in one panel; "
            "lay the curves over each other by another column, or draw fewer"
        )
    return [
        Panel(
            {name: value for name, value in everything[of[0]].items() if name != overlay},
            tuple(of),
            tuple(style.short(everything[c][overlay]) for c in of),
        )
        for of in together.values()
    ]


def page_of(items: Sequence[T], most: int, page: int | None) -> Sequence[T]:
    """The items of a page of `most`, from 0; the first page where none is named."""
    start = most * (page or 0)
    return items[start : start + most]


def n_pages(n: int, most: int) -> int:
    """Pages of `most` that n items fill."""
    return max(1, -(-n // most))


def say_which(
    figure: style.Canvas, all_of_them: int, most: int, page: int | None, what: str = "curves"
) -> None:
    """Says above the panels which part of all of them is drawn, where it is not all."""
    if page is None:
        style.left_out(figure, min(most, all_of_them), all_of_them, what)
    elif all_of_them > most:
        first, last = most * page + 1, min(most * (page + 1), all_of_them)
        figure.suptitle(f"{what} {first} to {last} of {all_of_them}", fontsize=style.TITLE)


def letters(panels: int, figure: style.Canvas) -> int:
    """Letters of a title that fit over one of so many panels side by side."""
    return max(12, int(10.7 * style.inches(figure)[0] / panels))


def title_panel(axis: Any, values: Mapping[str, object], more: str = "") -> None:
    """Titles a panel by the values that its curves have in common, in lines that it has room for."""
    spec = axis.get_subplotspec()
    width = 34 if spec is None else letters(spec.get_gridspec().ncols, axis.get_figure(root=False))
    lines = [style.panel_title(values, width), more]
    axis.set_title("\n".join(line for line in lines if line), fontsize=style.TITLE)


def overlaid_points(axis: Axes, curves: Curves, used: np.ndarray, panel: Panel, shade: bool = True) -> None:
    """The points of curves that share a panel, each in its colour; the shots that were fitted in any of them are shaded.

    The legend says what filled and hollow points are; the colours are named by the curves' lines.
    """
    of_panel = np.isin(curves.point_curve(), panel.curves)
    if shade:
        style.fitted_range(axis, curves.shots[of_panel & used])
    for i, c in enumerate(panel.curves):
        marker = style.MARKERS[i % len(style.MARKERS)]
        style.measured(axis, curves, c, used, (None, None), color=style.color(i), marker=marker)
    for mask, label, face in ((used, "measured, fitted", style.INK), (~used, "measured, held out", "white")):
        if (of_panel & mask).any():
            style.points(axis, [], [], label, face)


def finish(figure: Figure, title: str | None = None, ylabel: str | None = None) -> Figure:
    """The same figure with a title above everything, and with another label of y at its left edge."""
    if title:
        width = max(20, int(72 * figure.get_figwidth() / (0.55 * 1.3 * style.TITLE)))
        lines = textwrap.wrap(title, width) or [title]
        size = 1.3 * style.TITLE
        note = figure.get_suptitle()
        if note:
            lines, size = [*lines, f"({note})"], 1.1 * style.TITLE
        figure.suptitle("\n".join(lines), fontsize=size, parse_math=False)
    if ylabel is not None:
        axes = [axis for axis in figure.axes if axis.get_visible()]
        for axis in style.first_column(axes) or axes[:1]:
            axis.set_ylabel(ylabel, fontsize=style.LABEL, parse_math=False)
    return figure


def with_room(figure: Figure) -> bool:
    """Whether a figure has room for its panels beside titles and legend; if not, it is enlarged until it has."""
    for attempt in range(12):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "constrained_layout not applied")
            try:
                figure.draw_without_rendering()
                return attempt == 0
            except UserWarning:
                figure.set_size_inches(*(1.2 * figure.get_size_inches()))
    return False


def save_pages(figures: Sequence[Figure], path: str | os.PathLike, dpi: int = 150) -> None:
    """Writes figures as the pages of one PDF, whole or not at all."""
    drawn = io.BytesIO()
    with PdfPages(drawn, metadata={"Creator": "iclbayes"}) as pages:
        for figure in figures:
            pages.savefig(figure, dpi=dpi)
    write_bytes(drawn.getvalue(), path)
