"""Long tables as CSV: the same letters as pandas writes, whatever is in the cells."""

import io

import numpy as np
import pandas as pd
import pytest

from iclbayes import csv_text

ODD = [
    *(
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-4,
        9.999e-5,
        1e-5,
        -1e-5,
        5e-324,
        1e15,
        1e16,
        1e17,
        1e22,
        1e300,
        np.inf,
        -np.inf,
        np.nan,
    ),
    *(0.1 + 0.2, 1 / 3, 123456789.0, 123456789.123, 12345678901234567890.0, 2.0**53, 1e21, 999999999999999.9),
]
TEXTS = [
    "",
    "plain",
    "a,b",
    'q"q',
    '"',
    "l\nm",
    "c\rd",
    " lead",
    "ö",
    "1",
    "-",
    "nan",
    "None",
    "\t",
    "'",
    None,
]


def table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    floats = np.where(
        rng.random(rows) < 0.5,
        rng.choice(ODD, rows),
        rng.normal(size=rows) * 10.0 ** rng.integers(-30, 30, rows),
    )
    return pd.DataFrame(
        {
            "model, of": pd.Series(rng.choice(np.array(TEXTS, object), rows)).astype("str"),
            "law": rng.choice(np.array([text for text in TEXTS if text is not None], object), rows),
            "C": floats,
            "single": rng.normal(size=rows).astype(np.float32),
            "steps": rng.integers(-(2**62), 2**62, rows),
            "identified": rng.random(rows) < 0.5,
        }
    )


@pytest.mark.parametrize("rows", [csv_text.FEW, csv_text.FEW + 1, csv_text.ROWS + 7])
def test_long_tables_are_written_as_pandas_writes_them(tmp_path, rows):
    frame = table(rows)
    csv_text.write(frame, tmp_path / "ours.csv")
    frame.to_csv(tmp_path / "pandas.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()


@pytest.mark.parametrize(
    "column",
    [pd.Series([1, None, "x"] * 1000, dtype=object), pd.Series(["a", "b", "a"] * 1000, dtype="category")],
)
def test_columns_of_other_kinds_are_left_to_pandas(tmp_path, column):
    frame = pd.DataFrame({"a": column, "b": np.arange(3000.0)})
    csv_text.write(frame, tmp_path / "ours.csv")
    said = io.StringIO()
    frame.to_csv(said, index=False)
    assert (tmp_path / "ours.csv").read_text() == said.getvalue()


def test_rows_are_added_to_what_is_there(tmp_path):
    frame = table(2 * csv_text.FEW + 2)
    half = len(frame) // 2
    csv_text.write(frame.iloc[:half], tmp_path / "ours.csv")
    csv_text.write(frame.iloc[half:], tmp_path / "ours.csv", mode="a", header=False)
    frame.to_csv(tmp_path / "pandas.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
