"""Losses: their slopes, and the binomial one against maximum likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import iclbayes
from iclbayes.fitting import LOSSES


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_have_the_slope_they_say(loss):
    with jax.enable_x64(True):
        function = LOSSES[loss]
        p, y = jnp.linspace(0.05, 0.9, 30), jnp.linspace(0.9, 0.1, 30)
        _, slope, curvature = function(p, y)
        up, down = function(p + 1e-6, y)[0], function(p - 1e-6, y)[0]
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-5, atol=1e-7)
        assert (curvature > 0).all()


def test_binomial_loss_is_the_maximum_likelihood_fit():
    rng = np.random.default_rng(11)
    n_test = np.array([50, 200, 30, 400, 100, 80, 60, 500])
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    truth = np.exp(-(1.2 * (shots + 1.0) ** -0.5 + 0.2))
    table = pd.DataFrame({"shots": shots, "n_correct": rng.binomial(n_test, truth), "n_test": n_test})
    fits = iclbayes.fit(iclbayes.curves_from_frame(table), "power", loss="binomial")

    def negative(theta):
        c, alpha, e = np.exp(theta)
        p = np.exp(-(c * (shots + 1.0) ** -alpha + e))
        return -stats.binom.logpmf(table["n_correct"], n_test, p).sum()

    found = {k: v[0, 0] for k, v in fits.params.items()}
    ours = negative(np.log([found["C"], found["alpha"], found["E"]]))
    best = optimize.minimize(
        negative, np.log([1.2, 0.5, 0.2]), method="Nelder-Mead", options={"maxiter": 4000}
    )
    assert ours <= best.fun + 1e-4
