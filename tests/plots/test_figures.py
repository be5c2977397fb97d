"""What the figures show: titles, legends, lines where they belong, what was fitted and what is beyond."""

import dataclasses

import matplotlib
import numpy as np
import pandas as pd
import pytest
from curve_tables import table
from matplotlib.figure import Figure

import iclbayes
from iclbayes import Curves, InputError, plots

matplotlib.use("agg")
DASHED = "--"


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def visible(figure: Figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


@pytest.fixture(scope="module")
def curves() -> Curves:
    return iclbayes.curves_from_frame(table(n_models=2), group_by=["model"], source="source")


@dataclasses.dataclass
class Fitted:
    """Curves of which only some points were fitted, as a posterior has them."""

    curves: Curves
    used: np.ndarray


def forecast(curves: Curves, shots) -> pd.DataFrame:
    """A band that widens with shots, different for every curve."""
    parts = []
    for c in range(curves.n_curves):
        middle, width = 0.3 + 0.1 * c, 0.01 * np.log1p(shots)
        part = pd.DataFrame({"shots": shots, "median": middle})
        for name, z in (("50", 1.0), ("90", 2.4)):
            part = part.assign(**{f"lo{name}": middle - z * width, f"hi{name}": middle + z * width})
        keys = curves.keys.iloc[curves.group[c]]
        parts.append(part.assign(source=curves.source[c], **keys))
    return pd.concat(parts, ignore_index=True)


def test_fits_over_points(curves):
    fits = [iclbayes.fit(curves, law, fraction=0.5, n_starts=2) for law in ("power", "logistic")]
    figure = plots.plot_fits(fits)
    assert [axis.get_title() for axis in visible(figure)] == [
        f"model = {model}, source = {source}" for model in ("m0", "m1") for source in "ab"
    ]
    assert legend(figure) == ["fitted range", "measured, fitted", "measured, held out", "power", "logistic"]
    assert len({axis.get_xlabel() for axis in visible(figure)}) == 1
    assert [axis.get_ylabel() for axis in visible(figure)] == ["probability of\nthe right answer", "", "", ""]
    axis = visible(figure)[0]
    (fitted,) = [line for line in axis.get_lines() if line.get_label() == "measured, fitted"]
    assert list(fitted.get_xdata()) == list(range(8))
    (held,) = [line for line in axis.get_lines() if line.get_label() == "measured, held out"]
    assert list(held.get_xdata()) == list(range(8, 16)) and held.get_markerfacecolor() == "white"
    for i, law in enumerate(("power", "logistic")):
        whole, beyond = [line for line in axis.get_lines() if line.get_color() == plots.color(i)]
        assert whole.get_label() == law
        assert beyond.get_linestyle() == DASHED and min(beyond.get_xdata()) == pytest.approx(7)
        assert max(beyond.get_xdata()) == pytest.approx(15)
        at = np.array([3.0, 11.0])
        drawn = [np.interp(3.0, *whole.get_data()), np.interp(11.0, *beyond.get_data())]
        np.testing.assert_allclose(drawn, fits[i].predict(at)[0, 0], atol=2e-3)
    (shade,) = [patch for patch in axis.patches if patch.get_label() == "fitted range"]
    assert (shade.get_x(), shade.get_width()) == (0, 7)


def test_fits_of_all_shots_have_no_dashes_and_many_curves_are_said_to_be_left_out(curves):
    figure = plots.plot_fits([iclbayes.fit(curves, "power", n_starts=2)], max_panels=3)
    assert len(visible(figure)) == 3
    assert figure.get_suptitle() == "the first 3 of 4 curves"
    assert legend(figure) == ["measured, fitted", "power"]
    assert not any(line.get_linestyle() == DASHED for axis in visible(figure) for line in axis.get_lines())
    with pytest.raises(InputError, match="no fits to draw"):
        plots.plot_fits([])


def test_bands_widen_beyond_the_shaded_shots_that_were_fitted(curves):
    one = Fitted(curves, curves.shots <= 5)
    shots = np.arange(0.0, 61.0)
    figure = plots.plot_bands(one, forecast(curves, shots))
    assert [axis.get_title() for axis in visible(figure)][:2] == [
        "model = m0, source = a",
        "model = m0, source = b",
    ]
    assert legend(figure) == [
        *("fitted range", "90 % band", "50 % band", "median", "measured, fitted", "measured, held out")
    ]
    for c, axis in enumerate(visible(figure)):
        whole, beyond = [line for line in axis.get_lines() if line.get_color() == plots.color(0)]
        assert max(whole.get_xdata()) == 5 and beyond.get_linestyle() == DASHED
        assert set(whole.get_ydata()) == {0.3 + 0.1 * c}
        assert max(beyond.get_xdata()) == 60 < axis.get_xlim()[1]
        (shade,) = [patch for patch in axis.patches if patch.get_label() == "fitted range"]
        assert (shade.get_x(), shade.get_width()) == (0, 5)
        wide, narrow = axis.collections[:2]
        for band, z in ((wide, 2.4), (narrow, 1.0)):
            corners = band.get_paths()[0].vertices
            at_end = corners[corners[:, 0] == 60][:, 1]
            assert np.ptp(at_end) == pytest.approx(2 * z * 0.01 * np.log(61))


def test_one_band_draws_into_given_axes(curves):
    figure = Figure()
    axes = figure.subplots(1, 2)
    one = Fitted(curves, np.ones(len(curves.shots), bool))
    drawn = plots.plot_band(one, forecast(curves, np.arange(16.0)), 3, ax=axes[1])
    assert drawn is axes[1] and drawn.get_title() == "model = m1, source = b"
    assert not axes[0].get_lines() and not figure.legends
    alone = plots.plot_band(one, forecast(curves, np.arange(16.0)))
    assert "median" in legend(alone.get_figure()) and "measured, held out" not in legend(alone.get_figure())


def test_more_curves_than_panels_are_said_to_be_left_out():
    curves = Curves.from_arrays(np.arange(3.0), np.full((30, 3), 0.5))
    one = Fitted(curves, np.ones(90, bool))
    figure = plots.plot_bands(one, forecast(curves, np.arange(3.0)))
    assert len(visible(figure)) == 24 and figure.get_suptitle() == "the first 24 of 30 curves"


def test_measured_lines():
    frame = table(n_models=2).assign(stderr=0.05)
    figure = plots.plot_lines(frame, panel=("model", "source"), line="model", columns=2)
    assert [axis.get_title() for axis in visible(figure)] == [
        f"model = {model}, source = {source}" for model in ("m0", "m1") for source in "ab"
    ]
    assert legend(figure) == ["m0", "m1"]
    first = visible(figure)[0]
    (line,) = first.get_lines()
    expected = frame[(frame["model"] == "m0") & (frame["source"] == "a")]
    np.testing.assert_allclose(line.get_ydata(), expected["prob"])
    corners = first.collections[0].get_paths()[0].vertices
    assert np.ptp(corners[corners[:, 0] == 3][:, 1]) == pytest.approx(0.2)
    named = plots.plot_lines(frame, panel="source", line="model", panel_label=lambda key: f"of {key}")
    assert [axis.get_title() for axis in visible(named)] == ["of a", "of b"]


def test_errors_of_laws():
    rows = [
        ("power", 0.5, i, value) for i, value in enumerate((0.4, 0.6))
    ] + [("logistic", 0.5, i, value) for i, value in enumerate((0.2, 0.3))]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["law", "fraction", "model", "nrmse"])
    both = pd.concat([frame, frame.assign(fraction=1.0, nrmse=frame["nrmse"] / 2)])
    axis = plots.plot_errors(both)
    figure = axis.get_figure()
    heights = [
        [bar.get_height() for bar in container] for container in axis.containers if len(container) == 2
    ]
    np.testing.assert_allclose(heights, [[0.5, 0.25], [0.25, 0.125]])
    assert legend(figure) == ["power", "logistic"] and axis.get_ylabel() == "mean NRMSE"
    assert [text.get_text() for text in axis.get_xticklabels()] == ["50 %", "100 %\n(interpolation)"]
    assert axis.get_yscale() == "linear"
    far = both.assign(nrmse=np.where((both["law"] == "power") & (both["fraction"] < 1), 50.0, both["nrmse"]))
    assert plots.plot_errors(far).get_yscale() == "log"
    mine = Figure().subplots()
    assert plots.plot_errors(both, ax=mine) is mine and mine.get_legend() is not None


def test_parameters_against_a_condition():
    frame = pd.DataFrame(
        {"layers": [2, 4, 2, 4], "k": [3, 3, 8, 8], "efficiency": [0.1, 0.2, 0.3, 0.4], "efficiency_se": 0.01}
    )
    labels = {"efficiency": "ICL efficiency K"}
    figure = plots.plot_parameter(frame, x="layers", y="efficiency", line="k", labels=labels, logy=True)
    (axis,) = visible(figure)
    assert legend(figure) == ["k = 3", "k = 8"]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("layers", "ICL efficiency K", "log")
    assert [text.get_text() for text in axis.get_xticklabels()] == ["2", "4"]
    split = plots.plot_parameter(frame, x="layers", y="efficiency", line="k", panel="k", labels={"k": ""})
    assert [axis.get_title() for axis in visible(split)] == ["3", "8"] and legend(split) == ["3", "8"]
    titled = plots.plot_parameter(frame, x="layers", y="efficiency", line="k", panel="k")
    assert [axis.get_title() for axis in visible(titled)] == ["k = 3", "k = 8"]


CONTRAST = pd.DataFrame(
    {
        "before": "hub/base", "after": "hub/chat", "task": ["t", "u"] * 2, "source": "",
        "parameter": ["prior"] * 2 + ["gamma"] * 2,
        "shift": [-2.0, 0.1, 0.0, 5.0], "lo90": [-3.0, -0.1, -0.2, -40.0], "hi90": [-1.0, 0.2, 0.2, 60.0],
        "moved": ["down", "same", "same", "unclear"],
    }
)  # fmt: skip


def test_contrast_shows_shifts_and_where_an_interval_goes_on():
    figure = plots.plot_contrast(CONTRAST, 0.3)
    prior, gamma = visible(figure)
    assert [text.get_text() for text in prior.get_yticklabels()] == ["base → chat, t", "base → chat, u"]
    assert prior.get_xlabel() == "shift of logit of the prior ρ" and gamma.get_xlabel() == "shift of logit γ"
    assert legend(figure) == ["moved", "same", "unclear"]
    middles = [line.get_xdata()[0] for line in prior.get_lines() if line.get_label() in ("moved", "same")]
    assert middles == [-2.0, 0.1]
    low, high = gamma.get_xlim()
    assert (low, high) == (-2.0, 2.0)  # not flattened by what the data hardly say
    triangles = {
        line.get_marker(): line.get_xdata()[0] for line in gamma.get_lines() if line.get_marker() in "<>"
    }
    assert triangles == {"<": -2.0, ">": 2.0}


REACH = pd.DataFrame(
    {
        "model": ["hub/a", "hub/b"], "source": "", "q05": [3.0, 90.0], "q25": [5.0, 400.0], "q50": [8.0, np.inf],
        "q75": [12.0, np.inf], "q95": [20.0, np.inf], "p_never": [0.0, 0.6],
    }
)  # fmt: skip


def test_reach_keeps_every_median_in_view():
    axis = plots.plot_reach(REACH, ["model"], 0.5, 64.0)
    axis.get_figure().draw_without_rendering()
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    assert {text.get_text() for text in axis.texts} == {"0 %", "60 %", "never"}
    low, high = axis.get_xlim()
    markers = {
        line.get_marker(): line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() != "None"
    }
    assert markers["o"] == 8.0 and low <= markers[">"] <= high
    assert axis.get_xlabel().startswith("shots to probability 0.5")
    mine = Figure().subplots()
    assert plots.plot_reach(REACH, ["model"], 0.5, 64.0, ax=mine) is mine


def test_task_weights():
    shots = np.array([0.0, 1, 10, 100])
    rows = [
        pd.DataFrame({"model": f"hub/{m}", "task": t, "source": "", "shots": shots, "median": 0.2, "lo90": 0.1, "hi90": 0.3})
        for t in ("t", "u") for m in ("a", "b")
    ]  # fmt: skip
    figure = plots.plot_task_weights(pd.concat(rows), ["model", "task"], 25.0)
    assert [axis.get_title() for axis in visible(figure)] == ["task = t", "task = u"]
    assert legend(figure) == ["shots measured", "a", "b"]
    axis = visible(figure)[0]
    assert axis.get_ylabel() == "posterior of the task"
    (shade,) = [patch for patch in axis.patches if patch.get_label() == "shots measured"]
    assert shade.get_x() + shade.get_width() == 25
    few = plots.plot_task_weights(pd.concat(rows), ["model", "task"], 25.0, most=1)
    assert few.get_suptitle() == "the first 1 of 2 conditions"
