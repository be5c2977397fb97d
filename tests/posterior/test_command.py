"""`iclbayes posterior`: files that it writes, and checks before anything is sampled."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import InputError, posterior


def test_command_writes_what_it_promises(tmp_path):
    from iclbayes.cli.posterior import PosteriorCommand

    shots = np.array([0, 1, 2, 5, 10, 20, 50])
    p = np.exp(-(1.2 * (shots + 1.0) ** -0.6 + 0.2))
    table = pd.DataFrame({"shots": shots, "n_correct": np.round(200 * p), "n_test": 200, "model": "m"})
    table.to_csv(tmp_path / "curves.csv", index=False)
    forecast = PosteriorCommand(
        curves=tmp_path / "curves.csv",
        law=("power",),
        group_by=("model",),
        fraction=0.5,
        likelihood="binomial",
        discrepancy=False,
        method="psis",
        out=tmp_path / "posterior.nc",
        plot=tmp_path / "bands.png",
        forecast=tmp_path / "forecast.csv",
        level=0.6,
    ).run()
    written = pd.read_csv(tmp_path / "forecast.csv")
    assert list(written.columns) == [
        "model",
        "source",
        *["shots", "mean", "median", "lo50", "hi50", "lo90", "hi90", "law"],
    ]
    assert len(written) == len(forecast) and (written["law"] == "power").all()
    last = written[written["shots"] == 50].iloc[0]
    assert last["lo90"] < p[-1] < last["hi90"]
    reach = pd.read_csv(tmp_path / "shots_to_reach.csv").iloc[0]
    exact_reach = ((-np.log(0.6) - 0.2) / 1.2) ** (-1 / 0.6) - 1
    assert reach["q05"] < exact_reach < reach["q95"]
    assert (tmp_path / "bands.png").read_bytes()[:4] == b"\x89PNG"
    assert set(posterior.read_netcdf(tmp_path / "posterior.nc").groups()) >= {"posterior", "log_likelihood"}


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
    ],
)
def test_outputs_are_checked_before_anything_is_sampled(tmp_path, change, message, monkeypatch):
    from iclbayes.cli.posterior import PosteriorCommand

    monkeypatch.setattr(posterior, "stack", lambda *a, **named: pytest.fail("sampled"))
    for name in ("folder.csv", "taken_power.nc", "reached/shots_to_reach.csv"):
        (tmp_path / name).mkdir(parents=True)
    pd.DataFrame({"shots": [0, 1], "prob": [0.1, 0.4]}).to_csv(tmp_path / "curves.csv", index=False)
    outputs = {"out": tmp_path / "p.nc", "forecast": tmp_path / "f.csv"}
    outputs |= {name: tmp_path / value for name, value in change.items()}
    with pytest.raises(InputError, match=message):
        PosteriorCommand(
            curves=tmp_path / "curves.csv", law=("power", "logistic"), level=0.5, **outputs
        ).run()
    assert {p.name for p in tmp_path.iterdir()} == {"folder.csv", "taken_power.nc", "reached", "curves.csv"}


def test_several_laws_in_one_command_are_stacked(tmp_path, capsys):
    from iclbayes.cli.posterior import PosteriorCommand

    shots = np.array([0, 1, 2, 4, 7, 12, 20, 35, 60, 100])
    p = np.exp(-(1.2 * (shots + 1.0) ** -0.6 + 0.2))
    table = pd.DataFrame({"shots": shots, "n_correct": np.round(400 * p), "n_test": 400, "model": "m"})
    table.to_csv(tmp_path / "curves.csv", index=False)
    PosteriorCommand(
        curves=tmp_path / "curves.csv",
        law=("power", "logistic"),
        group_by=("model",),
        fraction=0.35,
        likelihood="binomial",
        discrepancy=False,
        method="psis",
        draws=250,
        out=tmp_path / "posterior.nc",
        forecast=tmp_path / "forecast.csv",
        level=0.6,
    ).run()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("stacking weights:"))
    shares = [float(part.split()[-1]) for part in line.removeprefix("stacking weights:").split(",")]
    assert len(shares) == 2 and abs(sum(shares) - 1) < 0.011 and min(shares) > 0
    forecast = pd.read_csv(tmp_path / "forecast.csv").set_index(["law", "shots"])
    assert set(forecast.index.get_level_values("law")) == {"power", "logistic", "stacked"}
    power, logistic, stacked = (forecast.loc[name] for name in ("power", "logistic", "stacked"))
    # A quantile of a mixture lies between those of its parts (up to Monte Carlo error).
    for column in ("lo90", "lo50", "median", "hi50", "hi90"):
        both = np.stack([power[column], logistic[column]])
        assert (stacked[column] >= both.min(0) - 0.02).all() and (stacked[column] <= both.max(0) + 0.02).all()
    for name in ("posterior_power.nc", "posterior_logistic.nc"):
        assert "posterior" in posterior.read_netcdf(tmp_path / name).groups()
    reach = pd.read_csv(tmp_path / "shots_to_reach.csv")
    assert list(reach["law"]) == ["power", "logistic"]
