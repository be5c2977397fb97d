"""Simulation-based calibration: parameters drawn from the prior rank uniformly among the draws of their posterior.

`experiments/calibration.py` has the simulation and the tests of uniformity; calibration.md the cells that were run.
"""

import calibration
import numpy as np
import pandas as pd
import pytest

from iclbayes import laws
from iclbayes.posterior.model.discrepancy import RandomWalk
from iclbayes.posterior.model.likelihoods import LIKELIHOODS

SHORT = {"n_chains": 2, "n_warmup": 100, "n_draws": 60, "max_tree_depth": 6, "retries": 0}
QUICK = {"method": "psis", "max_k_hat": np.inf, "n_draws": 60}
# A cell for every law and every likelihood, half of them with the discrepancy.
FEW = [(law, [*LIKELIHOODS][i % len(LIKELIHOODS)], i // 2 % 2 == 1) for i, law in enumerate(laws.LAWS)]


@pytest.mark.parametrize(("law", "likelihood", "walk"), FEW)
def test_ranks_are_uniform(law, likelihood, walk):
    options = calibration.LONG if law in ("bounded_power", "logistic") else SHORT
    found, _ = calibration.calibrate(law, likelihood, RandomWalk() if walk else None, 64, options)
    assert min(found.values()) > 1e-3, found


def test_ranks_of_a_posterior_a_fifth_too_narrow_are_not_uniform():
    found, narrow = calibration.calibrate("power", "binomial", None, n=300, options=QUICK)
    assert min(found.values()) > 1e-3, found
    assert max(narrow[name] for name in ("C", "alpha", "E")) < 1e-6, narrow


@pytest.mark.slow
@pytest.mark.parametrize(("law", "likelihood", "walk"), calibration.CELLS)
def test_ranks_are_uniform_for_every_law_and_likelihood(law, likelihood, walk):
    found, narrow = calibration.calibrate(
        law, likelihood, RandomWalk() if walk else None, 200, calibration.LONG
    )
    assert min(found.values()) > 1e-4, found
    assert min(narrow.values()) < 1e-4, narrow


def test_p_values_of_normal_scores_are_uniform_and_find_a_wrong_spread():
    """The test itself: false alarms as rare as promised, and 100 ranks tell a posterior that is a fifth too narrow."""
    rng = np.random.default_rng(0)
    right = np.array([calibration.p_value(s) for s in rng.standard_normal((400, 100))])
    wide = np.array([calibration.p_value(s) for s in rng.standard_normal((400, 100)) / 0.8])
    assert np.mean(right < 0.05) < 0.08
    assert np.mean(wide < 0.05) > 0.75
    ranks = calibration.normal_scores(rng.standard_normal((300, 5000)), rng.standard_normal(5000))
    assert calibration.p_value(ranks) > 0.01


def test_cells_that_are_in_the_file_are_not_done_again(tmp_path, capsys, monkeypatch):
    asked = []

    def scores(law, likelihood, discrepancy, n, options, seed):
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
