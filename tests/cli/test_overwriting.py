"""No command overwrites what it reads, whatever names and links lead there."""

import os

import pandas as pd
import pytest

from iclbayes.cli.main import main

CURVES = pd.DataFrame({"shots": [0, 1, 2, 4], "prob": [0.1, 0.3, 0.4, 0.6]}).to_csv(index=False)
TASK = pd.DataFrame({"question": ["a", "b"], "answer": ["c", "d"]})


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["fit", "fits.csv"], "fits.csv"),
        (["compare", "table.csv"], "table.csv"),
        (["fit", "curves.csv", "--out", "./folder/../curves.csv"], "curves.csv"),
        (["fit", "curves.csv", "--out", "link.csv"], "curves.csv"),
        (["fit", "curves.csv", "--out", "hard.csv"], "curves.csv"),
        (["fit", "link.csv", "--out", "curves.csv"], "curves.csv"),
        (["posterior", "curves.csv", "--law", "power", "--forecast", "curves.csv"], "curves.csv"),
        (["posterior", "shots_to_reach.csv", "--law", "power", "--level", "0.5"], "shots_to_reach.csv"),
        (["collect", "--model", "m", "--task", "x.json", "--out", "x.csv"], "x.json"),
        (["collect", "--model", "m", "--task", "x.csv", "--out", "x.csv"], "x.csv"),
        (["collect", "--model", "m", "--task", "creak", "--data", "x.json", "--out", "x.csv"], "x.json"),
    ],
)
def test_outputs_are_not_inputs(tmp_path, monkeypatch, capsys, arguments, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("fits.csv", "table.csv", "curves.csv", "shots_to_reach.csv"):
        (tmp_path / name).write_text(CURVES)
    TASK.to_csv("x.csv", index=False)
    TASK.to_json("x.json", orient="records")
    os.symlink("curves.csv", "link.csv")
    os.link("curves.csv", "hard.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "is the input" in error and "write to another file" in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert (tmp_path / output).read_bytes() == before[tmp_path / output]
