"""Reading curve files: long-format CSV or Parquet, checked row by row."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .curves import Curves
from .errors import CurvesWarning, InputError

VALUE_COLUMNS = ("prob", "n_correct", "accuracy", "nll")


def read_curves(
    path: str | os.PathLike,
    *,
    group_by: str | Sequence[str] = (),
    source: str | None = None,
    value: str | None = None,
) -> Curves:
    """Reads ICL curves from a long-format file.

    Columns: `shots`; one of `prob`, the pair `n_correct` and `n_test`, `accuracy` (with `n_test` it becomes counts), or
    `nll` (nats; prob = exp(−nll)); optionally `stderr` (of the probability) and `weight`. Where several values are there,
    the first in this order is used unless `value` names one. Rows that repeat the same group, source and shots are averaged
    with their weights: the column `weight`, else `n_test` of counts, else 1/stderr², else equal weights; their standard error
    comes from `stderr`, else from how far they differ (unknown where they agree).

    Args:
      path: a `.csv` (also `.csv.gz`) or `.parquet` file.
      group_by: columns whose values define the groups; the curves of one group share a prior and an efficiency.
      source: column that names the source of each curve; without it every group has one curve.
      value: which of the value columns to use.

    Returns:
      `Curves`; each distinct point has weight 1, or the sum of the column `weight`.

    Warns:
      CurvesWarning: a column `source` that was not named, so that the curves of several sources are averaged.

    Raises:
      InputError: naming the file, the column and the first bad row (the header is row 1).

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "curves.csv")
    >>> lines = ["model,shots,n_correct,n_test", "small,0,10,50", "small,4,30,50", "large,0,20,50", "large,4,45,50"]
    >>> _ = file.write_text("\\n".join(lines))
    >>> curves = read_curves(file, group_by="model")
    >>> curves
    Curves(2 groups by model; 2 curves, 4 points)
    >>> curves.prob
    array([0.2, 0.6, 0.4, 0.9])
    """
    path = Path(path)
    return curves_from_frame(read_table(path), group_by=group_by, source=source, value=value, name=str(path))


def read_table(path: Path) -> pd.DataFrame:
    """The file as a data frame. Raises InputError if it cannot be read or has no rows."""
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of a CSV or Parquet file of curves")
    try:
        frame = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            # Read piece by piece, a column's type could change on the way.
            else pd.read_csv(path, float_precision="round_trip", low_memory=False)
        )
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file is empty; it needs a header and at least one row") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be read as {path.suffix or 'CSV'}: {reason}") from None
    if frame.empty:
        raise InputError(f"{path}: no rows after the header; it needs at least one")
    return frame


def curves_from_frame(
    frame: pd.DataFrame,
    *,
    group_by: str | Sequence[str] = (),
    source: str | None = None,
    value: str | None = None,
    name: str = "data frame",
    first_row: int = 2,
) -> Curves:
    """`Curves` from a long-format data frame; see `read_curves`, whose checks and averaging these are.

    `name` and `first_row` (row 1 is a CSV file's header) say in messages where a mistake stands.
    """
    frame = frame.set_axis(pd.RangeIndex(first_row, first_row + len(frame)), axis=0)
    group_by = [group_by] if isinstance(group_by, str) else list(group_by)
    if len(frame) == 0:
        raise InputError(f"{name}: no rows; it needs at least one")
    _require(frame, ["shots", *group_by, *([source] if source else [])], name)
    if source in group_by:
        raise InputError(f"{name}: column {source!r} is both the source and grouped by; name it once")
    if source and "source" in group_by:
        raise InputError(
            f"{name}: grouped by a column 'source' while {source!r} is the source; give one of them another name"
        )
    if len(set(group_by)) != len(group_by):
        raise InputError(f"{name}: a column is named twice in group_by: {', '.join(group_by)}")
    labels = [*group_by, *([source] if source else [])]
    for column in labels:
        _check(frame, column, frame[column].notna().to_numpy(), "is empty; fill it in or drop the row", name)

    _warn_of_source(frame, labels, name)

    shots = _number(frame, "shots", name)
    _check(
        frame, "shots", (shots >= 0) & (shots == np.round(shots)), "is not a whole number of shots ≥ 0", name
    )
    prob, n_correct, n_test = _values(frame, value, name)
    stderr = np.full(len(frame), np.nan)
    if "stderr" in frame:
        stderr = _number(frame, "stderr", name, missing=True)
        _check(frame, "stderr", ~(stderr < 0), "is negative; a standard error is ≥ 0", name)
    weight = None
    if "weight" in frame:
        weight = _number(frame, "weight", name)
        _check(frame, "weight", weight >= 0, "is negative; a weight is ≥ 0", name)

    group, keys = _codes(frame, group_by)
    label, labels = (_codes(frame, [source])) if source else (np.zeros(len(frame), int), None)
    order = np.lexsort((shots, label, group))
    g, s, x = group[order], label[order], shots[order]
    new_curve = np.r_[True, (np.diff(g) != 0) | (np.diff(s) != 0)]
    new_point = new_curve | np.r_[True, np.diff(x) != 0]
    first = np.flatnonzero(new_point)

    def total(a):
        return np.add.reduceat(a[order], first)

    # Weights for averaging repeated rows.
    if weight is not None:
        share = weight
    elif not np.isnan(n_test).any():
        share = n_test
    elif np.isfinite(stderr).all() and (stderr > 0).all():
        share = stderr**-2.0
    else:
        share = np.ones(len(frame))
    repeats = total(np.ones(len(frame)))
    mass = total(share)
    safe = np.where(mass > 0, mass, 1.0)
    mean = np.where(mass > 0, total(share * prob) / safe, total(prob) / repeats)
    mean = np.where(repeats == 1, prob[order][first], mean)  # exactly, not up to rounding
    spread = (
        total(share * (prob - mean[np.cumsum(new_point) - 1][np.argsort(order, kind="stable")]) ** 2) / safe
    )
    known = total(np.isfinite(stderr) * 1.0) == repeats
    combined = np.sqrt(total(share**2 * np.nan_to_num(stderr) ** 2)) / safe
    between = np.sqrt(spread / np.maximum(repeats - 1, 1))
    values = prob[order]  # a single row, or rows that agree, tell nothing of the error
    between[np.maximum.reduceat(values, first) == np.minimum.reduceat(values, first)] = np.nan
    stderr = np.where(known, combined, between)
    starts = np.flatnonzero(new_curve)
    point_start = np.searchsorted(first, starts)
    return Curves(
        keys=keys,
        group=g[starts],
        source=np.zeros(len(starts), int) if labels is None else labels[source].to_numpy()[s[starts]],
        start=np.r_[point_start, len(first)],
        shots=x[first],
        prob=np.clip(mean, 0.0, 1.0),
        weight=np.ones(len(first)) if weight is None else mass,
        stderr=stderr,
        n_correct=total(n_correct),
        n_test=total(n_test),
    )


def _warn_of_source(frame: pd.DataFrame, labels: list[str], name: str) -> None:
    """Warns of a column `source` that nobody named, where a group has several sources: they are averaged."""
    if "source" not in frame or "source" in labels:
        return
    sources = (
        frame.groupby(labels, observed=True)["source"].nunique() if labels else frame["source"].nunique()
    )
    if np.max(sources) > 1:
        text = f"{name}: the column 'source' is averaged over; name it with source='source' (--source source)"
        warnings.warn(text, CurvesWarning, stacklevel=4)


def _codes(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Integer code of each row's combination of values (in order of first appearance), and the table of combinations."""
    if not columns:
        return np.zeros(len(frame), int), pd.DataFrame(index=range(1))
    code = frame.groupby(columns, sort=False, observed=True).ngroup().to_numpy()
    first = np.unique(code, return_index=True)[1]
    return code, frame[columns].iloc[first].reset_index(drop=True)


def _values(frame, value, name):
    """(prob, n_correct, n_test), each [rows]; counts NaN where unknown."""
    if value is not None and value not in VALUE_COLUMNS:
        raise InputError(f"{name}: value {value!r} is unknown; choose one of {', '.join(VALUE_COLUMNS)}")
    present = [
        c for c in VALUE_COLUMNS if c in frame and (c != "n_correct" or "n_test" in frame or value == c)
    ]
    chosen = value or (present[0] if present else None)
    if chosen is None:
        raise InputError(
            f"{name}: no column with values; it needs `prob`, `nll`, `accuracy`, or `n_correct` and `n_test` "
            f"(it has {', '.join(map(str, frame.columns))})"
        )
    _require(frame, [chosen], name)
    unknown = np.full(len(frame), np.nan)
    if chosen == "nll":
        nll = _number(frame, "nll", name)
        _check(frame, "nll", nll >= 0, "is negative; an NLL in nats is ≥ 0", name)
        return np.exp(-nll), unknown, unknown
    if chosen in ("prob", "accuracy"):
        prob = _number(frame, chosen, name)
        _check(frame, chosen, (prob >= 0) & (prob <= 1), "is not between 0 and 1", name)
        if chosen == "prob" or "n_test" not in frame:
            return prob, unknown, unknown
        n_test = _number(frame, "n_test", name)
        _check(frame, "n_test", n_test >= 1, "is not a number of test examples ≥ 1", name)
        return prob, np.round(prob * n_test), n_test
    _require(frame, ["n_test"], name)
    n_correct, n_test = _number(frame, "n_correct", name), _number(frame, "n_test", name)
    _check(frame, "n_test", n_test >= 1, "is not a number of test examples ≥ 1", name)
    inside = (n_correct >= 0) & (n_correct <= n_test)
    _check(frame, "n_correct", inside, "is not between 0 and n_test", name)
    return n_correct / n_test, n_correct, n_test


def _require(frame, columns, name):
    for column in columns:
        if column not in frame:
            raise InputError(f"{name}: no column {column!r}; it has {', '.join(map(str, frame.columns))}")


def _number(frame, column, name, missing=False):
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = frame[column].isna().to_numpy()
    _check(frame, column, ~np.isnan(values) | empty, "is not a number", name)
    if not missing:
        _check(frame, column, ~empty, "is missing (NaN); fill it in or drop the row", name)
        _check(frame, column, np.isfinite(values), "is not finite", name)
    return values


def _check(frame, column, good, problem, name):
    bad = np.flatnonzero(~np.asarray(good))
    if len(bad):
        shown = frame[column].iloc[bad[0]]
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        raise InputError(f"{name}: column {column!r}, row {frame.index[bad[0]]}: {shown} {problem}{more}")
