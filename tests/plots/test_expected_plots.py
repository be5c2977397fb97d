"""Tasks by shots, parameters with intervals, stacking weights, calibration: by what is drawn, against NumPy and SciPy."""

import types

import matplotlib
import numpy as np
import pandas as pd
import pytest
from base_and_chat import simulate
from matplotlib.figure import Figure
from scipy import stats

import iclbayes
from iclbayes import InputError, contrasts, plots, posterior
from iclbayes.fit_blocks import NOT_DETERMINED

matplotlib.use("agg")


def legend(axis) -> list[str]:
    (found,) = axis.get_figure().legends
    return [text.get_text() for text in found.get_texts()]


@pytest.fixture(scope="module")
def one():
    """A posterior of two tasks, two models, two sources each."""
    curves = iclbayes.curves_from_frame(simulate(3), group_by=["model", "task"], source="source")
    return posterior.sample(curves, "bayesian_scoring", discrepancy=None, method="laplace", n_draws=200)


@pytest.fixture
def axes():
    return Figure().subplots()


def test_tasks_have_a_line_each_with_its_band_and_where_measured():
    shots, rng = np.array([0.0, 1, 10, 100]), np.random.default_rng(0)
    weights = rng.dirichlet([3, 2, 1], (400, 4)).transpose(0, 2, 1)  # [S, M, n]
    axis = plots.plot_tasks(shots, weights, ["a", "b", "rest"], measured_to=10.0, title="model = m")
    assert legend(axis) == ["shots measured", "a", "b", "rest"] and axis.get_title() == "model = m"
    (shade,) = [patch for patch in axis.patches if patch.get_label() == "shots measured"]
    assert shade.get_x() + shade.get_width() == 10
    for m, (line, band) in enumerate(zip(["a", "b", "rest"], axis.collections, strict=True)):
        (whole,) = [x for x in axis.get_lines() if x.get_label() == line]
        np.testing.assert_allclose(whole.get_ydata(), np.median(weights[:, m, :3], 0))
        assert max(whole.get_xdata()) == 10
        corners = band.get_paths()[0].vertices
        at = corners[corners[:, 0] == 100][:, 1]
        expected = np.quantile(weights[:, m, 3], [0.05, 0.95])
        np.testing.assert_allclose([at.min(), at.max()], expected)


def test_a_posterior_draws_the_weights_of_its_tasks(one, axes):
    drawn = one.plot_task_weights(group={"model": "chat", "task": "pursuit"}, source="unsafe", ax=axes)
    assert drawn is axes and not axes.get_figure().legends
    assert axes.get_title() == "model = chat, task = pursuit,\nsource = unsafe"
    names = axes.get_legend_handles_labels()[1]
    assert names == ["shots measured", "safe", "unsafe"]
    (line,) = [x for x in axes.get_lines() if x.get_label() == "unsafe"]
    group = one.group_index({"model": "chat", "task": "pursuit"})
    expected = np.median(one.task_weights([0.0, 400.0])[:, group, 1, 1], axis=0)
    np.testing.assert_allclose(np.interp([0, 400], *line.get_data()), expected)
    assert expected[0] < 0.2 and expected[1] > 0.9
    with pytest.raises(InputError, match="no source 'x' in this group; there are safe, unsafe"):
        one.plot_task_weights(source="x")
    with pytest.raises(InputError, match="is not one of 0 to 3"):
        one.plot_task_weights(group=9)


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_a_law_without_tasks_has_no_weights_to_draw():
    curves = iclbayes.Curves.from_arrays(np.arange(8.0), [np.linspace(0.2, 0.7, 8)], n_test=200)
    power = posterior.sample(curves, "power", discrepancy=None, method="laplace", n_draws=50)
    with pytest.raises(InputError, match="the law power has no tasks"):
        power.plot_task_weights()


def test_parameters_of_a_posterior_are_drawn_with_their_intervals(one, axes):
    table = contrasts.parameter_table(one)
    assert not table["undetermined"].any()
    assert plots.plot_intervals(table, ("gamma", "beta"), ["model", "task"], ax=axes) is axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [
        f"{m}, {t}, {s}" for m in ("base", "chat") for t in ("pursuit", "deceit") for s in ("safe", "unsafe")
    ]
    draws = one.params["gamma"].reshape(-1, 4, 2)
    bars = [x for x in axes.get_lines() if x.get_color() == plots.color(0) and x.get_marker() == "None"]
    for bar, expected in zip(bars, np.quantile(draws, [0.05, 0.95], 0).reshape(2, -1).T, strict=True):
        np.testing.assert_allclose(bar.get_xdata(), expected)
    dots = [x.get_xdata()[0] for x in axes.get_lines() if x.get_marker() == "o"]
    np.testing.assert_allclose(dots, np.median(draws, 0).reshape(-1))
    assert axes.get_xlim() == (0, 1) and axes.get_xlabel() == "γ, β: median and 90 % interval"
    once = plots.plot_intervals(table, "efficiency", ["model", "task"])
    conditions = [f"{m}, {t}" for m in ("base", "chat") for t in ("pursuit", "deceit")]
    assert [text.get_text() for text in once.get_yticklabels()] == conditions
    assert once.get_xscale() == "log" and not once.get_figure().legends
    with pytest.raises(InputError, match="no parameter kappa; there are prior, efficiency, gamma, beta"):
        plots.plot_intervals(table, "kappa", ["model"])


def test_what_the_data_do_not_determine_is_no_number_like_the_others(axes):
    table = pd.DataFrame(
        {
            "model": ["a", "b"], "source": "", "parameter": "efficiency", "median": [0.1, 3.0], "lo90": [0.08, 1e-9],
            "hi90": [0.12, 1e6], "undetermined": [False, True],
        }
    )  # fmt: skip
    plots.plot_intervals(table, "efficiency", ["model"], ax=axes)
    low, high = axes.get_xlim()
    assert 0.01 < low < 0.08 and 0.12 < high < 10  # not flattened by what is not known
    (vague,) = [x for x in axes.get_lines() if x.get_label() == NOT_DETERMINED]
    assert vague.get_markerfacecolor() == "white" and low <= vague.get_xdata()[0] <= high
    ends = {x.get_marker(): x.get_xdata()[0] for x in axes.get_lines() if x.get_marker() in ("<", ">")}
    assert ends == {"<": low, ">": high}


def test_point_fits_that_are_not_identified_are_marked():
    frame = pd.DataFrame({"layers": [2, 4, 8], "k": 3, "efficiency": [0.1, 40.0, 0.3], "efficiency_se": 0.01})
    frame = frame.assign(not_identified=["", "efficiency prior", "gamma"])
    figure = plots.plot_parameter(frame, x="layers", y="efficiency", line="k", logy=True)
    (axis,) = figure.axes
    (vague,) = [x for x in axis.get_lines() if x.get_label() == NOT_DETERMINED]
    assert list(vague.get_ydata()) == [40.0] and vague.get_markerfacecolor() == "white"
    bars = axis.containers[0].lines[2][0].get_segments()
    assert sum(len(segment) == 2 and np.isfinite(segment).all() for segment in bars) == 2


def test_stacking_weights_are_bars_with_the_heaviest_first(axes):
    one = types.SimpleNamespace(law=types.SimpleNamespace(name="power"))
    other = types.SimpleNamespace(law=types.SimpleNamespace(name="staged"))
    stacked = posterior.Stack((one, other), np.array([0.25, 0.75]))
    assert stacked.plot_weights(axes) is axes
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25]
    assert [text.get_text() for text in axes.get_yticklabels()] == [plots.law_label("staged"), "power"]
    assert [text.get_text() for text in axes.texts] == ["0.75", "0.25"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_calibration_is_the_share_of_truths_in_central_intervals(axes):
    rng = np.random.default_rng(1)
    right, narrow = rng.standard_normal(500), 2 * rng.standard_normal(300)
    assert plots.plot_calibration({"K": right, "γ": np.r_[narrow, np.nan]}, ax=axes) is axes
    names = axes.get_legend_handles_labels()[1]
    assert names == ["90 % of chance", "calibrated", "K (500)", "γ (300)"]
    lines = {line.get_label(): line.get_data() for line in axes.get_lines()}
    for level in (0.5, 0.9):
        z = stats.norm.ppf((1 + level) / 2)
        assert np.interp(level, *lines["K (500)"]) == pytest.approx((abs(right) <= z).mean(), abs=1e-9)
        assert np.interp(level, *lines["γ (300)"]) == pytest.approx((abs(narrow) <= z).mean(), abs=1e-9)
    corners = axes.collections[0].get_paths()[0].vertices
    at_half = corners[np.isclose(corners[:, 0], 0.5)][:, 1]
    np.testing.assert_allclose(sorted(at_half), stats.binom.ppf([0.05, 0.95], 300, 0.5) / 300)
    with pytest.raises(InputError, match="no cases to judge calibration by of K"):
        plots.plot_calibration({"K": [np.nan]})
