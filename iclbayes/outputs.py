"""What a command may write over: files that this package wrote, known by their columns or by a mark in them, and nothing else.

| file | known by |
|---|---|
| tables (.csv, .csv.gz, .parquet) | the columns that only such a table has (`FITS`, `COMPARED`, …) |
| curves (.csv) that were collected or imported | what stands beside them (.json) names the version of this package |
| figures (.png, .pdf, .svg), draws (.nc) | the name of this package in them |
"""

import csv
import gzip
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import InputError
from .files import check_apart, check_place

MARK = b"iclbayes"

# Columns by which a table of each kind is known.
FITS = frozenset({"law", "loss", "n_agreed", "steps", "status", "grad_norm", "condition"})
COMPARED = frozenset({"law", "fraction", "nrmse", "rmse", "n_fit", "n_eval"})
FORECAST = frozenset({"law", "shots", "mean", "median", "lo90", "hi90", "latent_mean"})
REACH = frozenset({"law", "level", "q05", "q50", "q95", "p_never"})
MOVED = frozenset({"before", "after", "parameter", "shift", "lo90", "hi90"})
TIMES = frozenset({"before", "after", "level", "times", "p_never_before", "p_never_after"})
CURVES = frozenset({"shots"})  # as users make them too: what stands beside them decides
MARKED = frozenset[str]()  # no table


def check_outputs(
    outputs: Sequence[tuple[Path, frozenset[str]]],
    inputs: Iterable[str | os.PathLike] = (),
    force: bool = False,
) -> None:
    """Raises InputError unless all outputs of a command can be written without a loss.

    None is a folder or in a place that cannot be written, none is an input or another output, and none exists already unless this
    package wrote it.

    Args:
      outputs: paths, each with the columns that tell this output from a file of the user's; `MARKED` for figures and draws.
      inputs: what the command reads.
      force: write over files that this package did not write.
    """
    check_apart([path for path, _ in outputs], inputs)
    seen: set[str] = set()
    for path, _ in outputs:
        check_place(path)
        real = os.path.realpath(path)
        if real in seen:
            raise InputError(f"{path}: two outputs have this name; give them different ones")
        seen.add(real)
    for path, columns in outputs:
        if not force and not is_ours(path, columns):
            raise InputError(
                f"{path}: is there already and was not written by this command; move it away, choose another name, "
                "or add --force to write over it"
            )


def is_ours(path: Path, columns: frozenset[str] = MARKED) -> bool:
    """Whether nothing of the user's is lost if this file is written over: it is not there, empty, or from this package."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        if path.suffix == ".json":
            return _names_us(path)
        if not columns:
            return MARK in path.read_bytes()
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            found = set(pq.read_schema(path).names)
        else:
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8", newline="") as file:
                found = set(next(csv.reader([file.readline(1_000_000)]), ()))
    except (OSError, ValueError, EOFError, csv.Error):  # Arrow's errors are ValueErrors
        return False
    return columns <= found and (columns != CURVES or _names_us(path.with_suffix(".json")))


def _names_us(path: Path) -> bool:
    """Whether this JSON file says which version of the package wrote it."""
    try:
        about = json.loads(path.read_bytes())
        return "iclbayes" in about["versions"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
