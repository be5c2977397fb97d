"""Bands of a forecast over the observed points."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curves import Curves, curve_columns
from . import layout, style
from .layout import Panel

MOST, MOST_PAIRS = 24, 12  # panels of a figure
QUANTILES = ["q05", "q50", "q95"]


class Fitted(Protocol):
    """Curves and which of their points were fitted: a `Posterior`, for one."""

    @property
    def curves(self) -> Curves: ...

    @property
    def used(self) -> np.ndarray: ...  # [N] bool


def plot_bands(
    one: Fitted,
    forecast: pd.DataFrame,
    *,
    most: int = MOST,
    level: float | None = None,
    reached: pd.DataFrame | None = None,
    overlay: str | None = None,
    page: int | None = None,
    size: style.Size | None = None,
    figure: style.Canvas | None = None,
) -> Figure:
    """A panel per curve (the first `most`): points fitted and held out, median, 50 % and 90 % bands of the next observation.

    Args:
      one: what the forecast is of.
      forecast: from `Posterior.forecast`, or the stacked one: columns shots, median, lo50, hi50, lo90, hi90 for every curve.
        Let it go beyond the longest curve to see how the band widens there.
      most: panels at most, and no more than a figure of this size has room for.
      level: a probability, drawn as a line.
      reached: from `Posterior.reach_table` at that level, a row per curve: its median and 90 % interval are drawn on the line.
      overlay: curves that differ in this group column (or "source") alone share a panel, as in `plot_overlay`.
      page: which of the pages of so many panels, from 0; the first is drawn where none is named.
      size: of the figure, in inches; else it grows with its panels.
      figure: to draw in, of constrained layout, or a part of one (`Figure.subfigures`), instead of a new one; `plot_band` draws
        one curve in axes of yours.

    Raises:
      InputError: an overlay that is no column, or of more curves than can be told apart.
    """
    panels = layout.panels_of(one.curves, overlay)
    if overlay is not None:
        return overlay_figure(
            one,
            forecast,
            panels,
            level,
            reached,
            most=most,
            page=page,
            size=size,
            figure=figure,
            title=overlay,
        )
    most = style.fitting_panels(most, style.room(figure, size))
    shown = layout.page_of(panels, most, page)
    canvas, axes = style.panels_in(figure, len(shown), sharey=True, size=size, **style.panel_size(len(shown)))
    for panel, axis in zip(shown, axes, strict=True):
        plot_band(one, forecast, panel.curves[0], level=level, reached=reached, ax=axis)
        layout.title_panel(axis, panel.values)
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    style.shared_legend(canvas, axes, columns=6)
    layout.say_which(canvas, len(panels), most, page)
    return style.figure_of(canvas)


def plot_band(
    one: Fitted,
    forecast: pd.DataFrame,
    curve: int = 0,
    *,
    level: float | None = None,
    reached: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One curve of `plot_bands`, in `ax` if it is given.

    The shots that were fitted are shaded; beyond them the median is dashed.
    """
    figure, axis = style.one_panel(ax, **style.panel_size(1))
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
    law = law_of(forecast)
    label = "median" if law is None else f"median, {style.law_label(law)}"
    style.split_line(
        axis, x, band["median"].to_numpy(float), last, color=style.color(0), linewidth=1.5, label=label
    )
    style.measured(axis, curves, curve, one.used)
    axis.set_title(style.curve_title(curves, curve), fontsize=style.TITLE)
    style.shots_axis(axis, max(x.max(initial=1.0), curves.shots[mine].max(initial=1.0)))
    style.probability_axis(axis, style.PROBABILITY if ax is None else None)
    if level is not None:
        style.level_line(axis, level)
        _crossings(axis, level, reached, [curve], [style.PALETTE[1]])
    if ax is None:
        style.shared_legend(figure, [axis], columns=6)
    return axis


def law_of(forecast: pd.DataFrame) -> str | None:
    """The law of a forecast, where it is of one."""
    laws = set(forecast["law"]) if "law" in forecast else set()
    return str(laws.pop()) if len(laws) == 1 else None


def _crossings(
    axis: Axes, level: float, reached: pd.DataFrame | None, curves: Sequence[int], colors: Sequence[str]
) -> None:
    """Where curves are at a level, if that is known."""
    label = f"shots to probability {level:g} (median, 90 %)"
    if reached is None:
        return
    for c, color in zip(curves, colors, strict=True):
        style.crossing(axis, level, reached[QUANTILES].iloc[c].to_list(), color, label)


def rows_of(curves: Curves, forecast: pd.DataFrame, curve: int) -> pd.DataFrame:
    """The forecast's rows of one curve, found by its group's columns and source."""
    own = curve_columns(curves)
    hits = [forecast[name].to_numpy() == own[name].iloc[curve] for name in own]
    return forecast[np.logical_and.reduce(hits)] if hits else forecast


def plot_overlay(
    one: Fitted,
    forecast: pd.DataFrame,
    pairs: Sequence[tuple[int, int, tuple[str, str]]],
    level: float | None = None,
    *,
    most: int = MOST_PAIRS,
    reached: pd.DataFrame | None = None,
    page: int | None = None,
    size: style.Size | None = None,
    figure: style.Canvas | None = None,
) -> Figure:
    """Two curves in each panel (the first `most`): points, and median and 90 % band of the expected probability.

    The shots that were fitted are shaded, points that were not are hollow, and the median is dashed beyond.

    Args:
      one: what the forecast is of.
      forecast: from `Posterior.forecast`: columns shots, latent_median, latent_lo90, latent_hi90 for every curve.
      pairs: numbers of the two curves of each panel, and their names.
      level, reached, page, size, figure: as in `plot_bands`.
    """
    panels = [
        Panel(_shared(one.curves, a, b), (a, b), tuple(map(style.short, names))) for a, b, names in pairs
    ]
    return overlay_figure(
        one, forecast, panels, level, reached, most=most, page=page, size=size, figure=figure, what="pairs"
    )


def overlay_figure(
    one: Fitted,
    forecast: pd.DataFrame,
    panels: Sequence[Panel],
    level: float | None,
    reached: pd.DataFrame | None,
    *,
    most: int,
    page: int | None,
    size: style.Size | None,
    figure: style.Canvas | None,
    what: str = "panels",
    title: str | None = None,
) -> Figure:
    """Several curves in each panel, a colour each; `title` heads the legend. See `plot_overlay`."""
    most = style.fitting_panels(most, style.room(figure, size))
    shown = layout.page_of(panels, most, page)
    canvas, axes = style.panels_in(figure, len(shown), sharey=True, size=size, **style.panel_size(len(shown)))
    for axis, panel in zip(axes, shown, strict=True):
        layout.overlaid_points(axis, one.curves, one.used, panel)
        end = 1.0
        for i, (c, name) in enumerate(zip(panel.curves, panel.labels, strict=True)):
            rows = rows_of(one.curves, forecast, c)
            _overlaid(axis, one, rows, c, name, style.color(i))
            end = max(end, float(rows["shots"].max()))
        style.shots_axis(axis, end)
        if level is not None:
            style.level_line(axis, level)
            colors = [style.color(i) for i in range(len(panel.curves))]
            _crossings(axis, level, reached, panel.curves, colors)
        layout.title_panel(axis, panel.values)
    for axis in style.first_column(axes):
        style.probability_axis(axis, style.PROBABILITY)
    style.shared_legend(canvas, axes, title=style.with_law(title, law_of(forecast)))
    layout.say_which(canvas, len(panels), most, page, what)
    return style.figure_of(canvas)


def _overlaid(axis: Axes, one: Fitted, rows: pd.DataFrame, curve: int, name: str, color: str) -> None:
    mine = slice(one.curves.start[curve], one.curves.start[curve + 1])
    x = rows["shots"].to_numpy(float)
    axis.fill_between(x, rows["latent_lo90"], rows["latent_hi90"], color=color, alpha=0.2, linewidth=0)
    last = float(one.curves.shots[mine][one.used[mine]].max(initial=0.0))
    style.split_line(axis, x, rows["latent_median"].to_numpy(float), last, color=color, label=name)


def _shared(curves: Curves, a: int, b: int) -> dict[str, object]:
    """The columns in which two curves are alike, and their source where sources tell anything apart."""
    first, second = (style.curve_values(curves, c) for c in (a, b))
    return {name: value for name, value in first.items() if second[name] == value}
