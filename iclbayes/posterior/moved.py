"""How many times as many shots it takes to a level in one condition as in another, by posteriors."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..contrasts import common_sources, horizons, paired_groups
from ..curves import Curves
from .result import Posterior

Pairs = Sequence[tuple[str, str]]


def curve_pairs(
    curves: Curves, pairs: Pairs, column: str = "model"
) -> list[tuple[int, int, tuple[str, str]]]:
    """Numbers of the two curves, and the names of the conditions, for every pair of groups and source that both have."""

    def number(group: int, source: object) -> int:
        return int(np.flatnonzero((curves.group == group) & (curves.source == source))[0])

    return [
        (number(a, source), number(b, source), names)
        for a, b, names in paired_groups(curves, pairs, column)
        for source in common_sources(curves, a, b)
    ]


def times_table(one: Posterior, pairs: Pairs, level: float, *, column: str = "model") -> pd.DataFrame:
    """How many times as many shots it takes to be at a level after than before.

    Returns:
      A row per entry of `curve_pairs`: columns that both share, before, after, source, level; times, lo90, hi90 (quantiles of the
      ratio of shots, inf for never), NaN where in more than 5 % of the draws there is no ratio: one of them is at the level
      without any example, or the first never within `horizon` shots; p_never_before, p_never_after; p_more, the probability that
      it takes more shots after (of the draws where only one is never, that one takes more; ties count half).
    """
    curves = one.curves
    shots = one.shots_to_reach(level)[:, curves.group, curves.rank()]
    limits = horizons(curves)
    rest = [name for name in map(str, curves.keys) if name != column]
    rows = []
    for a, b, (before, after) in curve_pairs(curves, pairs, column):
        x, y = shots[:, a], shots[:, b]
        times = ratio_quantiles(x, y)
        rows.append(
            {name: curves.keys[name].iloc[curves.group[b]] for name in rest}
            | {"before": before, "after": after, "source": curves.source[b], "level": level}
            | dict(zip(("times", "lo90", "hi90"), times, strict=True))
            | {"p_never_before": np.isinf(x).mean(), "p_never_after": np.isinf(y).mean()}
            | {"p_more": (y > x).mean() + 0.5 * (y == x).mean(), "horizon": min(limits[a], limits[b])}
        )
    return pd.DataFrame(rows)


def ratio_quantiles(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Median and ends of the 90 % interval of after / before, draws [S] each; NaN where over 5 % of the draws have no ratio."""
    known = np.isfinite(before) & (before > 0) & (after > 0)
    if known.mean() < 0.95:
        return np.nan, np.nan, np.nan
    ratio = after[known] / before[known]
    middle, low, high = np.quantile(ratio, [0.5, 0.05, 0.95], method="inverted_cdf")
    return float(middle), float(low), float(high)
