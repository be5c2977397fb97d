"""Bands of a forecast over the observed points."""

import pandas as pd
from matplotlib.figure import Figure

from ..posterior import Posterior


def plot_bands(one: Posterior, forecast: pd.DataFrame, most: int = 24) -> Figure:
    """A panel per curve (the first `most`): points fitted and held out, median, 50 % and 90 % bands of the next observation.

    Shots are on the scale ln(1 + n).
    """
    curves = one.curves
    n = min(curves.n_curves, most)
    columns = min(n, 4)
    rows = -(-n // columns)
    figure = Figure(figsize=(3.2 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    point_curve = curves.point_curve()
    several = len(set(curves.source)) > 1
    per_curve = len(forecast) // curves.n_curves
    for c, axis in enumerate(axes):
        if c >= n:
            axis.set_visible(False)
            continue
        band = forecast.iloc[c * per_curve : (c + 1) * per_curve]
        x = band["shots"] + 1
        axis.fill_between(x, band["lo90"], band["hi90"], color="C0", alpha=0.15, lw=0, label="90 %")
        axis.fill_between(x, band["lo50"], band["hi50"], color="C0", alpha=0.3, lw=0, label="50 %")
        axis.plot(x, band["median"], color="C0", lw=1, label="median")
        mine = point_curve == c
        for mask, face, label in ((one.used, "k", "fitted"), (~one.used, "w", "held out")):
            at = mine & mask
            if not mask.any():
                continue
            axis.plot(
                curves.shots[at] + 1, curves.prob[at], "o", ms=3, mfc=face, mec="k", mew=0.7, label=label
            )
        axis.set_xscale("log")
        axis.set_ylim(0, 1)
        names = [*curves.keys.iloc[curves.group[c]], *([curves.source[c]] if several else [])]
        axis.set_title(", ".join(str(v).split("/")[-1] for v in names), fontsize=7)
    for axis in axes[max(0, n - columns) : n]:
        axis.set_xlabel("1 + shots")
    for axis in axes[::columns]:
        axis.set_ylabel("probability")
    axes[0].legend(fontsize=6)
    return figure
