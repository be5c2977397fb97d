"""What any report is made of: sentences, charts, tables in sections."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Spec = dict[str, Any]  # a Vega-Lite specification as JSON values
MOST_ROWS = 1500  # rows that a table of a page has; what is left out is said under it
BLANK = "–"


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure: its title, its sentence, and its Vega-Lite specification."""

    title: str
    says: str
    spec: Spec


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text, numbers already as people read them: what it is of, its columns, its rows, and what is said under it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
      heading: over it.
      lines: sentences; those that begin with a space belong to the one before that does not.
      hint: how to read the charts.
      charts, tables: after the sentences.
      plain: the lines are one list, without headings among them.
    """

    heading: str
    lines: Sequence[str] = ()
    hint: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    plain: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """All that stands in a report, in the order in which it stands there.

    Attributes:
      title, question: what it is about.
      verdict: the answer in sentences.
      caveats: what to know before relying on it.
      sections: the rest.
      about: provenance, name → text.
    """

    title: str
    question: str
    verdict: Sequence[str]
    caveats: Sequence[str]
    sections: Sequence[Section]
    about: Mapping[str, str]

    @property
    def charts(self) -> list[Chart]:
        """The charts of all sections, in the order of the page."""
        return [chart for section in self.sections for chart in section.charts]

    @property
    def tables(self) -> list[Table]:
        """The tables of all sections, in the order of the page."""
        return [table for section in self.sections for table in section.tables]


def provenance(**facts: Any) -> dict[str, str]:
    """Facts as text, those that are None left out."""
    return {name.replace("_", " "): str(value) for name, value in facts.items() if value is not None}


def number_text(value: object) -> str:
    """A cell as people read it: four significant digits at most, ∞ for what has no end, – for what is not there."""
    if value is None or value is pd.NA:
        return BLANK
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if np.isnan(number):
            return BLANK
        if np.isinf(number):
            return "∞" if number > 0 else "-∞"
        return f"{number:,.0f}" if number == round(number) and abs(number) < 1e9 else f"{number:.4g}"
    return (
        f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else str(value)
    )


def table_of(
    caption: str,
    frame: pd.DataFrame,
    texts: Mapping[str, Callable[[Any], str]] | None = None,
    where: str = "the files that this page was made from",
) -> Table:
    """A data frame as a table of a page.

    Args:
      caption: what it is of.
      frame: its rows; column names are its heads.
      texts: how the cells of some columns are written; the others by `number_text`.
      where: what has the rows that are left out where there are more than a page should have.
    """
    texts = texts or {}
    columns = [
        [texts.get(str(name), number_text)(value) for value in frame[name].head(MOST_ROWS)] for name in frame
    ]
    note = (
        f"The first {MOST_ROWS:,} of {len(frame):,} rows; all are in {where}."
        if len(frame) > MOST_ROWS
        else ""
    )
    return Table(caption, tuple(map(str, frame)), tuple(zip(*columns, strict=True)), note)


def some(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
