"""What moved between two conditions, by posteriors: parameters where the data determine them, and shots to a level."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..contrasts import common_sources, contrast, horizons, paired_groups, source_params, unconstrained
from ..contrasts import parameter_table as parameters_of_draws
from ..curves import Curves
from .model.latent import prior_draws
from .result import Posterior
from .seeds import stream

# A parameter is determined where its 90 % interval spans less than a factor of 100 (of K, or of odds), and the data took away
# three quarters of the variance that the prior gives it, half of its standard deviation, as for forecasts.
WIDEST = np.log(100.0)
PRIOR_DOMINATED = 0.5

Pairs = Sequence[tuple[str, str]]


def under_prior(one: Posterior) -> Posterior:
    """The same with as many draws of the prior instead, before any data."""
    blocks = []
    for block in one.blocks:
        chains, draws = block.theta.shape[1:3]
        theta = prior_draws(
            block.spec, block.units.data.shots.shape[1], chains * draws, stream(one.seed, "prior")
        )
        theta = np.broadcast_to(theta.reshape(1, chains, draws, -1), block.theta.shape)
        blocks.append(dataclasses.replace(block, theta=theta))
    return dataclasses.replace(one, blocks=tuple(blocks))


def undetermined(one: Posterior) -> dict[str, np.ndarray]:
    """By parameter, whether the data leave it open: [G], or [G, J] of what each source has.

    A parameter is open if, on the scale ln K or logit, its 90 % interval is wider than ln 100 or its standard deviation above
    half of the prior's, for then the prior says more than the data.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    prior = source_params(under_prior(one))
    found = {}
    for name, value in source_params(one).items():
        after, before = unconstrained(name, value), unconstrained(name, prior[name])
        low, high = np.quantile(after, [0.05, 0.95], axis=0)
        found[name] = (high - low > WIDEST) | (after.std(0) > PRIOR_DOMINATED * before.std(0))
    return found


def parameter_table(one: Posterior) -> pd.DataFrame:
    """`contrasts.parameter_table` of a posterior: a row per curve and parameter, with what the data do not determine.

    Returns:
      Group columns, source ("" for what a group has once), parameter, median, lo90, hi90, undetermined (True where the data leave
      it open, see `undetermined`).

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    curves = one.curves
    vague = [
        value if value.ndim == 1 else value[curves.group, curves.rank()]
        for value in undetermined(one).values()
    ]
    return parameters_of_draws(one).assign(undetermined=np.concatenate(vague))


def moved_table(
    one: Posterior, pairs: Pairs, *, column: str = "model", tolerance: float = 0.3
) -> pd.DataFrame:
    """`contrasts.contrast` of a posterior, without numbers for what the data do not determine (column `undetermined`)."""
    return contrast(one, pairs, column=column, tolerance=tolerance, unknown=undetermined(one))


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
