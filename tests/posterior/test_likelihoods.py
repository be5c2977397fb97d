"""Likelihoods against SciPy, the choice by the data, and data that they cannot take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from iclbayes import Curves
from iclbayes.posterior.model.distributions import FAR, log_gamma, log_mass
from iclbayes.posterior.model.likelihoods import LIKELIHOODS, choose

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_log_gamma_is_that_of_scipy():
    x = np.concatenate([np.geomspace(1e-8, 1e6, 200)])
    np.testing.assert_allclose(log_gamma(jnp.asarray(x)), gammaln(x), rtol=1e-13, atol=1e-10)


def test_the_mass_between_two_places_of_a_normal_is_that_of_scipy_with_its_slopes():
    middle = np.array([0.0, -0.3, -2.0, -7.0, -30.0])[:, None]
    width = np.array([0.001, 0.1, 3.0, 12.0])
    low, high = (middle + sign * width / 2 for sign in (-1, 1))
    up, down = stats.norm.logcdf(high), stats.norm.logcdf(low)
    expected = up + np.log(-np.expm1(down - up))
    found = jax.jit(log_mass)(low, high)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    by_low, by_high = jax.jit(jax.grad(lambda a, b: log_mass(a, b).sum(), (0, 1)))(low, high)
    np.testing.assert_allclose(by_low, -np.exp(stats.norm.logpdf(low) - expected), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(by_high, np.exp(stats.norm.logpdf(high) - expected), rtol=1e-6, atol=1e-12)
    ends = jax.jit(log_mass)(
        jnp.array([-1.5, -FAR - 1.5]), jnp.array([FAR + 1.5, -1.5])
    )  # both tails of a count
    np.testing.assert_allclose(ends, [stats.norm.logsf(-1.5), stats.norm.logcdf(-1.5)], rtol=1e-12)


# scipy's own distribution for every likelihood, at p = 0.3, noise 0.2, 50 tests, stderr 0.05
P, S = 0.3, 0.2
PHI = 1 / S**2 - 1
K = np.arange(51)
MARGIN = stats.norm(50 * P, 50 * np.sqrt(P * (1 - P) * (S / 50 + S**2)))  # of counts, before rounding
UPPER = np.where(K == 0, 1.0, MARGIN.sf(K - 0.5)) - np.where(K == 50, 0.0, MARGIN.sf(K + 0.5))
LOWER = np.where(K == 50, 1.0, MARGIN.cdf(K + 0.5)) - np.where(K == 0, 0.0, MARGIN.cdf(K - 0.5))
REFERENCE = {
    "quasi_binomial": stats.rv_discrete(values=(K, np.where(K > 15, UPPER, LOWER))),
    "binomial": stats.binom(50, P),
    "beta_binomial": stats.betabinom(50, P * PHI, (1 - P) * PHI),
    "normal": stats.norm(P, np.hypot(0.05, S)),
    "beta": stats.beta(P * PHI, (1 - P) * PHI),
}


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_likelihoods_have_the_density_and_the_draws_of_scipy(name):
    kind = LIKELIHOODS[name]
    noise = {site: jnp.asarray(S) for site, _, _ in kind.noise}
    y = np.arange(51.0) if kind.counts else np.linspace(0.02, 0.98, 25)
    p, n, e = (np.full(y.shape, v) for v in (P, 50.0, 0.05))
    ours = np.asarray(kind.log_prob(jnp.asarray(p), noise, jnp.asarray(n), jnp.asarray(e), jnp.asarray(y)))
    if name == "logit_normal":
        z = np.log(y / (1 - y))
        expected = stats.norm(np.log(P / (1 - P)), S).logpdf(z) - np.log(y * (1 - y))
    else:
        expected = REFERENCE[name].logpmf(y) if kind.counts else REFERENCE[name].logpdf(y)
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-9)

    many = 40_000
    drawn = kind.sample(
        RNG,
        np.full(many, P),
        {k: np.float64(v) for k, v in noise.items()},
        np.full(many, 50),
        np.full(many, 0.05),
    )
    if name == "logit_normal":
        drawn, low, sd = np.log(drawn / (1 - drawn)), np.log(P / (1 - P)), S
    elif name == "normal":  # clipped at 0 and 1
        grid = stats.norm(P, np.hypot(0.05, S)).ppf((np.arange(10_000) + 0.5) / 10_000).clip(0, 1)
        low, sd = grid.mean(), grid.std()
    else:
        scale = 50 if kind.counts else 1
        low, sd = REFERENCE[name].mean() / scale, REFERENCE[name].std() / scale
    assert abs(drawn.mean() - low) < 5 * sd / np.sqrt(many)
    assert abs(drawn.std() / sd - 1) < 0.03


def test_auto_takes_rounded_normals_for_many_tests_and_exact_counts_for_few():
    shots = np.arange(3)
    for n_test, name in ((250, "quasi_binomial"), (20, "beta_binomial")):
        curves = Curves.from_arrays(shots, np.full((2, 3), 0.5), n_test=np.full((2, 3), n_test))
        assert choose("auto", curves, np.ones(6, bool)).name == name
    bare = Curves.from_arrays(shots, np.full((2, 3), 0.5))
    assert choose("auto", bare, np.ones(6, bool)).name == "logit_normal"


@pytest.mark.parametrize(("n", "p", "noise"), [(250, 0.9, 0.5), (20, 0.02, 1.0), (2500, 0.999, 0.3)])
def test_quasi_binomial_masses_sum_to_one_and_are_finite_with_finite_slopes_however_far(n, p, noise):
    kind = LIKELIHOODS["quasi_binomial"]
    k = jnp.arange(n + 1.0)

    def masses(p):
        sites = {"dispersion": jnp.asarray(noise), "overdispersion": jnp.asarray(0.01)}
        return kind.log_prob(jnp.full(n + 1, p), sites, jnp.full(n + 1, float(n)), jnp.zeros(n + 1), k)

    np.testing.assert_allclose(np.exp(masses(p)).sum(), 1.0, rtol=1e-12)
    assert np.isfinite(masses(p)).all() and np.isfinite(jax.jacobian(masses)(p)).all()
    # A dispersion of 1 is the binomial's variance.
    draws = kind.sample(
        RNG, np.full(40_000, 0.7), {"dispersion": 1.0, "overdispersion": 0.0}, np.full(40_000, 250.0), None
    )
    assert abs(draws.std() / stats.binom(250, 0.7).std() * 250 - 1) < 0.03


@pytest.mark.parametrize("spread", [1e-4, 1e-8, 1e-20, 1e-100, 1e-200])
def test_without_scatter_a_beta_binomial_is_a_binomial(spread):
    """Rounding of ln Γ(1/spread²) was worth thousands of nats once, and a sampler that strayed so far stayed there."""
    k, p = np.array([0.0, 3.0, 30.0, 100.0]), np.array([0.01, 0.1, 0.9, 1 - 1e-9])

    def log_mass_of(p, spread):
        noise = {"overdispersion": spread}
        return LIKELIHOODS["beta_binomial"].log_prob(
            p, noise, jnp.full(4, 100.0), jnp.zeros(4), jnp.asarray(k)
        )

    found = log_mass_of(jnp.asarray(p), jnp.asarray(spread))
    np.testing.assert_allclose(found, stats.binom.logpmf(k, 100, p), rtol=1e-3, atol=1e-3)
    slopes = jax.grad(lambda *at: log_mass_of(*at).sum(), (0, 1))(jnp.asarray(p), jnp.asarray(spread))
    assert np.isfinite(slopes[0]).all() and np.isfinite(slopes[1])
