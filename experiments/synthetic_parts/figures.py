"""Figures of `synthetic.py` that a person reads at a glance: priors, efficiency, and the whole run on one sheet."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from iclbayes import plots
from iclbayes.fit_blocks import NOT_DETERMINED, left_open
from iclbayes.plots.style import NOTE
from iclbayes.suppression.figures import RAMP, draw_interval, draw_returns, interval
from iclbayes.suppression.sharing import final_steps

LAW = "bayesian_scoring"
REFERENCE = {"color": "#000000", "linewidth": 1.8, "linestyle": (0, (4, 2))}
EXACT = "exact Bayesian learner"
IDEAL = "ideal pretrained model"


def layers_label(n: int) -> str:
    """For people."""
    return f"GPT-2, {n} layer" if n == 1 else f"GPT-2, {n} layers"


def _scoring(fits: pd.DataFrame, seed: int) -> list[tuple[str, str, pd.DataFrame]]:
    """(label, colour, rows) of the exact learner and of every depth of one seed."""
    scoring = fits[fits["law"] == LAW]
    found = [(EXACT, "#000000", scoring[scoring["learner"] == "exact_prompt"])]
    mine = scoring[(scoring["learner"] == "gpt2") & (scoring["seed"] == seed)]
    for i, (layers, part) in enumerate(mine.groupby("layers")):
        found.append((layers_label(layers), plots.color(i), part))
    return found


def curves(frame: pd.DataFrame, seed: int) -> Figure:
    """A row for each example length, a column for each task: GPT-2s on the exact learner's line, bands of ± 2 standard errors."""
    before = frame[(frame["method"] == "none") & ((frame["learner"] != "gpt2") | (frame["seed"] == seed))]
    ks, sources = sorted(before["k"].unique()), sorted(before["source"].unique())
    figure, axes = plots.panels(
        len(ks) * len(sources), columns=len(sources), width=2.4, height=1.9, sharey=True
    )
    at = iter(axes)
    for k in ks:
        for source in sources:
            axis = next(at)
            part = before[(before["k"] == k) & (before["source"] == source)].sort_values("shots")
            for i, (layers, rows) in enumerate(part[part["learner"] == "gpt2"].groupby("layers")):
                plots.line_with_band(
                    axis, rows, color=plots.color(i), linewidth=1.4, label=layers_label(layers)
                )
            ideal = part[part["learner"] == "exact_pretraining"]
            axis.plot(
                ideal["shots"], ideal["prob"], color="#888888", linewidth=1.0, linestyle=":", label=IDEAL
            )
            exact = part[part["learner"] == "exact_prompt"]
            axis.plot(exact["shots"], exact["prob"], label=EXACT, **REFERENCE)
            axis.set_title(f"k = {k}, task {source}", fontsize=8)
            axis.tick_params(labelsize=7)
            plots.shots_axis(axis, part["shots"].max(), "")
    for axis in axes[:: len(sources)]:
        axis.set_ylabel("probability of\nthe right answer", fontsize=8)
    for axis in axes[-len(sources) :]:
        axis.set_xlabel("shots", fontsize=8)
    plots.shared_legend(figure, axes)
    return figure


def priors(fits: pd.DataFrame, seed: int) -> Figure:
    """Priors ρ of each task on the logit scale with 95 % intervals, beside the exact learner's and the uniform; a panel a k."""
    groups = _scoring(fits, seed)
    ks = sorted(groups[0][2]["k"].unique())
    tasks = sorted(groups[0][2]["source"].unique())
    figure, axes = plots.panels(len(ks), columns=len(ks), width=2.8, height=2.6, sharey=True)
    for axis, k in zip(axes, ks, strict=True):
        axis.axhline(1 / len(tasks), color="#999999", linewidth=1.0, label="uniform")
        for i, (label, color, rows) in enumerate(groups):
            part = rows[rows["k"] == k].sort_values("source")
            x = np.searchsorted(tasks, part["source"]) + 0.16 * (i - (len(groups) - 1) / 2)
            draw_interval(
                axis, x, interval(part, "prior", "logit"), color=color, marker="Dos^vP"[i % 6], label=label
            )
        _logit(axis, (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999))
        axis.set_xticks(range(len(tasks)), [str(t) for t in tasks])
        axis.set_xlabel("task")
        axis.set_title(f"k = {k}", fontsize=9)
    axes[0].set_ylabel("prior ρ")
    plots.shared_legend(figure, axes)
    return figure


def _logit(axis: Axes, ticks: Sequence[float]) -> None:
    low, high = axis.dataLim.y0, axis.dataLim.y1
    axis.set_yscale("logit")
    axis.minorticks_off()
    axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axis.set_ylim(max(1e-4, low / 1.5), min(1 - 1e-4, 1 - (1 - high) / 1.5))


def efficiency(fits: pd.DataFrame, seed: int) -> Figure:
    """K of each depth and of the exact learner against the example length, 95 % intervals."""
    figure, (axis,) = plots.panels(1, width=4.5, height=3.2)
    _efficiency(axis, _scoring(fits, seed))
    plots.shared_legend(figure, [axis])
    return figure


def _efficiency(axis: Axes, groups) -> None:
    ks = sorted(groups[0][2]["k"].unique())
    parts = [rows.drop_duplicates("k").sort_values("k") for _, _, rows in groups]
    intervals = [interval(part, "efficiency", "log") for part in parts]
    known = pd.concat(intervals).query("identified")["value"]
    # What the curves do not identify can lie anywhere: it stands at the edge of what they do.
    edges = (known.min() / 3, known.max() * 3) if len(known) else (None, None)
    for i, ((label, color, _), part, shown) in enumerate(zip(groups, parts, intervals, strict=True)):
        x = np.searchsorted(ks, part["k"]) + 0.08 * (i - (len(groups) - 1) / 2)
        sure = shown["identified"].to_numpy()
        shown["value"] = shown["value"].where(sure, shown["value"].clip(*edges))
        axis.plot(x[sure], shown["value"][sure], color=color, linewidth=0.8, alpha=0.7)
        draw_interval(axis, x, shown, color=color, marker="Dos^vP"[i % 6], label=label)
    axis.set_yscale("log")
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.set_xticks(range(len(ks)), [str(k) for k in ks])
    axis.set_xlabel("example length k")
    axis.set_ylabel("ICL efficiency K")


def summary(
    frame: pd.DataFrame,
    fits: pd.DataFrame,
    seed: int,
    favoured: int = 0,
    forecast: pd.DataFrame | None = None,
) -> Figure:
    """The whole run on one sheet: curves, priors, efficiency; suppression by SFT and its parameters; the forecasts."""
    tuned = forecast is not None and len(forecast) > 0
    figure, axes = plots.panels(6 if tuned else 3, columns=3, width=3.4, height=3.1)
    _mean_curves(axes[0], frame, seed)
    _priors_beside(axes[1], fits, seed)
    _efficiency(axes[2], _scoring(fits, seed))
    axes[2].set_title("ICL efficiency K by example length", fontsize=8)
    if tuned:
        models = frame[frame["learner"] == "gpt2"]
        deepest = models[(models["layers"] == models["layers"].max()) & (models["seed"] == seed)]
        for axis, method in zip(axes[3:5], ("sft", "dpo"), strict=True):
            _suppressed(axis, final_steps(deepest), method, favoured)
        _returns(axes[5], forecast)
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
        named = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))  # each label once
        axis.legend(
            named.values(),
            named.keys(),
            fontsize=6,
            frameon=False,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
        )  # below the panel: nowhere in it is free of lines in every run
    return figure


def _mean_curves(axis: Axes, frame: pd.DataFrame, seed: int) -> None:
    before = frame[(frame["method"] == "none") & ((frame["learner"] != "gpt2") | (frame["seed"] == seed))]
    means = before.groupby(["learner", "layers", "k", "shots"])["prob"].mean().reset_index()
    for i, k in enumerate(sorted(means["k"].unique())):
        part = means[means["k"] == k]
        color = plots.color(i)
        exact = part[part["learner"] == "exact_prompt"]
        axis.plot(exact["shots"], exact["prob"], **REFERENCE, label=EXACT if i == 0 else None)
        deepest = part[(part["learner"] == "gpt2") & (part["layers"] == part["layers"].max())]
        axis.plot(deepest["shots"], deepest["prob"], color=color, linewidth=1.5, label=f"GPT-2, k = {k}")
    plots.shots_axis(axis, means["shots"].max())
    axis.set_ylabel("probability of the right answer")
    axis.set_title("GPT-2 beside the exact learner, means over tasks", fontsize=8)


def _priors_beside(axis: Axes, fits: pd.DataFrame, seed: int) -> None:
    (_, _, exact), *models = _scoring(fits, seed)
    mean = exact[~left_open(exact, "prior")].groupby("source")["prior"].mean()
    lowest = 1.0
    for i, (label, color, rows) in enumerate(models):
        mine = rows[~left_open(rows, "prior")].groupby("source")["prior"].mean().reindex(mean.index)
        axis.plot(mean, mine, "os^vP"[i % 5], color=color, markersize=5, label=label)
        lowest = min(lowest, mine.min(), mean.min())
    if np.isfinite(axis.dataLim.max).all():
        top = 1.15 * axis.dataLim.max.max()
        axis.plot([0, top], [0, top], color="#999999", linewidth=1)
        axis.axhline(1 / len(mean), color="#999999", linewidth=0.8, linestyle=":", label="uniform")
        axis.set_xlim(0, top)
        axis.set_ylim(0, top)
    else:
        axis.text(0.5, 0.5, NOT_DETERMINED, ha="center", transform=axis.transAxes, **NOTE)
    axis.set_xlabel("prior ρ of the exact learner's curves")
    axis.set_ylabel("prior ρ of GPT-2's curves")
    axis.set_title("priors of the tasks, means over k", fontsize=8)


def _suppressed(axis: Axes, final: pd.DataFrame, method: str, favoured: int) -> None:
    k = final["k"].min()
    part = final[(final["method"] == method) & (final["k"] == k)]
    for role, mask, dash in (
        ("others", part["source"] != favoured, "-"),
        ("favoured", part["source"] == favoured, ":"),
    ):
        means = part[mask].groupby(["amount", "shots"])["prob"].mean().reset_index()
        for i, (amount, rows) in enumerate(means.groupby("amount")):
            color = "#000000" if amount == 0 else RAMP[(i - 1) % len(RAMP)]
            label = None if role == "favoured" else "before" if amount == 0 else f"{amount} documents"
            axis.plot(rows["shots"], rows["prob"], color=color, linestyle=dash, linewidth=1.4, label=label)
    axis.plot([], [], color="#555555", linestyle=":", label="the favoured task")
    plots.shots_axis(axis, part["shots"].max(), f"shots (k = {k})")
    axis.set_ylabel("probability of the right answer")
    axis.set_title(f"{method.upper()}: the suppressed tasks and the favoured one", fontsize=8)


def _returns(axis: Axes, forecast: pd.DataFrame) -> None:
    mine = forecast[(forecast["forecaster"] == "knowledge") & forecast["ahead"]]
    mine = mine[mine["window"] == mine["window"].min()] if len(mine) else mine
    draw_returns(axis, mine, float(forecast["max_shots"].max()) if len(forecast) else 10.0)
    axis.set_ylabel("shots, forecast")
    axis.set_title("returns forecast from the first tenth of the shots", fontsize=8)
