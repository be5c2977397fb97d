"""The tables of a run of the synthetic world, read from its folder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..digests import file_digest
from ..errors import InputError
from ..runs import CONFIG_FILE, RECORD_FILE, read_config

NEEDED = ("entropy", "curves", "fits", "table", "story")
LATER = (
    "forecast",
    "suppression_sharing",
    "suppression_shifts",
    "suppression_attribution",
    "suppression_forecast_summary",
)
WITH_BANDS = (*LATER, "suppression_forecast_bands")  # runs of earlier versions have none
SCRIPT = "experiments/synthetic.py"


@dataclasses.dataclass(frozen=True)
class RunTables:
    """What a run left.

    Attributes:
      config, record: of config.json and record.json; an empty record where there is none.
      tables: by name, those of `NEEDED`, and those of `LATER` if its tasks were suppressed, with the bands of their forecasts
        where the run wrote them.
      digests: SHA-256 of each file that was read, by its name.
    """

    config: dict[str, Any]
    record: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    digests: dict[str, str]

    @property
    def suppressed(self) -> bool:
        """Whether the run got as far as forecasting the return of suppressed tasks."""
        return "forecast" in self.tables

    @property
    def favoured(self) -> int:
        """The task that fine-tuning favoured."""
        return int(self.config.get("favoured", 0))


def read_run(folder: Path) -> RunTables:
    """The tables of a run's folder.

    Raises:
      InputError: the folder holds no run of the synthetic world, or one that has not got as far as its story; a file that cannot
        be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"{folder}: is a folder without {CONFIG_FILE}; give a file of curves, or the folder of a run of {SCRIPT}"
        )
    config = read_config(folder / CONFIG_FILE)
    missing = [f"{name}.csv" for name in NEEDED if not (folder / f"{name}.csv").is_file()]
    if missing:
        raise InputError(
            f"{folder}: has no {missing[0]}; a report needs a run of {SCRIPT} that has come to its end (--resume continues it)"
        )
    names = [*NEEDED, *(name for name in WITH_BANDS if (folder / f"{name}.csv").is_file())]
    if not set(LATER) <= set(names):  # stopped within the last stage
        names = list(NEEDED)
    return RunTables(
        config=config,
        record=_record(folder / RECORD_FILE),
        tables={name: _read(folder / f"{name}.csv") for name in names},
        digests={f"{name}.csv": file_digest(folder / f"{name}.csv") for name in names},
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["nothing is known of why"])[0]
        raise InputError(f"{path}: cannot be read: {reason}") from None


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
