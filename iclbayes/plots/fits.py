"""Fitted laws over the points."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError
from ..fits import Fits
from . import style


def plot_fits(all_fits: Sequence[Fits], *, max_panels: int = 12) -> Figure:
    """Fitted laws over the points: a panel per curve (the first `max_panels`), a line per law.

    Points held out of the fits are hollow; the shots that were fitted are then shaded, and the laws dashed beyond them.

    Raises:
      InputError: no fits.
    """
    if not all_fits:
        raise InputError("no fits to draw; give at least one law")
    curves = all_fits[0].curves
    shown = min(curves.n_curves, max_panels)
    figure, axes = style.panels(shown, sharey=True)
    rank, used = curves.rank(), curves.weight > 0
    top = float(curves.shots.max(initial=1.0))
    begin = np.linspace(0.0, 1.0, 20)  # where the axis is linear
    grid = np.unique(np.concatenate([begin, np.geomspace(1.0, max(top, 1.0), 160), curves.max_shots()]))
    predictions = [fits.predict(grid) for fits in all_fits]
    for c, axis in enumerate(axes):
        mine = slice(curves.start[c], curves.start[c + 1])
        largest = float(curves.shots[mine].max(initial=1.0))
        fitted = curves.shots[mine][used[mine]]
        last = float(fitted.max(initial=0.0))
        if not used[mine].all():
            style.fitted_range(axis, fitted)
        style.measured(axis, curves, c, used)
        inside = grid <= largest
        for i, (fits, curve) in enumerate(zip(all_fits, predictions, strict=True)):
            # Later lines are thinner, so that lines that agree can all be seen.
            width = max(2.4 - 0.3 * i, 1.0) if len(all_fits) > 1 else 1.6
            style.split_line(
                axis,
                grid[inside],
                curve[curves.group[c], rank[c]][inside],
                last,
                label=style.law_label(fits.law.name),
                linewidth=width,
                color=style.color(i),
            )
        axis.set_title(style.curve_title(curves, c), fontsize=style.TITLE)
        style.shots_axis(axis, largest)
        style.probability_axis(axis)
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    style.shared_legend(figure, axes)
    style.left_out(figure, shown, curves.n_curves)
    return figure
