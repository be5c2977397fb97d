"""Importance sampling from adapted mixtures, against closed forms; no JAX in it."""

import numpy as np
import pytest
from scipy import special, stats

from iclbayes.posterior.sampling import conditional_modes, importance, laplace, mixture, psis
from iclbayes.posterior.sampling.laplace import Mode


def banana(theta, unit):
    """−ln density of x ~ N(0, 1), y | x ~ N(b (x² − 1), 0.3²), where b is 0, ½, 1 in units 0, 1, 2."""
    x, y = theta[..., 0], theta[..., 1]
    bend = 0.5 * unit[:, None]
    return 0.5 * x**2 + 0.5 * ((y - bend * (x**2 - 1)) / 0.3) ** 2


def two_modes(theta, unit):
    """−ln density, but for a constant, of ⅓ N(−1.5, 0.5²) + ⅔ N(1.5, 0.5²) in x, and N(0, 1) in y."""
    x, y = theta[..., 0], theta[..., 1]
    left, right = (
        np.log(share) + stats.norm.logpdf(x, at, 0.5) for share, at in ((1 / 3, -1.5), (2 / 3, 1.5))
    )
    return -np.logaddexp(left, right) + 0.5 * y**2


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


def k_hat_of_normal(values, mode):
    return laplace.k_hat(values, mode, laplace.normal_draws(np.random.default_rng(1), mode, 4000), 1000)


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
    normal = k_hat_of_normal(banana, mode)
    assert normal[0] < 0.1 and normal[2] > psis.GOOD


def test_both_modes_are_found_with_their_masses():
    mode = mode_at([[1.5, 0.0]], np.array([[0.5, 1.0]]))
    draws, weight, k_hat = weighted(two_modes, mode)
    assert k_hat[0] < psis.GOOD
    assert abs(weight[0] @ (draws[0, :, 0] > 0) - 2 / 3) < 0.03
    assert k_hat_of_normal(two_modes, mode)[0] > psis.GOOD


def some_mixture(n_units, walk=2, seed=5):
    """A mixture with nothing special about it: three components of two coordinates and so many of a walk."""
    rng = np.random.default_rng(seed)

    def factors(*shape):
        return np.tril(rng.normal(size=(*shape, shape[-1]))) + 3 * np.eye(shape[-1])

    return mixture.Mixture(
        (1 - mixture.DEFENSIVE) * rng.dirichlet([2, 2, 2], n_units),
        rng.normal(size=(n_units, 3, 2 + walk)),
        factors(n_units, 3, 2),
        rng.normal(size=(n_units, walk, 2)),
        factors(n_units, walk) if walk else np.zeros((n_units, 0, 0)),
        rng.normal(size=(n_units, 2 + walk)),
        2 * factors(n_units, 2 + walk),
    )


@pytest.mark.parametrize("n_units", [1, 3, 5])
@pytest.mark.parametrize("walk", [0, 2])
def test_units_are_worked_on_a_few_at_a_time_as_each_alone(n_units, walk):
    whole = some_mixture(n_units, walk)
    rng = np.random.default_rng(6)
    x, ratio = rng.normal(size=(n_units, 50, 2 + walk)), rng.normal(size=(n_units, 50))
    parts = mixture.log_parts(whole, x)
    fitted = mixture.adapted(whole, x, ratio)
    for u in range(n_units):
        one = mixture.Mixture(*(part[u : u + 1] for part in whole))
        alone = mixture.log_parts(one, x[u : u + 1])
        for a, b in zip((*parts, *fitted), (*alone, *mixture.adapted(one, x[u : u + 1], ratio[u : u + 1]))):
            np.testing.assert_allclose(a[u], b[0], rtol=1e-12)


@pytest.mark.parametrize("walk", [0, 2])
def test_density_of_a_mixture_is_that_of_scipy(walk):
    whole = some_mixture(2, walk)
    x = np.random.default_rng(2).normal(size=(2, 5, 2 + walk))
    found, distance = mixture.log_parts(whole, x)
    for i in range(2):
        weight, centre, factor, slope, spread, middle, wide = (part[i] for part in whole)
        u, w = x[i, :, :2], x[i, :, 2:]
        for k in range(3):
            shape = factor[k] @ factor[k].T
            expected = np.log(weight[k])
            expected += stats.multivariate_t(centre[k, :2], shape, df=mixture.STUDENT).logpdf(u)
            if walk:
                rest = w - centre[k, 2:] - (u - centre[k, :2]) @ slope.T
                expected += stats.multivariate_normal(np.zeros(walk), spread @ spread.T).logpdf(rest)
            np.testing.assert_allclose(found[i, k], expected, rtol=1e-10)
            away = u - centre[k, :2]
            np.testing.assert_allclose(
                distance[i, k], np.einsum("np,pq,nq->n", away, np.linalg.inv(shape), away), rtol=1e-9
            )
        last = stats.multivariate_t(middle, wide @ wide.T, df=mixture.STUDENT).logpdf(x[i])
        np.testing.assert_allclose(found[i, 3], np.log(mixture.DEFENSIVE) + last, rtol=1e-10)


def test_draws_of_a_mixture_have_its_moments():
    far = 400.0  # so that draws tell which component they are of
    whole = mixture.Mixture(
        np.array([[0.25, 0.6]]),
        np.array([[[-4.0 - far, 0.0, 1.0], [4.0 + far, 1.0, -2.0]]]),
        np.array([[0.1 * np.eye(2), np.array([[1.0, 0.0], [0.5, 0.2]])]]),
        np.array([[[2.0, -1.0]]]),
        np.array([[[0.3]]]),
        np.array([[0.0, 0.0, 5.0]]),
        np.array([np.diag([1.0, 2.0, 3.0])]),
    )
    x = mixture.sample(np.random.default_rng(3), whole, 60000)[0]
    left, right = x[:, 0] < -far / 2, x[:, 0] > far / 2
    middle = x[~left & ~right]
    assert abs(left.mean() - 0.25) < 0.01 and abs(len(middle) / len(x) - 0.15) < 0.01
    spread = mixture.STUDENT / (mixture.STUDENT - 2)
    expected = spread * np.array([[1.0, 0.5], [0.5, 0.29]])
    np.testing.assert_allclose(np.cov(x[right, :2].T), expected, rtol=0.1, atol=0.02)
    # The walk given the rest, of both components: the same slope and a normal rest of the same spread.
    for mine, centre in ((left, whole.centre[0, 0]), (right, whole.centre[0, 1])):
        rest = x[mine, 2] - centre[2] - (x[mine, :2] - centre[:2]) @ np.array([2.0, -1.0])
        assert stats.kstest(rest / 0.3, "norm").pvalue > 1e-3
    assert abs(middle[:, 2].mean() - 5) < 0.1
    np.testing.assert_allclose(middle.std(0), np.sqrt(spread) * np.array([1.0, 2.0, 3.0]), rtol=0.06)
    # A Student's walk is as far out as the rest of its draw: their squares go together, those of a normal one do not.
    together = np.corrcoef(np.log(middle[:, 0] ** 2), np.log((middle[:, 2] - 5) ** 2))[0, 1]
    assert together > 0.05


def test_a_fitted_mixture_learns_how_the_walk_hangs_on_the_rest():
    """u in two clumps, w | u normal around a line through each: the same slope and spread in both."""
    rng = np.random.default_rng(0)
    clump = rng.random(40_000) < 0.3
    u = np.where(clump, -3.0, 2.0)[:, None] + np.array([0.5, 0.1]) * rng.standard_normal((40_000, 2))
    slope, spread = np.array([[0.4, -2.0], [0.0, 1.5]]), np.array([[0.7, 0.0], [-0.3, 0.5]])
    w = np.where(clump, 1.0, -2.0)[:, None] + u @ slope.T + rng.standard_normal((40_000, 2)) @ spread.T
    x = np.concatenate([u, w], 1)[None]
    begin = some_mixture(1)
    begin = begin._replace(
        weight=np.full((1, 2), (1 - mixture.DEFENSIVE) / 2),
        centre=np.array([[[-3.0, -3.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]]),
        factor=np.tile(np.eye(2), (1, 2, 1, 1)),
        slope=np.zeros((1, 2, 2)),
        spread=np.eye(2)[None],
    )
    for _ in range(5):
        begin = mixture.adapted(begin, x, np.zeros((1, 40_000)))
    np.testing.assert_allclose(begin.slope[0], slope, atol=0.15)
    np.testing.assert_allclose(
        begin.spread[0] @ begin.spread[0].T, mixture.WALK_WIDER * spread @ spread.T, atol=0.03
    )
    np.testing.assert_allclose(begin.weight[0] / (1 - mixture.DEFENSIVE), [0.3, 0.7], atol=0.02)
    expected = np.array([[1.0, 1.0], [-2.0, -2.0]]) + begin.centre[0, :, :2] @ slope.T
    np.testing.assert_allclose(begin.centre[0, :, 2:], expected, atol=0.1)


def test_the_draws_that_count_give_moments_without_bias():
    """Many posteriors of one shape: what adaptation gets wrong would add up."""
    n_units, size = 60, 6
    rng = np.random.default_rng(4)

    def values(theta, unit):  # N(0, I) bent along its first coordinate
        x, y = theta[..., 0], theta[..., 1]
        return 0.5 * (x**2 + ((y - 0.5 * x**2) / 0.5) ** 2) + 0.5 * (theta[..., 2:] ** 2).sum(-1)

    zero = np.zeros(n_units)
    mode = Mode(
        np.zeros((n_units, size)), zero, np.tile(np.eye(size), (n_units, 1, 1)), zero, zero, zero.astype(int)
    )
    start = conditional_modes.components(
        values, slopes_of(values), mode, np.ones(size), np.arange(2), importance.COMPONENTS
    )
    found = importance.importance_draws(rng, values, start, 6000, walk=3)
    weight = np.exp(psis.smooth(found.ratio)[0])
    for i, variance in ((0, 1.0), (2, 1.0), (5, 1.0)):
        mean = (weight * found.x[..., i]).sum(1)
        spread = (weight * (found.x[..., i] - mean[:, None]) ** 2).sum(1)
        # The mean of 60 variances of some 2,500 draws each is good to 0.4 %; the average of proposals gave 2 % too little.
        assert abs(spread.mean() / variance - 1) < 0.012


def test_looks_that_missed_a_mode_do_not_outweigh_those_that_met_it():
    """A second mode with 0.3 of the mass, 5 standard deviations away in 6 dimensions, and a start that knows nothing of it."""
    n_units, away = 80, 5.0 * np.eye(6)[0]

    def values(theta, unit):
        near, far = (-0.5 * ((theta - at) ** 2).sum(-1) for at in (0.0, away))
        return -np.logaddexp(np.log(0.7) + near, np.log(0.3) + far)

    zero, eye = np.zeros(n_units), np.tile(np.eye(6), (n_units, 1, 1))
    mode = Mode(np.zeros((n_units, 6)), zero, eye, zero, zero, zero.astype(int))
    start = conditional_modes.components(
        values, slopes_of(values), mode, np.ones(6), np.arange(0), importance.COMPONENTS
    )
    found = importance.importance_draws(np.random.default_rng(8), values, start, 6000)
    weight = np.exp(found.ratio - special.logsumexp(found.ratio, 1, keepdims=True))
    mass = (weight * (found.x[..., 0] > 2.5)).sum(1)
    assert abs(mass.mean() - 0.3) < 3 * mass.std() / np.sqrt(n_units) + 0.01


def test_a_density_that_is_nowhere_finite_ends_without_nan():
    mode = mode_at([[0.0, 0.0]], np.array([[1.0, 1.0]]))
    nowhere = lambda theta, unit: np.full(theta.shape[:2], np.nan)  # noqa: E731
    draws, ratio, *_ = importance.importance_draws(
        np.random.default_rng(0), nowhere, begin(nowhere, mode), 1000
    )
    assert np.isfinite(draws).all() and (ratio == -np.inf).all()
    assert psis.smooth(ratio)[1][0] == np.inf


@pytest.mark.parametrize("n", [1, 3000, 3001])
def test_the_draws_of_half_of_the_looks_count_each_of_whole_parts(n):
    mode = mode_at([[0.0, 0.0]], np.array([[1.0, 0.3]]))
    draws, ratio, *_ = importance.importance_draws(np.random.default_rng(0), banana, begin(banana, mode), n)
    assert draws.shape == (1, 3000 * -(-n // 3000), 2) and ratio.shape == draws.shape[:2]


def test_a_second_effort_reaches_what_a_thin_proposal_left_out():
    rng = np.random.default_rng(0)
    thin = mixture.Mixture(
        np.full((3, 1), 1 - mixture.DEFENSIVE),
        np.tile([1.5, 0.0], (3, 1, 1)),
        np.tile(np.diag([0.15, 0.2]), (3, 1, 1, 1)),
        np.zeros((3, 0, 2)),
        np.zeros((3, 0, 0)),
        np.tile([1.5, 0.0], (3, 1)),
        np.tile(np.diag([0.15, 0.2]), (3, 1, 1)),
    )
    x = mixture.sample(rng, thin, 4000)
    ratio = -two_modes(x, None) - special.logsumexp(mixture.log_parts(thin, x)[0], 1)
    first = importance.Proposed(x, ratio, thin)
    assert (psis.smooth(ratio)[1] > psis.GOOD).all()
    second = importance.second_effort(rng, two_modes, slopes_of(two_modes), first, np.array([0, 2]), 16_000)
    assert second.x.shape == (2, 8000, 2)
    weight, k_hat = psis.smooth(second.ratio)
    assert (k_hat < psis.GOOD).all()
    for u in range(2):
        assert abs(np.exp(weight[u]) @ (second.x[u, :, 0] > 0) - 2 / 3) < 0.03
        for share in (0.05, 0.3, 0.7, 0.95):
            assert abs(np.exp(weight[u]) @ (second.x[u, :, 1] < stats.norm.ppf(share)) - share) < 0.03
