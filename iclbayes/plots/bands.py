"""Bands of a forecast over the observed points."""

from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curves import Curves, curve_columns
from . import style


class Fitted(Protocol):
    """Curves and which of their points were fitted: a `Posterior`, for one."""

    @property
    def curves(self) -> Curves: ...

    @property
    def used(self) -> np.ndarray: ...  # [N] bool


def plot_bands(one: Fitted, forecast: pd.DataFrame, *, most: int = 24) -> Figure:
    """A panel per curve (the first `most`): points fitted and held out, median, 50 % and 90 % bands of the next observation.

    Args:
      one: what the forecast is of.
      forecast: from `Posterior.forecast`, or the stacked one: columns shots, median, lo50, hi50, lo90, hi90 for every curve.
        Let it go beyond the longest curve to see how the band widens there.
    """
    shown = min(one.curves.n_curves, most)
    figure, axes = style.panels(shown, sharey=True)
    for c, axis in enumerate(axes):
        plot_band(one, forecast, c, ax=axis)
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    style.shared_legend(figure, axes, columns=6)
    style.left_out(figure, shown, one.curves.n_curves)
    return figure


def plot_band(one: Fitted, forecast: pd.DataFrame, curve: int = 0, *, ax: Axes | None = None) -> Axes:
    """One curve of `plot_bands`, in `ax` if it is given.

    The shots that were fitted are shaded; beyond them the median is dashed.
    """
    figure, axis = style.one_panel(ax, width=5.0, height=3.2)
    curves = one.curves
    mine = slice(curves.start[curve], curves.start[curve + 1])
    fitted = curves.shots[mine][one.used[mine]]
    band = rows_of(curves, forecast, curve)
    x = band["shots"].to_numpy(float)
    style.fitted_range(axis, fitted)
    for name, alpha in (("90", 0.18), ("50", 0.32)):
        axis.fill_between(
            x,
            band[f"lo{name}"],
            band[f"hi{name}"],
            color=style.color(0),
            alpha=alpha,
            linewidth=0,
            label=f"{name} % band",
        )
    last = float(fitted.max(initial=0.0))
    style.split_line(
        axis, x, band["median"].to_numpy(float), last, color=style.color(0), linewidth=1.5, label="median"
    )
    style.measured(axis, curves, curve, one.used)
    axis.set_title(style.curve_title(curves, curve), fontsize=style.TITLE)
    style.shots_axis(axis, max(x.max(initial=1.0), curves.shots[mine].max(initial=1.0)))
    style.probability_axis(axis, style.PROBABILITY if ax is None else None)
    if ax is None:
        style.shared_legend(figure, [axis], columns=6)
    return axis


def rows_of(curves: Curves, forecast: pd.DataFrame, curve: int) -> pd.DataFrame:
    """The forecast's rows of one curve, found by its group's columns and source."""
    own = curve_columns(curves)
    hits = [forecast[name].to_numpy() == own[name].iloc[curve] for name in own]
    return forecast[np.logical_and.reduce(hits)] if hits else forecast
