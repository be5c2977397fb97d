"""Reading curve files: long-format CSV or Parquet, checked row by row."""

import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from . import memory
from .curves import Curves
from .errors import CurvesWarning, InputError
from .joining import FILE, file_names, join
from .tables import NUMBERS, read_tables

VALUE_COLUMNS = ("prob", "n_correct", "accuracy", "nll", "prob_choice")
STDERRS = {
    "prob_choice": "stderr_choice"
}  # where the standard errors of a value column do not stand in `stderr`


def read_curves(
    path: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    group_by: str | Sequence[str] = (),
    source: str | None = None,
    value: str | None = None,
    shots: str = "shots",
    window: float | None = None,
) -> Curves:
    """Reads ICL curves from a long-format file, or from several of them.

    Columns: `shots`; one of `prob`, the pair `n_correct` and `n_test`, `accuracy` (with `n_test` it becomes counts), `nll`
    (nats; prob = exp(−nll)), or `prob_choice` (the answer's share among those that compete, which `iclbayes collect --others`
    writes); optionally `stderr` (of the probability; of prob_choice it is `stderr_choice`), `weight`, and `window`, the shots
    that fit the model's context: rows beyond are left out, and no forecast goes there. Where several values are there, the first
    in this order is used unless `value` names one. Rows that repeat the same group, source and shots are averaged with their
    weights: the column `weight`, else `n_test` of counts, else 1/stderr², else equal weights; their standard error comes from
    `stderr`, else from how far they differ (unknown where they agree).

    Args:
      path: CSV with any delimiter (also `.csv.gz`), JSON lines, or Parquet; see `iclbayes.tables.read_table`. Of several files,
        each is read by itself, and their curves are put together; a group may have its sources in different files. The name
        `file` in `group_by` or as `source` means the files' names, where no column is called so.
      group_by: columns whose values define the groups; the curves of one group share a prior and an efficiency.
      source: column that names the source of each curve; without it every group has one curve.
      value: which of the value columns to use.
      shots: column with the numbers of shots.
      window: shots that fit every model's context; where the column `window` says less, that counts.

    Returns:
      `Curves`; each distinct point has weight 1, or the sum of the column `weight`.

    Warns:
      CurvesWarning: rows that differ in columns of text that were not named (a column `source` among them) are averaged; numbers
        that were written differently became one label; rows beyond the context window are left out.

    Raises:
      InputError: naming the file, the column and the first bad row (the header is row 1); a curve is in two files.

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
    if isinstance(path, pd.DataFrame):
        raise InputError("read_curves reads files; give a data frame to iclbayes.curves_from_frame")
    paths = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(one) for one in path]
    if not paths:
        raise InputError("no file of curves is named; give at least one")
    if len(set(paths)) < len(paths):
        raise InputError(f"{max(paths, key=paths.count)}: is named twice; name each file of curves once")
    frames = dict(zip(map(str, paths), read_tables(paths, shots)))
    return curves_from_frames(
        frames, group_by=group_by, source=source, value=value, shots=shots, window=window
    )


def curves_from_frames(
    frames: Mapping[str, pd.DataFrame],
    *,
    group_by: str | Sequence[str] = (),
    source: str | None = None,
    value: str | None = None,
    shots: str = "shots",
    window: float | None = None,
) -> Curves:
    """`Curves` from the data frames of files, by the files' names; see `read_curves` for what is done with several."""
    memory.release(sum(map(len, frames.values())))  # of what stood beside the frames while they were read
    group_by = [group_by] if isinstance(group_by, str) else list(group_by)
    if FILE in [*group_by, source]:
        own = file_names(list(frames))
        frames = {
            name: frame if FILE in frame else frame.assign(**{FILE: text})
            for (name, frame), text in zip(frames.items(), own)
        }
    parts = {
        name: curves_from_frame(
            frame, group_by=group_by, source=source, value=value, shots=shots, window=window, name=name
        )
        for name, frame in frames.items()
    }
    if len(parts) == 1:
        return next(iter(parts.values()))
    _warn_of_differences(frames, value)
    apart = _apart(frames, [shots, *group_by, *([source] if source else [])]) or FILE
    hint = f"name what tells them apart (--group-by {shlex.quote(apart)}), or leave one of them out"
    return join(parts, group_by, hint)


def _warn_of_differences(frames: Mapping[str, pd.DataFrame], value: str | None) -> None:
    """Warns where files mean different things: their value columns differ, or some have weights and others none."""
    chosen = {name: _value_column(frame, value, name) for name, frame in frames.items()}
    first, *rest = chosen
    other = next((name for name in rest if chosen[name] != chosen[first]), None)
    if other is not None:
        text = (
            f"{first} is read by its column {chosen[first]!r} and {other} by {chosen[other]!r}; where both have the same,"
            " name that (--value COLUMN)"
        )
        warnings.warn(text, CurvesWarning, stacklevel=4)
    having = [name for name, frame in frames.items() if "weight" in frame]
    if having and len(having) < len(frames):
        lacking = next(name for name in frames if name not in having)
        text = f"{having[0]} has a column 'weight' and {lacking} has none; points without one have weight 1"
        warnings.warn(text, CurvesWarning, stacklevel=4)


def _apart(frames: Mapping[str, pd.DataFrame], named: list[str]) -> str | None:
    """A column of text, not named yet, that all files have and in which no two have a value in common, if there is one."""
    columns = [list(frame.columns) for frame in frames.values()]
    for name in columns[0]:
        if name in (*NUMBERS, *named) or not all(name in some for some in columns):
            continue
        values = [set(frame[name].map(str)) for frame in frames.values()]
        if all(_is_text(frame[name]) for frame in frames.values()) and len(set.union(*values)) == sum(
            map(len, values)
        ):
            return str(name)
    return None


def curves_from_frame(
    frame: pd.DataFrame,
    *,
    group_by: str | Sequence[str] = (),
    source: str | None = None,
    value: str | None = None,
    shots: str = "shots",
    window: float | None = None,
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
    if shots not in frame:
        raise InputError(
            f"{name}: no column {shots!r}; it has {', '.join(map(str, frame.columns))}; name the one with the"
            " numbers of shots (--shots COLUMN)"
        )
    _require(frame, [*group_by, *([source] if source else [])], name)
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
        if frame[column].dtype == object:
            single = [not isinstance(cell, (list, tuple, dict, set, np.ndarray)) for cell in frame[column]]
            _check(
                frame, column, single, "is a list; groups and sources are told apart by numbers or text", name
            )
        _check(frame, column, frame[column].notna().to_numpy(), "is empty; fill it in or drop the row", name)

    x = _number(frame, shots, name)
    _check(frame, shots, (x >= 0) & (x == np.round(x)), "is not a whole number of shots ≥ 0", name)
    limit = _window(frame, window, name)
    if (x > limit).any():
        text = f"{name}: {(x > limit).sum()} of {len(x)} rows lie beyond the context window and are left out"
        warnings.warn(text, CurvesWarning, stacklevel=3)
        frame, limit, x = frame[x <= limit], limit[x <= limit], x[x <= limit]
        if len(frame) == 0:
            raise InputError(f"{name}: no row lies within the context window; give a larger window")
    value = _value_column(frame, value, name)
    prob, n_correct, n_test = _values(frame, value, name)
    stderr = _unknown(frame)
    own = STDERRS.get(value, "stderr")
    if own in frame:
        stderr = _number(frame, own, name, missing=True)
        _check(frame, own, ~(stderr < 0), "is negative; a standard error is ≥ 0", name)
    weight = None
    if "weight" in frame:
        weight = _number(frame, "weight", name)
        _check(frame, "weight", weight >= 0, "is negative; a weight is ≥ 0", name)
    group, keys = _codes(frame, group_by)
    label, sources = (_codes(frame, [source])) if source else (np.zeros(len(frame), int), None)
    order = _order(group, label, x)
    g, s, x = group[order], label[order], x[order]
    new_curve = np.r_[True, (g[1:] != g[:-1]) | (s[1:] != s[:-1])]
    new_point = new_curve | np.r_[True, x[1:] != x[:-1]]
    first = np.flatnonzero(new_point)
    starts = np.flatnonzero(new_curve)
    repeated = len(first) < len(frame)
    _warn_of_labels(frame, shots, labels, name, repeated)
    merged = _averaged if repeated else _as_they_are
    mean, mass, stderr, n_correct, n_test = merged(prob, weight, stderr, n_correct, n_test, order, new_point)
    return Curves(
        keys=keys,
        group=g[starts],
        source=np.zeros(len(starts), int) if sources is None else sources[source].to_numpy()[s[starts]],
        start=np.r_[np.searchsorted(first, starts), len(first)],
        shots=x[first] if repeated else x,
        prob=np.clip(mean, 0.0, 1.0),
        weight=mass,
        stderr=stderr,
        n_correct=n_correct,
        n_test=n_test,
        window=np.minimum.reduceat(limit[order], starts),
    )


def _order(group: np.ndarray, label: np.ndarray, x: np.ndarray) -> np.ndarray | slice:
    """What sorts rows by group, source and shots; a slice of all where they stand so, as they do in most files."""
    same = group[1:] == group[:-1]
    stand = (group[1:] > group[:-1]) | (same & (label[1:] > label[:-1]))
    stand |= same & (label[1:] == label[:-1]) & (x[1:] >= x[:-1])
    return slice(None) if stand.all() else np.lexsort((x, label, group))


Merged = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _as_they_are(prob, weight, stderr, n_correct, n_test, order, new_point) -> Merged:
    """`_averaged` of rows of which none repeats another."""
    mass = np.ones(len(new_point)) if weight is None else weight[order]
    known = np.isfinite(stderr)
    stderr = np.where(known, stderr, np.nan) if known.any() else stderr
    return prob[order], mass, stderr[order], n_correct[order], n_test[order]


def _averaged(prob, weight, stderr, n_correct, n_test, order, new_point) -> Merged:
    """(prob, weight, stderr, n_correct, n_test) of the points, from those of the rows, [rows] each; weight None: 1 a point.

    Args:
      order: what sorts the rows.
      new_point: [rows, sorted] where another point begins.
    """
    first = np.flatnonzero(new_point)
    order = np.arange(len(new_point))[order]

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
        share = np.ones(len(prob))
    repeats = total(np.ones(len(prob)))
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
    mass = np.ones(len(first)) if weight is None else mass
    return mean, mass, stderr, total(n_correct), total(n_test)


def _warn_of_labels(frame: pd.DataFrame, shots: str, labels: list[str], name: str, repeated: bool) -> None:
    """Warns of columns of text that nobody named, over which rows are averaged, and of numbers that became one label.

    Rows are averaged over such a column if it varies where labels and shots are equal, and over `source` also where sources
    have no shots in common: they would be one curve.
    """
    for column, texts in frame.attrs.get("one_label", {}).items():
        if column in labels:
            text = f"{name}: column {column!r}: {texts} are one number, and so one label"
            warnings.warn(text, CurvesWarning, stacklevel=4)
    averaged = []
    for column in frame.columns.difference([shots, *labels], sort=False) if repeated else ["source"]:
        if column not in frame or column in labels or not _is_text(frame[column]):
            continue
        within = labels if column == "source" else [*labels, shots]
        cells = frame[column].map(str) if frame[column].dtype == object else frame[column]
        by = [frame[c] for c in within]
        if (cells.groupby(by, observed=True).nunique().max() if by else cells.nunique()) > 1:
            averaged.append(str(column))
    if "source" in averaged:
        averaged.remove("source")
        text = f"{name}: the column 'source' is averaged over; name it with source='source' (--source source)"
        warnings.warn(text, CurvesWarning, stacklevel=4)
    if averaged:
        named = ", ".join(map(repr, averaged))
        options = " ".join(f"--group-by {shlex.quote(column)}" for column in averaged)
        text = f"{name}: rows that differ in {named} are averaged; name the columns that tell groups apart ({options})"
        warnings.warn(text, CurvesWarning, stacklevel=4)


def _is_text(column: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column)


def _codes(frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Integer code of each row's combination of values (in order of first appearance), and the table of combinations."""
    if not columns:
        return np.zeros(len(frame), int), pd.DataFrame(index=range(1))
    code = frame.groupby(columns, sort=False, observed=True).ngroup().to_numpy()
    first = np.unique(code, return_index=True)[1]
    return code, frame[columns].iloc[first].reset_index(drop=True)


def _value_column(frame: pd.DataFrame, value: str | None, name: str) -> str:
    """The value column that is meant: the one named, else the first of those there."""
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
    return chosen


def _values(frame: pd.DataFrame, chosen: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(prob, n_correct, n_test), each [rows]; counts NaN where unknown."""
    unknown = _unknown(frame)
    if chosen == "nll":
        nll = _number(frame, "nll", name)
        _check(frame, "nll", nll >= 0, "is negative; an NLL in nats is ≥ 0", name)
        return np.exp(-nll), unknown, unknown
    if chosen in ("prob", "accuracy", "prob_choice"):
        prob = _number(frame, chosen, name)
        percent = "; as percent? then divide the column by 100" if _is_percent(prob) else ""
        _check(frame, chosen, (prob >= 0) & (prob <= 1), f"is not between 0 and 1{percent}", name)
        if chosen != "accuracy" or "n_test" not in frame:
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


def _unknown(frame: pd.DataFrame) -> np.ndarray:
    """[rows] NaN, in the memory of one number."""
    return np.broadcast_to(np.nan, len(frame))


def _window(frame: pd.DataFrame, window: float | None, name: str) -> np.ndarray:
    """[rows] shots that fit the context: the smaller of `window` and the column of that name, inf where neither says."""
    if window is not None and not window >= 0:
        raise InputError(f"{name}: window {window} is not a number of shots ≥ 0")
    limit = np.broadcast_to(np.inf if window is None else float(window), len(frame))
    if "window" not in frame:
        return limit
    own = _number(frame, "window", name, missing=True)
    _check(frame, "window", ~(own < 0), "is negative; it is the number of shots that fit the context", name)
    return np.fmin(limit, own)


def _require(frame, columns, name):
    for column in columns:
        if column not in frame:
            raise InputError(f"{name}: no column {column!r}; it has {', '.join(map(str, frame.columns))}")


def _is_percent(values: np.ndarray) -> bool:
    """Whether values that were to lie between 0 and 1 can be percent: up to 100, and not just a slip above 1."""
    return bool(values.min() >= 0 and 1.5 < values.max() <= 100 and np.mean(values > 1) > 0.2)


def _floats(column: pd.Series) -> np.ndarray:
    """The column as float64, NaN where a cell is no number."""
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    except (OverflowError, TypeError, ValueError):  # whole numbers beyond the largest float, lists
        return pd.to_numeric(column.astype(str), errors="coerce").to_numpy(np.float64)


def _number(frame, column, name, missing=False):
    values = _floats(frame[column])
    empty = frame[column].isna().to_numpy()
    problem = "is not a number"
    if np.isnan(values[~empty]).any():
        text = frame[column].astype(str).str.strip()
        if (text.str.endswith("%") | empty).all():
            values = pd.to_numeric(text.str.rstrip("% "), errors="coerce").to_numpy(np.float64) / 100
        elif text.str.fullmatch(r"\d*,\d+").any():
            problem += "; write decimals with a point"
    _check(frame, column, ~np.isnan(values) | empty, problem, name)
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
