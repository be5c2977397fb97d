"""Whether intervals hold as much as they promise."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy.special import ndtr

from ..errors import InputError
from . import style

LEVELS = np.linspace(0.0, 1.0, 101)


def plot_calibration(scores: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """How often central intervals held the truth, against how often they should: on the diagonal if posteriors are calibrated.

    Below it intervals are too narrow, above it too wide. The grey band holds 90 % of what chance does with as few cases as the
    smallest of the sets has.

    Args:
      scores: by quantity, normal scores Φ⁻¹(rank of the truth among the draws) of some cases each, such as `right` of
        `iclbayes.posterior.calibration.scores`; NaN do not count.
      ax: where to draw, instead of in a figure of its own.

    Raises:
      InputError: a quantity without cases.
    """
    from scipy import stats  # here, for its import takes longer than drawing any other figure

    known = {name: _finite(values) for name, values in scores.items()}
    empty = [name for name, values in known.items() if not len(values)]
    if empty or not known:
        raise InputError("no cases to judge calibration by" + (f" of {', '.join(empty)}" if empty else ""))
    figure, axis = style.one_panel(ax, width=4.5, height=4.0)
    fewest = min(map(len, known.values()))
    low, high = stats.binom.ppf([[0.05], [0.95]], fewest, LEVELS) / fewest
    axis.fill_between(LEVELS, low, high, color=style.GREY, alpha=0.2, linewidth=0, label="90 % of chance")
    axis.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, label="calibrated")
    for i, (name, values) in enumerate(known.items()):
        label = f"{style.short(name)} ({len(values)})"
        axis.plot(LEVELS, coverage(values, LEVELS), linewidth=1.4, label=label, **style.look(i))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_aspect("equal")
    axis.set_xlabel("probability of the central interval", fontsize=style.LABEL)
    axis.set_ylabel("share of the truths in it", fontsize=style.LABEL)
    if ax is None:
        style.shared_legend(figure, [axis])
    return axis


def coverage(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of the truths, by their normal scores, in the central interval of each probability."""
    needed = np.sort(np.abs(2 * ndtr(scores) - 1))  # the narrowest interval that holds each
    return np.searchsorted(needed, levels, side="right") / len(needed)


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, float).reshape(-1)
    return array[~np.isnan(array)]
