"""Tables out of files: CSV with any delimiter, JSON lines and Parquet, with labels kept as they were written.

A file is read as a data frame whose columns of numbers are numbers and whose other columns are what their cells say: "None" and
"NA" are text there, and codes with leading zeros (007) stay text, apart from 7.
"""

import csv
import gzip
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import InputError

NUMBERS = (
    "shots", "prob", "n_correct", "n_test", "accuracy", "nll", "stderr", "weight", "window", "prob_choice", "stderr_choice",
)  # fmt: skip
# What stands for a missing number; among labels only the empty cell does.
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>")
DELIMITERS = ",;\t|"
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


def read_table(path: Path, shots: str = "shots") -> pd.DataFrame:
    """The file as a data frame.

    Args:
      path: `.parquet` or `.pq` (an index with names becomes columns), `.jsonl`, `.ndjson` or `.json` (a record a line, or one
        list), anything else CSV (also compressed), whose delimiter is the comma, semicolon, tab or bar that its header has;
        beside semicolons, tabs and bars, numbers may have decimal commas.
      shots: the column with the numbers of shots.

    Returns:
      The frame. Its `attrs["one_label"]` says of columns where numbers written differently became one (1e3 and 1000).

    Raises:
      InputError: the file cannot be read or has no rows.
    """
    return read_tables([path], shots)[0]


def read_tables(paths: Sequence[Path], shots: str = "shots") -> list[pd.DataFrame]:
    """Each file as a data frame, as `read_table` says; a column of labels has one type in all of them.

    Codes that are numbers in one file (7) and text in another (007) are text in both, as if all stood in one file.
    """
    read = [_read_untyped(path, shots) for path in paths]
    for name in dict.fromkeys(name for _, untyped in read for name in untyped):
        _type_labels([(frame, name in untyped) for frame, untyped in read if name in frame], name)
    return [frame for frame, _ in read]


def _read_untyped(path: Path, shots: str) -> tuple[pd.DataFrame, dict[str, None]]:
    """The file as a data frame, and the names of its columns that are texts whose type is still open."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; give the path of a CSV or Parquet file of curves")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the path of a file of curves")
    suffix, untyped = path.suffix.lower(), []
    try:
        if suffix in PARQUET:
            frame = with_index(pd.read_parquet(path))
        elif suffix in JSON_LINES:
            frame = pd.DataFrame.from_records(read_records(path))
        else:
            frame, untyped = _read_csv(path, shots)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file is empty; it needs a header and at least one row") from None
    except InputError:
        raise
    except Exception as error:  # of pandas, Arrow, and decompression
        reason = (str(error).strip().splitlines() or ["nothing is known of why"])[0]
        raise InputError(f"{path}: cannot be read as {suffix or 'CSV'}: {reason}") from None
    if frame.empty:
        raise InputError(f"{path}: no rows after the header; it needs at least one")
    frame.attrs["one_label"] = {}  # pandas copies what stands here at every look at a column: nothing long
    return frame, dict.fromkeys(untyped)


def _type_labels(having: Sequence[tuple[pd.DataFrame, bool]], name: str) -> None:
    """Gives a column of labels its type, in place, in all frames that have it; of each, whether its type is open there."""
    texts = [frame[name] for frame, is_open in having if is_open]
    typed, same = _labels(pd.concat(texts, ignore_index=True))
    at = 0
    for frame, is_open in having:
        if is_open:
            own = same if len(texts) == 1 else _labels(frame[name])[1]
            if own or (same and at == 0):
                frame.attrs["one_label"][name] = own or f"{same} (in another file)"
            frame[name] = typed.iloc[at : at + len(frame)].set_axis(frame.index)
            at += len(frame)
    # Files such as Parquet have types of their own.
    if len(having) > 1 and len({_sort(frame[name]) for frame, _ in having}) > 1:
        for frame, _ in having:
            known = frame[name].notna()
            frame[name] = frame[name].map(str).where(known)


def _sort(column: pd.Series) -> str:
    """Whether a column holds truth values, numbers, or anything else."""
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as columns, if that has names."""
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


def csv_options(path: Path, shots: str = "shots") -> dict[str, Any]:
    """How pandas has to read this CSV file: the delimiter, decimal sign, and names of its columns, and what is missing there."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = [line for line in (file.readline() for _ in range(20)) if line.strip()]
    except (UnicodeDecodeError, OSError, EOFError):
        lines = []  # pandas says what is wrong
    delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader(lines[:1], delimiter=mark), [])))
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    names = [name.strip() for name in rows[0]] if rows else []
    numbers = {i for i, name in enumerate(names) if name in (*NUMBERS, shots)}
    comma = delimiter != "," and any(
        re.fullmatch(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*", cell)
        for row in rows[1:]
        for i, cell in enumerate(row)
        if i in numbers or not numbers
    )
    options: dict[str, Any] = {"sep": delimiter, "decimal": "," if comma else ".", "skipinitialspace": True}
    options |= {"float_precision": "round_trip", "encoding": "utf-8-sig", "keep_default_na": False}
    if len(set(names)) == len(names) and names:  # else pandas numbers the names that repeat
        options |= {"names": names, "header": 0}
        options["na_values"] = {name: MISSING if i in numbers else [""] for i, name in enumerate(names)}
    else:
        options["na_values"] = [""]
    return options


def kind_of(texts: Iterable[str]) -> str:
    """The type of a column of labels with these texts: int64, float64, bool or str.

    Codes with leading zeros, or with more digits than a number holds, are text.
    """
    texts = {text.strip() for text in texts}
    if not texts:
        return "float64"
    if texts <= {"True", "False"} or texts <= {"true", "false"} or texts <= {"TRUE", "FALSE"}:
        return "bool"
    if any(re.match(r"[-+]?(0\d|\d{19})", text) for text in texts):
        return "str"
    if all(re.fullmatch(r"[-+]?\d{1,18}", text) for text in texts):
        return "int64"
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return "str"
    return "float64" if np.isfinite(values).all() and not any("_" in text for text in texts) else "str"


def _read_csv(path: Path, shots: str) -> tuple[pd.DataFrame, list[str]]:
    """The file as a data frame, and the names of its columns of labels, which are texts."""
    options = csv_options(path, shots)
    labels = [name for name in options.get("names", ()) if name not in (*NUMBERS, shots)]
    # Read piece by piece, a column's type could change on the way.
    frame = pd.read_csv(path, **options, low_memory=False, dtype=dict.fromkeys(labels, str))
    if options["decimal"] == ",":
        for name in labels:
            frame[name] = frame[name].str.replace(r"^(\s*[-+]?\d*),(\d+\s*)$", r"\1.\2", regex=True)
    return frame, labels


def _labels(column: pd.Series) -> tuple[pd.Series, str]:
    """A column of text, as numbers or truth values where all its texts are such; two texts that became one number, or ""."""
    codes, texts = pd.factorize(column.str.strip() if len(column) else column)
    texts = [str(text) for text in texts]
    kind, missing, same = kind_of(texts), codes < 0, ""
    if kind == "str":
        found = pd.Series(np.array([*texts, ""], object)[codes], column.index).astype("str")
        return (found.mask(missing) if missing.any() else found), same
    if kind == "bool":
        truths = np.array([*(text.lower() == "true" for text in texts), None], object)[codes]
        return pd.Series(truths if missing.any() else truths.astype(bool), column.index), same
    values = np.array([int(text) if kind == "int64" else float(text) for text in texts], kind)
    written: dict[float, str] = {}
    for number, text in zip(values.tolist(), texts):
        if written.setdefault(number, text) != text:
            same = f"{written[number]} and {text}"
    if missing.any():
        values = np.append(values.astype(np.float64), np.nan)
    return pd.Series(values[codes], column.index), same


def read_records(path: Path) -> list[dict]:
    """The records of a file of JSON lines, or of one JSON list.

    Raises:
      InputError: a line is not JSON or no record, or there is none.
      OSError: the file cannot be read.
    """
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if content.lstrip()[:1] == b"[":
        where, pieces = "entry", []
        try:
            records = json.loads(content)
        except (
            ValueError,
            RecursionError,
        ):  # also a number of thousands of digits, and lists in lists without end
            raise InputError(f"{path}: is not whole JSON; write it again") from None
    else:
        where, records, pieces = "line", [], content.split(b"\n")
    for number, line in enumerate(pieces, 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError):
                raise InputError(f"{path}: line {number} is not whole JSON") from None
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise InputError(f"{path}: {where} {number} is no record of columns and values")
    if not records:
        raise InputError(f"{path}: the file is empty; it needs at least one row")
    return records
