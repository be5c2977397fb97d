"""The one style of all figures: shots axis, titles, legends, the palette, saving."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from iclbayes import Curves, InputError, plots
from iclbayes.plots import style


def ticks(axis) -> list[str]:
    low, high = axis.get_xlim()
    return [
        label.get_text() for at, label in zip(axis.get_xticks(), axis.get_xticklabels()) if low <= at <= high
    ]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (0, ["0", "1"]),
        (5, ["0", "1", "2", "5"]),
        (40, ["0", "1", "2", "5", "10", "20"]),
        (128, ["0", "1", "10", "100"]),
        (25_600, ["0", "1", "10", "100", "1,000", "10,000"]),
        (3e7, ["0", "1", "100", "10,000", "1,000,000"]),
    ],
)
def test_shots_axis_has_whole_numbers_and_room_for_every_point(largest, expected):
    figure, (axis,) = plots.panels(1)
    plots.shots_axis(axis, largest)
    figure.draw_without_rendering()
    assert ticks(axis) == expected
    assert axis.get_xscale() == "symlog" and axis.get_xlabel() == "shots"
    low, high = axis.get_xlim()
    assert low < 0 and high > largest
    # Linear up to 1, logarithmic beyond: equal ratios have equal widths.
    at = axis.transData.transform([(x, 0) for x in (0.25, 0.5, 0.75, 2, 4, 8)])[:, 0]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1])
    assert at[4] - at[3] == pytest.approx(at[5] - at[4])


def test_shots_can_stand_on_both_axes():
    _, (axis,) = plots.panels(1)
    plots.shots_axis(axis, 128, "shots observed")
    plots.shots_axis(axis, 1000, "shots forecast", vertical=True)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("shots observed", "shots forecast")
    assert (axis.get_xscale(), axis.get_yscale()) == ("symlog", "symlog")
    assert list(axis.get_yticks()) == [0, 1, 10, 100, 1000] and axis.get_xlim()[1] < 200 < axis.get_ylim()[1]


def test_titles_say_column_and_value_and_wrap():
    assert style.panel_title({"model": "meta-llama/Llama-2-7b", "k": 3}) == "model = Llama-2-7b, k = 3"
    assert (
        style.panel_title({"share": 0.5, "n": np.int64(4), "size": np.float64(7)})
        == "share = 0.5, n = 4, size = 7"
    )
    assert style.panel_title({"a": "x" * 20, "b": "y" * 20}) == f"a = {'x' * 20},\nb = {'y' * 20}"
    assert style.panel_title({}) == ""


def test_curve_titles_name_the_source_only_where_there_are_several():
    shots = np.arange(3.0)
    one = Curves.from_arrays(shots, np.full((2, 1, 3), 0.5))
    assert style.curve_title(one, 1) == "group = 1"
    two = Curves.from_arrays(shots, np.full((2, 2, 3), 0.5), source=["safe", "unsafe"])
    assert style.curve_title(two, 3) == "group = 1, source = unsafe"


@pytest.mark.parametrize(
    "blind",
    [
        [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],  # without the long-wave cones
        [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],  # without the middle-wave cones
    ],
)
def test_colours_can_be_told_apart_without_red_green_vision(blind):
    """Colours as Viénot, Brettel and Mollon (1999) compute that red-green blind people see them."""
    to_lms = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    seen = []
    for colour in plots.PALETTE:
        linear = np.array(to_rgb(colour)) ** 2.2
        seen.append(np.clip(np.linalg.inv(to_lms) @ np.array(blind) @ to_lms @ linear, 0, 1) ** (1 / 2.2))
    closest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert closest > 0.12


def test_lines_beyond_the_palette_differ_in_dash():
    looks = [(look["color"], str(look["linestyle"])) for look in map(plots.look, range(8))]
    assert len(set(looks)) == 8
    assert plots.look(8)["color"] == plots.PALETTE[0]


def test_legend_is_below_the_panels_and_names_each_entry_once():
    figure, axes = plots.panels(2)
    for axis in axes:
        axis.plot([0, 1], [0, 1], label="law")
        axis.plot([0, 1], [1, 0], label="other")
    plots.shared_legend(figure, axes)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["law", "other"]
    top = legend.get_window_extent().y1
    assert all(axis.get_tightbbox().y0 >= top - 1 for axis in axes)


def test_a_legend_of_long_names_stays_inside_a_narrow_figure():
    figure, axes = plots.panels(1, width=3.0)
    for i in range(6):
        axes[0].plot([0, 1], [0, i], label=f"a rather long name of law {i}")
    plots.shared_legend(figure, axes)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and len(figure.legends[0].get_texts()) == 6


def test_a_legend_whose_columns_are_of_unlike_length_stays_inside_too():
    figure, axes = plots.panels(1, width=4.5, height=4.0)
    for name in (
        "90 % of chance",
        "calibrated",
        "E (100)",
        "L (100)",
        "kappa (100)",
        "t_0 (100)",
        *["p(64) (100)"] * 2,
    ):
        axes[0].plot([0, 1], [0, 1], label=name + " " * len(axes[0].get_lines()))
    axes[0].plot([0, 1], [0, 1], label="p(4) (100)")
    plots.shared_legend(figure, axes)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_a_split_line_is_whole_up_to_the_last_and_dashed_beyond_and_unbroken():
    _, (axis,) = plots.panels(1)
    x = np.array([0.0, 1.0, 3.0, 5.0])
    style.split_line(axis, x, 2 * x, 2.0, color="k", label="law")
    whole, dashed = axis.get_lines()
    assert whole.get_linestyle() == "-" and dashed.get_linestyle() == "--"
    np.testing.assert_allclose(whole.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(dashed.get_xdata(), [2, 3, 5])
    np.testing.assert_allclose(dashed.get_ydata(), [4, 6, 10])
    assert [whole.get_label(), dashed.get_label()[:6]] == ["law", "_child"]
    _, (axis,) = plots.panels(1)
    style.split_line(axis, x, x, 9.0, color="k")
    assert [line.get_linestyle() for line in axis.get_lines()] == ["-"]


def test_standard_errors_are_the_files_or_those_of_counts():
    counts = Curves.from_arrays(np.arange(3.0), [[0.0, 0.5, 0.2]], n_test=[[100, 100, np.nan]])
    np.testing.assert_allclose(style.standard_errors(counts), [np.nan, 0.05, np.nan])


def test_figures_are_written_whole_or_not_at_all(tmp_path):
    figure, _ = plots.panels(1)
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        plots.save(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(InputError, match=r"figures are written as .png, .pdf, .svg"):
        plots.save(figure, tmp_path / "a.gif")
    with pytest.raises(InputError, match="there is no folder"):
        plots.save(figure, tmp_path / "no" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg"]
