"""Curves of several files as one `Curves`; a curve that two of them hold is a mistake."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .curves import Curves, concatenate, curve_columns
from .errors import InputError

FILE = "file"  # groups of several files can be told apart by the files' names, under this name


def join(parts: Mapping[str, Curves], by: Sequence[str], hint: str = "") -> Curves:
    """The curves of all parts; groups of equal keys are one group, which may have its sources in different parts.

    Args:
      parts: curves by the name of the file that they are from.
      by: the columns grouped by, the same in all.
      hint: what the message about a curve in two files says to do.

    Raises:
      InputError: a curve is in two parts.
    """
    keys = pd.concat([part.keys for part in parts.values()], ignore_index=True)
    curves, _, old = concatenate(list(parts.values()), keys).regroup(list(by))
    columns = curve_columns(curves)
    twice = np.flatnonzero(columns.duplicated().to_numpy())
    if len(twice):
        same = np.flatnonzero((columns == columns.iloc[twice[0]]).all(axis=1).to_numpy())
        ends = np.cumsum([part.n_curves for part in parts.values()])
        first, second = (list(parts)[int(np.searchsorted(ends, old[c], side="right"))] for c in same[:2])
        named = columns if len(set(curves.source)) > 1 or "source" in by else columns[list(by)]
        told = ", ".join(f"{name} {value}" for name, value in named.iloc[twice[0]].items())
        which = f"the curve of {told}" if told else "the same curve, for no column tells curves apart"
        more = f" ({len(twice)} curves are in two files)" if len(twice) > 1 else ""
        raise InputError(f"{first} and {second} both hold {which}{more}; {hint or 'leave one of them out'}")
    return curves


def file_names(paths: Sequence[str]) -> list[str]:
    """What the files are called in the column `file`: their names without ending where these differ, else their paths."""
    names = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in paths]
    stems = [
        name.split(".", 1)[0] if name.lower().endswith(".gz") else name.rsplit(".", 1)[0] for name in names
    ]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
