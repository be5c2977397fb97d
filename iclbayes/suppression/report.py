"""Tables and figures of a suppression experiment, from its curves."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import comparison as compare
from .. import plots
from .reemergence import forecast, forecast_summary
from .sharing import HYPOTHESES, amount_curves, attribution, compare_sharing, final_steps, shifts


def analyse(
    frame: pd.DataFrame,
    *,
    favoured: int = 0,
    hypotheses: Sequence[str] = tuple(HYPOTHESES),
    laws: Sequence[str] = (),
    fractions: Sequence[float] = (0.1, 0.5, 1.0),
    windows: Sequence[float] = (0.1, 0.2),
    forecaster: str = "psis",
    on_done: Callable[[int], None] = lambda n: None,
) -> dict[str, pd.DataFrame]:
    """Everything that is computed from the curves of a suppression experiment.

    Args:
      frame: rows of curves with method, amount and step; method "none" is the pretrained model.
      favoured: the task that was favoured.
      hypotheses: what to compare, names of `HYPOTHESES`.
      laws, fractions: laws to compare by amount; none by default.
      windows, forecaster: of the forecast, see `forecast` (its `method`).
      on_done: called with the number of fits after each finished chunk.

    Returns:
      `fits` (parameters with standard errors under each hypothesis), `sharing`, `shifts`, `attribution`, `forecast`,
      `forecast_summary`, and `laws` if laws are given. See the functions of these names.
    """
    curves = amount_curves(frame)
    sharing, fits = compare_sharing(curves, hypotheses, on_done=on_done)
    free = fits["all_free"]
    forecasts = forecast(frame, favoured=favoured, windows=windows, method=forecaster)
    parts = [forecast_summary(forecasts, ("forecaster", "window")).assign(method="all")]
    parts.append(forecast_summary(forecasts, ("method", "forecaster", "window")))
    summary = pd.concat(parts, ignore_index=True)
    tables = {
        "fits": pd.concat(
            [f.to_frame(stderr=True).assign(hypothesis=name) for name, f in fits.items()], ignore_index=True
        ),
        "sharing": sharing,
        "shifts": shifts(free, favoured),
        "attribution": attribution(free, favoured),
        "forecast": forecasts,
        "forecast_summary": summary[["method", *(c for c in summary.columns if c != "method")]],
    }
    if laws:
        tables["laws"] = compare.compare(curves, laws, fractions, on_done=on_done)
    return tables


def summaries(tables: dict[str, pd.DataFrame]) -> dict[str, tuple[str, pd.DataFrame]]:
    """The short tables to print and to put into a text: name -> (caption, table)."""
    sharing = tables["sharing"].groupby(["method", "hypothesis"], sort=False)
    means = sharing[["n_params", "rmse", "chi2", "aic"]].mean().reset_index()
    means["best"] = sharing["aic"].apply(lambda x: (x == 0).mean()).to_numpy()
    moved = _mean_attribution(tables["attribution"])
    table = tables["shifts"]
    shift = table.assign(moved=table["z"].abs() > 2).groupby(
        ["method", "amount", "role", "parameter"], sort=False
    )
    shift = shift.agg(shift=("shift", "median"), moved=("moved", "mean")).reset_index()
    shift = shift.pivot_table(
        index=["method", "amount", "role"], columns="parameter", values=["shift", "moved"], sort=False
    )
    shift.columns = [name if what == "shift" else f"{name}_moved" for what, name in shift.columns]
    return {
        "sharing": (
            "Which parameters do the amounts share? Means over models and k; chi2 is (residual / standard error)² a point, aic "
            "is less the best one's, best the share of cases where it is the lowest",
            means,
        ),
        "attribution": (
            "Share of the curves' change that each part of the law explains (Shapley; means over curves in proportion to the "
            "squared change); change is the root mean square change of the probability",
            moved,
        ),
        "shifts": (
            "Shift of each parameter from the pretrained model, ln K and logits of ρ, γ, β (medians over curves); _moved is the "
            "share of curves where it is above two standard errors",
            shift.reset_index(),
        ),
        "forecast": (
            "Forecast of the shots at which a suppressed task is back to half of its plateau: median |error| in log₂ shots, "
            "coverage of the 90 % interval; _ahead: returns still to come then, and that came within the prompt",
            tables["forecast_summary"],
        ),
    }


def _mean_attribution(table: pd.DataFrame) -> pd.DataFrame:
    """Shares by method, amount and role, each curve counting in proportion to its squared change: what hardly moved has shares
    that mean nothing."""
    parts = ["prior", "efficiency", "knowledge"]
    by = ["method", "amount", "role"]
    known = table.dropna(subset=parts)
    square = known["change"] ** 2
    weighted = known[by].join(known[parts].mul(square, axis=0)).assign(square=square, n=1)
    total = weighted.groupby(by, sort=False).sum()
    mean = total[parts].div(total["square"], axis=0)
    mean.insert(0, "change", np.sqrt(total["square"] / total["n"]))
    return mean.reset_index()


def figures(
    frame: pd.DataFrame, tables: dict[str, pd.DataFrame], *, favoured: int = 0, seed: int | None = None
) -> dict[str, Figure]:
    """Figures by name: curves by amount, priors, efficiency by depth (of one depth: by k), γ and β by amount and depth, laws by
    amount, forecasts.

    Curves and priors are those of the deepest model; `seed` chooses one seed of the models, by default the first.
    Efficiencies that the curves do not determine (standard error above themselves) are left out.
    """
    final = final_steps(frame)
    seed = final["seed"].min() if seed is None else seed
    final = final[final["seed"] == seed]
    deepest = final[final["layers"] == final["layers"].max()]
    fits = tables["fits"]
    fits = fits[fits["seed"] == seed].copy()
    fits["task"] = [f"{j}, favoured" if j == favoured else str(j) for j in fits["source"]]
    free = fits[fits["hypothesis"] == "all_free"]
    shown = "knowledge_shared" if "knowledge_shared" in set(fits["hypothesis"]) else "all_free"
    shared = fits[fits["hypothesis"] == shown]
    labels = {
        "amount": "documents",
        "task": "task",
        "layers": "layers",
        "k": "k",
        "efficiency": "ICL efficiency K",
    }
    labels |= {"prior": "prior ρ", "gamma": "γ", "beta": "β"}
    found = {}
    for method, part in deepest.groupby("method", sort=False):
        found[f"curves_{method}"] = plots.plot_lines(
            part.sort_values("amount"),
            panel=("k", "source"),
            line="amount",
            columns=part["source"].nunique(),
            label=lambda amount: f"{amount} documents" if amount else "pretrained",
            panel_label=lambda key: (
                f"k = {key[0]}, task = {key[1]}{' (favoured)' if key[1] == favoured else ''}"
            ),
        )
        mine = shared[(shared["method"] == method) & (shared["layers"] == shared["layers"].max())]
        found[f"priors_{method}"] = plots.plot_parameter(
            mine, x="amount", y="prior", line="task", panel="k", labels=labels
        )
        for axis in found[f"priors_{method}"].axes:
            axis.set_ylim(-0.04, 1.04)
        mine = _identified(shared[shared["method"] == method])
        if len(mine) and final["layers"].nunique() == 1:
            found[f"efficiency_{method}"] = plots.plot_parameter(
                mine.rename(columns={"amount": "tuned"}), x="k", y="efficiency", line="tuned",
                labels=labels | {"tuned": "documents"}, logy=True,
            )  # fmt: skip
        elif len(mine):
            found[f"efficiency_{method}"] = plots.plot_parameter(
                mine.rename(columns={"amount": "tuned"}), x="layers", y="efficiency", line="k", panel="tuned",
                labels=labels | {"tuned": "documents"}, logy=True,
            )  # fmt: skip
            for axis in found[f"efficiency_{method}"].axes:
                axis.set_xlim(-0.5, mine["layers"].nunique() - 0.5)
        levels = _levels(free[free["method"] == method], favoured)
        for name in ("gamma", "beta"):
            found[f"{name}_{method}"] = plots.plot_parameter(
                levels, x="amount", y=name, line="role", panel="layers",
                labels=labels | {"role": ""},
            )  # fmt: skip
    if "laws" in tables:
        found["laws"] = _laws_by_amount(tables["laws"])
    found["forecast"] = plot_forecast(tables["forecast"])
    return found


def _identified(fits: pd.DataFrame) -> pd.DataFrame:
    """Efficiencies whose standard error is below themselves, one row a group: a flat curve says nothing about K."""
    once = fits.drop_duplicates(["layers", "k", "amount"])
    return once[once["efficiency_se"] < once["efficiency"]]


def _levels(fits: pd.DataFrame, favoured: int) -> pd.DataFrame:
    """Means of γ and β over k (and tasks), of the favoured task and of the others, with standard errors of the means."""
    roles = np.where(fits["source"] == favoured, "favoured task", "other tasks")
    grouped = fits.assign(role=roles).groupby(["layers", "amount", "role"])
    table = grouped[["gamma", "beta"]].mean().reset_index()
    for name in ("gamma", "beta"):
        table[f"{name}_se"] = grouped[name].sem().to_numpy()
    return table


def _laws_by_amount(table: pd.DataFrame) -> Figure:
    """Mean NRMSE of each law against the amount, a panel for each method and fraction."""
    grouped = table.groupby(["method", "fraction", "amount", "law"], sort=False)["nrmse"]
    means = grouped.mean().reset_index().assign(nrmse_se=grouped.sem().to_numpy())
    means["panel"] = [
        f"{m}, {'all shots' if f == 1 else f'first {100 * f:g} %'}"
        for m, f in zip(means["method"], means["fraction"])
    ]
    means["law"] = means["law"].map(plots.law_label)
    # A law that runs away at one amount should not flatten the others.
    limited = means.assign(nrmse=means["nrmse"].clip(upper=2.0))
    return plots.plot_parameter(
        limited, x="amount", y="nrmse", line="law", panel="panel",
        labels={"amount": "documents", "nrmse": "mean NRMSE (cut at 2)", "panel": "", "law": ""}, logy=True,
    )  # fmt: skip


def plot_forecast(table: pd.DataFrame) -> Figure:
    """Forecasts with their 90 % intervals beside what happened, a panel for each window; 1 + shots on logarithmic axes.

    Returns beyond the prompt stand in the shaded strip at the right; forecasts of never at the upper edge.
    """
    table = table[table["forecaster"] == "knowledge"]
    windows = sorted(table["window"].unique())
    figure, axes = plots.panels(len(windows), width=3.8, height=3.4, sharey=True)
    top = 1 + table["max_shots"].max()
    far = 1.6 * top
    rng = np.random.default_rng(0)
    for axis, window in zip(axes, windows, strict=True):
        axis.axvspan(1.25 * top, 2.1 * top, color="#000000", alpha=0.06, linewidth=0)
        axis.plot([1, top], [1, top], color="#999999", linewidth=1)
        for i, (method, part) in enumerate(table[table["window"] == window].groupby("method", sort=False)):
            observed = np.where(np.isinf(part["observed"]), far, 1 + part["observed"])
            observed = observed * np.exp(rng.uniform(-0.05, 0.05, len(part)))
            at, low, high = (np.minimum(1 + part[c], 8 * top) for c in ("predicted", "lo90", "hi90"))
            color = plots.color(i)
            axis.vlines(observed, low, high, color=color, alpha=0.3, linewidth=1)
            axis.plot(
                observed, at, plots.MARKERS[i], color=color, markersize=3.5, alpha=0.8, label=method.upper()
            )
        axis.text(
            2.0 * top,
            8 * top,
            "beyond the prompt ",
            ha="right",
            va="top",
            rotation=90,
            fontsize=7,
            color="#555555",
        )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(0.9, 2.1 * top)
        axis.set_ylim(0.9, 9 * top)
        axis.set_title(f"from the first {100 * window:g} % of the shots", fontsize=9)
        axis.set_xlabel("1 + shots observed")
    axes[0].set_ylabel("1 + shots forecast")
    plots.shared_legend(figure, axes)
    return figure
