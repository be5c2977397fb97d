"""Small HTML of results for notebooks: a heading and a table, every text escaped."""

import html
from collections.abc import Sequence

ROWS = 8  # of a table in a notebook


def shown(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], n_rows: int, note: str = ""
) -> str:
    """A heading, a table of the first rows, and what is left out of them.

    Args:
      title: what it is, in a line.
      columns: names of the columns.
      rows: the first rows, numbers already as people read them; `ROWS` at most are shown.
      n_rows: how many there are in all.
      note: a line below.
    """
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows[:ROWS]
    )
    below = [f"and {n_rows - ROWS:,} more" if n_rows > ROWS else "", note]
    told = "".join(f"<div>{_text(line)}</div>" for line in below if line)
    return f"<div><strong>{_text(title)}</strong><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{told}</div>"


def number(value: float) -> str:
    """A number in three digits; "–" where it is not known."""
    if value != value:
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _text(value: object) -> str:
    return html.escape(str(value))
