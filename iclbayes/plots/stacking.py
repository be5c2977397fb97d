"""How much each law counts in an average of laws."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from . import style


def plot_stacking(weights: Mapping[str, float], *, ax: Axes | None = None) -> Axes:
    """Stacking weights, a bar for each law, the heaviest at the top.

    Args:
      weights: by the law's name.
      ax: where to draw, instead of in a figure of its own.
    """
    _, axis = style.one_panel(ax, width=5.0, height=0.5 + 0.35 * len(weights))
    order = sorted(weights, key=lambda name: -weights[name])
    axis.barh(range(len(order)), [weights[name] for name in order], 0.6, color=style.color(0))
    for y, name in enumerate(order):
        axis.text(weights[name] + 0.015, y, f"{weights[name]:.2f}", va="center", fontsize=style.SMALL)
    axis.set_yticks(range(len(order)), [style.law_label(name) for name in order], fontsize=style.SMALL)
    axis.set(xlim=(0, 1.1), ylim=(len(order) - 0.5, -0.5))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_xlabel("weight in the average", fontsize=style.LABEL)
    axis.grid(axis="y", visible=False)
    return axis
