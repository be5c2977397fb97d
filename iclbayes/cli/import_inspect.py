"""`iclbayes import-inspect`: logs of inspect_ai in, a file of curves out."""

import dataclasses
from pathlib import Path

import pandas as pd
import tyro

from ..errors import InputError
from .import_lm_eval import write_import
from .options import Force, Text


@dataclasses.dataclass(frozen=True)
class ImportInspect:
    """Turn logs of inspect_ai (a sweep over an argument that says how many shots) into a curves file."""

    logs: tyro.conf.Positional[tuple[Path, ...]]
    """files (.eval, .json) or folders of logs, at any depth."""
    out: Path = Path("curves.csv")
    """where the curves go (CSV)."""
    shots_from: Text = None
    """argument of the task, or key of metadata, that says how many shots; by default num_fewshot, fewshot, shots, …"""
    metric: Text = None
    """metric of the scorer; by default accuracy, else mean, else the first that is a share."""
    scorer: Text = None
    """which scorer; by default the first of each task."""
    force: Force = False

    def run(self) -> pd.DataFrame:
        """Imports and writes the curves; returns them.

        Raises:
          InputError: inspect_ai is not installed, or there is no finished log that says how many shots it had.
        """
        from ..llm import read_inspect

        if not self.logs:
            raise InputError("missing: files or folders of logs; see iclbayes import-inspect --help")
        return write_import(
            self.out,
            lambda: read_inspect(self.logs, self.shots_from, metric=self.metric, scorer=self.scorer),
            self.force,
        )
