"""Figures from data frames and fits. Every function returns a `matplotlib.figure.Figure`; `save` writes it.

Colours are the Okabe–Ito palette, which colour-blind people can tell apart; lines also differ in dash, points in marker.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ..errors import InputError
from ..files import atomic_path
from ..fits import Fits
from ..laws import LAWS

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 2)))
MARKERS = "osD^vPX*"
SUFFIXES = (".png", ".pdf", ".svg")


def style(i: int) -> dict:
    """Colour and dash of the i-th line."""
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i % len(DASHES)]}


def law_label(name: str) -> str:
    """A law's name for people."""
    law = LAWS.get(name)
    return name if law is None else law.label + (", log shots" if law.log_shots else "")


def panels(
    n: int, *, columns: int = 4, width: float = 3.2, height: float = 2.6, **options
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels in rows of at most `columns`."""
    columns = min(n, columns)
    rows = -(-n // columns)
    figure = Figure(figsize=(max(width * columns, 4.5), height * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.reshape(-1))
    for axis in axes[n:]:
        axis.set_visible(False)
    for axis in axes[:n]:
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:n]


def shots_axis(axis: Axes, largest: float) -> None:
    """Shots from 0 on a scale that is linear to 1 and logarithmic beyond, with plain numbers on it."""
    if largest > 20:
        axis.set_xscale("symlog", linthresh=1, linscale=0.4)
        ticks = [0] + [10**e for e in range(int(np.log10(largest)) + 1)]
        axis.set_xticks(ticks)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(left=0)
    axis.set_xlabel("shots")


def shared_legend(figure: Figure, axes: Sequence[Axes], columns: int = 4, title: str | None = None) -> None:
    """One legend under all panels, each entry once."""
    found: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(),
            found.keys(),
            loc="outside lower center",
            ncols=columns,
            title=title,
            fontsize=8,
            frameon=False,
        )


def plot_lines(
    frame: pd.DataFrame,
    *,
    panel: str | Sequence[str],
    line: str,
    value: str = "prob",
    stderr: str | None = "stderr",
    columns: int = 4,
    label: Callable[[object], str] = str,
    panel_label: Callable[[object], str] = str,
    ylabel: str = "probability of the right answer",
) -> Figure:
    """Measured curves: a panel per value of `panel`, a line per value of `line`, bands of ± 2 standard errors."""
    by = [panel] if isinstance(panel, str) else list(panel)
    groups = list(frame.groupby(by, sort=True))
    lines = list(dict.fromkeys(frame[line]))
    figure, axes = panels(len(groups), columns=columns, sharey=True)
    for axis, (key, part) in zip(axes, groups, strict=True):
        for i, name in enumerate(lines):
            rows = part[part[line] == name].sort_values("shots")
            if rows.empty:
                continue
            axis.plot(rows["shots"], rows[value], label=label(name), linewidth=1.5, **style(i))
            if stderr is not None and stderr in rows and rows[stderr].notna().any():
                low, high = rows[value] - 2 * rows[stderr], rows[value] + 2 * rows[stderr]
                axis.fill_between(
                    rows["shots"], low, high, color=PALETTE[i % len(PALETTE)], alpha=0.15, linewidth=0
                )
        axis.set_title(panel_label(key if len(by) > 1 else key[0]), fontsize=9)
        axis.set_xlabel("shots")
        axis.set_xlim(left=0)
    for axis in axes[:: min(len(groups), columns)]:
        axis.set_ylabel(ylabel if columns * 3.2 < 8 else ylabel.replace(" of ", " of\n", 1))
    shared_legend(figure, axes)
    return figure


def plot_fits(all_fits: Sequence[Fits], *, max_panels: int = 12) -> Figure:
    """Fitted laws over the points: a panel per curve; points held out of the fit are hollow.

    Raises:
      InputError: no fits.
    """
    if not all_fits:
        raise InputError("no fits to draw; give at least one law")
    curves = all_fits[0].curves
    shown = min(curves.n_curves, max_panels)
    figure, axes = panels(shown, sharey=True)
    curve_of_point = curves.point_curve()
    rank = curves.rank()
    top = float(curves.shots.max(initial=1.0))
    begin = np.linspace(0.0, 1.0, 20)  # where the axis is linear
    grid = np.unique(np.concatenate([begin, np.geomspace(1.0, max(top, 1.0), 160), curves.max_shots()]))
    predictions = [fits.predict(grid) for fits in all_fits]
    for c, axis in enumerate(axes):
        mine = curve_of_point == c
        largest = float(curves.shots[mine].max(initial=1.0))
        used = curves.weight[mine] > 0
        shots, prob = curves.shots[mine], curves.prob[mine]
        axis.plot(
            shots[used], prob[used], "o", color="#333333", markersize=3.2, label="fitted points", zorder=3
        )
        if not used.all():
            hollow = {
                "color": "#333333",
                "markersize": 3.2,
                "markerfacecolor": "white",
                "markeredgewidth": 0.8,
            }
            axis.plot(shots[~used], prob[~used], "o", label="held-out points", zorder=3, **hollow)
        inside = grid <= largest
        for i, (fits, curve) in enumerate(zip(all_fits, predictions, strict=True)):
            line = curve[curves.group[c], rank[c]][inside]
            axis.plot(grid[inside], line, label=law_label(fits.law.name), linewidth=1.5, **style(i))
        keys = curves.keys.iloc[curves.group[c]]
        title = [f"{v}" if isinstance(v, str) else f"{k} {v}" for k, v in keys.items()]
        if (np.bincount(curves.group) > 1).any():
            title.append(f"source {curves.source[c]}")
        axis.set_title(_wrap(title), fontsize=8)
        shots_axis(axis, largest)
        axis.set_ylim(-0.02, 1.02)
    for axis in axes[:: min(shown, 4)]:
        axis.set_ylabel("probability of\nthe right answer")
    shared_legend(figure, axes)
    if curves.n_curves > shown:
        figure.suptitle(f"first {shown} of {curves.n_curves} curves", fontsize=9)
    return figure


def _wrap(parts: Sequence[str], width: int = 34) -> str:
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 2 > width:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + part
    return "\n".join(lines)


def plot_errors(table: pd.DataFrame, metric: str = "nrmse") -> Figure:
    """Mean error by law and fraction, with its standard error over curves; from `iclbayes.compare.compare`."""
    fractions = sorted(table["fraction"].unique())
    laws = list(dict.fromkeys(table["law"]))
    figure, (axis,) = panels(
        1, width=2.2 + 1.1 * len(fractions) + 0.1 * len(laws) * len(fractions), height=3.4
    )
    width = 0.85 / len(laws)
    hatches = ("", "//", "..", "xx", "\\\\", "--", "oo", "++", "||", "**")
    for i, law in enumerate(laws):
        part = table[table["law"] == law].groupby("fraction")[metric]
        mean, error = part.mean().reindex(fractions), part.sem().reindex(fractions)
        at = np.arange(len(fractions)) + (i - (len(laws) - 1) / 2) * width
        axis.bar(
            at,
            mean,
            width * 0.92,
            yerr=error,
            color=PALETTE[i % len(PALETTE)],
            hatch=hatches[i % len(hatches)],
            edgecolor="white",
            linewidth=0.4,
            error_kw={"linewidth": 0.8, "ecolor": "#444444"},
            label=law_label(law),
        )
    axis.set_xticks(range(len(fractions)), [_fraction_label(f) for f in fractions])
    axis.set_xlabel("share of the shots that was fitted")
    names = {"nrmse": "NRMSE", "rmse": "RMSE of the probability", "nrmse_nll": "NRMSE of NLL"}
    axis.set_ylabel(f"mean {names.get(metric, metric)}")
    finite = table.groupby(["law", "fraction"])[metric].mean()
    finite = finite[np.isfinite(finite)]
    if len(finite) and finite.max() > 10 * finite.median():
        axis.set_yscale("log")
    axis.grid(axis="x", visible=False)
    shared_legend(figure, [axis], columns=3)
    return figure


def _fraction_label(f: float) -> str:
    return "100 %\n(interpolation)" if f == 1 else f"{100 * f:g} %"


def plot_parameter(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    line: str,
    panel: str | None = None,
    labels: dict | None = None,
    logy: bool = False,
) -> Figure:
    """A fitted parameter against a condition: a line with markers per value of `line`, error bars from `{y}_se` if there."""
    labels = labels or {}
    groups = list(frame.groupby(panel, sort=True)) if panel else [("", frame)]
    lines = sorted(frame[line].unique())
    figure, axes = panels(len(groups), sharey=True, height=3.0)
    ticks = sorted(frame[x].unique())
    at = {v: i for i, v in enumerate(ticks)}
    for axis, (key, part) in zip(axes, groups, strict=True):
        for i, name in enumerate(lines):
            rows = part[part[line] == name].sort_values(x)
            error = rows[f"{y}_se"].where(np.isfinite(rows[f"{y}_se"])) if f"{y}_se" in rows else None
            shift = 0.06 * (i - (len(lines) - 1) / 2)
            axis.errorbar(
                [at[v] + shift for v in rows[x]],
                rows[y],
                yerr=error,
                marker=MARKERS[i % len(MARKERS)],
                markersize=5,
                linewidth=1.3,
                capsize=2,
                label=f"{labels.get(line, line)} {name}",
                **style(i),
            )
        axis.set_xticks(range(len(ticks)), [f"{v:g}" if not isinstance(v, str) else v for v in ticks])
        axis.set_xlabel(labels.get(x, x))
        if panel:
            axis.set_title(f"{labels.get(panel, panel)} {key}", fontsize=9)
        if logy:
            axis.set_yscale("log")
    axes[0].set_ylabel(labels.get(y, y))
    shared_legend(figure, axes)
    return figure


def save(figure: Figure, path: str | os.PathLike, dpi: int = 150) -> None:
    """Writes a figure as PNG, PDF or SVG, whole or not at all. Raises InputError for another suffix."""
    check_suffix(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def check_suffix(path: str | os.PathLike) -> None:
    """Raises InputError unless the path ends like a picture."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: figures are written as {', '.join(SUFFIXES)}; change the ending")
