"""Which curves no law can describe: known shapes, with and without errors, and noise that is none."""

import numpy as np
import pandas as pd
import pytest
from test_tables import shared

import iclbayes
from iclbayes.cli.main import main
from iclbayes.shapes import best_rising, not_described

SHOTS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128])
POSITION = np.linspace(0, 1, 9)


def curves_of(shapes, **columns):
    frames = [
        pd.DataFrame({"curve": name, "shots": SHOTS[: len(p)], "prob": p}).assign(**columns)
        for name, p in shapes.items()
    ]
    return iclbayes.curves_from_frame(pd.concat(frames), group_by="curve")


def told(curves):
    table = not_described(curves)
    return dict(zip(table["curve"], table["shape"]))


def test_the_shared_curves():
    assert told(iclbayes.read_curves(shared("shapes.csv"), group_by="curve")) == {
        "down": "falls",
        "U": "falls, then rises",
        "hump": "rises, then falls",
        "descent2": "rises and falls",
        "two": "has few points",
        "single": "has few points",
    }


def test_the_best_rising_curve_is_that_of_scipy():
    from scipy.optimize import isotonic_regression

    rng = np.random.default_rng(3)
    for n in (1, 2, 3, 9, 40):
        values = np.round(rng.normal(size=n), 1)  # with ties
        np.testing.assert_allclose(best_rising(values), isotonic_regression(values).x, atol=1e-12)


@pytest.mark.parametrize("scale", [0.2, 0.8])
def test_known_shapes(scale):
    shapes = {
        "falls, then rises": (2 * POSITION - 1) ** 2,
        "rises, then falls": np.sin(np.pi * POSITION),
        "falls": 1 - POSITION**0.5,
        "rises and falls": (1 + np.sin(3.5 * np.pi * POSITION)) / 2,
        "rises": POSITION**2,
        "jumps": (POSITION > 0.5) * 1.0,
        "flat": np.full(9, 0.5),
    }
    found = told(curves_of({name: 0.1 + scale * p for name, p in shapes.items()}))
    assert found == {name: name for name in list(shapes)[:4]}


def test_noise_that_errors_explain_is_no_shape():
    rng = np.random.default_rng(0)
    rising = 0.3 + 0.4 * POSITION
    noisy = {i: rng.binomial(40, rising) / 40 for i in range(300)}
    assert (
        np.mean([np.ptp(np.maximum.accumulate(p) - p) > 0.05 for p in noisy.values()]) > 0.8
    )  # they do fall somewhere
    frames = [
        pd.DataFrame({"curve": i, "shots": SHOTS, "accuracy": p, "n_test": 40}) for i, p in noisy.items()
    ]
    counts = iclbayes.curves_from_frame(pd.concat(frames), group_by="curve")
    assert len(not_described(counts)) <= 9  # 3 %
    assert len(not_described(curves_of(noisy, stderr=np.sqrt(0.25 / 40)))) <= 9
    falling = {i: rng.binomial(100, rising[::-1]) / 100 for i in range(100)}
    table = not_described(curves_of(falling, stderr=0.05))
    assert len(table) >= 95 and (table["shape"] == "falls").mean() > 0.8


def test_points_without_weight_do_not_count():
    frame = pd.DataFrame(
        {"shots": SHOTS, "prob": [0.1, 0.9, *np.linspace(0.2, 0.6, 7)], "weight": [1, 0, *[1] * 7]}
    )
    assert not_described(iclbayes.curves_from_frame(frame)).empty
    assert len(not_described(iclbayes.curves_from_frame(frame.drop(columns="weight")))) == 1


def test_a_command_says_which_curves_its_law_cannot_describe(tmp_path, capsys):
    frame = curves_of({"up": 0.1 + 0.7 * POSITION, "down": 0.8 - 0.5 * POSITION}).to_frame()
    frame.to_csv(tmp_path / "c.csv", index=False)
    command = [
        "fit",
        str(tmp_path / "c.csv"),
        "--group-by",
        "curve",
        "--law",
        "power",
        "--out",
        str(tmp_path / "f.csv"),
    ]
    assert main(command) == 0
    [line] = [text for text in capsys.readouterr().err.splitlines() if "warning" in text]
    assert "no law here describes 1 of 2 curves" in line and line.endswith(": down falls")
