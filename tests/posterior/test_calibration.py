"""Simulation-based calibration: parameters drawn from the prior rank uniformly among the draws of their posterior.

`experiments/calibration.py` runs all cells, calibration.md has what was found.
"""

import numpy as np
import pytest

from iclbayes import laws
from iclbayes.posterior import LIKELIHOODS, RandomWalk, calibration

# The posterior of an amplitude and a floor that only their sum is known of is L-shaped: short chains miss one arm of it.
LONG = {"n_chains": 4, "n_warmup": 300, "n_draws": 150, "retries": 1}
SHORT = {"n_chains": 2, "n_warmup": 100, "n_draws": 60, "max_tree_depth": 6, "retries": 0}
# A cell for every family of laws and every likelihood, half of them with the discrepancy. What a cell takes is compiling: the
# laws in log shots and the heterogeneous ones, whose programs take minutes, stand in the slow test below and in
# `experiments/calibration.py`.
FAMILIES = (
    "power",
    "bounded_power",
    "logistic",
    "staged",
    "bayesian_staged",
    "bayesian_scoring",
    "bayesian_sampling",
)
FEW = [(law, [*LIKELIHOODS][i % len(LIKELIHOODS)], i // 2 % 2 == 1) for i, law in enumerate(FAMILIES)]


@pytest.mark.parametrize(("law", "likelihood", "walk"), FEW)
def test_ranks_are_uniform(law, likelihood, walk):
    options = LONG if law in ("bounded_power", "logistic") else SHORT
    found, _ = calibration.scores(law, likelihood, RandomWalk() if walk else None, 64, **options).p_values()
    assert min(found.values()) > 1e-3, found


def test_ranks_of_a_posterior_a_fifth_too_narrow_are_not_uniform():
    found, narrow = calibration.scores("power", "binomial", None, 300, **LONG).p_values()
    assert min(found.values()) > 1e-3, found
    assert max(narrow[name] for name in ("C", "alpha", "E")) < 1e-6, narrow


@pytest.mark.slow
@pytest.mark.parametrize("walk", [False, True])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("law", laws.LAWS)
def test_ranks_are_uniform_for_every_law_and_likelihood(law, likelihood, walk):
    walk = RandomWalk() if walk else None
    found, narrow = calibration.scores(law, likelihood, walk, 200, **LONG).p_values()
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
