"""Importance sampling from adapted mixtures, against closed forms; no JAX in it."""

import numpy as np
import pytest
from scipy import special, stats

from iclbayes.posterior.sampling import conditional_modes, importance, laplace, psis
from iclbayes.posterior.sampling.laplace import Mode


def banana(theta, unit):
    """−ln density of x ~ N(0, 1), y | x ~ N(b (x² − 1), 0.3²), where b is 0, ½, 1 in units 0, 1, 2."""
    x, y = theta[..., 0], theta[..., 1]
    bend = 0.5 * unit[:, None]
    return 0.5 * x**2 + 0.5 * ((y - bend * (x**2 - 1)) / 0.3) ** 2


def two_modes(theta, unit):
    """−ln density, but for a constant, of ⅓ N(−1.5, 0.5²) + ⅔ N(1.5, 0.5²) in x, and N(0, 1) in y."""
    x, y = theta[..., 0], theta[..., 1]
    density = stats.norm.pdf(x, -1.5, 0.5) / 3 + 2 * stats.norm.pdf(x, 1.5, 0.5) / 3
    return -np.log(density) + 0.5 * y**2


def slopes_of(values):
    """Gradients of potentials by central differences."""

    def slopes(theta, unit):
        step = 1e-4 * np.eye(theta.shape[2])
        return np.stack([(values(theta + s, unit) - values(theta - s, unit)) / 2e-4 for s in step], -1)

    return slopes


def begin(values, mode):
    """Components at the mode and at the conditional modes of either coordinate under a prior of standard deviation 1."""
    return conditional_modes.components(
        values, slopes_of(values), mode, np.ones(2), np.arange(2), importance.COMPONENTS
    )


def mode_at(theta, scales):
    factor = np.stack([np.diag(s) for s in scales])
    n = len(theta)
    zero = np.zeros(n)
    return Mode(np.asarray(theta, float), zero, factor, np.log(scales).sum(1), zero, zero.astype(int))


def weighted(values, mode, n=8000):
    draws, ratio, *_ = importance.importance_draws(np.random.default_rng(0), values, begin(values, mode), n)
    weight, k_hat = psis.smooth(ratio)
    return draws, np.exp(weight), k_hat


def test_bent_posteriors_are_sampled_rightly_where_one_normal_misses_them():
    at = [[0.0, 0.0], [0.0, -0.5], [0.0, -1.0]]
    scales = np.array([[1.0, 0.3], [1.0, 0.3], [1.0, 0.3]])
    mode = mode_at(at, scales)
    draws, weight, k_hat = weighted(banana, mode)
    assert (k_hat < psis.GOOD).all()
    rng = np.random.default_rng(5)
    x, noise = rng.standard_normal((2, 400_000))
    for u in range(3):
        y = 0.5 * u * (x**2 - 1) + 0.3 * noise  # drawn directly
        for share in (0.05, 0.3, 0.7, 0.95):
            below = weight[u] @ (draws[u, :, 1] < np.quantile(y, share))
            assert abs(below - share) < 0.03
            assert abs(weight[u] @ (draws[u, :, 0] < stats.norm.ppf(share)) - share) < 0.03
    normal = laplace.k_hat(np.random.default_rng(1), banana, mode, 4000)
    assert normal[0] < 0.1 and normal[2] > psis.GOOD


def test_both_modes_are_found_with_their_masses():
    mode = mode_at([[1.5, 0.0]], np.array([[0.5, 1.0]]))
    draws, weight, k_hat = weighted(two_modes, mode)
    assert k_hat[0] < psis.GOOD
    assert abs(weight[0] @ (draws[0, :, 0] > 0) - 2 / 3) < 0.03
    assert laplace.k_hat(np.random.default_rng(1), two_modes, mode, 4000)[0] > psis.GOOD


@pytest.mark.parametrize("n_units", [1, 3, 5])
def test_units_are_worked_on_a_few_at_a_time_as_each_alone(n_units):
    rng = np.random.default_rng(5)
    factor = np.tril(rng.normal(size=(n_units, 3, 2, 2))) + 3 * np.eye(2)
    mixture = importance.Mixture(rng.dirichlet([2, 2, 2], n_units), rng.normal(size=(n_units, 3, 2)), factor)
    x, ratio = rng.normal(size=(n_units, 50, 2)), rng.normal(size=(n_units, 50))
    parts = importance.log_parts(mixture, x)
    fitted = importance.adapted(mixture, x, ratio)
    for u in range(n_units):
        one = importance.Mixture(*(part[u : u + 1] for part in mixture))
        alone = importance.log_parts(one, x[u : u + 1])
        for a, b in zip(
            (*parts, *fitted), (*alone, *importance.adapted(one, x[u : u + 1], ratio[u : u + 1]))
        ):
            np.testing.assert_allclose(a[u], b[0], rtol=1e-12)


def test_density_of_a_mixture_is_that_of_scipy():
    rng = np.random.default_rng(2)
    weight = np.array([[0.3, 0.7], [0.9, 0.1]])
    centre = rng.normal(size=(2, 2, 3))
    factor = np.tril(rng.normal(size=(2, 2, 3, 3))) + 3 * np.eye(3)
    x = rng.normal(size=(2, 5, 3))
    found = special.logsumexp(importance.log_parts(importance.Mixture(weight, centre, factor), x)[0], 1)
    for u in range(2):
        parts = [
            w * stats.multivariate_t(c, f @ f.T, df=importance.STUDENT).pdf(x[u])
            for w, c, f in zip(weight[u], centre[u], factor[u], strict=True)
        ]
        np.testing.assert_allclose(found[u], np.log(sum(parts)), rtol=1e-10)


def test_draws_of_a_mixture_have_its_moments():
    mixture = importance.Mixture(
        np.array([[0.25, 0.75]]),
        np.array([[[-4.0, 0.0], [4.0, 1.0]]]),
        np.array([[0.1 * np.eye(2), np.array([[1.0, 0.0], [0.5, 0.2]])]]),
    )
    x = importance.sample(np.random.default_rng(3), mixture, 40000)[0]
    left = x[:, 0] < 0
    assert abs(left.mean() - 0.25) < 0.01
    spread = importance.STUDENT / (importance.STUDENT - 2)
    expected = spread * np.array([[1.0, 0.5], [0.5, 0.29]])
    np.testing.assert_allclose(np.cov(x[~left].T), expected, rtol=0.1, atol=0.02)


def test_a_density_that_is_nowhere_finite_ends_without_nan():
    mode = mode_at([[0.0, 0.0]], np.array([[1.0, 1.0]]))
    nowhere = lambda theta, unit: np.full(theta.shape[:2], np.nan)  # noqa: E731
    draws, ratio, *_ = importance.importance_draws(
        np.random.default_rng(0), nowhere, begin(nowhere, mode), 1000
    )
    assert np.isfinite(draws).all() and (ratio == -np.inf).all()
    assert psis.smooth(ratio)[1][0] == np.inf


@pytest.mark.parametrize("n", [1, 1000, 1001])
def test_number_of_draws_is_rounded_up_to_whole_parts(n):
    mode = mode_at([[0.0, 0.0]], np.array([[1.0, 0.3]]))
    draws, ratio, *_ = importance.importance_draws(np.random.default_rng(0), banana, begin(banana, mode), n)
    assert draws.shape == (1, 1000 * -(-n // 1000), 2) and ratio.shape == draws.shape[:2]


def test_a_second_effort_reaches_what_a_thin_proposal_left_out():
    rng = np.random.default_rng(0)
    thin = importance.Mixture(
        np.ones((3, 2)) / 2, np.array([[[1.5, 0.0]] * 2] * 3), np.tile(np.diag([0.15, 0.2]), (3, 2, 1, 1))
    )
    x = importance.sample(rng, thin, 4000)
    ratio = -two_modes(x, None) - special.logsumexp(importance.log_parts(thin, x)[0], 1)
    first = importance.Proposed(x, ratio, thin)
    assert (psis.smooth(ratio)[1] > psis.GOOD).all()
    second = importance.second_effort(rng, two_modes, slopes_of(two_modes), first, np.array([0, 2]), 8000)
    assert second.x.shape == (2, 8000, 2)
    weight, k_hat = psis.smooth(second.ratio)
    assert (k_hat < psis.GOOD).all()
    for u in range(2):
        assert abs(np.exp(weight[u]) @ (second.x[u, :, 0] > 0) - 2 / 3) < 0.03
        for share in (0.05, 0.3, 0.7, 0.95):
            assert abs(np.exp(weight[u]) @ (second.x[u, :, 1] < stats.norm.ppf(share)) - share) < 0.03
