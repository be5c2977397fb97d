"""The context window ends curves, fits and forecasts."""

import numpy as np
import pandas as pd
import pytest
import tyro

import iclbayes
from iclbayes import posterior
from iclbayes.cli.posterior import PosteriorCommand


def collapsing(window: float | None = 32.0) -> pd.DataFrame:
    """A curve that rises to 0.6 within 32 shots and collapses beyond, and one that needs no window."""
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 48, 64])
    p = 0.2 + 0.5 * (1 - np.exp(-shots / 15))
    a = pd.DataFrame(
        {"model": "short", "shots": shots, "prob": np.where(shots > 32, 0.0, p), "window": window}
    )
    b = pd.DataFrame({"model": "long", "shots": shots, "prob": p, "window": np.nan})
    return pd.concat([a, b], ignore_index=True).assign(stderr=0.01)


def test_points_beyond_the_window_are_left_out_with_a_word():
    with pytest.warns(iclbayes.errors.CurvesWarning, match="2 of 18 rows lie beyond the context window"):
        curves = iclbayes.curves_from_frame(collapsing(), group_by="model")
    assert curves.max_shots().tolist() == [32, 64]
    assert curves.window.tolist() == [32, np.inf]
    with pytest.warns(iclbayes.errors.CurvesWarning):
        cut = iclbayes.curves_from_frame(collapsing(), group_by="model", window=16)
    assert cut.window.tolist() == [16, 16] and cut.max_shots().tolist() == [16, 16]
    for mistake in (-1, float("nan")):
        with pytest.raises(iclbayes.InputError, match="window"):
            iclbayes.curves_from_frame(collapsing(), group_by="model", window=mistake)
    with pytest.raises(iclbayes.InputError, match="'window', row 2"):
        iclbayes.curves_from_frame(collapsing(-3.0), group_by="model")


def test_the_window_stays_with_its_curve():
    curves = iclbayes.curves_from_frame(collapsing(64.0), group_by="model")
    assert curves.select(np.array([1])).window.tolist() == [np.inf]
    assert curves.repeat(2).window.tolist() == [64, np.inf] * 2
    assert curves.regroup([])[0].window.tolist() == [64, np.inf]
    assert iclbayes.Curves.from_arrays([0, 1], [[0.1, 0.2]]).window.tolist() == [np.inf]


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_forecasts_and_shots_end_at_the_window():
    curves = iclbayes.curves_from_frame(collapsing(64.0), group_by="model", value="prob")
    one = posterior.sample(curves, "logistic", method="laplace", discrepancy=None)
    ahead = one.forecast(np.array([0.0, 64.0, 65.0, 500.0]))
    assert ahead[ahead["model"] == "short"]["shots"].tolist() == [0, 64]
    assert ahead[ahead["model"] == "long"]["shots"].tolist() == [0, 64, 65, 500]
    table = one.reach_table(0.5).set_index("model")
    assert table.loc["short", "horizon"] == 64 and table.loc["long", "horizon"] == 6400
    high = one.reach_table(0.68)  # the limit is 0.7, at 48 shots it is 0.68
    draws = one.shots_to_reach(0.68)
    assert not (np.isfinite(draws[:, 0]) & (draws[:, 0] > 64)).any()
    told = posterior.forecast_sentences(curves, one.used, ahead, [64.0, 500.0])
    assert told[1] == "short: no forecast at 500 shots: only 64 shots fit the context window"
    assert "%" in told[3]
    reached = posterior.reach_sentences(curves, one.used, high, ahead)
    assert "within 64 shots (the context window)" in reached[0] and "context" not in reached[1]


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_the_command_ends_at_the_window(tmp_path, capsys):
    collapsing().drop(columns="window").to_csv(tmp_path / "curves.csv", index=False)
    words = (
        f"{tmp_path}/curves.csv --group-by model --window 32 --law logistic --method laplace --no-discrepancy"
    )
    words += f" --upto 100 --shots 64 --level 0.5 --forecast {tmp_path}/ahead.csv"
    tyro.cli(PosteriorCommand, args=words.split()).run()
    out, err = capsys.readouterr()
    assert "4 of 18 rows lie beyond the context window and are left out" in err
    assert out.count("no forecast at 64 shots: only 32 shots fit the context window") == 2
    assert pd.read_csv(tmp_path / "ahead.csv")["shots"].max() <= 32
