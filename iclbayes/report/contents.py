"""What a report on curves says, before it is a page: sentences, tables and charts from curves and posteriors."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..comparison import verdict
from ..curves import Curves, curve_labels
from ..posterior import Posterior, Stack, diagnostics_sentence, reach_sentences
from ..posterior.answers import (
    by_curve,
    forecast_text,
    seen,
    share_apart,
    share_text,
    shots_apart,
    shots_text,
)
from ..shapes import not_described
from .charts import band_chart, bands_hint
from .comparisons import means_of
from .parts import Chart, Report, Section, Table, some


def report_of(
    stacked: Stack,
    level: float,
    *,
    title: str,
    shots: np.ndarray,
    comparison: pd.DataFrame | None = None,
    contrast: Sequence[str] = (),
    about: Mapping[str, str] | None = None,
) -> Report:
    """A report on how many shots it takes to reach a level.

    Args:
      stacked: posteriors of one law or several for the same curves.
      level: the probability that is asked about.
      title: of the page.
      shots: [n] at which curves are forecast, ascending, from 0 to the horizon of the charts.
      comparison: of `iclbayes.compare`, or None.
      contrast: sentences on what differs between two conditions.
      about: provenance, name → text.
    """
    first = stacked.posteriors[0]
    curves, used = first.curves, first.used
    best: Posterior | Stack = stacked if len(stacked.posteriors) > 1 else first
    name = first.law.name
    if len(stacked.posteriors) > 1:
        parts = zip(stacked.posteriors, stacked.weights, strict=True)
        name = "the weighted average of " + ", ".join(f"{one.law.name} ({w:.0%})" for one, w in parts)
    ahead = best.forecast(shots)
    reached = best.reach_table(level)
    rows = by_curve(curves, ahead)
    labels = curve_labels(curves)
    top, word = seen(curves, used)
    charts = []
    for c, (label, own) in enumerate(zip(labels, rows, strict=True)):
        says = forecast_text(own.iloc[-1], top[c], word)
        charts.append(Chart(label, says, band_chart(curves, used, own, c, level, f"{label}: {says}")))
    tables = [
        _reach(curves, used, labels, reached),
        _ahead(curves, used, labels, rows),
        _measured(curves, used, labels),
    ]
    if comparison is not None:
        tables.append(means_of(comparison))
    return Report(
        title=title,
        question=f"After how many examples in the prompt (shots) does the probability reach {share_text(level)}, and how sure is"
        f" that? Forecast by {name}.",
        verdict=reach_sentences(curves, used, reached, ahead),
        caveats=_caveats(stacked, curves, rows),
        sections=[
            Section("Curves and forecasts", hint=bands_hint("held out"), charts=charts),
            *([Section("What differs", contrast)] if contrast else []),
            *(
                []
                if comparison is None
                else [Section("Which law describes them", verdict(comparison), plain=True)]
            ),
            Section("Numbers", tables=tables),
        ],
        about=about or {},
    )


def _caveats(stacked: Stack, curves: Curves, rows: Sequence[pd.DataFrame]) -> list[str]:
    found = []
    for one in stacked.posteriors:
        checks = one.diagnostics()
        if not checks["ok"].all():
            found.append(
                diagnostics_sentence(one.law.name, checks)
                + ". Such numbers are less sure than they look. (k-hat says how badly"
                " draws had to be reweighted: up to 0.7 is well.)"
            )
    odd = not_described(curves)
    if len(odd):
        shapes = ", ".join(f"{shape}: {n}" for shape, n in odd["shape"].value_counts().items())
        found.append(
            f"No law here describes {len(odd)} of the {curves.n_curves} curves ({shapes}); their forecasts mean little."
        )
    labels = curve_labels(curves)
    prior = [label for label, own in zip(labels, rows, strict=True) if own["prior_dominated"].iloc[-1]]
    if prior:
        found.append(
            f"At the end of the charts the prior says more than the data about {some(prior)};"
            " measure at more shots to know more."
        )
    ended = [label for label, window in zip(labels, curves.window, strict=True) if np.isfinite(window)]
    if ended:
        found.append(f"Forecasts end where the context window does for {some(ended)}.")
    return found


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else share_text(value)


def _reach(curves: Curves, used: np.ndarray, labels: Sequence[str], reached: pd.DataFrame) -> Table:
    top, word = seen(curves, used)
    level = share_text(float(reached["level"].iloc[0]))
    rows = []
    for label, last, (_, row) in zip(labels, top, reached.iterrows(), strict=True):
        known = not row[["q05", "q50", "q95"]].isna().any()
        said = shots_apart([float(row[q]) for q in ("q50", "q05", "q95")]) if known else ("–", "–")
        horizon = f"{row['horizon']:,.0f}"
        rows.append((label, *said, _percent(row["p_never"]), horizon, shots_text(last)))
    columns = ("curve", "shots (median)", "90 % interval", "P(never)", "never means within", f"{word} up to")
    return Table(f"Shots to reach {level}", columns, tuple(rows))


def _ahead(curves: Curves, used: np.ndarray, labels: Sequence[str], rows: Sequence[pd.DataFrame]) -> Table:
    top, word = seen(curves, used)
    table = []
    for label, last, own in zip(labels, top, rows, strict=True):
        at = own["shots"].to_numpy(float)
        wanted = [0.0, last, 2 * last, 4 * last]
        for i in sorted({int(np.abs(np.log1p(at) - np.log1p(n)).argmin()) for n in wanted}):
            row = own.iloc[i]
            middle, ends = share_apart([float(row[f"latent_{q}"]) for q in ("median", "lo90", "hi90")])
            note = (
                "prior-dominated"
                if row["prior_dominated"]
                else f"beyond what was {word}"
                if at[i] > last
                else ""
            )
            table.append((label, shots_text(at[i]), middle, ends, note))
    return Table("Expected probability", ("curve", "shots", "median", "90 % interval", "note"), tuple(table))


def _measured(curves: Curves, used: np.ndarray, labels: Sequence[str]) -> Table:
    point = curves.point_curve()
    rows = []
    for i, c in enumerate(point):
        counted = np.isfinite(curves.n_test[i])
        count = f"{curves.n_correct[i]:,.0f} of {curves.n_test[i]:,.0f}" if counted else "–"
        error = "–" if np.isnan(curves.stderr[i]) else f"{curves.stderr[i]:.4f}"
        what = "fitted" if used[i] else "held out"
        rows.append((labels[c], f"{curves.shots[i]:,.0f}", f"{curves.prob[i]:.4f}", count, error, what))
    columns = ("curve", "shots", "probability", "count", "standard error", "point")
    return Table("As measured", columns, tuple(rows))
