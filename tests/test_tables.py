"""Curve files as people write them: delimiters, decimal signs, formats, labels kept as written, and what is said of the rest."""

import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes.errors import CurvesWarning, InputError
from iclbayes.stream import fit_stream
from iclbayes.tables import read_table

SHARED = Path(__file__).parents[2] / "shared" / "cases" / "csv"
SHOTS, PROB = [0, 1, 2, 4, 8, 16, 32], [0.1, 0.22, 0.35, 0.5, 0.66, 0.75, 0.8]


def shared(name):
    if not (SHARED / name).exists():
        pytest.skip(f"the folder of shared cases has no csv/{name} here")
    return SHARED / name


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("name", ["semi_comma.csv", "spaces.csv"])
def test_shared_files_of_one_curve(name):
    curves = iclbayes.read_curves(shared(name))
    assert curves.shots.tolist() == SHOTS and curves.prob.tolist() == PROB


LINES = [f"{n};{str(p).replace('.', ',')};b, c" for n, p in zip(SHOTS, PROB)]
SEMICOLONS = "shots;prob;model\n" + "\n".join(LINES) + "\n"
COMMAS = "shots,prob,model\n" + "".join(f'{n},{p},"b, c"\n' for n, p in zip(SHOTS, PROB))
RECORDS = [{"shots": n, "prob": p, "model": "b, c"} for n, p in zip(SHOTS, PROB)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", SEMICOLONS),
        ("points.csv", SEMICOLONS.replace("0,", "0.")),
        ("tabs.tsv", SEMICOLONS.replace(";", "\t")),
        ("tabs.csv", SEMICOLONS.replace(";", "\t")),
        ("bars.txt", SEMICOLONS.replace(";", "|")),
        ("CAPITALS.CSV", COMMAS),
        ("mark.csv", "\ufeff" + COMMAS),
        ("windows.csv", COMMAS.replace("\n", "\r\n")),
        ("blanks.csv", COMMAS.replace(",prob,", " , prob , ")),
        ("lines.jsonl", "\n".join(map(json.dumps, RECORDS))),
        ("lines.JSONL", "\r\n".join(map(json.dumps, RECORDS)) + "\n\n"),
        ("list.json", json.dumps(RECORDS)),
    ],
)
def test_text_is_read_whatever_stands_between_its_cells(tmp_path, name, content):
    curves = iclbayes.read_curves(write(tmp_path / name, content), group_by="model")
    assert curves.shots.tolist() == SHOTS and curves.prob.tolist() == PROB
    assert curves.keys["model"].tolist() == ["b, c"]


def test_compressed_and_parquet_files_with_any_ending(tmp_path):
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(SEMICOLONS.encode()))
    frame = pd.DataFrame(RECORDS)
    frame.to_parquet(tmp_path / "c.pq")
    frame.to_parquet(tmp_path / "c.PARQUET")
    frame.set_index(["model", "shots"]).to_parquet(tmp_path / "indexed.parquet")
    for path in tmp_path.iterdir():
        curves = iclbayes.read_curves(path, group_by="model")
        assert curves.shots.tolist() == SHOTS and curves.prob.tolist() == PROB
    for name in ("x.pq", "index.parquet"):
        assert iclbayes.read_curves(shared(name), group_by="m").keys["m"].tolist() == ["a", "b"]


def test_files_read_in_chunks_are_read_alike(tmp_path):
    rows = [f"{k};{n};{str(p).replace('.', ',')}" for k in ("007", "7", "NA") for n, p in zip(SHOTS, PROB)]
    path = write(tmp_path / "c.csv", "k;shots;prob\n" + "\n".join(rows))
    fit_stream(path, tmp_path / "fits.csv", ["power"], group_by="k", chunk_rows=7)
    streamed = pd.read_csv(tmp_path / "fits.csv", dtype=str, keep_default_na=False)
    whole = iclbayes.fit(iclbayes.read_curves(path, group_by="k"), "power").to_frame()
    assert streamed["k"].tolist() == whole["k"].tolist() == ["007", "7", "NA"]
    np.testing.assert_allclose(streamed["loss"].astype(float), whole["loss"], rtol=1e-6)


def labels(tmp_path, values, **options):
    lines = "".join(f'"{v}",{n},0.5\n' for v in values for n in (0, 1))
    return (
        iclbayes.read_curves(write(tmp_path / "c.csv", "k,shots,prob\n" + lines), group_by="k", **options)
        .keys["k"]
        .tolist()
    )


def test_labels_are_kept_as_they_are_written(tmp_path):
    names = iclbayes.read_curves(shared("NA.csv"), group_by="model").keys["model"].tolist()
    assert names == ["base", "None", "NA"]
    for values in (
        ["None", "NA", "null", "nan", "N/A", "NaN"],
        ["007", "7"],
        ["007", "008"],
        ["1e3", "x"],
        ["2025-01-01"],
    ):
        assert labels(tmp_path, values) == values
    assert labels(tmp_path, ["12345678901234567891", "12345678901234567892"]) == [
        "12345678901234567891",
        "12345678901234567892",
    ]
    assert labels(tmp_path, [" a", "a "]) == ["a"]
    assert labels(tmp_path, ["7", "-8"]) == [7, -8] and labels(tmp_path, ["0.5", "1e-3"]) == [0.5, 0.001]
    assert labels(tmp_path, ["True", "False"]) == [True, False]
    with pytest.raises(InputError, match=r"column 'k', row 2: .* is empty"):
        labels(tmp_path, ["", "a"])


def test_numbers_that_become_one_label_are_told_of(tmp_path):
    for values in (["1e3", "1000"], ["1", "1.0"], ["0.10", "0.1"]):
        with pytest.warns(
            CurvesWarning, match=f"column 'k': {values[0]} and {values[1]} are one number, and so one label"
        ):
            assert len(labels(tmp_path, values)) == 1
    frame = iclbayes.tables.read_table(tmp_path / "c.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iclbayes.curves_from_frame(frame.assign(g="a"), group_by="g")  # the column is not used


def test_types_of_the_shared_file():
    keys = iclbayes.read_curves(shared("types.csv"), group_by=["lr", "flag", "day"]).keys
    assert keys.to_numpy().tolist() == [
        [0.001, True, "2025-01-01"],
        [0.001, False, "2025-01-02"],
        [0.0003, True, "2025-01-03"],
    ]


def test_missing_numbers_are_missing_however_they_are_written(tmp_path):
    for missing in ("", "NA", "NaN", "null"):
        path = write(tmp_path / "c.csv", f"shots,prob,stderr\n0,0.5,0.1\n1,0.6,{missing}\n")
        np.testing.assert_array_equal(iclbayes.read_curves(path).stderr, [0.1, np.nan])
        path = write(tmp_path / "c.csv", f"shots,prob,n\n0,0.5,1\n1,{missing},1\n")
        with pytest.raises(InputError, match="column 'prob', row 3: nan is missing"):
            iclbayes.read_curves(path)


def test_another_column_can_say_the_shots(tmp_path):
    path = shared("percent.csv")
    with pytest.raises(
        InputError, match=r"no column 'shots'; it has n_shots, .*name the one .*\(--shots COLUMN\)"
    ):
        iclbayes.read_curves(path)
    with pytest.raises(
        InputError, match=r"row 2: 23.3 is not between 0 and 1; as percent\? then divide the column by 100"
    ):
        iclbayes.read_curves(path, shots="n_shots")
    frame = pd.read_csv(path).assign(accuracy=lambda f: f["accuracy"] / 100)
    curves = iclbayes.curves_from_frame(frame, shots="n_shots")
    assert curves.shots.tolist() == [1, 5, 10, 25, 50, 100][: len(curves.shots)]
    np.testing.assert_allclose(curves.prob[0], frame.loc[frame["n_shots"] == 1, "accuracy"].mean())
    semicolons = write(tmp_path / "c.csv", "k;value\n" + "0;1,5\n")
    with pytest.raises(InputError, match="no column 'shots'; it has k, value"):
        iclbayes.read_curves(semicolons)


def test_percent_signs_are_read_and_a_slip_above_one_is_no_percent(tmp_path):
    path = write(tmp_path / "c.csv", "shots,prob\n0,23.5%\n1,40 %\n")
    np.testing.assert_allclose(iclbayes.read_curves(path).prob, [0.235, 0.4])
    path = write(tmp_path / "c.csv", "shots,prob\n0,0.5\n1,0.6\n2,0.7\n3,0.8\n4,0.9\n5,1.2\n")
    with pytest.raises(InputError, match=r"row 7: 1\.2 is not between 0 and 1$"):
        iclbayes.read_curves(path)
    path = write(tmp_path / "c.csv", 'shots,prob\n0,"0,5"\n1,"0,6"\n')
    with pytest.raises(InputError, match="row 2: 0,5 is not a number; write decimals with a point"):
        iclbayes.read_curves(path)


def test_lists_are_no_labels(tmp_path):
    with pytest.raises(
        InputError, match=r"column 'm', row 2: \['x'\] is a list; groups and sources are told apart by"
    ) as caught:
        iclbayes.read_curves(shared("listcol.parquet"), group_by="m")
    assert "\n" not in str(caught.value)
    rows = [{"shots": n, "prob": 0.5, "m": {"a": 1}, "tags": [1, n]} for n in (0, 1)]
    path = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="is a list"):
        iclbayes.read_curves(path, group_by="m")
    assert iclbayes.read_curves(path).shots.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["NA.csv", "types.csv", "shapes.csv", "x.pq"])
def test_every_column_of_text_that_rows_are_averaged_over_is_named(name):
    named = {"NA.csv": "'model'", "types.csv": "'flag', 'day'", "shapes.csv": "'curve'", "x.pq": "'m'"}[name]
    with pytest.warns(CurvesWarning, match=f"rows that differ in {named} are averaged"):
        iclbayes.read_curves(shared(name))


def test_columns_of_text_that_do_not_matter_are_not_named():
    frame = pd.DataFrame(
        {
            "shots": [0, 1, 0, 1],
            "prob": 0.5,
            "g": ["a", "a", "b", "b"],
            "note": ["p", "q", "r", "s"],
            "seed": [1, 1, 2, 2],
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iclbayes.curves_from_frame(frame, group_by="g")  # each note is of one row
        iclbayes.curves_from_frame(frame.drop(columns=["g", "note"]))  # replicates differ in numbers
    with pytest.warns(
        CurvesWarning, match=r"differ in 'g', 'a note' are averaged; .* \(--group-by g --group-by 'a note'\)"
    ):
        iclbayes.curves_from_frame(frame.rename(columns={"note": "a note"}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", "", "the file is empty"),
        ("c.jsonl", '{"shots": 0}\n{"shots"', "line 2 is not whole JSON"),
        ("c.jsonl", "3\n", "line 1 is no record of columns and values"),
        ("c.json", "[1]", "entry 1 is no record"),
        ("c.parquet", "nothing", "cannot be read as .parquet"),
        ("c.csv", "\n\n", "the file is empty"),
        ("c.csv", "shots;prob\n", "no rows after the header"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        iclbayes.read_curves(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_nothing_long_is_carried_by_a_table_of_many_columns(tmp_path):
    """pandas copies `attrs` at every look at a column: with all names in it, 5,000 columns took a minute."""
    names = [f"c{i}" for i in range(300)]
    frame = read_table(write(tmp_path / "wide.csv", f"{','.join(names)}\n{','.join('1' * 300)}\n"))
    assert list(frame) == names and (frame.dtypes == "int64").all()
    assert frame.attrs == {"one_label": {}}
