"""Curves that leave parameters open (flat, saturated, of two points) give no number without a mark, in tables and figures."""

import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import comparison, contrasts, plots, posterior, suppression
from iclbayes.cli.main import main
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


@pytest.fixture(scope="module")
def sampled():
    table = counts()
    curves = iclbayes.curves_from_frame(
        table[table["variant"] != "two points"], group_by=["model", "variant"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", posterior.PosteriorWarning)  # the normal approximation is rough here
        return posterior.sample(
            curves, "bayesian_scoring", likelihood="binomial", discrepancy=None, method="laplace", n_draws=100
        )


def test_posteriors_say_what_is_open_to_whoever_asks(sampled):
    """The functions of `contrasts` mark it of themselves: nobody has to hand over what is unknown."""
    table = contrasts.parameter_table(sampled).set_index(["variant", "parameter"])["undetermined"]
    assert table["flat", "efficiency"] and table["saturated", "efficiency"] and not table["rising", "gamma"]
    moved = contrasts.contrast(sampled, [("rising", "flat")], column="variant").set_index("parameter")
    assert moved.loc["efficiency", "undetermined"] == "after"
    assert moved.loc["efficiency", ["shift", "lo90", "hi90", "value_after", "p_value"]].isna().all()
    assert moved.loc["efficiency", "moved"] == "unclear"
    assert moved.loc["gamma", "undetermined"] == "after"  # what is flat so far may rise yet
    assert 0.75 < moved.loc["gamma", "value_before"] < 0.85


def test_shots_to_a_level_have_a_number_only_where_the_data_determine_it(fits):
    reached = fits.reach_table(0.5).set_index("variant")
    rising = reached.loc["rising"]
    # 0.1 + 0.7 / (1 + exp(-(n - 12) / 4)) is 0.5 at 12 + 4 ln(4 / 3) shots.
    assert rising["lo90"] < 12 + 4 * np.log(4 / 3) < rising["hi90"] and not rising["undetermined"]
    assert rising["hi90"] < 2 * rising["lo90"]
    assert reached.loc["saturated", ["shots", "lo90", "hi90"]].eq(0).all()  # at the level from the start
    for shape in ("flat", "two points"):
        assert reached.loc[shape, "undetermined"], shape
        assert reached.loc[shape, ["shots", "lo90", "hi90"]].isna().all(), shape
    never = fits.reach_table(0.95).set_index("variant")
    assert np.isinf(never.loc["rising", ["shots", "lo90", "hi90"]].astype(float)).all()
    assert never.loc[["flat", "two points"], "undetermined"].all()


def test_the_interval_of_shots_to_a_level_is_that_of_the_curve_crossing_it(fits):
    """Where the band of the curve meets the level, to first order: from above at its low end, from below at its high one."""
    row = fits.reach_table(0.5).set_index("variant").loc["rising"]
    shots = np.linspace(5, 30, 5001)
    low, high = (end[2, 0] for end in fits.predict_interval(shots))
    assert row["lo90"] == pytest.approx(shots[np.argmax(high >= 0.5)], rel=0.05)
    assert row["hi90"] == pytest.approx(shots[np.argmax(low >= 0.5)], rel=0.05)


def test_draws_around_point_fits_say_nothing_of_such_shots(around):
    table = contrasts.reach_table(around, 0.5).set_index("variant")[["q05", "q50", "q95", "p_never"]]
    assert table.loc[["flat", "two points"]].isna().all(axis=None)
    assert np.isfinite(table.loc["rising"].astype(float)).all()


def test_the_prior_of_a_background_is_left_open_as_any_prior():
    table = pd.DataFrame({"not_identified": ["prior", "", "combination", "probs", "efficiency"]})
    for column in ("prior_background", "prior_background_2"):
        assert left_open(table, column).tolist() == [True, False, True, False, False]
    assert left_open(table, "probs_1").tolist() == [False, False, True, True, False]
    table = table.assign(prior_background=0.5, prior_background_se=[0.01, 0.01, 0.01, 0.01, 0.01])
    assert not left_open(table.iloc[:1], "prior_background").any()  # its own error is small
    assert left_open(table.iloc[:1].assign(prior_background_se=9.0), "prior_background").all()


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
    other = rising.to_dict() | {"not_identified": flat["not_identified"]}
    together = pd.DataFrame([flat.to_dict(), other | {"variant": "flat", "source": 1}])
    assert left_open(together, "prior").tolist() == [True, False]
    assert left_open(together.drop(columns="prior_se"), "prior").tolist() == [True, True]
    # A group of one source has no other that could leave it open, whatever else the table holds.
    alone = pd.concat([together, pd.DataFrame([other])])
    assert left_open(alone, "prior").tolist() == [True, False, True]


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


def test_shares_of_a_change_have_no_number_for_what_is_open(tuned):
    table = suppression.attribution(tuned).set_index("amount")
    parts = ["prior", "efficiency", "knowledge"]
    assert table.loc[8, "undetermined"] == "" and table.loc[8, parts].sum() == pytest.approx(1)
    assert table.loc[64, "undetermined"] == "after" and table.loc[64, parts].isna().all()
    means = suppression.mean_attribution(suppression.attribution(tuned)).set_index("amount")
    assert means.loc[8, ["determined", "of"]].tolist() == [1, 1] and np.isfinite(means.loc[8, "prior"])
    assert means.loc[64, ["determined", "of"]].tolist() == [0, 1] and means.loc[64, parts].isna().all()
    assert means.loc[64, "change"] == pytest.approx(table.loc[64, "change"])


def test_a_fit_without_spare_points_is_a_pale_line_that_says_why(fits):
    names = list(fits.curves.keys["variant"])
    axes = {shape: plots.plot_fit([fits], names.index(shape)) for shape in (*SHAPES, "two points")}
    drawn = {
        shape: {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}
        for shape, axis in axes.items()
    }
    pale = drawn["two points"]["not determined by these data"]
    assert pale.get_alpha() < 0.5 and np.isfinite(pale.get_ydata()).all()
    assert np.isnan(drawn["two points"]["Bayesian (scoring)"].get_ydata()).all()
    assert "not determined by these data" not in drawn["rising"]
    assert np.isfinite(drawn["rising"]["Bayesian (scoring)"].get_ydata()).all()


def test_the_figure_of_shots_to_a_level_says_so_and_shades_what_each_curve_was_measured_at(around):
    table = contrasts.reach_table(around, 0.5)
    axis = plots.plot_reach(table, ["variant"], 0.5, around.curves.max_shots())
    said = {
        round(text.get_position()[1]): text.get_text() for text in axis.texts if text.get_position()[0] == 0.5
    }
    opened = [i for i, shape in enumerate(table["variant"]) if shape in ("flat", "two points")]
    assert said == dict.fromkeys(opened, "not determined by these data")
    widths = [patch.get_x() + patch.get_width() for patch in axis.patches]
    assert widths == [16.0 if shape == "two points" else 64.0 for shape in table["variant"]]


def test_a_curve_above_the_level_from_the_start_has_no_crossing(sampled):
    reached = sampled.reach_table(0.5)
    names = list(sampled.curves.keys["variant"])
    ahead = sampled.forecast([0.0, 10.0, 64.0])
    axis = plots.plot_band(sampled, ahead, names.index("saturated"), level=0.5, reached=reached)
    assert not [line for line in axis.get_lines() if line.get_marker() == "D"]
    axis = plots.plot_band(sampled, ahead, names.index("rising"), level=0.5, reached=reached)
    assert [line for line in axis.get_lines() if line.get_marker() == "D"]


def test_a_comparison_says_what_may_be_chance_and_which_curves_tell_nothing():
    curves = iclbayes.curves_from_frame(counts(), group_by=["model", "variant"])
    table = iclbayes.compare(curves, ["logistic", "bayesian_scoring"])
    first, few = comparison.verdict(table)
    assert "which may be chance (paired t-test, p = " in first and "by 0.000" not in first
    assert (
        few
        == "1 curve has fewer than 3 fitted points: a law can pass through so few, and tells nothing by it."
    )
    rows = [{"law": law, "fraction": 1.0, "model": m, "source": 0, "n_fit": 9, "n_eval": 9, "nrmse": e + 0.001 * m}
            for law, e in (("a", 0.1), ("b", 0.2)) for m in range(5)]  # fmt: skip
    rows[0]["nrmse"] = 0.09
    (line,) = comparison.verdict(pd.DataFrame(rows).assign(rmse=0.1, nrmse_nll=0.1))
    assert "chance" not in line and "by 0.10" in line


def test_a_curve_without_shots_is_said_to_be_one():
    one = iclbayes.curves_from_frame(
        counts().assign(shots=lambda t: 0 * t["shots"]).head(1), group_by=["model"]
    )
    ahead = pd.DataFrame({"shots": [4.0], "prior_dominated": [True]})
    ahead = ahead.assign(latent_median=0.5, latent_lo90=0.1, latent_hi90=0.9)
    (line,) = posterior.forecast_sentences(one, np.ones(1, bool), ahead, [4.0])
    assert line.endswith("; measured without examples only; the prior says more here than the data")


def test_the_fit_command_prints_no_number_for_what_is_open(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"shots": [0, 1, 4, 8], "prob": 0.5}).to_csv("flat.csv", index=False)
    assert main(["fit", "flat.csv"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  the curve")]
    assert line == "  the curve: not determined by these data: prior, efficiency, gamma, beta"
