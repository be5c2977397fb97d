"""`iclbayes fit` and `iclbayes compare` as they are typed."""

import jax
import numpy as np
import pandas as pd
import pytest
from curve_tables import table

import iclbayes
from iclbayes.cli.main import main

COLUMNS = ["law", "fraction", "model", "source", "nrmse", "rmse", "nrmse_nll", "n_fit", "n_eval"]


@pytest.mark.smoke
def test_command_line_fit_and_compare(tmp_path, capsys):
    path = tmp_path / "curves.csv"
    table().to_csv(path, index=False)
    out, plot = tmp_path / "fits.csv", tmp_path / "fits.png"
    arguments = ["fit", str(path), "--law", "power", "logistic", "--group-by", "model", "--source", "source"]
    assert main([*arguments, "--fraction", "0.5", "--stderr", "--out", str(out), "--plot", str(plot)]) == 0
    fits = pd.read_csv(out)
    assert len(fits) == 16 and {"C", "C_se", "kappa", "loss", "status"} <= set(fits.columns)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "logistic: 8 converged" in capsys.readouterr().out

    out = tmp_path / "table.csv"
    arguments = ["compare", str(path), "--group-by", "model", "--source", "source", "--law", "power"]
    more = [
        "--law",
        "logistic",
        "--fraction",
        "0.5",
        "--fraction",
        "1",
        "--out",
        str(out),
        "--style",
        "markdown",
    ]
    assert main([*arguments, *more, "--plot", str(tmp_path / "t.png")]) == 0
    assert list(pd.read_csv(out).columns) == COLUMNS
    printed = capsys.readouterr().out
    assert "Mean NRMSE over 8 curves" in printed and "Paired t-tests" in printed and "| power" in printed


@pytest.mark.parametrize("more", [[], ["--chunk-rows", "32"]], ids=["whole", "chunks"])
def test_command_line_says_once_that_sources_are_averaged(tmp_path, capsys, more):
    path = tmp_path / "curves.csv"
    table().to_csv(path, index=False)
    arguments = ["fit", str(path), "--law", "power", "--group-by", "model", "--out", str(tmp_path / "f.csv")]
    assert main([*arguments, *more]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "averaged" in line]
    assert line.startswith("iclbayes: warning: ") and "'source' is averaged over" in line
    assert main([*arguments, "--source", "source"]) == 0
    assert "averaged" not in capsys.readouterr().err


def test_command_line_says_where_the_steps_of_a_quadrature_show(tmp_path, capsys):
    """A curve made of the 15 speeds of a tiny prior and a wide spread, and one that the nodes integrate well."""
    law, shots = iclbayes.laws.bayesian_heterogeneous, np.unique(np.geomspace(1, 3000, 60).round())
    params = {"efficiency": np.array(0.2), "gamma": np.array([0.9]), "beta": np.array([0.1])}
    rows = []
    for name, prior, spread in (("steps", 1e-6, 2.0), ("smooth", 0.1, 0.7)):
        made = params | {"prior": np.array([prior, 1 - prior]), "spread": np.array(spread)}
        with jax.enable_x64(True):
            prob = np.asarray(law.mean(made, shots))[0]
        rows.append(pd.DataFrame({"model": name, "shots": shots, "prob": prob}))
    path = tmp_path / "curves.csv"
    pd.concat(rows).to_csv(path, index=False)
    arguments = ["fit", str(path), "--group-by", "model", "--out", str(tmp_path / "fits.csv")]
    assert main([*arguments, "--law", "bayesian_heterogeneous", "bayesian_heterogeneous_exact"]) == 0
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert "the steps of bayesian_heterogeneous's quadrature show in 1 of 2 curves, by up to 0.0" in told
    assert "bayesian_heterogeneous_exact has none" in told

    curves = iclbayes.read_curves(path, group_by="model")
    fits = iclbayes.fit(curves, law)
    error = fits.numerical_error()[:, 0]
    i = list(curves.keys["model"]).index("steps")
    mine = {name: value[i] for name, value in fits.params.items()}
    grid = np.geomspace(1, 30000, 500)
    with jax.enable_x64(True):
        difference = np.abs(law.mean(mine, grid) - law.finer.mean(mine, grid)).max()
    assert error[i] == pytest.approx(difference, rel=0.05) and error[i] > 0.03
    assert error[1 - i] < 1e-3
    np.testing.assert_array_equal(iclbayes.fit(curves, "power").numerical_error(), np.zeros((2, 1)))


def test_command_line_mistakes_end_in_one_line(tmp_path, capsys):
    path = tmp_path / "curves.csv"
    table().to_csv(path, index=False)
    bad = tmp_path / "bad.csv"
    table().assign(prob=1.5).to_csv(bad, index=False)
    cases = [
        (["fit", str(path), "--law", "powr"], "unknown law 'powr': choose one of bayesian_original"),
        (["fit", str(path), "--group-by", "size"], "no column 'size'"),
        (["fit", str(bad), "--group-by", "model"], "bad.csv: column 'prob', row 2: 1.5 is not between"),
        (["fit", str(tmp_path / "absent.csv")], "no such file"),
        (["fit", str(path), "--fraction", "1.5"], "fraction 1.5 is not in (0, 1]"),
        (["fit", str(path), "--out", str(tmp_path / "x.txt")], "tables are written as .csv or .parquet"),
        (["fit", str(path), "--out", str(tmp_path / "no" / "x.csv")], "there is no folder"),
        (["fit", str(path), "--plot", str(tmp_path / "x.gif")], "figures are written as .png"),
        (["fit", str(path), "--plot", str(tmp_path / "no" / "x.png")], "there is no folder"),
        (["compare", str(path), "--law", "powr"], "unknown law 'powr'"),
        (["compare", str(path), "--group-by", "model", "--fraction", "0"], "fraction 0.0 is not in (0, 1]"),
        (["compare", str(path), "--style", "html"], "unknown style 'html': choose one of plain"),
    ]
    for arguments, message in cases:
        if "--out" not in arguments:
            arguments = [*arguments, "--out", str(tmp_path / "out.csv")]
        assert main(arguments) == 2, arguments
        printed = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("iclbayes: warning")]
        assert len(printed) == 1 and printed[0].startswith("iclbayes: error: ")
        printed = printed[0]
        assert message in printed
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "curves.csv"]
