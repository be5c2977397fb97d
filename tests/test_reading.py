"""Reading curves: values, averages, labels, and the message for every kind of bad cell."""

import warnings

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes.errors import CurvesWarning, InputError


def frame(**columns):
    base = {"model": ["a", "a", "a", "b"], "shots": [0, 1, 2, 0], "prob": [0.2, 0.4, 0.6, 0.5]}
    return pd.DataFrame(base | columns)


def test_reads_csv_and_parquet_alike(tmp_path):
    table = frame(stderr=[0.1, 0.1, 0.2, 0.1])
    table.to_csv(tmp_path / "c.csv", index=False)
    table.to_parquet(tmp_path / "c.parquet", index=False)
    one, two = (iclbayes.read_curves(tmp_path / f"c.{e}", group_by=["model"]) for e in ("csv", "parquet"))
    pd.testing.assert_frame_equal(one.to_frame(), two.to_frame())
    assert (one.n_groups, one.n_curves, len(one.shots)) == (2, 2, 4)
    np.testing.assert_array_equal(one.prob, table["prob"])
    assert repr(one) == "Curves(2 groups by model; 2 curves, 4 points)"


def test_repeated_rows_are_averaged_with_their_weights():
    table = pd.DataFrame({"shots": [3, 1, 3], "n_correct": [10, 7, 90], "n_test": [100, 10, 300]})
    curves = iclbayes.curves_from_frame(table)
    np.testing.assert_array_equal(curves.shots, [1, 3])
    np.testing.assert_allclose(curves.prob, [0.7, 100 / 400])
    np.testing.assert_array_equal(curves.n_test, [10, 400])

    by_error = pd.DataFrame({"shots": [1, 1], "prob": [0.2, 0.5], "stderr": [0.1, 0.2]})
    curves = iclbayes.curves_from_frame(by_error)
    weights = np.array([1 / 0.01, 1 / 0.04])
    np.testing.assert_allclose(curves.prob, weights @ [0.2, 0.5] / weights.sum())
    np.testing.assert_allclose(curves.stderr, weights.sum() ** -0.5)

    plain = pd.DataFrame({"shots": [1, 1, 1], "prob": [0.2, 0.5, 0.8]})
    curves = iclbayes.curves_from_frame(plain)
    np.testing.assert_allclose(curves.prob, [0.5])
    np.testing.assert_allclose(curves.stderr, [0.3 / np.sqrt(3)])  # the standard error of their mean


@pytest.mark.parametrize(
    ("column", "values", "prob"),
    [
        ("nll", [0.0, 1.0, 2.0, 50.0], np.exp([-0.0, -1.0, -2.0, -50.0])),
        ("accuracy", [0.0, 1.0, 0.25, 0.5], [0.0, 1.0, 0.25, 0.5]),
    ],
)
def test_other_value_columns(column, values, prob):
    table = frame(**{column: values}).drop(columns="prob")
    np.testing.assert_allclose(iclbayes.curves_from_frame(table, group_by=["model"]).prob, prob)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": [0.2, 1.4, 0.6, 0.5]}, r"column 'prob', row 3: 1.4 is not between 0 and 1"),
        ({"prob": [0.2, 0.4, np.nan, 0.5]}, r"column 'prob', row 4: nan is missing"),
        ({"shots": [0, 1, 2.5, 0]}, r"column 'shots', row 4: 2.5 is not a whole number"),
        ({"shots": [0, -1, -2, 0]}, r"column 'shots', row 3: -1 .*\(and 1 more rows\)"),
        ({"shots": [0, "x", 2, 0]}, r"column 'shots', row 3: x is not a number"),
        ({"model": ["a", None, "a", "b"]}, r"column 'model', row 3: .* is empty"),
        ({"stderr": [0.1, -0.1, 0.1, 0.1]}, r"column 'stderr', row 3: -0.1 is negative"),
        ({"weight": [1, -2, 1, 1]}, r"column 'weight', row 3: -2 is negative"),
    ],
)
def test_bad_cells_are_named(tmp_path, change, message):
    path = tmp_path / "bad.csv"
    frame(**change).to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"bad\.csv: {message}") as caught:
        iclbayes.read_curves(path, group_by=["model"])
    assert "\n" not in str(caught.value)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("shots,prob\n")
    frame().drop(columns="prob").to_csv(tmp_path / "novalue.csv", index=False)
    counts = frame(n_correct=[1, 2, 9, 1], n_test=[3, 3, 3, 3]).drop(columns="prob")
    counts.to_csv(tmp_path / "counts.csv", index=False)
    cases = {
        "empty.csv": "the file is empty",
        "header.csv": "no rows after the header",
        "absent.csv": "no such file",
        "novalue.csv": "no column with values",
        "counts.csv": r"column 'n_correct', row 4: 9 is not between 0 and n_test",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            iclbayes.read_curves(tmp_path / name, group_by=["model"] if name == "counts.csv" else [])
    with pytest.raises(InputError, match=r"no column 'size'; it has model, shots, prob"):
        iclbayes.curves_from_frame(frame(), group_by=["size"])


def test_labels_are_read_alike_from_the_first_row_to_the_last(tmp_path):
    lines = [f"{i},{n},0.5" for i in range(100_000) for n in range(2)] + ["x,0,0.5"]
    (tmp_path / "long.csv").write_text("\n".join(["model,shots,prob", *lines]))
    curves = iclbayes.read_curves(tmp_path / "long.csv", group_by=["model"])
    assert curves.n_groups == 100_001 and curves.keys["model"].iloc[-1] == "x"


def test_a_column_called_source_is_either_grouped_by_or_the_source():
    frame = pd.DataFrame({"shots": [0, 1], "prob": 0.5, "source": "x", "task": "t"})
    with pytest.raises(InputError, match="grouped by a column 'source' while 'task' is the source"):
        iclbayes.curves_from_frame(frame, group_by=["source"], source="task")


def test_averaged_sources_are_told_of():
    """Where a group has several and nobody named the column, and only there."""
    mixed = pd.concat([frame(source="a", g=1), frame(source="b", g=1), frame(source="b", g=2)])
    for options in ({"group_by": ["model"]}, {"group_by": ["g", "model"]}):
        with pytest.warns(CurvesWarning, match="'source' is averaged over"):
            iclbayes.curves_from_frame(mixed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iclbayes.curves_from_frame(mixed, group_by=["g", "model"], source="source")
        iclbayes.curves_from_frame(mixed, group_by=["source", "g", "model"])
        iclbayes.curves_from_frame(mixed[mixed["g"] == 2], group_by=["model"])


def test_rows_that_agree_say_nothing_of_their_error():
    frame = pd.DataFrame({"shots": [0, 0, 0, 5, 5, 5, 9], "accuracy": [0.1, 0.1, 0.1, 0.4, 0.6, 0.5, 0.7]})
    # The mean of three times 0.1 is not 0.1 in floating point.
    np.testing.assert_allclose(iclbayes.curves_from_frame(frame).stderr, [np.nan, 0.1 / np.sqrt(3), np.nan])


def test_rows_in_any_order_give_the_same_curves():
    rng = np.random.default_rng(0)
    rows = [(g, s, n) for g in "ba" for s in "yx" for n in (0, 1, 4, 9)]
    frame = pd.DataFrame(rows, columns=["model", "source", "shots"])
    frame["prob"], frame["weight"] = rng.random(len(frame)), rng.random(len(frame))
    frame["stderr"] = rng.random(len(frame))
    stands = iclbayes.curves_from_frame(frame, group_by="model", source="source")
    np.testing.assert_array_equal(stands.prob, frame["prob"])
    np.testing.assert_array_equal(stands.stderr, frame["stderr"])
    np.testing.assert_array_equal(stands.weight, frame["weight"])
    for _ in range(5):
        shuffled = iclbayes.curves_from_frame(
            frame.sample(frac=1, random_state=rng), group_by="model", source="source"
        )
        labels = list(zip(shuffled.keys["model"].to_numpy()[shuffled.group], shuffled.source, strict=True))
        found = {
            (*labels[c], n): (p, w, e)
            for c, n, p, w, e in zip(
                *(shuffled.point_curve(), shuffled.shots, shuffled.prob, shuffled.weight, shuffled.stderr),
                strict=True,
            )
        }
        for row in frame.itertuples():
            assert found[row.model, row.source, row.shots] == (row.prob, row.weight, row.stderr)
    twice = iclbayes.curves_from_frame(pd.concat([frame, frame]), group_by="model", source="source")
    np.testing.assert_allclose(twice.prob, stands.prob)
    np.testing.assert_allclose(twice.weight, 2 * stands.weight)


def test_what_is_not_known_of_points_takes_no_memory():
    table = pd.DataFrame({"shots": range(1000), "prob": 0.5})
    curves = iclbayes.curves_from_frame(table)
    for unknown in (curves.stderr, curves.n_correct, curves.n_test):
        assert unknown.shape == (1000,) and np.isnan(unknown).all() and unknown.strides == (0,)
    known = iclbayes.curves_from_frame(table.assign(stderr=0.1, n_correct=5, n_test=10), value="n_correct")
    assert (known.stderr == 0.1).all() and (known.n_test == 10).all()
