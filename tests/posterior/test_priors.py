"""Priors on natural scales as densities of raw values; every law has them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from iclbayes import InputError, laws
from iclbayes.posterior.model.priors import LogRatio, law_priors, resolve


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_natural_priors_become_densities_of_raw_values():
    law = laws.get("bayesian_scoring")
    given = {
        "gamma": dist.Beta(3.0, 2.0),
        "efficiency": dist.LogNormal(0.0, 1.0),
        "prior": dist.Dirichlet(np.full(3, 2.0)),
    }
    found = dict(resolve(law, {}, given))
    raw = jnp.linspace(-3, 3, 7)
    gamma = 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(
        found["gamma"].log_prob(raw), stats.beta(3, 2).logpdf(gamma) + np.log(gamma * (1 - gamma))
    )
    np.testing.assert_allclose(found["efficiency"].log_prob(raw), stats.norm(0, 1).logpdf(raw))
    # Dirichlet: the density over log ratios integrates to 1, and the round trip is exact.
    grid = np.linspace(-9, 9, 181)
    points = np.stack(np.meshgrid(grid, grid), -1)
    mass = np.exp(np.asarray(found["prior"].log_prob(points))).sum() * (grid[1] - grid[0]) ** 2
    assert abs(mass - 1) < 1e-4
    rho = LogRatio().inv(jnp.array([0.3, -1.0]))
    np.testing.assert_allclose(LogRatio()(rho), [0.3, -1.0], atol=1e-12)


def test_every_law_has_priors_for_its_parameters_and_unknown_names_are_refused():
    for law in laws.LAWS.values():
        assert set(law_priors(law)) == set(law.param_names)
    law = laws.get("power")
    with pytest.raises(InputError, match=r"unknown parameter 'gamma'; known are C, alpha, E"):
        resolve(law, {}, {"gamma": dist.Beta(1.0, 1.0)})
    with pytest.raises(InputError, match="positive numbers; for the unconstrained value use raw_alpha"):
        resolve(law, {}, {"alpha": dist.Normal(0.0, 1.0)})
    with pytest.raises(InputError, match="whole real line"):
        resolve(law, {}, {"raw_alpha": dist.HalfNormal(1.0)})
    with pytest.raises(InputError, match="give a numpyro distribution"):
        resolve(law, {}, {"alpha": 3.0})
