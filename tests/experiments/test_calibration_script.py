"""The experiment on calibration: its file of cells."""

import calibration
import numpy as np
import pandas as pd


def test_cells_that_are_in_the_file_are_not_done_again(tmp_path, capsys, monkeypatch):
    asked = []

    def scores(law, likelihood, discrepancy, n, *, seed, **options):
        asked.append((law, likelihood, discrepancy is not None))
        return {"C": np.linspace(-2, 2, n)}, {"C": np.linspace(-3, 3, n)}

    monkeypatch.setattr(calibration, "scores", scores)
    path = tmp_path / "out.csv"
    common = ["--likelihoods", "binomial", "--n", "20", "--out", str(path)]
    calibration.main([*common, "--laws", "power", "--discrepancy", "without"])
    calibration.main([*common, "--laws", "power", "logistic"])
    assert sorted(asked) == sorted(set(asked))
    assert len(pd.read_csv(path)) == 4
    assert "4 cells, 4 quantities" in capsys.readouterr().out
