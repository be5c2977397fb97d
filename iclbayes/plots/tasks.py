"""The posterior over tasks by shots."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from . import style


def plot_tasks(
    shots: ArrayLike,
    weights: ArrayLike,
    labels: Sequence[object],
    *,
    measured_to: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """How strongly each task is believed in after some shots: median and 90 % band over draws, a colour for each task.

    Args:
      shots: [n], ascending.
      weights: [S, M, n] draws of the posterior over M tasks, of `Posterior.task_weights` for one group and source.
      labels: of the tasks.
      measured_to: shots up to which the curve was measured; they are shaded, and the medians dashed beyond.
      title: of the panel.
      ax: where to draw, instead of in a figure of its own.
    """
    figure, axis = style.one_panel(ax, width=5.0, height=3.0)
    at = np.asarray(shots, float)
    low, middle, high = np.quantile(np.asarray(weights, float), [0.05, 0.5, 0.95], axis=0)
    end = float(at.max(initial=1.0))
    if measured_to is not None:
        axis.axvspan(0.0, min(measured_to, end), label="shots measured", **style.SHADE)
    for m, label in enumerate(labels):
        color = style.color(m)
        axis.fill_between(at, low[m], high[m], color=color, alpha=0.2, linewidth=0)
        last = end if measured_to is None else measured_to
        style.split_line(axis, at, middle[m], last, color=color, linewidth=1.6, label=style.short(label))
    style.shots_axis(axis, end)
    style.probability_axis(axis, "posterior of the task")
    axis.set_title(title, fontsize=style.TITLE)
    if ax is None:
        style.shared_legend(figure, [axis])
    return axis
