"""Where figures are drawn: one panel in axes of the caller's, several in the caller's figure or a part of it."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from curve_tables import table
from matplotlib.figure import Figure

import iclbayes
from iclbayes import InputError, plots

matplotlib.use("agg")
SHIFTS = pd.DataFrame(
    {
        "before": "base", "after": "chat", "task": ["t", "u"] * 2, "source": "", "parameter": ["prior"] * 2 + ["gamma"] * 2,
        "shift": [-2.0, 0.1, 0.0, 0.1], "lo90": [-3.0, -0.1, -0.2, -0.1], "hi90": [-1.0, 0.2, 0.2, 0.3],
        "moved": ["down", "same", "same", "same"],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def fits():
    curves = iclbayes.curves_from_frame(table(n_models=2), group_by=["model"], source="source")
    return [iclbayes.fit(curves, law, n_starts=2) for law in ("power", "logistic")]


def lines(axis) -> list[tuple[float, ...]]:
    return [tuple(np.round(line.get_ydata(), 9)) for line in axis.get_lines()]


def test_one_curve_is_drawn_as_in_the_figure_of_all(fits):
    whole = plots.plot_fits(fits)
    mine = Figure().subplots()
    assert plots.plot_fit(fits, 2, ax=mine) is mine
    assert lines(mine) == lines(whole.axes[2]) and mine.get_title() == whole.axes[2].get_title()
    assert not mine.get_figure().legends  # the caller's to say
    alone = plots.plot_fit(fits)
    (legend,) = alone.get_figure().legends
    assert [text.get_text() for text in legend.get_texts()][-2:] == ["power", "logistic"]
    for wrong in (4, -1):
        with pytest.raises(InputError, match="give a number from 0 to 3"):
            plots.plot_fit(fits, wrong)


def test_one_parameter_is_drawn_as_in_the_figure_of_all():
    whole = plots.plot_contrast(SHIFTS, 0.3)
    mine = Figure().subplots()
    assert plots.plot_shift(SHIFTS, "gamma", 0.3, ax=mine) is mine
    assert lines(mine) == lines(whole.axes[1]) and mine.get_xlabel() == whole.axes[1].get_xlabel()
    with pytest.raises(InputError, match="no parameter 'beta'; there are prior, gamma"):
        plots.plot_shift(SHIFTS, "beta", 0.3)


def test_several_panels_fill_a_part_of_a_figure(fits):
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plots.plot_fits(fits, figure=left) is figure
    assert plots.plot_contrast(SHIFTS, 0.3, figure=right) is figure
    assert len(left.axes) == 4 and len(right.axes) == 2 and len(left.legends) == len(right.legends) == 1
    figure.draw_without_rendering()
    middle = left.bbox.x1
    boxes = [axis.get_tightbbox() for axis in left.axes] + [left.legends[0].get_window_extent()]
    assert all(box.x1 <= middle + 1 for box in boxes)
    assert all(axis.get_tightbbox().x0 >= middle - 1 for axis in right.axes)


def test_a_figure_that_is_there_says_how_many_panels_it_has_room_for(fits):
    small = Figure(figsize=(4.2, 2.5), layout="constrained")
    drawn = plots.plot_fits(fits, figure=small)
    assert len([axis for axis in drawn.axes if axis.get_visible()]) == 2
    assert small.get_suptitle() == "the first 2 of 4 curves"


def test_axes_are_written_as_their_figure(tmp_path):
    axis = Figure().subplots()
    axis.plot([0, 1], [0, 1])
    plots.save(axis, tmp_path / "axis.png")
    assert (tmp_path / "axis.png").read_bytes().startswith(b"\x89PNG")
