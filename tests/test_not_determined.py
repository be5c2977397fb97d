"""Curves that leave parameters open (flat, saturated, of two points) give no number without a mark, in tables and figures."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import contrasts, plots, suppression
from iclbayes.fit_blocks import left_open
from iclbayes.suppression.figures import interval

matplotlib.use("agg")
SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
SHAPES = {
    "flat": lambda n: 0.3 + 0 * n,
    "saturated": lambda n: 0.97 + 0 * n,
    "rising": lambda n: 0.1 + 0.7 / (1 + np.exp(-(n - 12) / 4)),
}


def counts() -> pd.DataFrame:
    """A curve of each shape, and one of two points."""
    rng = np.random.default_rng(1)
    parts = []
    for shape, mean in SHAPES.items():
        n_correct = rng.binomial(400, mean(SHOTS))
        parts.append(
            pd.DataFrame(
                {"model": "m", "variant": shape, "shots": SHOTS, "n_correct": n_correct, "n_test": 400}
            )
        )
    two = pd.DataFrame(
        {"model": "m", "variant": "two points", "shots": [0.0, 16.0], "n_correct": [80, 270], "n_test": 400}
    )
    return pd.concat([*parts, two], ignore_index=True)


@pytest.fixture(scope="module")
def fits():
    curves = iclbayes.curves_from_frame(counts(), group_by=["model", "variant"])
    return iclbayes.fit(curves, "bayesian_scoring")


@pytest.fixture(scope="module")
def around(fits):
    return contrasts.NormalDraws(fits, 200)


def test_tables_of_fits_name_what_is_open(fits):
    told = fits.to_frame().set_index("variant")["not_identified"]
    assert told["rising"] == ""
    for shape in ("flat", "saturated", "two points"):
        assert {"prior", "efficiency"} <= set(told[shape].split()), shape


def test_draws_around_point_fits_say_what_is_open(around):
    table = contrasts.parameter_table(around).set_index(["variant", "parameter"])["undetermined"]
    assert not table["rising"].any()
    for shape in ("flat", "saturated", "two points"):
        assert table[shape, "efficiency"] and table[shape, "prior"], shape
    assert not table["flat", "gamma"]  # a flat curve knows its plateau


def test_a_contrast_of_point_fits_has_no_number_for_what_is_open(around):
    moved = contrasts.contrast(around, [("rising", "flat")], column="variant").set_index("parameter")
    assert (
        moved.loc["efficiency", "undetermined"] == "after" and moved.loc["efficiency", "moved"] == "unclear"
    )
    assert moved.loc["efficiency", ["shift", "lo90", "hi90", "value_after"]].isna().all()
    assert np.isfinite(moved.loc["efficiency", "value_before"])
    assert moved.loc["gamma", "undetermined"] == "" and np.isfinite(moved.loc["gamma", "shift"])


def test_the_figure_of_a_contrast_says_so_in_the_place_of_the_number(around):
    moved = contrasts.contrast(around, [("rising", "flat")], column="variant")
    axis = plots.plot_shift(moved, "efficiency", 0.3)
    axis.get_figure().draw_without_rendering()
    assert [text.get_text() for text in axis.texts] == ["not determined by these data"]
    assert not [line for line in axis.get_lines() if line.get_marker() in "os D"]
    assert not plots.plot_shift(moved, "gamma", 0.3).texts


def test_figures_of_suppression_draw_it_hollow(fits):
    table = fits.to_frame(stderr=True)
    sure = interval(table, "prior", "logit").set_axis(table["variant"])["identified"]
    assert sure["rising"] and not sure[["flat", "saturated", "two points"]].any()
    # A prior at the end of its range is drawn there with a small standard error, and is open all the same.
    ends = table[table["variant"] == "flat"].assign(prior=1e-13, prior_se=1e-5)
    assert not interval(ends, "prior", "logit")["identified"].any()


def test_a_source_is_not_left_open_by_another_of_its_group(fits):
    table = fits.to_frame(stderr=True)
    flat, rising = (table[table["variant"] == shape].iloc[0] for shape in ("flat", "rising"))
    together = pd.DataFrame([flat.to_dict(), rising.to_dict() | {"not_identified": flat["not_identified"]}])
    assert left_open(together, "prior").tolist() == [True, False]
    assert left_open(together.drop(columns="prior_se"), "prior").tolist() == [True, True]


@pytest.fixture(scope="module")
def tuned():
    """A pretrained model whose curve rises, and two amounts of fine-tuning: it still rises; it is flat."""
    family = {"method": "sft", "layers": 1, "seed": 0, "k": 2, "source": 0}
    parts = [
        pd.DataFrame(
            {
                "shots": SHOTS,
                "prob": SHAPES[shape](SHOTS) * (1 - 0.1 * (amount == 8)),
                **family,
                "amount": amount,
            }
        )
        for amount, shape in ((0, "rising"), (8, "rising"), (64, "flat"))
    ]
    curves = iclbayes.curves_from_frame(
        pd.concat(parts), group_by=["method", "layers", "seed", "k", "amount"], source="source"
    )
    return iclbayes.fit(curves, "bayesian_scoring", background=1)


def test_shifts_after_fine_tuning_have_no_number_for_what_is_open(tuned):
    table = suppression.shifts(tuned).set_index(["amount", "parameter"])
    assert table.loc[(8, "efficiency"), "undetermined"] == "" and np.isfinite(
        table.loc[(8, "efficiency"), "shift"]
    )
    assert table.loc[(64, "efficiency"), "undetermined"] == "after"
    assert table.loc[(64, "efficiency"), ["shift", "shift_se", "z"]].isna().all()
