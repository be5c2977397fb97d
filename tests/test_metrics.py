"""Scores of draws against closed forms."""

import numpy as np
from scipy import stats

from iclbayes import metrics


def test_crps_of_normal_draws_is_the_closed_form():
    draws = stats.norm(0.4, 0.1).ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    for y in (0.4, 0.55):
        z = (y - 0.4) / 0.1
        exact = 0.1 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
        np.testing.assert_allclose(metrics.crps(draws, np.array([y])), exact, rtol=2e-3)
    density = 0.99 * stats.norm(0.4, np.hypot(0.1, 0.01)).pdf(0.45) + 0.01
    np.testing.assert_allclose(metrics.kernel_log_score(draws, np.array([0.45])), np.log(density), rtol=1e-2)
    assert metrics.covered(draws, np.array([0.4]), 0.5) and not metrics.covered(draws, np.array([0.6]), 0.9)
