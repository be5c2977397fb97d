"""Pieces of the posterior against SciPy, ArviZ, linear algebra and automatic differentiation."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats
from scipy.special import gammaln

from iclbayes import Curves, InputError, laws
from iclbayes.posterior import scores, stacking
from iclbayes.posterior.model.discrepancy import RandomWalk, levy, stable
from iclbayes.posterior.model.likelihoods import LIKELIHOODS, choose, log_gamma
from iclbayes.posterior.model.priors import LogRatio, law_priors, natural, resolve
from iclbayes.posterior.sampling import diagnostics, laplace, psis

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_log_gamma_is_that_of_scipy():
    x = np.concatenate([np.geomspace(1e-8, 1e6, 200)])
    np.testing.assert_allclose(log_gamma(jnp.asarray(x)), gammaln(x), rtol=1e-13, atol=1e-10)


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
    rho = LogRatio()._inverse(jnp.array([0.3, -1.0]))
    np.testing.assert_allclose(LogRatio()(rho), [0.3, -1.0], atol=1e-12)
    np.testing.assert_allclose(natural(law, "prior", jnp.array([0.3, -1.0])), rho)


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


@pytest.mark.parametrize("alpha", [2.0, 1.5, 1.0, 0.7])
def test_stable_draws_have_the_distribution_of_scipy_and_add_up(alpha):
    reference = stats.levy_stable(alpha, 0.0, scale=0.5 ** (1 / alpha))
    if alpha in (1.0, 2.0):  # closed forms of the same convention
        reference = stats.cauchy(scale=0.5) if alpha == 1 else stats.norm()
    draws = np.asarray(stable(jax.random.key(0), alpha, (40_000,), jnp.float64))
    # SciPy's general law is by quadrature: compare it on a grid, with the standard error of 40,000 draws.
    grid = np.array([-4.0, -1.5, -0.6, -0.2, 0.0, 0.2, 0.6, 1.5, 4.0])
    np.testing.assert_allclose(
        (draws[:, None] < grid).mean(0), reference.cdf(grid), atol=4 * 0.5 / np.sqrt(40_000)
    )
    # Three unequal steps of the motion are one step of their sum: self-similarity with index 1/α.
    t = jnp.array([2.0, 0.3, 3.0])
    path = np.asarray(jax.vmap(lambda k: levy(k, t, alpha))(jax.random.split(jax.random.key(1), 40_000)))
    whole = path[:, 2] / 3.0 ** (1 / alpha)
    np.testing.assert_allclose(
        (whole[:, None] < grid).mean(0), reference.cdf(grid), atol=4 * 0.5 / np.sqrt(40_000)
    )


def test_the_motion_outside_the_range_is_brownian_in_log_shots_where_stability_is_2():
    t = jnp.array([0.0, 2.0, 0.5, 2.0])
    draws = np.asarray(jax.vmap(lambda k: levy(k, t))(jax.random.split(jax.random.key(0), 20_000)))
    assert (draws[:, 0] == 0).all() and np.allclose(draws[:, 1], draws[:, 3])
    np.testing.assert_allclose(np.cov(draws.T)[1:3, 1:3], [[2.0, 0.5], [0.5, 0.5]], atol=0.07)
    away, distance = beyond(RandomWalk(stability=2.0, beyond=0.8))
    np.testing.assert_allclose(away.std(0), 0.8 * 0.3 * np.sqrt(distance), rtol=0.03)


@pytest.mark.parametrize("walk", [RandomWalk(), RandomWalk(stability=1.0, beyond=0.5)])
def test_the_motion_outside_the_range_is_stable_and_nothing_inside(walk):
    away, distance = beyond(walk)
    assert (away[:, distance == 0] == 0).all()
    alpha = walk.stability
    for draws, far in zip(away.T, distance, strict=True):
        if far:
            # E exp(i k δ) = exp(−(c σ)^α t |k|^α / 2): size t^(1/α), tails of index α.
            scale = walk.beyond * 0.3 * (far / 2) ** (1 / alpha)
            expected = stats.cauchy() if alpha == 1 else stats.levy_stable(alpha, 0.0)
            for x in (-5.0, -1.0, 0.5, 3.0, 10.0):
                q = expected.cdf(x)
                assert abs((draws < x * scale).mean() - q) < 4 * np.sqrt(q * (1 - q) / len(draws))


def beyond(walk):
    """(draws of the motion, distance from the fitted range in log shots) at 5 numbers of shots, σ = 0.3."""
    shots = jnp.array([[1.0, 5.0, 20.0, 100.0, 10_000.0]])
    keys = jax.random.split(jax.random.key(1), 20_000)
    first, last = jnp.array([5.0]), jnp.array([20.0])
    away = np.asarray(jax.vmap(lambda k: walk.outside(k, jnp.asarray(0.3), first, last, shots))(keys))[:, 0]
    u = np.log1p(np.asarray(shots[0]))
    return away, np.maximum(u - np.log(21.0), 0) + np.maximum(np.log(6.0) - u, 0)


def test_impossible_discrepancies_are_refused():
    with pytest.raises(InputError, match=r"stability 2.5 is not in \(0, 2\]"):
        RandomWalk(stability=2.5)
    with pytest.raises(InputError, match="pieces must be at least 1"):
        RandomWalk(pieces=0)
    with pytest.raises(InputError, match="offset at least 0"):
        RandomWalk(offset=-1.0)


@pytest.mark.parametrize("offset", [0.0, 1.0, 0.5])
def test_the_walk_inside_has_the_covariance_of_brownian_motion_at_its_knots(offset):
    walk = RandomWalk(pieces=4, offset=offset)
    first, last = jnp.array([1.0]), jnp.array([100.0])
    knots = np.expm1(np.linspace(np.log(2.0), np.log(101.0), 5))
    ramps = np.asarray(walk.ramps(first, last, jnp.asarray(knots)[None]))[0]
    t = np.log1p(knots) - np.log(2.0)
    assert ramps.shape == (5, walk.n_steps)
    np.testing.assert_allclose(ramps @ ramps.T, offset**2 + np.minimum.outer(t, t), atol=1e-12)


def test_coordinates_of_the_walk_are_those_of_the_conditional_normal():
    walk = RandomWalk(pieces=2)  # and the offset
    ramps = jnp.asarray(RNG.normal(size=(6, 3)))
    residual, precision = jnp.asarray(RNG.normal(size=6)), jnp.asarray(RNG.uniform(0.5, 3.0, 6))
    sigma = jnp.asarray(0.7)
    z = jnp.asarray(RNG.normal(size=3))
    step = lambda z: walk.increments(sigma, ramps, residual, precision, z)  # noqa: E731
    a = 0.7 * np.asarray(ramps)
    q = np.eye(3) + a.T @ np.diag(precision) @ a
    np.testing.assert_allclose(
        step(jnp.zeros(3))[0], np.linalg.solve(q, a.T @ (np.asarray(precision * residual)))
    )
    jacobian = np.asarray(jax.jacobian(lambda z: step(z)[0])(z))
    np.testing.assert_allclose(jacobian @ jacobian.T, np.linalg.inv(q), atol=1e-12)
    np.testing.assert_allclose(step(z)[1], np.linalg.slogdet(jacobian)[1])


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


def test_psis_of_hardly_any_draws_promises_nothing():
    for n in (1, 2, 10):
        weights, k_hat = psis.smooth(RNG.normal(size=(3, n)))
        np.testing.assert_allclose(np.exp(weights).sum(1), 1.0)
        assert np.isinf(k_hat).all()


def test_the_mode_of_a_known_density_and_its_curvature():
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])
    centres = np.array([[1.0, -3.0], [0.0, 2.0]])  # of two units

    for bend in (0.0, 0.4):

        def values(theta, unit, bend=bend):
            away = theta - centres[unit][:, None]
            return 0.5 * np.einsum("bni,ij,bnj->bn", away, precision, away) + bend / 4 * (away**4).sum(-1)

        def slopes(theta, unit, bend=bend):
            away = theta - centres[unit][:, None]
            return away @ precision + bend * away**3

        starts = np.array([[[30.0, 8.0], [-4.0, 0.0]]] * 2)
        mode = laplace.best_modes(values, slopes, starts, gtol=1e-6)
        np.testing.assert_allclose(mode.theta, centres, atol=1e-5)
        np.testing.assert_allclose(mode.factor[1] @ mode.factor[1].T, np.linalg.inv(precision), rtol=1e-4)
        if bend == 0:
            normal = laplace.normal_draws(RNG, mode, 40_000)
            np.testing.assert_allclose(np.cov(normal[0].T), np.linalg.inv(precision), atol=0.03)
    draws, ratios = laplace.importance_draws(RNG, values, mode, 8000)
    weights, k = psis.smooth(ratios)
    assert (k < 0.5).all()
    # Moments of the bent density by brute force on a grid.
    grid = (
        np.stack(np.meshgrid(*[np.linspace(-5, 5, 401)] * 2, indexing="ij"), -1).reshape(1, -1, 2)
        + centres[:1, None]
    )
    mass = np.exp(-values(grid, np.array([0])))[0]
    second = (mass[:, None] * (grid[0] - centres[0]) ** 2).sum(0) / mass.sum()
    found = np.einsum("n,np->p", np.exp(weights[0]), (draws[0] - centres[0]) ** 2)
    np.testing.assert_allclose(found, second, rtol=0.05)


def test_crps_of_normal_draws_is_the_closed_form():
    draws = stats.norm(0.4, 0.1).ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    for y in (0.4, 0.55):
        z = (y - 0.4) / 0.1
        exact = 0.1 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
        np.testing.assert_allclose(scores.crps(draws, np.array([y])), exact, rtol=2e-3)
    density = 0.99 * stats.norm(0.4, np.hypot(0.1, 0.01)).pdf(0.45) + 0.01
    np.testing.assert_allclose(scores.kernel_log_score(draws, np.array([0.45])), np.log(density), rtol=1e-2)
    assert scores.covered(draws, np.array([0.4]), 0.5) and not scores.covered(draws, np.array([0.6]), 0.9)


def test_stacking_weights_maximise_the_held_out_log_density():
    elpd = RNG.normal(size=(50, 3)) + np.array([0.0, 0.4, -2.0])
    weights = stacking.stacking_weights(elpd, prior=0.0, steps=5000)

    def loss(free):
        w = np.exp(np.r_[free, 0.0])
        return -np.log(np.exp(elpd) @ (w / w.sum())).sum()

    best = optimize.minimize(loss, np.zeros(2)).fun
    assert -np.log(np.exp(elpd) @ weights).sum() <= best + 1e-3
    np.testing.assert_allclose(weights.sum(), 1.0)
    even = stacking.stacking_weights(elpd, prior=1e6)
    np.testing.assert_allclose(even, 1 / 3, atol=1e-3)
