"""`iclbayes import-lm-eval`: results of lm-evaluation-harness in, a file of curves out."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro

from ..errors import InputError
from ..llm import collection
from ..outputs import CURVES, MARKED, check_outputs
from .options import Force, Text


@dataclasses.dataclass(frozen=True)
class ImportLmEval:
    """Turn a folder of lm-evaluation-harness results (a sweep over num_fewshot) into a curves file."""

    folder: tyro.conf.Positional[Path]
    """folder that holds the results of all runs, at any depth."""
    out: Path = Path("curves.csv")
    """where the curves go (CSV)."""
    metric: Text = None
    """acc, acc_norm, or with its filter exact_match,strict-match; by default the first of each task."""
    value: Literal["accuracy", "prob"] = "accuracy"
    """prob adds the mean probability of the right choice, from the samples files (--log_samples)."""
    force: Force = False

    def run(self) -> pd.DataFrame:
        """Imports and writes the curves; returns them.

        Raises:
          InputError: there is no readable result, or not the metric or samples asked for.
        """
        from ..llm import read_lm_eval

        return write_import(self.out, lambda: read_lm_eval(self.folder, self.metric, self.value), self.force)


def write_import(
    out: Path, read: Callable[[], tuple[pd.DataFrame, dict]], force: bool = False
) -> pd.DataFrame:
    """Writes imported curves and what was read beside them, says what was left out, and returns the curves.

    Raises:
      InputError: `out` is no CSV file, or one that this package did not write (without `force`), or as `read` raises.
    """
    if out.suffix != ".csv":
        raise InputError(f"{out}: curves are written as CSV; let --out end with .csv")
    check_outputs([(out, CURVES), (out.with_suffix(".json"), MARKED)], force=force)
    curves, about = read()
    collection.write_curves(out, curves, about | {"versions": collection.versions()})
    for note in about["skipped"]:
        print(f"iclbayes: skipped {note}", file=sys.stderr)
    by = about["curves_by"]
    count = len(curves.drop_duplicates(by))
    print(f"curves: {out} ({count} {'curve' if count == 1 else 'curves'}, one for each {', '.join(by)})")
    return curves
