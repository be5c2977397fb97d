"""metrics.csv of a training run: one row per logged or evaluated step, rewound when a run resumes."""

import csv
import os
from pathlib import Path

from ..errors import InputError
from ..files import atomic_path

COLUMNS = ("step", "tokens", "loss", "learning_rate", "grad_norm", "tokens_per_s", "eval_loss")


class MetricsLog:
    """Appends rows to a CSV; a new column rewrites the file. A row is in the file when `append` returns.

    Args:
      path: the file.
      keep_until: rows of an earlier part of the run are kept up to this step, later and broken ones dropped.
    """

    def __init__(self, path: str | os.PathLike, keep_until: int = 0):
        self.path = Path(path)
        self.columns = list(COLUMNS)
        self.rows: list[dict[str, str]] = []
        if keep_until and self.path.exists():
            self._read(keep_until)
        self._rewrite()

    def append(self, row: dict[str, float]) -> None:
        """Adds a row; columns that it does not name stay empty."""
        text = {name: _number(value) for name, value in row.items()}
        self.rows.append(text)
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(text)

    def _read(self, keep_until: int) -> None:
        with open(self.path, newline="") as file:
            text = file.read()
        # A process killed while writing may leave half a line at the end.
        reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        if not reader.fieldnames or "step" not in reader.fieldnames:
            raise InputError(f"{self.path}: has no column step; choose another folder")
        self.columns = list(reader.fieldnames)
        for row in reader:
            whole = (
                None not in row
                and None not in row.values()
                and row["step"].isascii()
                and row["step"].isdecimal()
            )
            if whole and int(row["step"]) <= keep_until:
                self.rows.append(row)

    def _rewrite(self) -> None:
        with atomic_path(self.path) as path, open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


def _number(value) -> str:
    return str(value) if isinstance(value, int) else f"{float(value):.8g}"
