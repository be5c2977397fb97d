"""Rows of questions and answers out of a file: CSV, TSV, JSON, JSON lines and Parquet.

A file's name is a name, whatever letters are in it (`[`, `*`, `::`), and nothing is kept of it in a cache.
"""

import os
from pathlib import Path

import pandas as pd

from ..errors import InputError, one_line
from ..tables import read_records

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def read_rows(path: str | os.PathLike) -> tuple[list[dict], list[str]]:
    """The rows of a file, each with all columns (None where a record lacks one), and the names of the columns.

    The cells of CSV are text as it stands there: `true`, `1` and `NA` are words.

    Raises:
      InputError: there is no such file, it is of another kind, cannot be read, or has no rows.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; name a file of questions and answers")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'}; use {', '.join(READERS)}"
        )
    try:
        if reader == "json":
            rows = read_records(path)
        elif reader == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                rows = file.read().to_pylist()
        else:
            sep = "\t" if path.suffix.lower() == ".tsv" else ","
            frame = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
            rows = frame.to_dict("records")
    except InputError:
        raise
    except Exception as error:  # of pandas and Arrow
        raise InputError(f"{path}: cannot be read as {reader}: {one_line(error)}") from None
    if not rows:
        raise InputError(f"{path}: the file has no rows; it needs at least one")
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    return [dict.fromkeys(columns) | row for row in rows], columns
