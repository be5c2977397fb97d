"""When posteriors are sampled again, and what is said of those that stay poor."""

import numpy as np
import numpyro.distributions as dist
import pytest
from posterior_helpers import Constant, count_curves

from iclbayes import InputError, posterior
from iclbayes.posterior.sampling import schedule

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
PRIOR = {"gamma": dist.Beta(2.0, 3.0)}
OPTIONS = {"likelihood": "binomial", "priors": PRIOR, "discrepancy": None, "method": "nuts"}


def test_groups_that_fail_are_named():
    curves = count_curves(COUNTS, 20)
    with pytest.warns(posterior.PosteriorWarning, match=r"3 of 3 .*group=0, source=0: .*ESS .*group=2"):
        one = posterior.sample(curves, LAW, n_draws=12, n_chains=2, retries=0, **OPTIONS)
    assert not one.diagnostics()["ok"].any()


def test_energies_are_judged_before_they_are_thinned(monkeypatch):
    """Thinned energies look more independent than they were: a chain twice as long must not pass by that alone."""
    seen = []

    def watch(energy):
        seen.append(energy.shape[-1])
        return np.full(energy.shape[:-1], 0.1 if len(seen) < 3 else 1.0)

    monkeypatch.setattr(schedule.diagnostics, "e_bfmi", watch)
    monkeypatch.setattr(schedule.diagnostics, "MAX_RHAT", 0.0)  # so that chains are made longer
    with pytest.warns(posterior.PosteriorWarning, match="R-hat"):
        one = posterior.sample(count_curves(COUNTS, 20), LAW, n_draws=100, retries=1, **OPTIONS)
    assert seen == [100, 200] and one.blocks[0].energy.shape == (3, 4, 100)
    assert (one.diagnostics()["e_bfmi"] == 0.1).all()


def test_too_few_draws_for_the_diagnostics_are_not_drawn_again(monkeypatch):
    calls = []
    real = schedule.sample_chains
    monkeypatch.setattr(schedule, "sample_chains", lambda *a: calls.append(1) or real(*a))
    monkeypatch.setattr(schedule.diagnostics, "MAX_RHAT", 2.0)
    for few in ({"n_draws": 5}, {"n_draws": 50, "n_chains": 2}):  # no R-hat; no ESS of 400
        with pytest.warns(posterior.PosteriorWarning, match="poor diagnostics"):
            posterior.sample(count_curves(COUNTS, 20), LAW, **few, **OPTIONS)
    assert len(calls) == 2


def test_sampling_settings_are_checked():
    with pytest.raises(InputError, match="target_accept"):
        posterior.SamplerOptions(target_accept=1.5)
