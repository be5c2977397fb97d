"""The figure of forecasts of returns: whole shots on its axes, everything within them, and never where never is said."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import suppression


@pytest.fixture(scope="module")
def axis():
    rows = [
        ("sft", 0.0, 0.3, 0.0, 1.0), ("sft", 5.0, 4.0, 2.0, np.inf), ("dpo", 31.0, 900.0, 20.0, 5e4),
        ("dpo", np.inf, np.inf, 80.0, np.inf), ("dpo", 12.0, np.inf, np.inf, np.inf),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "observed", "predicted", "lo90", "hi90"])
    figure = suppression.plot_forecast(table.assign(window=0.1, forecaster="knowledge", max_shots=31))
    figure.draw_without_rendering()
    return figure.axes[0]


def test_shots_are_whole_numbers_and_never_has_a_place(axis):
    across = [text.get_text() for text in axis.get_xticklabels()]
    up = [text.get_text() for text in axis.get_yticklabels()]
    assert across == ["0", "1", "2", "5", "10", "20", "not in\nthe prompt"]
    assert up == ["0", "1", "10", "100", "never"]


def test_nothing_is_cut(axis):
    (low_x, high_x), (low_y, high_y) = axis.get_xlim(), axis.get_ylim()
    points = np.concatenate([line.get_xydata() for line in axis.get_lines()])
    bars = np.concatenate(
        [np.concatenate(bar.get_segments()) for bar in axis.collections if bar.get_segments()]
    )
    for x, y in (points.T, bars.T):
        assert (x >= low_x).all() and (x <= high_x).all()
        assert (y >= low_y).all() and (y <= high_y).all()


def test_what_is_forecast_as_never_stands_there(axis):
    never = axis.get_yticks()[-1]
    (dpo,) = [line for line in axis.get_lines() if line.get_label() == "DPO"]
    assert (dpo.get_ydata() == never).all()
    (sft,) = [line for line in axis.get_lines() if line.get_label() == "SFT"]
    np.testing.assert_allclose(sft.get_ydata(), [0.3, 4.0])
