"""Curves of several files, against the same rows in one file; what differs between files, and curves that two of them hold."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes.cli.main import main
from iclbayes.errors import CurvesWarning, InputError

SHOTS = [0, 1, 2, 4, 8, 16, 32, 64]
RISE = np.linspace(0.1, 0.9, 8)


def rows(**labels):
    return pd.DataFrame({**labels, "shots": SHOTS, "n_correct": (RISE * 50).round(), "n_test": 50})


def write(folder, **frames):
    paths = []
    for name, frame in frames.items():
        paths.append(folder / f"{name}.csv")
        frame.to_csv(paths[-1], index=False)
    return paths


def test_files_are_read_as_their_rows_in_one_file(tmp_path):
    parts = {
        f"p{i}": pd.concat([rows(model=m, task=t) for m in models]).sample(frac=1, random_state=i)
        for i, (models, t) in enumerate([(("a", "b"), "x"), (("b", "c"), "y"), (("a",), "z")])
    }
    whole = pd.concat(parts.values())
    paths = write(tmp_path, **parts, whole=whole)
    (tmp_path / "p1.jsonl").write_text("\n".join(map(json.dumps, parts["p1"].to_dict("records"))))
    parts["p2"].to_parquet(tmp_path / "p2.parquet")
    files = [paths[0], tmp_path / "p1.jsonl", tmp_path / "p2.parquet"]
    for options in ({"group_by": ["model", "task"]}, {"group_by": "model", "source": "task"}):
        found, one = iclbayes.read_curves(files, **options), iclbayes.read_curves(paths[-1], **options)
        pd.testing.assert_frame_equal(found.to_frame(), one.to_frame())
        pd.testing.assert_frame_equal(found.keys, one.keys)


def test_a_label_has_one_type_in_all_files(tmp_path):
    a, b = write(tmp_path, a=rows(k="7"), b=rows(k="007"))
    assert iclbayes.read_curves([a, b], group_by="k").keys["k"].tolist() == ["7", "007"]
    a, b = write(tmp_path, a=rows(k="1e3"), b=rows(k="x"))
    assert iclbayes.read_curves([a, b], group_by="k").keys["k"].tolist() == ["1e3", "x"]
    a, b = write(tmp_path, a=rows(k="7"), b=rows(k="0.5"))
    assert iclbayes.read_curves([a, b], group_by="k").keys["k"].tolist() == [7.0, 0.5]
    (a,) = write(tmp_path, a=rows(k="7"))
    rows(k="x").to_parquet(tmp_path / "b.parquet")
    keys = iclbayes.read_curves([a, tmp_path / "b.parquet"], group_by="k").keys
    assert keys["k"].tolist() == ["7", "x"]
    a, b = write(tmp_path, a=rows(k="1e3", g="a"), b=rows(k="1000", g="b"))
    with pytest.warns(
        CurvesWarning, match=r"a.csv: column 'k': 1e3 and 1000 \(in another file\) are one number"
    ):
        assert iclbayes.read_curves([a, b], group_by=["k", "g"]).n_groups == 2


def test_a_curve_in_two_files_is_refused_with_what_tells_it_apart(tmp_path):
    a, b = write(tmp_path, a=rows(model="m", task="t"), b=rows(model="m", task="t"))
    with pytest.raises(InputError) as caught:
        iclbayes.read_curves([a, b], group_by=["model", "task"])
    assert str(caught.value) == (
        f"{a} and {b} both hold the curve of model m, task t; name what tells them apart (--group-by file), "
        "or leave one of them out"
    )
    a, b = write(tmp_path, a=rows(model="m", variant="base"), b=rows(model="m", variant="chat"))
    with pytest.raises(InputError, match=r"both hold the curve of model m; .*\(--group-by variant\)"):
        iclbayes.read_curves([a, b], group_by="model")
    with pytest.raises(InputError, match=r"both hold the same curve, for no column tells curves apart; "):
        iclbayes.read_curves([a, b])
    both = pd.concat([rows(model="m", v="base"), rows(model="m", v="chat")])
    with pytest.raises(InputError, match=r"both hold the curve of model m, source chat; "):
        iclbayes.read_curves(write(tmp_path, a=both, c=both[8:]), group_by="model", source="v")
    with pytest.raises(InputError, match=r"\(2 curves are in two files\)"):
        both = pd.concat([rows(model="m"), rows(model="n")])
        iclbayes.read_curves(write(tmp_path, a=both, b=both), group_by="model")
    with pytest.raises(InputError, match=r"a.csv: is named twice"):
        iclbayes.read_curves([a, a])
    with pytest.raises(InputError, match="no file of curves is named"):
        iclbayes.read_curves([])


def test_names_of_files_are_a_column(tmp_path):
    (tmp_path / "run").mkdir()
    a, b = write(tmp_path, base=rows(), chat=rows())
    assert iclbayes.read_curves([a, b], group_by="file").keys["file"].tolist() == ["base", "chat"]
    assert iclbayes.read_curves([a, b], source="file").source.tolist() == ["base", "chat"]
    assert iclbayes.read_curves(a, group_by="file").keys["file"].tolist() == ["base"]
    (c,) = write(tmp_path / "run", base=rows())
    assert iclbayes.read_curves([a, c], group_by="file").keys["file"].tolist() == [str(a), str(c)]
    (d,) = write(tmp_path, own=rows(file="mine"))
    assert iclbayes.read_curves([a, d], group_by="file").keys["file"].tolist() == ["base", "mine"]


def test_columns_that_differ_between_files(tmp_path):
    a, b = write(tmp_path, a=rows(model="a", n=1), b=rows(model="b").drop(columns=["n_correct", "n_test"]))
    with pytest.raises(InputError, match=r"b.csv: no column 'n'; it has model, shots"):
        iclbayes.read_curves([a, b], group_by=["model", "n"])
    with pytest.raises(InputError, match=r"b.csv: no column with values"):
        iclbayes.read_curves([a, b], group_by="model")
    b = write(
        tmp_path, b=pd.DataFrame({"model": "b", "shots": SHOTS, "prob": RISE, "stderr": 0.1, "window": 40})
    )[0]
    with pytest.warns(CurvesWarning) as told:
        curves = iclbayes.read_curves([a, b], group_by="model")
    assert [
        str(one.message).removeprefix(str(tmp_path)) for one in told if one.category is CurvesWarning
    ] == [
        "/b.csv: 1 of 8 rows lie beyond the context window and are left out",
        f"/a.csv is read by its column 'n_correct' and {b} by 'prob'; where both have the same, name that (--value COLUMN)",
    ]
    assert curves.window.tolist() == [np.inf, 40]
    assert np.isfinite(curves.n_test).tolist() == [True] * 8 + [False] * 7
    assert np.isnan(curves.stderr).tolist() == [True] * 8 + [False] * 7
    weighted = rows(model="c").assign(weight=3.0)
    with pytest.warns(
        CurvesWarning, match=r"c.csv has a column 'weight' and .*a.csv has none; points without one"
    ):
        iclbayes.read_curves([*write(tmp_path, c=weighted), a], group_by="model")
    with pytest.raises(InputError, match=r"d.csv: column 'n_correct', row 4: 60 is not between 0 and n_test"):
        bad = rows(model="d").assign(n_correct=[0, 0, 60, 0, 0, 0, 0, 0])
        iclbayes.read_curves([a, *write(tmp_path, d=bad)], group_by="model")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CurvesWarning)
        iclbayes.read_curves([a, *write(tmp_path, e=rows(model="e", note="x"))], group_by="model")


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--law", "power", "--out"],
        ["compare", "--law", "power", "--law", "logistic", "--out"],
        ["posterior", "--law", "bayesian_scoring", "--method", "laplace", "--forecast"],
        ["contrast", "--pair", "model", "a", "b", "--method", "laplace", "--out"],
    ],
    ids=lambda words: words[0],
)
def test_commands_take_several_files(tmp_path, capsys, command):
    frames = {"a": rows(model="a"), "b": rows(model="b")}
    one = write(tmp_path, whole=pd.concat(frames.values()))
    several = write(tmp_path, **frames)
    name, *rest = command
    tables = {}
    for kind, files in (("one", one), ("several", several)):
        out = tmp_path / f"{kind}_table.csv"
        assert main([name, *map(str, files), "--group-by", "model", *rest, str(out)]) == 0
        tables[kind] = pd.read_csv(out)
    printed = capsys.readouterr().out
    assert (
        f"{several[0]}, {several[1]}: Curves(2 groups by model; 2 curves, 16 points) from 16 rows" in printed
    )
    pd.testing.assert_frame_equal(tables["one"], tables["several"])


def test_a_data_frame_is_no_path():
    with pytest.raises(InputError, match=r"give a data frame to iclbayes\.curves_from_frame"):
        iclbayes.read_curves(rows(model="a"), group_by="model")


def test_commands_say_in_one_line_what_is_wrong(tmp_path, capsys):
    a, b = map(str, write(tmp_path, a=rows(model="a"), b=rows(model="b")))
    fit = ["fit", "--law", "power", "--out", str(tmp_path / "f.csv")]
    cases = {
        (): "missing: CURVES",
        (a, a): f"{a}: is named twice",
        (a, b): "both hold the same curve",
        (a, b, "--out", b): f"{b}: is the input {b} itself",
        (
            a,
            b,
            "--chunk-rows",
            "8",
            "--group-by",
            "model",
        ): "are fitted one at a time; give one, or join them",
        (a, str(tmp_path / "none.csv")): f"{tmp_path / 'none.csv'}: no such file",
    }
    for words, said in cases.items():
        assert main([fit[0], *words[:2], *fit[1:], *words[2:]]) == 2
        error = capsys.readouterr().err
        assert error.startswith("iclbayes: error: ") and said in error and error.count("\n") == 1
        assert "data:" not in error and not (tmp_path / "f.csv").exists()


def test_chunks_take_the_columns_that_are_named(tmp_path):
    frame = pd.concat([rows(model=m).assign(nll=-np.log(RISE)) for m in "abc"]).rename(columns={"shots": "k"})
    (path,) = write(tmp_path, c=frame)
    options = ["--group-by", "model", "--shots", "k", "--value", "nll", "--window", "40", "--law", "power"]
    for out, more in (("whole.csv", []), ("chunks.csv", ["--chunk-rows", "8"])):
        assert main(["fit", str(path), *options, *more, "--out", str(tmp_path / out)]) == 0
    whole, chunks = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("whole", "chunks"))
    assert chunks["model"].tolist() == ["a", "b", "c"]
    pd.testing.assert_frame_equal(whole[["model", "loss"]], chunks[["model", "loss"]], rtol=1e-6)
