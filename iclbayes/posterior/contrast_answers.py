"""What moved between two conditions, in sentences."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..fit_blocks import NOT_DETERMINED
from .answers import apart, share_text
from .identification import WIDEST

MEANING = {
    "prior": "how likely the task is before any example",
    "efficiency": "how much one example counts",
    "spread": "how unequal examples are",
    "gamma": "probability once the task is recognised",
    "beta": "probability while it is not",
}


def number_text(value: float, finer: int = 0) -> str:
    """A factor in two or three digits: 0.45, 1.02, 1.3, 12, 340, 1,200. `finer`: digits more than that."""
    if finer:
        return f"{value:.{3 + finer}g}" if value < 999.5 else f"{value:,.{finer}f}"
    if 0.095 < value < 1.095:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 99.5 else f"{value:,.0f}"


def number_apart(quantiles: Sequence[float]) -> tuple[str, str]:
    """`apart` of factors: median, low, high."""
    return apart(number_text, quantiles, "within one thousandth of it")


def factor_text(shift: float) -> str:
    """A shift of ln or logit as a factor in words: "3.2 times higher", "12 times lower"."""
    return f"{number_text(np.exp(abs(shift)))} times {'higher' if shift > 0 else 'lower'}"


def shift_text(row: pd.Series) -> str:
    """How far a parameter moved: "odds 12 times lower (90 %: 10 to 15 times), from 0.4 to 0.05"."""
    low, high = row["lo90"], row["hi90"]
    if low > 0 or high < 0:
        ends = sorted((abs(low), abs(high)))
        interval = number_apart([float(np.exp(x)) for x in (abs(row["shift"]), *ends)])[1] + " times"
    else:
        interval = f"{factor_text(low)} to {factor_text(high)}"
    what = "" if row["parameter"] in ("efficiency", "spread") else "odds "
    values = f"from {row['value_before']:.2g} to {row['value_after']:.2g}"
    return f"{what}{factor_text(row['shift'])} (90 %: {interval}), {values}"


def contrast_sentences(
    table: pd.DataFrame, times: pd.DataFrame, reached: Sequence[tuple[str, str]], tolerance: float
) -> list[str]:
    """Some lines for each pair of curves: which parameters moved, which did not, which cannot be told, how many times the shots.

    Args:
      table: of `contrasts.contrast`; `times`: of `times_table`, the same pairs.
      reached: for each row of `times`, the two lines of `answers.reach_sentences`.
      tolerance: with which the table was made.
    """
    rest = list(times.columns[: list(times.columns).index("before")])
    many = times["source"].nunique() > 1
    lines = []
    for (_, pair), both in zip(times.iterrows(), reached, strict=True):
        mine = table[(table["before"] == pair["before"]) & (table["after"] == pair["after"])]
        for name in rest:
            mine = mine[mine[name] == pair[name]]
        looked_at = int(mine["p_value"].notna().sum())
        mine = mine[(mine["source"] == pair["source"]) | (mine["source"] == "")]
        told = [f"{name} {pair[name]}" for name in rest if name != "source"]
        told += [f"{pair['source']}"] if many or "source" in rest else []
        lines.append("\n" + ", ".join([f"{pair['before']} → {pair['after']}", *told]))
        lines += [f"  {line}" for line in _verdicts(mine, pair, tolerance, looked_at)]
        lines += [f"  {line}" for line in (*both, *times_sentence(pair))]
    return lines


def _verdicts(rows: pd.DataFrame, pair: pd.Series, tolerance: float, looked_at: int) -> list[str]:
    """The lines on parameters; `looked_at` is for how many p-values, those of other sources among them, they are corrected."""
    where = {"before": f" in {pair['before']}", "after": f" in {pair['after']}", "both": ""}
    vague = rows[rows["undetermined"] != ""]
    clear = rows[rows["undetermined"] == ""]
    lines = [
        f"moved: {row['parameter']}, {shift_text(row)}"
        for _, row in clear[clear["moved"].isin(["up", "down"])].iterrows()
    ]
    same = list(clear.loc[clear["moved"] == "same", "parameter"])
    if same:
        lines.append(f"the same within a factor of {np.exp(tolerance):.2f}: {', '.join(same)}")
    open_ones = clear[clear["moved"] == "unclear"]
    apart = (open_ones["lo90"] > 0) | (open_ones["hi90"] < 0)
    lines += [
        f"perhaps moved (p = {row['p_value']:.2g}, corrected for looking at {looked_at} parameters): {row['parameter']}, "
        f"{shift_text(row)}"
        for _, row in open_ones[apart].iterrows()
    ]
    lines += [
        f"unclear whether it moved: {row['parameter']}, {shift_text(row)}"
        for _, row in open_ones[~apart].iterrows()
    ]
    if len(vague):
        names = [f"{row['parameter']}{where[row['undetermined']]}" for _, row in vague.iterrows()]
        lines.append(f"{NOT_DETERMINED}: {', '.join(names)}")
    return lines


def times_sentence(pair: pd.Series) -> list[str]:
    """How many times as many shots, in a line, where that can be said."""
    level, before, after = f"{100 * pair['level']:g} %", pair["before"], pair["after"]
    middle, low, high = pair["times"], pair["lo90"], pair["hi90"]
    more = f"{after} takes more shots than {before} to {level} with a probability of {share_text(pair['p_more'])}"
    if np.isnan(middle):
        never = [pair["p_never_before"], pair["p_never_after"]]
        return [] if min(never) > 0.95 or max(never) < 0.05 else [more]
    if np.isinf(middle):
        within = f"within {pair['horizon']:,.0f} shots"
        sure = f"{share_text(pair['p_never_after'])} sure"
        return [f"{before} gets to {level}; {after} does not {within} ({sure})"]
    if np.isinf(high):
        ends = f"90 %: {number_text(low)} times to never"
    elif np.log(high / low) > WIDEST:
        return [f"how many times as many shots {after} takes to {level} is {NOT_DETERMINED}; {more}"]
    else:
        count, ends = number_apart((middle, low, high))
        return [f"to {level}, {after} takes {count} times as many shots as {before} (90 %: {ends})"]
    return [f"to {level}, {after} takes {number_text(middle)} times as many shots as {before} ({ends})"]
