"""Comparing laws on the same curves: the table of errors, its means, paired t-tests, Markdown and LaTeX."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pandas as pd
from scipy import stats

from .curves import Curves
from .errors import InputError, check_fraction
from .fits import Fits, fit
from .grouping import check_points
from .laws import SIX, Law, get
from .metrics import score
from .runtime import cores
from .shapes import FEW

METRICS = ("nrmse", "rmse", "nrmse_nll")
SURE = 0.05  # p-values above this do not tell two laws apart
FORMATS = {"markdown": "github", "latex": "latex_booktabs", "plain": "simple"}


def compare(
    curves: Curves,
    laws: Sequence[str | Law] = SIX,
    fractions: Sequence[float] = (1.0,),
    *,
    on_done: Callable[[int], None] = lambda n: None,
    on_fits: Callable[[Fits], None] = lambda fits: None,
    **options: Any,
) -> pd.DataFrame:
    """Fits every law at every fraction and scores it.

    At fraction 1 a law is fitted on all points and evaluated on them (interpolation); at f < 1 it is fitted on
    shots ≤ f × the curve's largest number of shots and evaluated on the rest (extrapolation). All fractions of a law are
    fitted in one batch.

    Args:
      curves: the curves.
      laws: names or laws; default the six of the paper.
      fractions: each in (0, 1].
      on_done: called with the number of fits after each finished chunk.
      on_fits: called with the fits of each law to the curves at the first fraction, the second, … one after the other.
      **options: of `iclbayes.fit`.

    Returns:
      A row per law, fraction, group and source, with the columns
      `law, fraction, <group columns>, source, nrmse, rmse, nrmse_nll, n_fit, n_eval`.

    Raises:
      InputError: an unknown law, a fraction outside (0, 1], a group with no point to fit at a fraction.

    A curve with a plateau before it rises is extrapolated by a logistic law, not by a power law:

    >>> shots = np.arange(32)
    >>> curves = Curves.from_arrays(shots, np.exp(-2 / (1 + ((shots + 1) / 8) ** 2) - 0.1)[None])
    >>> table = compare(curves, ["logistic", "power"], [0.5])
    >>> table[["law", "n_fit", "n_eval", "nrmse"]].round(2)
            law  n_fit  n_eval  nrmse
    0  logistic     16      16   0.00
    1     power     16      16   0.12
    """
    laws = [get(law) for law in laws]
    fractions = [float(f) for f in fractions]
    for what, values in (("law", [law.name for law in laws]), ("fraction", fractions)):
        if not values:
            raise InputError(f"no {what} to compare; give at least one")
        if len(set(values)) < len(values):
            raise InputError(f"a {what} is given twice: {', '.join(map(str, values))}")
    for f in fractions:
        check_fraction("fraction", f)
    taken = {"law", "fraction", *METRICS, "n_fit", "n_eval"} & set(curves.keys.columns)
    if taken:
        raise InputError(
            f"column {taken.pop()!r} has a meaning of its own in the table: rename it before grouping by it"
        )

    many = curves.repeat(len(fractions))
    inside = np.concatenate([curves.within(f) for f in fractions])
    for i, f in enumerate(fractions):
        rows = slice(i * len(curves.shots), (i + 1) * len(curves.shots))
        check_points(curves.with_weight(np.where(inside[rows], curves.weight, 0.0)), f)
    to_fit = many.with_weight(np.where(inside, many.weight, 0.0))
    n_points = len(curves.shots)
    n_fit = np.bincount(many.point_curve(), (to_fit.weight > 0).astype(float), many.n_curves).astype(int)
    tables = []
    # Compilation runs on one core: let the laws overlap. Hosts, though, must meet in the same order.
    workers = min(cores(), len(laws)) if jax.process_count() == 1 else 1
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda law: fit(to_fit, law, on_done=on_done, **options), laws)
        found = [(fits, fits.predict(many)) for fits in found]
    for law, (fits, predicted) in zip(laws, found, strict=True):
        on_fits(fits)
        for i, f in enumerate(fractions):
            rows = slice(i * n_points, (i + 1) * n_points)
            table = score(curves, predicted[rows], None if f == 1 else ~inside[rows])
            own = slice(i * curves.n_curves, (i + 1) * curves.n_curves)
            table.insert(list(table).index("n_eval"), "n_fit", n_fit[own])
            table.insert(0, "fraction", f)
            table.insert(0, "law", law.name)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def common_curves(table: pd.DataFrame, metric: str = "nrmse") -> dict[float, pd.DataFrame]:
    """For each fraction, the metric of the curves that have a finite one under every law: curves as rows, laws as columns."""
    curve = [c for c in table.columns if c not in {"law", "fraction", *METRICS, "n_fit", "n_eval"}]
    found = {}
    for fraction in np.unique(table["fraction"].to_numpy(float)):
        part = table[table["fraction"] == fraction]
        wide = part.set_index([*curve, "law"])[metric].unstack("law", sort=False)
        found[float(fraction)] = wide[np.isfinite(wide.to_numpy(float)).all(axis=1)]
    return found


def mean_table(table: pd.DataFrame, metric: str = "nrmse") -> pd.DataFrame:
    """Mean of a metric over the curves that every law could be scored on: laws as rows, fractions as columns."""
    means = pd.DataFrame({fraction: wide.mean() for fraction, wide in common_curves(table, metric).items()})
    means.index.name = "law"
    return means.reindex(list(dict.fromkeys(table["law"])))


def paired_tests(table: pd.DataFrame, metric: str = "nrmse") -> pd.DataFrame:
    """Paired t-tests of the best law against each other one, per fraction, over curves (group and source).

    Returns:
      Columns: fraction, law (the lowest mean), versus, difference (mean of law − versus), t, p (two-sided), n (pairs), over the
      curves of `common_curves`. t and p are NaN for fewer than two curves, or if all differences are equal.
    """
    rows = []
    for fraction, wide in common_curves(table, metric).items():
        if wide.empty:
            continue
        means = wide.mean()
        best = means.index[int(means.argmin())]
        for other in wide.columns[wide.columns != best]:
            difference = (wide[best] - wide[other]).to_numpy()
            varied = len(difference) > 1 and np.ptp(difference) > 0
            t, p = stats.ttest_rel(wide[best], wide[other]) if varied else (np.nan, np.nan)
            rows.append((fraction, best, other, difference.mean(), float(t), float(p), len(difference)))
    return pd.DataFrame(rows, columns=["fraction", "law", "versus", "difference", "t", "p", "n"])


def to_text(frame: pd.DataFrame, style: str = "plain", digits: int = 4, index: bool = False) -> str:
    """A data frame as a table in `plain`, `markdown` or `latex` style. Raises InputError for another style."""
    from tabulate import tabulate

    if style not in FORMATS:
        raise InputError(f"unknown table style {style!r}: choose one of {', '.join(FORMATS)}")
    headers = [*([frame.index.name or ""] if index else []), *frame.columns]
    headers = [f"{h:.0%}" if isinstance(h, float) else str(h) for h in headers]
    floats = [f".{digits}f" if pd.api.types.is_float_dtype(frame[c]) else "" for c in frame.columns]
    return tabulate(
        frame.itertuples(index=index, name=None),
        headers=headers,
        tablefmt=FORMATS[style],
        floatfmt=["", *floats] if index else floats,
        missingval="–",
    )


def verdict(table: pd.DataFrame) -> list[str]:
    """What won, a sentence for each fraction: the law of the lowest mean NRMSE, by how much, over how many curves, whether that
    may be chance; and how many of the curves have so few points that every law passes through them."""
    lines = []
    tests = paired_tests(table)
    for fraction, wide in common_curves(table).items():
        what = "Fitted on all shots" if fraction == 1 else f"Fitted on the first {fraction:.0%} of the shots"
        if wide.empty:
            lines.append(f"{what}, no curve can be scored under every law.")
            continue
        means = wide.mean().sort_values(kind="stable")
        n = len(wide)
        of = "the one curve" if n == 1 else f"{n} curves"
        line = f"{what}, {means.index[0]} is nearest to {of} (mean NRMSE {means.iloc[0]:.3f})"
        if len(means) > 1:
            gap = means.iloc[1] - means.iloc[0]
            nearest = int((wide[means.index[0]] < wide[means.index[1]]).sum())
            by = f"by {gap:.3f}" if gap >= 0.0005 else "by less than 0.001"
            line += f", {by} before {means.index[1]}"
            line += f"; it is the nearer of the two on {nearest} of {n}" if n > 1 else ""
            two = tests[(tests["fraction"] == fraction) & (tests["versus"] == means.index[1])]
            if (two["p"] > SURE).any():
                line += f", which may be chance (paired t-test, p = {two['p'].iloc[0]:.2f})"
            if n == 1:
                line += "; one curve cannot tell which law is better in general"
        lines.append(line + ".")
        few = _few(table, fraction)
        if few:
            said = "1 curve has" if few == 1 else f"{few} curves have"
            lines.append(
                f"{said} fewer than {FEW} fitted points: a law can pass through so few, and tells nothing by it."
            )
    return lines


def _few(table: pd.DataFrame, fraction: float) -> int:
    """How many curves were fitted on fewer points than determine any law."""
    part = table[(table["fraction"] == fraction) & (table["law"] == table["law"].iloc[0])]
    return int((part["n_fit"] < FEW).sum())


def p_text(p: float) -> str:
    """A p-value: "< 0.0001" below that, four digits else, "–" where there is none."""
    return "–" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def summary_text(table: pd.DataFrame, style: str = "plain") -> str:
    """What `compare` found, as text: what won, mean NRMSE by law and fraction, over how many curves, and the paired t-tests
    where there are two curves or more.

    Raises:
      InputError: a style that is none of `FORMATS`.
    """
    counts = list(dict.fromkeys(len(wide) for wide in common_curves(table).values()))
    parts = [
        "\n".join(verdict(table)),
        f"Mean NRMSE over {', '.join(map(str, counts))} {'curve' if counts == [1] else 'curves'}, by the share of shots fitted",
        to_text(mean_table(table), style, index=True),
    ]
    tests = paired_tests(table).dropna(subset="p")
    if len(tests):
        parts += [
            "Paired t-tests of NRMSE over curves, best law against each other one",
            to_text(tests.assign(p=[p_text(p) for p in tests["p"]]), style),
        ]
    return "\n\n".join(parts)
