"""Curves that share a panel, pages of panels, and what is asked of a whole figure, by what is drawn."""

import dataclasses

import matplotlib
import numpy as np
import pandas as pd
import pytest
from curve_tables import table
from matplotlib.figure import Figure

import iclbayes
from iclbayes import Curves, InputError, plots
from iclbayes.plots import layout, style

matplotlib.use("agg")


@dataclasses.dataclass
class Fitted:
    """Curves of which only some points were fitted, as a posterior has them."""

    curves: Curves
    used: np.ndarray


@pytest.fixture(scope="module")
def curves() -> Curves:
    return iclbayes.curves_from_frame(
        table(n_models=2).assign(n_test=100).assign(n_correct=lambda t: (100 * t["prob"]).round()).drop(columns="prob"),
        group_by=["model"],
        source="source",
    )  # fmt: skip


def forecast(curves: Curves, shots, law: str = "stacked") -> pd.DataFrame:
    """The same band for all curves, rising from 0.2 by 0.1 a factor of ten in 1 + shots; the expected one half as wide."""
    parts = []
    for c in range(curves.n_curves):
        middle = 0.2 + 0.1 * np.log10(1 + shots)
        part = pd.DataFrame({"shots": shots, "median": middle, "latent_median": middle, "law": law})
        for name in ("50", "90"):
            part = part.assign(**{f"lo{name}": middle - 0.1, f"hi{name}": middle + 0.1})
            part = part.assign(**{f"latent_lo{name}": middle - 0.05, f"latent_hi{name}": middle + 0.05})
        keys = curves.keys.iloc[curves.group[c]]
        parts.append(part.assign(source=curves.source[c], **keys))
    return pd.concat(parts, ignore_index=True)


def visible(figure: Figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def lines(axis, label: str) -> list:
    """The whole and the dashed part of a line: one colour, the first with the label."""
    (named,) = [line for line in axis.get_lines() if line.get_label() == label]
    return [x for x in axis.get_lines() if x.get_color() == named.get_color() and x.get_linestyle() != "None"]


def test_curves_that_differ_in_one_column_share_a_panel(curves):
    by_model = plots.panels_of(curves, "model")
    assert [dict(panel.values) for panel in by_model] == [{"source": "a"}, {"source": "b"}]
    assert [panel.labels for panel in by_model] == [("m0", "m1")] * 2
    assert [panel.curves for panel in by_model] == [(0, 2), (1, 3)]
    by_source = plots.panels_of(curves, "source")
    assert [(dict(p.values), p.labels) for p in by_source] == [
        ({"model": m}, ("a", "b")) for m in ("m0", "m1")
    ]
    assert [panel.curves for panel in plots.panels_of(curves)] == [(0,), (1,), (2,), (3,)]


def test_what_cannot_be_laid_over_each_other_is_told_in_a_line(curves):
    with pytest.raises(InputError, match=r"no column 'task' .* there are model, source$"):
        plots.panels_of(curves, "task")
    many = Curves.from_arrays(np.arange(3.0), np.full((9, 3), 0.5))
    with pytest.raises(InputError, match="9 curves differ in 'group' alone, more than the 8"):
        plots.panels_of(many, "group")
    alone = Curves.from_arrays(np.arange(3.0), np.full((1, 3), 0.5))
    with pytest.raises(InputError, match=r"there are group$"):
        plots.panels_of(alone, "source")


def test_laid_over_each_other_every_curve_has_its_colour_points_and_line(curves):
    fits = iclbayes.fit(curves, "logistic", fraction=0.5, n_starts=2)
    figure = plots.plot_fits([fits], overlay="model")
    assert [axis.get_title() for axis in visible(figure)] == ["source = a", "source = b"]
    assert legend(figure) == ["fitted range", "measured, fitted", "measured, held out", "m0", "m1"]
    assert figure.legends[0].get_title().get_text() == "model, law logistic"
    axis = visible(figure)[1]
    for model in range(2):
        whole, dashed = lines(axis, f"m{model}")
        assert whole.get_color() == plots.color(model) and dashed.get_linestyle() == "--"
        assert whole.get_xdata().max() == pytest.approx(7) == dashed.get_xdata().min()
        at = np.interp([3.0], *whole.get_data())
        np.testing.assert_allclose(at, fits.predict([3.0])[model, 1], atol=2e-3)
        marks = [
            line
            for line in axis.get_lines()
            if line.get_marker() == plots.MARKERS[model] and line.get_color() == plots.color(model)
        ]
        assert [list(line.get_xdata()) for line in marks] == [list(range(8)), list(range(8, 16))]
        assert [line.get_markerfacecolor() for line in marks] == [plots.color(model), "white"]
    bars = [part for part in axis.collections if len(part.get_segments()) > 1]
    assert len(bars) == 4  # standard errors of fitted and held-out points of both curves


def test_laws_laid_over_each_other_have_panels_of_their_own(curves):
    fits = [iclbayes.fit(curves, law, n_starts=2) for law in ("logistic", "power")]
    titles = [axis.get_title() for axis in visible(plots.plot_fits(fits, overlay="source"))]
    assert titles == [f"model = m{m}\n{law}" for law in ("logistic", "power") for m in range(2)]


REACHED = pd.DataFrame(
    {"q05": [2.0, 30, 5, np.inf], "q50": [9.0, 500, 6, np.inf], "q95": [40.0, np.inf, 7, np.inf]}
)


@pytest.mark.parametrize("overlay", [None, "model"])
def test_the_level_and_where_it_is_crossed_are_drawn(curves, overlay):
    one = Fitted(curves, curves.shots <= 7)
    ahead = forecast(curves, np.arange(0.0, 61.0))
    figure = plots.plot_bands(one, ahead, level=0.4, reached=REACHED, overlay=overlay)
    for axis, panel in zip(visible(figure), plots.panels_of(curves, overlay), strict=True):
        (level,) = [line for line in axis.get_lines() if line.get_label() == "probability 0.4"]
        assert set(level.get_ydata()) == {0.4}
        at_level = [x for x in axis.get_lines() if x is not level and set(x.get_ydata()) == {0.4}]
        spans = sorted(tuple(x.get_xdata()) for x in at_level if x.get_marker() == "None")
        dots = [x.get_xdata()[0] for x in at_level if x.get_marker() == "D"]
        goes_on = [x.get_xdata()[0] for x in at_level if x.get_marker() == ">"]
        end = axis.get_xlim()[1]
        known = [tuple(REACHED.iloc[c]) for c in panel.curves if np.isfinite(REACHED["q05"].iloc[c])]
        assert spans == sorted((low, min(high, end)) for low, _, high in known)
        assert dots == [middle for _, middle, _ in known if middle < end]
        assert goes_on == [end for *_, high in known if high > end]
    assert "shots to probability 0.4 (median, 90 %)" in legend(figure)


def test_the_law_of_a_forecast_is_named(curves):
    one = Fitted(curves, np.ones(len(curves.shots), bool))
    shots = np.arange(16.0)
    assert "median, stack of laws" in legend(plots.plot_bands(one, forecast(curves, shots)))
    assert "median, logistic" in legend(plots.plot_bands(one, forecast(curves, shots, "logistic")))
    over = plots.plot_bands(one, forecast(curves, shots, "logistic"), overlay="model")
    assert over.legends[0].get_title().get_text() == "model, law logistic"
    over = plots.plot_bands(one, forecast(curves, shots), overlay="model")
    assert over.legends[0].get_title().get_text() == "model, stack of laws"
    paired = plots.plot_overlay(one, forecast(curves, shots), [(0, 2, ("hub/m0", "m1"))], 0.3)
    assert [axis.get_title() for axis in visible(paired)] == ["source = a"] and {"m0", "m1"} <= set(
        legend(paired)
    )


def test_thirty_curves_are_pages_that_hold_each_once():
    curves = Curves.from_arrays(np.arange(3.0), np.full((30, 3), 0.5))
    one = Fitted(curves, np.ones(90, bool))
    ahead = forecast(curves, np.arange(3.0))
    assert plots.n_pages(30, 24) == 2 and plots.n_pages(24, 24) == 1 and plots.n_pages(0, 24) == 1
    pages = [plots.plot_bands(one, ahead, page=page) for page in range(2)]
    titles = [axis.get_title() for page in pages for axis in visible(page)]
    assert titles == [f"group = {g}" for g in range(30)]
    assert [page.get_suptitle() for page in pages] == ["curves 1 to 24 of 30", "curves 25 to 30 of 30"]
    slide = plots.plot_bands(one, ahead, size=layout.SIZES["slide"])
    assert len(visible(slide)) == 8 and slide.get_suptitle() == "the first 8 of 30 curves"
    assert tuple(slide.get_size_inches()) == (8.0, 4.5)


@pytest.mark.parametrize("size", [(8.0, 4.5), (6.5, 4.5), (20.0, 3.0)])
def test_everything_stays_inside_a_figure_of_a_size(curves, size):
    one = Fitted(curves, curves.shots <= 7)
    figure = plots.plot_bands(one, forecast(curves, np.arange(61.0)), level=0.4, reached=REACHED, size=size)
    plots.finish(figure, "A title of some words that is about what is seen", "share of unsafe answers")
    assert layout.with_room(figure) and tuple(figure.get_size_inches()) == size
    for box in [axis.get_tightbbox() for axis in visible(figure)]:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1 and box.width > 40
    assert all(text in figure.get_suptitle().replace("\n", " ") for text in ("A title", "what is seen"))


def test_a_figure_too_small_for_its_panels_is_enlarged_in_its_shape(curves):
    one = Fitted(curves, curves.shots <= 7)
    figure = plots.plot_bands(one, forecast(curves, np.arange(61.0)), level=0.4, reached=REACHED, size=(3, 2))
    assert not layout.with_room(figure)
    width, height = figure.get_size_inches()
    assert width > 3 and width / height == pytest.approx(1.5) and layout.with_room(figure)


def test_a_title_stands_above_the_note_of_what_is_left_out_and_dollars_are_no_mathematics(tmp_path):
    curves = Curves.from_arrays(np.arange(3.0), np.full((3, 3), 0.5))
    one = Fitted(curves, np.ones(9, bool))
    figure = plots.plot_bands(one, forecast(curves, np.arange(3.0)), most=2)
    assert plots.finish(figure, "from $1 to $2", "share of $_") is figure
    assert figure.get_suptitle() == "from $1 to $2\n(the first 2 of 3 curves)"
    assert [axis.get_ylabel() for axis in visible(figure)] == ["share of $_", ""]
    plots.save(figure, tmp_path / "a.svg")
    plain = plots.plot_bands(one, forecast(curves, np.arange(3.0)))
    before = visible(plain)[0].get_ylabel()
    assert visible(plots.finish(plain))[0].get_ylabel() == before and plain.get_suptitle() == ""


def test_pages_are_one_pdf_whole_or_not_at_all(tmp_path):
    figures = [plots.panels(1)[0] for _ in range(3)]
    plots.save_pages(figures, tmp_path / "a.pdf")
    written = (tmp_path / "a.pdf").read_bytes()
    assert written.startswith(b"%PDF") and written.count(b"/Type /Page ") == 3 and b"iclbayes" in written
    with pytest.raises(InputError, match="there is no folder"):
        plots.save_pages(figures, tmp_path / "no" / "a.pdf")


@pytest.mark.parametrize(
    ("n", "size", "columns"),
    [(4, (8, 4.5), 2), (4, (20, 3), 4), (2, (3, 6), 1), (1, (8, 4.5), 1), (8, (8, 4.5), 4)],
)
def test_panels_fill_a_figure_of_a_size_in_shapes_like_their_own(n, size, columns):
    assert style.best_columns(n, size, 3.2 / 2.6) == columns


def test_rows_of_shots_to_a_level_come_in_pages_and_name_the_law():
    reached = pd.DataFrame(
        {"model": [f"m{i}" for i in range(50)], "source": "", "p_never": 0.0, "law": "stacked"}
    )
    reached = reached.assign(**{f"q{q}": 10.0 for q in ("05", "25", "50", "75", "95")})
    pages = [plots.plot_reach(reached, ["model"], 0.5, 64.0, page=page).get_figure() for page in range(2)]
    named = [text.get_text() for page in pages for text in page.axes[0].get_yticklabels()]
    assert named == [f"m{i}" for i in range(50)]
    assert [page.get_suptitle() for page in pages] == ["curves 1 to 40 of 50", "curves 41 to 50 of 50"]
    assert "by stack of laws" in pages[0].axes[0].get_xlabel()
    assert (
        plots.plot_reach(reached, ["model"], 0.5, 64.0).get_figure().get_suptitle()
        == "the first 40 of 50 curves"
    )


def test_a_long_legend_leaves_a_panel_that_is_alone_its_room():
    alone = iclbayes.curves_from_frame(table(n_models=1).query("source == 'a'"), group_by=["model"])
    used = np.arange(len(alone.shots)) < len(alone.shots) - 1
    reached = pd.DataFrame({"q05": [3.0], "q50": [5.0], "q95": [8.0]})
    ahead = forecast(alone, np.arange(16.0), "bayesian_scoring")
    figure = plots.plot_bands(Fitted(alone, used), ahead, level=0.3, reached=reached)
    figure.draw_without_rendering()
    (axis,) = visible(figure)
    assert len(legend(figure)) == 8
    assert axis.get_position().height > 0.5 and axis.get_position().width > 0.8
