"""Errors of laws beside each other."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from . import style

METRICS = {"nrmse": "NRMSE", "rmse": "RMSE of the probability", "nrmse_nll": "NRMSE of NLL"}
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo", "++", "||", "**")


def plot_errors(
    table: pd.DataFrame, metric: str = "nrmse", *, ax: Axes | None = None, size: style.Size | None = None
) -> Axes:
    """Mean error by law and fraction, with its standard error over curves; from `iclbayes.compare`.

    Returns the axes: `ax` if it is given, those of a figure of their own else.

    The axis is logarithmic where one law's mean is more than ten times the middle one. In an `ax` of yours the legend stands
    beside the panel. A figure of its own has a `size` in inches if one is given.
    """
    fractions = sorted(table["fraction"].unique())
    laws = list(dict.fromkeys(table["law"]))
    figure, axis = style.one_panel(
        ax, width=2.2 + 1.1 * len(fractions) + 0.1 * len(laws) * len(fractions), height=3.4, size=size
    )
    width = 0.85 / len(laws)
    for i, law in enumerate(laws):
        part = table[table["law"] == law].groupby("fraction")[metric]
        mean, error = part.mean().reindex(fractions), part.sem().reindex(fractions)
        at = np.arange(len(fractions)) + (i - (len(laws) - 1) / 2) * width
        axis.bar(
            at,
            mean,
            width * 0.92,
            yerr=error,
            color=style.color(i),
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
            linewidth=0.4,
            error_kw={"linewidth": 0.8, "ecolor": "#444444"},
            label=style.law_label(law),
        )
    axis.set_xticks(range(len(fractions)), [_fraction_label(f) for f in fractions])
    axis.set_xlabel("share of the shots that was fitted", fontsize=style.LABEL)
    axis.set_ylabel(f"mean {METRICS.get(metric, metric)}", fontsize=style.LABEL)
    finite = table.groupby(["law", "fraction"])[metric].mean()
    finite = finite[np.isfinite(finite)]
    if len(finite) and finite.max() > 10 * finite.median():
        axis.set_yscale("log")
    axis.grid(axis="x", visible=False)
    if ax is None:
        style.shared_legend(figure, [axis], columns=3)
    else:
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return axis


def _fraction_label(f: float) -> str:
    return "100 %\n(interpolation)" if f == 1 else f"{100 * f:g} %"
