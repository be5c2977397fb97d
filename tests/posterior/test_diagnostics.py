"""Convergence diagnostics and Pareto-smoothed weights against ArviZ."""

import numpy as np
import pandas as pd
import pytest
from arviz_oracle import az, only_arviz_0
from scipy import stats

from iclbayes.posterior.sampling import diagnostics, psis

RNG = np.random.default_rng(0)


@only_arviz_0
@pytest.mark.parametrize("df", [30, 3, 1])
def test_psis_is_that_of_arviz(df):
    ratios = stats.t(df).logpdf(x := stats.norm.rvs(size=(3, 1000), random_state=1)) - stats.norm.logpdf(x)
    ratios[0, :5] = -np.inf
    weights, k = psis.smooth(ratios)
    for row, ours, k_hat in zip(ratios, weights, k, strict=True):
        expected, expected_k = az.psislw(np.where(np.isfinite(row), row, -1e6))
        assert abs(k_hat - float(expected_k)) < 1e-6
        finite = np.isfinite(row)
        np.testing.assert_allclose(ours[finite], np.asarray(expected)[finite], atol=1e-6)


def test_psis_of_hopeless_ratios_says_so_and_resampling_follows_the_weights():
    _, k = psis.smooth(np.full((2, 100), -np.inf))
    assert np.isinf(k).all()
    weights = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))
    counts = np.bincount(psis.resample(RNG, weights, 8000)[0], minlength=4)
    np.testing.assert_allclose(counts / 8000, np.exp(weights[0]), atol=1e-3)


def test_psis_of_hardly_any_draws_promises_nothing():
    for n in (1, 2, 10):
        weights, k_hat = psis.smooth(RNG.normal(size=(3, n)))
        np.testing.assert_allclose(np.exp(weights).sum(1), 1.0)
        assert np.isinf(k_hat).all()


@only_arviz_0
def test_diagnostics_are_those_of_arviz():
    noise = RNG.normal(size=(3, 4, 400))
    chains = np.zeros_like(noise)
    for i in range(1, 400):
        chains[..., i] = 0.8 * chains[..., i - 1] + noise[..., i]
    chains[1, 0] += 2.0  # one chain elsewhere
    chains[2] = np.exp(chains[2])  # heavy tail
    for x, r, bulk, tail in zip(
        chains,
        diagnostics.rhat(chains),
        diagnostics.ess_bulk(chains),
        diagnostics.ess_tail(chains),
        strict=True,
    ):
        assert abs(r - float(az.rhat(x))) < 1e-6
        np.testing.assert_allclose(bulk, float(az.ess(x, method="bulk")), rtol=1e-6)
        np.testing.assert_allclose(tail, float(az.ess(x, method="tail")), rtol=1e-6)
    # Too few draws to tell anything: not a number, which no limit lets pass.
    for few in (1, 2, 5):
        for function in (diagnostics.rhat, diagnostics.ess_bulk, diagnostics.ess_tail):
            assert np.isnan(function(chains[..., :few])).all()
    assert np.isfinite(diagnostics.ess_bulk(chains[..., :6])).all()
    energy = RNG.normal(size=(4, 300)).cumsum(1)
    np.testing.assert_allclose(diagnostics.e_bfmi(energy), az.bfmi(energy), rtol=1e-2)
    assert np.isnan(diagnostics.e_bfmi(energy[:, :1])).all()


def test_mendable_leaves_alone_what_the_number_of_draws_forbids():
    good = {"divergences": 0, "r_hat": 1.0, "e_bfmi": 1.0}
    rows = [good, good | {"divergences": 2}, good | {"r_hat": 1.2}, good | {"e_bfmi": 0.1}]
    short = [good | {"r_hat": np.nan, "divergences": d} for d in (0, 1)]
    checks = pd.DataFrame([*rows, *short])
    found = diagnostics.mendable(checks, 180)
    assert list(found) == [False, True, True, True, False, True]
    assert list(diagnostics.mendable(checks, 2000)) == [True, True, True, True, False, True]
