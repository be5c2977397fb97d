"""Fitted laws over the points."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curves import Curves
from ..errors import InputError
from ..fit_blocks import NOT_DETERMINED, UNDETERMINED
from ..fits import Fits
from ..laws import scales
from . import layout, style
from .layout import Panel

MOST = 12  # panels of a figure


def plot_fits(
    all_fits: Sequence[Fits],
    *,
    max_panels: int = MOST,
    overlay: str | None = None,
    page: int | None = None,
    size: style.Size | None = None,
    figure: style.Canvas | None = None,
) -> Figure:
    """Fitted laws over the points: a panel per curve (the first `max_panels`), a line per law.

    Points held out of the fits are hollow; the shots that were fitted are then shaded, and the laws dashed beyond them. Where the
    data do not determine a law's curve (its standard error in log odds is above `fit_blocks.UNDETERMINED`), it is pale.

    Args:
      all_fits: of the same curves.
      max_panels: at most so many, and no more than a figure of this size has room for.
      overlay: curves that differ in this group column (or "source") alone share a panel, a colour each; every law has panels of
        its own.
      page: which of the pages of so many panels, from 0; the first is drawn where none is named.
      size: of the figure, in inches; else it grows with its panels.
      figure: to draw in, of constrained layout, or a part of one (`Figure.subfigures`), instead of a new one; `plot_fit` draws
        one curve in axes of yours.

    Raises:
      InputError: no fits; an overlay that is no column, or of more curves than can be told apart.
    """
    if not all_fits:
        raise InputError("no fits to draw; give at least one law")
    curves = all_fits[0].curves
    of_curves = layout.panels_of(curves, overlay)
    numbers = range(len(all_fits))
    every = (
        [(panel, list(numbers)) for panel in of_curves]
        if overlay is None
        else [(panel, [i]) for i in numbers for panel in of_curves]
    )
    most = style.fitting_panels(max_panels, style.room(figure, size))
    cells = layout.page_of(every, most, page)
    canvas, axes = style.panels_in(figure, len(cells), sharey=True, size=size, **style.panel_size(len(cells)))
    grid = fine_shots(all_fits[0])
    predictions = [predicted(fits, grid) for fits in all_fits]
    for (panel, laws), axis in zip(cells, axes, strict=True):
        chosen = [(i, all_fits[i], predictions[i]) for i in laws]
        if overlay is None:
            _curve(axis, panel, chosen, grid)
        else:
            _overlaid(axis, panel, chosen[0][1], chosen[0][2], grid)
        law = style.law_label(chosen[0][1].law.name) if overlay is not None and len(all_fits) > 1 else ""
        layout.title_panel(axis, panel.values, law)
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    alone = overlay is not None and len(all_fits) == 1
    style.shared_legend(canvas, axes, title=style.with_law(overlay, all_fits[0].law.name if alone else None))
    layout.say_which(canvas, len(every), most, page, "curves" if overlay is None else "panels")
    return style.figure_of(canvas)


def plot_fit(all_fits: Sequence[Fits], curve: int = 0, *, ax: Axes | None = None) -> Axes:
    """One curve of `plot_fits`, in `ax` if it is given: its points, and a line per law.

    Raises:
      InputError: no fits, or no curve of that number.
    """
    if not all_fits:
        raise InputError("no fits to draw; give at least one law")
    curves = all_fits[0].curves
    if not 0 <= curve < curves.n_curves:
        raise InputError(f"there is no curve {curve}; give a number from 0 to {curves.n_curves - 1}")
    figure, axis = style.one_panel(ax, **style.panel_size(1))
    grid = fine_shots(all_fits[0])
    panel = layout.panels_of(curves)[curve]
    _curve(axis, panel, [(i, fits, predicted(fits, grid)) for i, fits in enumerate(all_fits)], grid)
    axis.set_title(style.curve_title(curves, curve), fontsize=style.TITLE)
    if ax is None:
        style.probability_axis(axis, style.PROBABILITY)
        style.shared_legend(figure, [axis])
    return axis


def fine_shots(fits: Fits) -> np.ndarray:
    """Shots close enough to draw a law by, from 0 to the largest of its curves, where each curve ends among them."""
    top = max(float(fits.curves.shots.max(initial=1.0)), 1.0)
    begin = np.linspace(0.0, 1.0, 20)  # where the axis is linear
    return np.unique(np.concatenate([begin, np.geomspace(1.0, top, 160), fits.curves.max_shots()]))


class Predicted(NamedTuple):
    """A law's curves at some shots [G, J, n], and where the data determine them."""

    prob: np.ndarray
    known: np.ndarray

    def draw(
        self, axis: Axes, curves: Curves, curve: int, grid: np.ndarray, end: float, **options: Any
    ) -> None:
        """Draws one curve up to the last shots of the grid that are at most `end`; `options` are of `style.split_line`."""
        inside, at = grid <= end, (curves.group[curve], curves.rank()[curve])
        prob, known = self.prob[at][inside], self.known[at][inside]
        x, last = grid[inside], options.pop("last")
        style.split_line(axis, x, np.where(known, prob, np.nan), last, **options)
        if not known.all():
            pale = options | {"alpha": 0.35, "label": NOT_DETERMINED}
            style.split_line(axis, x, np.where(known, np.nan, prob), last, **pale)


def predicted(fits: Fits, grid: np.ndarray) -> Predicted:
    """The fitted curves at the shots of a grid [n]."""
    prob = fits.predict(grid)
    return Predicted(prob, scales.spread(prob, fits.predict_stderr(grid), "logit") <= UNDETERMINED)


def _curve(axis: Axes, panel: Panel, chosen: Sequence[tuple[int, Fits, Predicted]], grid: np.ndarray) -> None:
    """One curve, a line for each law (its number, its fits, their curves)."""
    (c,) = panel.curves
    curves = chosen[0][1].curves
    mine, used = slice(curves.start[c], curves.start[c + 1]), curves.weight > 0
    largest = float(curves.shots[mine].max(initial=1.0))
    fitted = curves.shots[mine][used[mine]]
    if not used[mine].all():
        style.fitted_range(axis, fitted)
    style.measured(axis, curves, c, used)
    for i, fits, lines in chosen:
        # Later lines are thinner, so that lines that agree can all be seen.
        width = max(2.4 - 0.3 * i, 1.0) if len(chosen) > 1 else 1.6
        lines.draw(
            axis,
            curves,
            c,
            grid,
            largest,
            last=float(fitted.max(initial=0.0)),
            label=style.law_label(fits.law.name),
            linewidth=width,
            color=style.color(i),
        )
    style.shots_axis(axis, largest)
    style.probability_axis(axis)


def _overlaid(axis: Axes, panel: Panel, fits: Fits, lines: Predicted, grid: np.ndarray) -> None:
    """Curves that share a panel, a colour each, by one law."""
    curves, used = fits.curves, fits.curves.weight > 0
    layout.overlaid_points(axis, curves, used, panel, shade=not used.all())
    tops = curves.max_shots()
    for i, (c, label) in enumerate(zip(panel.curves, panel.labels, strict=True)):
        mine = slice(curves.start[c], curves.start[c + 1])
        last = float(curves.shots[mine][used[mine]].max(initial=0.0))
        look = {"color": style.color(i), "label": label, "linewidth": 1.6}
        lines.draw(axis, curves, c, grid, max(float(tops[c]), 1.0), last=last, **look)
    style.shots_axis(axis, float(tops[list(panel.curves)].max(initial=1.0)))
    style.probability_axis(axis)
