"""`iclbayes import-lm-eval`: results of lm-evaluation-harness in, a file of curves out."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro

from ..errors import InputError
from ..llm import collection


@dataclasses.dataclass(frozen=True)
class ImportLmEval:
    """Turn a folder of lm-evaluation-harness results (a sweep over num_fewshot) into a curves file."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds the results of all runs, at any depth."""
    out: Path = Path("curves.csv")
    """Where the curves go (CSV)."""
    metric: str | None = None
    """acc, acc_norm, or with its filter exact_match,strict-match; by default the first of each task."""
    value: Literal["accuracy", "prob"] = "accuracy"
    """prob adds the mean probability of the right choice, from the samples files (--log_samples)."""

    def run(self) -> pd.DataFrame:
        """Imports and writes the curves; returns them.

        Raises:
          InputError: there is no readable result, or not the metric or samples asked for.
        """
        from ..llm.lm_eval import read_results

        if self.out.suffix != ".csv":
            raise InputError(f"{self.out}: curves are written as CSV; let --out end with .csv")
        curves, about = read_results(self.folder, self.metric, self.value)
        collection.write_curves(self.out, curves, about | {"versions": collection.versions()})
        for warning in about["skipped"]:
            print(f"iclbayes: skipped {warning}", file=sys.stderr)
        by = about["curves_by"]
        print(f"curves: {self.out} ({len(curves.drop_duplicates(by))} curves, one for each {', '.join(by)})")
        return curves
