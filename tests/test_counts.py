"""Counts at the ends of their range and in shapes that no law has: fitted as they can be, against SciPy's best rising curve."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression
from test_tables import shared

import iclbayes
from iclbayes.cli.main import main
from iclbayes.errors import InputError

# What a law can reach: the binomial fit of a curve that never falls is the isotonic regression, and these have a law's shape.
REACHED = ("zero", "one", "const", "down", "hump")


@pytest.fixture(scope="module")
def frame():
    return pd.read_csv(shared("counts.csv"))


def counted(frame):
    return iclbayes.curves_from_frame(frame, group_by="curve")


def test_the_shared_counts_are_fitted_as_they_can_be(frame, tmp_path, capsys):
    out = tmp_path / "f.csv"
    words = ["fit", str(shared("counts.csv")), "--group-by", "curve", "--stderr", "--out", str(out)]
    assert main([*words, "--law", "bayesian_scoring", "--law", "logistic"]) == 0
    table = pd.read_csv(out)
    assert table.groupby("law")["curve"].nunique().tolist() == [11, 11]
    assert np.isfinite(table["loss"]).all() and set(table["status"]) <= {"converged", "max_steps"}
    [line] = [text for text in capsys.readouterr().err.splitlines() if "no law here describes" in text]
    for said in ("down falls", "hump rises, then falls", "two has few points", "single has few points"):
        assert said in line
    for rising in ("zero", "one", "const", "sat1", "noise"):
        assert f" {rising} " not in line

    fits = iclbayes.fit(counted(frame), "bayesian_scoring")
    shots = np.unique(frame["shots"])
    predicted = dict(zip(fits.curves.keys["curve"], fits.predict(shots)[:, 0]))
    for name in REACHED:
        own = frame[frame["curve"] == name]
        best = isotonic_regression(own["n_correct"] / own["n_test"]).x
        np.testing.assert_allclose(predicted[name], best, atol=3e-3, err_msg=name)
    reach = dict(zip(fits.curves.keys["curve"], fits.shots_to_reach(0.5)[:, 0]))
    assert reach["zero"] == reach["noise"] == np.inf and reach["one"] == 0 and 0 < reach["sat1"] < 2


@pytest.mark.parametrize(
    "change", ["shares", "percent", "floats", "semicolons", "shuffled", "tests that differ"]
)
def test_counts_written_in_other_ways_are_the_same_counts(frame, tmp_path, change):
    expected = counted(frame)
    options = {}
    if change in ("shares", "percent"):
        share = frame["n_correct"] / frame["n_test"]
        text = (100 * share).map("{:g} %".format) if change == "percent" else share
        frame = frame.drop(columns="n_correct").assign(accuracy=text)
    elif change == "floats":
        frame = frame.astype({"n_correct": float, "n_test": float, "shots": float})
    elif change == "semicolons":
        options = {"sep": ";", "decimal": ","}
        frame = frame.astype({"n_correct": float})
    elif change == "shuffled":
        order = frame.groupby("curve", sort=False).sample(frac=1, random_state=0)
        frame = order
    else:  # two rows of one point add up
        part = frame.assign(n_correct=frame["n_correct"] // 4, n_test=10)
        rest = frame.assign(n_correct=frame["n_correct"] - part["n_correct"], n_test=30)
        frame = pd.concat([rest, part])
    frame.to_csv(tmp_path / "c.csv", index=False, **options)
    found = iclbayes.read_curves(tmp_path / "c.csv", group_by="curve")
    columns = ["curve", "shots", "n_correct", "n_test"]
    pd.testing.assert_frame_equal(found.to_frame()[columns], expected.to_frame()[columns])
    np.testing.assert_allclose(found.prob, expected.prob, rtol=1e-12)


def test_counts_that_are_none_are_refused(frame):
    for column, value, said in (
        ("n_correct", 41, "41 is not between 0 and n_test"),
        ("n_correct", -1, "-1 is not between 0 and n_test"),
        ("n_test", 0, "0 is not a number of test examples"),
    ):
        bad = frame.assign(**{column: frame[column].where(frame.index != 3, value)})
        with pytest.raises(InputError, match=rf"column '{column}', row 5: {said}"):
            counted(bad)
