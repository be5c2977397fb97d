"""`iclbayes posterior` as it is typed."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import plots, posterior
from iclbayes.cli.main import main


def power_counts(path, shots, n_test):
    """Writes counts of a power law, 1.2 (n + 1)^-0.6 + 0.2 in NLL; returns its probabilities."""
    p = np.exp(-(1.2 * (shots + 1.0) ** -0.6 + 0.2))
    table = pd.DataFrame({"shots": shots, "n_correct": np.round(n_test * p), "n_test": n_test, "model": "m"})
    table.to_csv(path, index=False)
    return p


OPTIONS = ["--group-by", "model", "--likelihood", "binomial", "--no-discrepancy", "--method", "psis"]


@pytest.mark.smoke
def test_command_writes_what_it_promises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    p = power_counts("curves.csv", np.array([0, 1, 2, 5, 10, 20, 50]), 200)
    drawn, save = [], plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (drawn.append(figure), save(figure, path)))
    outputs = ["--out", "posterior.nc", "--plot", "bands.png", "--forecast", "forecast.csv", "--level", "0.6"]
    assert main(["posterior", "curves.csv", "--law", "power", "--fraction", "0.5", *OPTIONS, *outputs]) == 0
    out = capsys.readouterr().out
    assert "7 points" in out and "power: the posterior passes its diagnostics" in out
    written = pd.read_csv("forecast.csv")
    stats = ["mean", "median", "lo50", "hi50", "lo90", "hi90"]
    columns = [
        "model",
        "source",
        "shots",
        *stats,
        *(f"latent_{name}" for name in stats),
        "observed",
        "prior_dominated",
        "law",
    ]
    assert list(written.columns) == columns
    seen = written.dropna(subset="observed")
    assert list(seen["shots"]) == [0, 1, 2, 5, 10, 20, 50]
    np.testing.assert_allclose(seen["observed"], np.round(200 * p) / 200)
    # The next observation has the noise of 200 tests besides what is not known of the probability.
    assert (seen["hi90"] - seen["lo90"] > seen["latent_hi90"] - seen["latent_lo90"]).all()
    assert not written.loc[written["shots"] <= 20, "prior_dominated"].any()
    assert len(written) > 7 and (written["law"] == "power").all()
    last = written[written["shots"] == 50].iloc[0]
    assert last["lo90"] < p[-1] < last["hi90"]
    reach = pd.read_csv("shots_to_reach.csv").iloc[0]
    exact_reach = ((-np.log(0.6) - 0.2) / 1.2) ** (-1 / 0.6) - 1
    assert reach["q05"] < exact_reach < reach["q95"] and reach["horizon"] == 5000
    sentence = next(line for line in out.splitlines() if line.startswith("m: "))
    assert sentence.startswith(f"m: 60 % after {reach['q50']:.1f} shots (90 %: {reach['q05']:.1f} to ")
    never = "0 %" if reach["p_never"] == 0 else "below 1 %"
    assert reach["p_never"] < 0.01 and sentence.endswith(f"; never within 5,000 shots: {never}")
    ahead = [line for line in drawn[0].axes[0].get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata().max() for line in ahead] == [200.0]  # four times the longest curve
    assert (tmp_path / "bands.png").read_bytes()[:4] == b"\x89PNG"
    draws = posterior.read_netcdf("posterior.nc")
    assert np.isfinite(draws["posterior"]["E"].values).all()
    assert draws["log_likelihood"]["prob"].sizes["point"] == 6  # shots up to half of the largest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plot": "bands.xyz"}, "figures are written as"),
        ({"plot": "none/bands.png"}, "there is no folder"),
        ({"forecast": "f.parquet"}, "let --forecast end with .csv"),
        ({"forecast": "folder.csv"}, "is a folder"),
        ({"out": "none/p.nc"}, "there is no folder"),
        ({"out": "taken.nc"}, "taken_power.nc: is a folder"),
        ({"forecast": "reached/f.csv"}, "shots_to_reach.csv: is a folder"),
        ({"level": "1.5"}, "--level 1.5 is not a probability between 0 and 1"),
    ],
)
def test_outputs_are_checked_before_anything_is_sampled(tmp_path, change, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(posterior, "stack", lambda *a, **named: pytest.fail("sampled"))
    for name in ("folder.csv", "taken_power.nc", "reached/shots_to_reach.csv"):
        (tmp_path / name).mkdir(parents=True)
    pd.DataFrame({"shots": [0, 1], "prob": [0.1, 0.4]}).to_csv("curves.csv", index=False)
    options = {"out": "p.nc", "forecast": "f.csv", "level": "0.5"} | change
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    assert main(["posterior", "curves.csv", "--law", "power", "logistic", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"folder.csv", "taken_power.nc", "reached", "curves.csv"}


def test_a_fraction_that_leaves_no_point_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    power_counts("curves.csv", np.array([10, 20, 50]), 200)
    assert main(["posterior", "curves.csv", "--group-by", "model", "--fraction", "0.1"]) == 2
    said = capsys.readouterr()
    assert "group model=m: no point to fit at fraction 0.1" in said.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]


def test_several_laws_in_one_command_are_stacked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    power_counts("curves.csv", np.array([0, 1, 2, 4, 7, 12, 20, 35, 60, 100]), 400)
    outputs = ["--draws", "250", "--out", "posterior.nc", "--forecast", "forecast.csv", "--level", "0.6"]
    arguments = ["posterior", "curves.csv", "--law", "power", "logistic", "--fraction", "0.35"]
    assert main([*arguments, *OPTIONS, *outputs]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("stacking weights:"))
    shares = [float(part.split()[-1]) for part in line.removeprefix("stacking weights:").split(",")]
    assert len(shares) == 2 and abs(sum(shares) - 1) < 0.011 and min(shares) > 0
    forecast = pd.read_csv("forecast.csv").set_index(["law", "shots"])
    assert set(forecast.index.get_level_values("law")) == {"power", "logistic", "stacked"}
    power, logistic, stacked = (forecast.loc[name] for name in ("power", "logistic", "stacked"))
    # A quantile of a mixture lies between those of its parts (up to Monte Carlo error).
    for column in ("lo90", "lo50", "median", "hi50", "hi90"):
        both = np.stack([power[column], logistic[column]])
        assert (stacked[column] >= both.min(0) - 0.02).all() and (stacked[column] <= both.max(0) + 0.02).all()
    for name in ("posterior_power.nc", "posterior_logistic.nc"):
        assert posterior.read_netcdf(name)["posterior"].sizes["group"] == 1
    reach = pd.read_csv("shots_to_reach.csv")
    assert list(reach["law"]) == ["power", "logistic", "stacked"]
