"""Charts of a run of the synthetic world, from its tables."""

import itertools

import numpy as np
import pandas as pd

from ..fit_blocks import left_open as left_open
from ..reading import curves_from_frame
from ..suppression.sharing import FAMILY, final_steps
from .charts import band_chart
from .dots import BLACK, COLOURS, DASHES, Look, intervals_chart, lines_chart, looks, returns_chart, thinned
from .dots import shots_said as shots_said
from .parts import Chart

EXACT, IDEAL = "exact learner", "ideal pretrained model"
RAMP = ("#6baed6", "#2f7fbc", "#08519c", "#6a51a3", "#3f007d", "#7a0177")  # amounts, from little to much
SHARED = ("prior", "efficiency")


def depth(layers: int) -> str:
    """A model as its curves are called."""
    return f"GPT-2, {layers} layer" + ("" if layers == 1 else "s")


def ahead(forecast: pd.DataFrame) -> pd.DataFrame:
    """Forecasts, with what was known of the pretrained model, of returns that were still to come, from the shortest window."""
    mine = forecast[(forecast["forecaster"] == "knowledge") & forecast["ahead"].astype(bool)]
    return mine[mine["window"] == mine["window"].min()]


def curves(frame: pd.DataFrame) -> list[Chart]:
    """A chart for each example length and task: every depth of model, the exact learner of prompts, the ideal pretrained one."""
    before = frame[frame["method"] == "none"]
    before = (
        before.groupby(["learner", "layers", "k", "source", "shots"], sort=False)["prob"].mean().reset_index()
    )
    models = sorted(before.loc[before["learner"] == "gpt2", "layers"].unique())
    names = {"exact_prompt": EXACT, "exact_pretraining": IDEAL}
    lines = before["learner"].map(names).fillna(before["layers"].map(depth))
    before = before.assign(line=lines)
    look: dict = {EXACT: (BLACK, DASHES[0]), IDEAL: ("#666666", DASHES[6])}
    look |= looks([depth(n) for n in models])
    domain = _domain(before["prob"])
    found = []
    for (k, source), part in before.groupby(["k", "source"]):
        title = f"Examples of {k} tokens, task {source}"
        exact = part[part["line"] == EXACT].set_index("shots")["prob"]
        away = {
            depth(n): (part[part["line"] == depth(n)].set_index("shots")["prob"] - exact).abs().mean()
            for n in models
        }
        says = (
            "Mean distance from the exact learner: "
            + "; ".join(f"{name}: {d:.3f}" for name, d in away.items())
            + "."
        )
        shown = {name: of for name, of in look.items() if name in set(part["line"])}
        rows = thinned(part[["line", "shots", "prob"]].sort_values("shots"), ["line"])
        found.append(Chart(title, says, lines_chart(rows, shown, f"{title}: {says}", domain=domain)))
    return found


def _domain(prob: pd.Series) -> tuple[float, float]:
    """Where a chart of probabilities begins and ends: all of them, with room, in twentieths."""
    low, high = np.floor(20 * prob.min() - 0.2) / 20, np.ceil(20 * prob.max() + 0.2) / 20
    return float(max(low, 0.0)), float(min(high, 1.0))


def parameters(scoring: pd.DataFrame) -> list[Chart]:
    """Priors of the models beside the exact learner's, and efficiency by example length; of what the curves determine."""
    if scoring.empty or not set(SHARED) <= set(scoring):
        return []
    named = scoring.assign(
        line=np.where(scoring["learner"] == "exact_prompt", EXACT, scoring["layers"].map(depth))
    )
    named = named[named["learner"].isin(["exact_prompt", "gpt2"])]
    models = [depth(n) for n in sorted(named.loc[named["learner"] == "gpt2", "layers"].unique())]
    return [
        chart
        for chart in (_priors(named, looks(models)), _efficiency(named, looks(models)))
        if chart is not None
    ]


def _priors(named: pd.DataFrame, look: Look) -> Chart | None:
    known = named[~left_open(named, "prior")]
    means = known.groupby(["line", "source"], sort=False)["prior"].mean().reset_index()
    exact = means[means["line"] == EXACT].set_index("source")["prior"]
    mine = means[(means["line"] != EXACT) & means["source"].isin(exact.index)]
    if mine.empty:
        return None
    rows = mine.assign(
        exact=exact.loc[mine["source"]].to_numpy(), low=np.nan, high=np.nan, task=mine["source"]
    )
    rows = rows.drop(columns="source")
    far = rows.iloc[int((rows["prior"] - rows["exact"]).abs().argmax())]
    beside = f"{far['prior']:.2f} beside {far['exact']:.2f}"
    says = f"Farthest from the exact learner's: task {far['task']} of {far['line']}, {beside}."
    top = float(min(1.0, np.ceil(10 * 1.1 * rows[["prior", "exact"]].to_numpy().max()) / 10))
    title = "Priors of the tasks, means over example lengths"
    spec = intervals_chart(
        rows, look, f"{title}: {says}", x=("exact", "prior ρ of the exact learner's curves"),
        y=("prior", "prior ρ of the models' curves"), told=("task",), diagonal=(0.0, top),
    )  # fmt: skip
    return Chart(title, says, spec)


def _efficiency(named: pd.DataFrame, look: Look) -> Chart | None:
    known = named[~left_open(named, "efficiency")]
    rows = known.drop_duplicates(["line", "seed", "k"])
    if rows.empty:
        return None
    ends = {"low": "efficiency_lo90", "high": "efficiency_hi90"}
    rows = rows.assign(**{name: rows.get(of, np.nan) for name, of in ends.items()})
    rows = rows[["line", "seed", "k", "efficiency", "low", "high"]]
    # Intervals that reach 0 or have no end are no intervals on an axis of logarithms.
    bare = ~(np.isfinite(rows["high"]) & (rows["low"] > 0))
    rows = rows.assign(low=rows["low"].mask(bare), high=rows["high"].mask(bare))
    look = {EXACT: (BLACK, DASHES[0]), **look}
    title = "Efficiency K by the length of an example"
    by_k = rows[rows["line"] != EXACT].groupby("k")["efficiency"].mean()
    says = "Means of the models: " + ", ".join(f"{v:.2g} at k = {k}" for k, v in by_k.items()) + "."
    spec = intervals_chart(
        rows.rename(columns={"efficiency": "K"}), look, f"{title}: {says}", x=("k", "tokens in an example, k"),
        y=("K", "efficiency K"), log=True, told=("seed",),
    )  # fmt: skip
    return Chart(title, says, spec)


def suppressed(frame: pd.DataFrame, favoured: int) -> list[Chart]:
    """A chart for each method and example length: the favoured task and the mean of the others, by amount of fine-tuning."""
    final = final_steps(frame[frame["learner"] == "gpt2"])
    final = final.assign(part=np.where(final["source"] == favoured, "favoured", "others"))
    final["line"] = ["before" if a == 0 else f"{a:,} documents" for a in final["amount"]]
    means = final.groupby(["method", "k", "amount", "line", "part", "shots"])["prob"].mean().reset_index()
    amounts = [name for name in dict.fromkeys(means.sort_values("amount")["line"]) if name != "before"]
    look: dict = {"before": (BLACK, DASHES[0])}
    look |= {name: (RAMP[i % len(RAMP)], DASHES[0]) for i, name in enumerate(amounts)}
    domain = _domain(means["prob"])
    found = []
    methods = list(dict.fromkeys(final["method"]))
    for method, k in itertools.product(methods, sorted(means["k"].unique())):
        part = means[(means["method"] == method) & (means["k"] == k)]
        zero = part[(part["shots"] == 0) & (part["part"] == "others")].set_index("amount")["prob"]
        title = f"{str(method).upper()}, examples of {k} tokens"
        says = f"Without shots the others go from {zero.loc[0]:.2f} to {zero.iloc[-1]:.2f} after {zero.index[-1]:,} documents."
        rows = thinned(part[["line", "part", "shots", "prob"]], ["line", "part"])
        spec = lines_chart(rows, look, f"{title}: {says}", domain=domain, faint="favoured")
        found.append(Chart(title, says, spec))
    return found


def bands(frame: pd.DataFrame, table: pd.DataFrame, forecast: pd.DataFrame) -> list[Chart]:
    """For each method and example length a suppressed task whose return was still to come, after the most documents: the curve
    as it was forecast from its first shots, over what was measured.

    Args:
      frame: curves of the run.
      table: of `suppression.forecast_with_bands`, the bands.
      forecast: the returns, of the same function.
    """
    final = final_steps(frame[frame["learner"] == "gpt2"])
    late = ahead(forecast).sort_values("amount", ascending=False, kind="stable")
    late = late.iloc[
        np.argsort(late["share"] != 0.5, kind="stable")
    ]  # half of the way back, where that was to come
    found = {}
    for (method, k), rows in late.groupby(["method", "k"], sort=False):
        row = rows.iloc[0]
        same = [*FAMILY, "amount", "source"]
        curve = final[(final[same] == row[same]).all(axis=1)].sort_values("shots")
        band = table[(table[[*same, "window"]] == row[[*same, "window"]]).all(axis=1)]
        if curve.empty or band.empty:
            continue
        curves = curves_from_frame(curve, group_by=same[:-1], source="source")
        title = f"{str(method).upper()}, examples of {k} tokens, task {row['source']} after {row['amount']:,} documents"
        way = f"At {100 * row['level']:.0f} % ({100 * row['share']:.0f} % of the way back)"
        middle, low, high = (shots_said(row[name]) for name in ("predicted", "lo90", "hi90"))
        says = f"{way} after {shots_said(row['observed'])} shots; forecast {middle} (90 %: {low} to {high})."
        used = curves.shots <= row["seen"]
        spec = band_chart(curves, used, band, 0, row["level"], f"{title}: {says}")
        found[method, k] = Chart(title, says, spec)
    methods = list(dict.fromkeys(final["method"]))
    return [found[at] for at in sorted(found, key=lambda at: (methods.index(at[0]), at[1]))]


def returns(forecast: pd.DataFrame) -> list[Chart]:
    """Returns beside their forecasts."""
    mine = ahead(forecast)
    if mine.empty:
        return []
    what = [
        f"k = {k}, task {s}, {a:,} documents, {100 * share:.0f} % of the way back"
        for k, s, a, share in zip(mine["k"], mine["source"], mine["amount"], mine["share"], strict=True)
    ]
    rows = mine[["observed", "predicted", "lo90", "hi90"]].assign(line=mine["method"].str.upper(), what=what)
    title = f"Forecast from the first {100 * mine['window'].iloc[0]:g} % of the shots"
    says = f"{len(mine)} returns, {int(mine['covered'].sum())} of them within their 90 % interval."
    look = {name: (COLOURS[i], DASHES[0]) for i, name in enumerate(dict.fromkeys(rows["line"]))}
    return [Chart(title, says, returns_chart(rows, look, f"{title}: {says}"))]
