"""What posteriors say, in sentences for people who read no tables: shots to a level, forecasts, diagnostics."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..curves import Curves, curve_labels


def shots_text(shots: float, finer: int = 0) -> str:
    """A number of shots as people say it: 93, 1,192, 2.4; "never" for inf. `finer`: decimals more than that."""
    if np.isinf(shots):
        return "never"
    if finer:
        return f"{shots:,.{finer if shots >= 9.95 else finer + 1}f}"
    return f"{shots:,.0f}" if shots >= 9.95 or shots == round(shots) else f"{shots:.1f}"


def share_text(probability: float, finer: int = 0) -> str:
    """A probability as a percentage: 0 %, below 1 %, 34 %, above 99 %, 100 %. `finer`: decimals of it."""
    if finer:
        return f"{100 * probability:.{finer}f} %"
    if 0 < probability < 0.01:
        return "below 1 %"
    if 0.99 < probability < 1:
        return "above 99 %"
    return f"{100 * probability:.0f} %"


def apart(text: Callable[[float, int], str], quantiles: Sequence[float], narrow: str) -> tuple[str, str]:
    """A number and its interval in words, in as many decimals (two more at most) as it takes for the interval to be no point.

    Args:
      text: a number and how many decimals more than usual → its words.
      quantiles: the number, and the ends of its interval.
      narrow: what is said of an interval that is a point even so.

    Returns:
      (the number, "low to high").
    """
    for finer in range(3):
        middle, low, high = (text(value, finer) for value in quantiles)
        if low != high:
            return middle, f"{low} to {high}"
    return text(quantiles[0], 0), narrow


def shots_apart(quantiles: Sequence[float]) -> tuple[str, str]:
    """`apart` of numbers of shots: median, low, high."""
    return apart(shots_text, quantiles, "within one shot")


def share_apart(quantiles: Sequence[float]) -> tuple[str, str]:
    """`apart` of probabilities: median, low, high."""
    return apart(share_text, quantiles, "within one point")


def seen(curves: Curves, used: np.ndarray) -> tuple[np.ndarray, str]:
    """([C] largest number of shots in each curve among the points used [N], the word for it: measured or fitted)."""
    part = curves.with_weight(used.astype(float))
    top = np.zeros(curves.n_curves)
    np.maximum.at(top, part.point_curve()[used], part.shots[used])
    return top, "measured" if used.all() else "fitted"


def upto_text(word: str, top: float) -> str:
    """Up to where a curve was measured or fitted (`word`)."""
    return f"{word} up to {shots_text(top)}" if top > 0 else f"{word} without examples only"


def reach_sentences(
    curves: Curves, used: np.ndarray, reached: pd.DataFrame, ahead: pd.DataFrame | None = None
) -> list[str]:
    """A line for each curve on the shots to a level.

    Args:
      curves, used: whose posteriors these are, and the mask [N] of the points that were used.
      reached: of `Posterior.reach_table`, a row per curve.
      ahead: of `Posterior.forecast`, from which it is told where the answer is more the prior's than the data's.
    """
    top, word = seen(curves, used)
    parts = None if ahead is None else by_curve(curves, ahead)
    lines = []
    for number, (label, (_, row)) in enumerate(zip(curve_labels(curves), reached.iterrows(), strict=True)):
        level = f"{100 * row['level']:g} %"
        low, middle, high = (float(row[q]) for q in ("q05", "q50", "q95"))
        if np.isnan(middle):
            lines.append(f"{label}: nothing can be said of {level}")
            continue
        window = float(curves.window[number])
        within = f"within {row['horizon']:,.0f} shots" + (
            " (the context window)" if row["horizon"] == window else ""
        )
        never = f"; never {within}: {share_text(row['p_never'])}"
        if np.isinf(low):
            said, never = f"{level} not reached {within} ({share_text(row['p_never'])} sure)", ""
        elif np.isinf(middle):
            said = f"{level} more likely not reached {within} than reached"
            said += f"; if it is, after {shots_text(low)} shots or more" if low > 0 else ""
        elif high == 0:
            said = f"at {level} without any example"
        elif middle == 0:
            said = f"as likely as not at {level} without any example (90 %: 0 to {shots_text(high)})"
        else:
            count, ends = shots_apart((middle, low, high))
            said = f"{level} after {count} shots (90 %: {ends})"
        line = f"{label}: {said}{never}"
        notes = [upto_text(word, top[number])] if high > top[number] else []
        if parts is not None and _dominated(parts[number], middle):
            notes.append("the prior says more here than the data")
        lines.append(line + "".join(f"; {note}" for note in notes))
    return lines


def forecast_sentences(
    curves: Curves, used: np.ndarray, ahead: pd.DataFrame, shots: Sequence[float]
) -> list[str]:
    """A line for each curve and number of shots asked for, from `Posterior.forecast` at a common grid that holds them."""
    top, word = seen(curves, used)
    lines = []
    for number, (label, rows) in enumerate(zip(curve_labels(curves), by_curve(curves, ahead), strict=True)):
        for n in shots:
            if n > curves.window[number]:
                beyond = f"{shots_text(curves.window[number])} shots fit the context window"
                lines.append(f"{label}: no forecast at {shots_text(n)} shots: only {beyond}")
                continue
            lines.append(f"{label}: {forecast_text(rows[rows['shots'] == n].iloc[0], top[number], word)}")
    return lines


def forecast_text(row: pd.Series, top: float, word: str) -> str:
    """What a row of a forecast expects, of a curve that was measured or fitted (`word`) up to `top` shots."""
    middle, ends = share_apart([float(row[f"latent_{name}"]) for name in ("median", "lo90", "hi90")])
    notes = [upto_text(word, top)] if row["shots"] > top else []
    if row["prior_dominated"]:
        notes.append("the prior says more here than the data")
    said = f"at {shots_text(row['shots'])} shots {middle} (90 %: {ends})"
    return said + "".join(f"; {note}" for note in notes)


def diagnostics_sentence(law: str, checks: pd.DataFrame) -> str:
    """One line on whether a law's posteriors can be trusted, and those that cannot by name."""
    counts = checks["method"].value_counts()
    how = {"psis": "importance sampling", "nuts": "NUTS", "laplace": "the normal approximation"}
    by = ", ".join(f"{counts[name]} by {words}" for name, words in how.items() if name in counts)
    bad = checks[~checks["ok"]]
    if bad.empty:
        every = "the posterior passes its" if len(checks) == 1 else f"all {len(checks)} posteriors pass their"
        return f"{law}: {every} diagnostics ({by})"
    known = list(checks.columns[: list(checks.columns).index("method")])
    known = [name for name in known if name != "source" or checks[name].nunique() > 1]
    named = [
        " ".join(str(row[name]) for name in known) + f" ({row['problem']})" if known else row["problem"]
        for _, row in bad.head(6).iterrows()
    ]
    more = f" and {len(bad) - 6} more" if len(bad) > 6 else ""
    every = (
        "the posterior fails its"
        if len(checks) == 1
        else f"{len(bad)} of {len(checks)} posteriors fail their"
    )
    return f"{law}: {every} diagnostics ({by}): {'; '.join(named)}{more}"


def by_curve(curves: Curves, ahead: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each curve in a forecast at a common grid, whose rows go curve by curve, each up to the curve's window."""
    ends = np.cumsum(np.searchsorted(np.unique(ahead["shots"]), curves.window, side="right"))
    return [ahead.iloc[a:b] for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True)]


def _dominated(rows: pd.DataFrame, shots: float) -> bool:
    at = np.abs(np.log1p(rows["shots"]) - np.log1p(min(shots, rows["shots"].max()))).to_numpy().argmin()
    return bool(rows["prior_dominated"].iloc[at])
