"""Modes, curvatures and importance draws of known densities."""

import numpy as np

from iclbayes.posterior.sampling import conditional_modes, importance, laplace, psis

RNG = np.random.default_rng(0)


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
    start = conditional_modes.components(
        values, slopes, mode, np.ones(2), np.arange(2), importance.COMPONENTS
    )
    draws, ratios, *_ = importance.importance_draws(RNG, values, start, 8000)
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


def quartic(theta, unit):
    """Two own coordinates and a walk of two, whose spread is not quite 1 and hangs on the first."""
    u, w = theta[..., :2], theta[..., 2:]
    own = (u**2).sum(-1) + 0.5 * (u**4).sum(-1)
    return own + 0.5 * ((w - 0.3 * np.sin(u[..., :1])) ** 2 * np.array([1.4, 0.7])).sum(-1)


def slopes_of_quartic(theta, unit):
    u, w = theta[..., :2], theta[..., 2:]
    away = (w - 0.3 * np.sin(u[..., :1])) * np.array([1.4, 0.7])
    g = np.concatenate([2 * u + 2 * u**3, away], -1)
    g[..., 0] -= 0.3 * np.cos(u[..., 0]) * away.sum(-1)
    return g


def test_curvature_takes_what_is_known_of_the_walk_and_measures_the_rest():
    theta = np.array([[0.4, -1.1, 0.2, 0.9]])
    g, whole = laplace.curvature(slopes_of_quartic, theta, np.zeros(1, int))
    asked = []

    def counted(theta, unit):
        asked.append(theta.shape[1])
        return slopes_of_quartic(theta, unit)

    known = np.diag([1.4, 0.7])[None]
    same, part = laplace.curvature(counted, theta, np.zeros(1, int), known)
    np.testing.assert_allclose(part, whole, atol=1e-5)
    np.testing.assert_array_equal(same, g)
    assert asked == [3]  # the point and a step of each coordinate of its own


def test_modes_are_found_though_the_walk_is_only_nearly_standard_normal():
    starts = np.array([[[1.5, -2.0, 3.0, 1.0], [4.0, 0.0, 0.0, 0.0]]])
    mode = laplace.best_modes(quartic, slopes_of_quartic, starts, walk=2)
    np.testing.assert_allclose(mode.theta, 0.0, atol=1e-3)
    precision = np.diag([2.0, 2.0, 1.4, 0.7])  # at the mode, all of it as it is
    precision[0, 0] += 0.09 * 2.1
    precision[0, 2:] = precision[2:, 0] = [-0.42, -0.21]
    np.testing.assert_allclose(np.linalg.inv(mode.factor[0] @ mode.factor[0].T), precision, atol=1e-3)


def test_a_mode_a_million_standard_deviations_away_is_found():
    """As that of counts of ten million is from the prior's centre."""

    def values(theta, unit):
        return 0.5e12 * (np.log1p(np.exp(theta - 2.0)) - 0.5 * (theta - 2.0)).sum(-1)

    def slopes(theta, unit):
        return 0.5e12 * (1 / (1 + np.exp(2.0 - theta)) - 0.5)

    mode = laplace.best_modes(values, slopes, np.zeros((1, 1, 2)))
    np.testing.assert_allclose(mode.theta, 2.0, atol=1e-6)


def test_the_best_mode_has_most_mass_not_the_highest_density():
    """A needle of weight 1 beside a hill of weight 50, which is lower."""
    centres, scales, weights = np.array([-4.0, 4.0]), np.array([0.01, 2.0]), np.array([1.0, 50.0])

    def parts(theta):
        z = (theta - centres) / scales
        return np.log(weights / scales) - 0.5 * z**2, z / scales

    def values(theta, unit):
        return -np.logaddexp.reduce(parts(theta)[0], axis=-1)

    def slopes(theta, unit):
        level, slope = parts(theta)
        share = np.exp(level - np.logaddexp.reduce(level, axis=-1, keepdims=True))
        return (share * slope).sum(-1, keepdims=True)

    starts = np.array([[[-4.005], [3.0]]])
    assert values(np.array([[[-4.0]]]), np.zeros(1, int)) < values(np.array([[[4.0]]]), np.zeros(1, int))
    np.testing.assert_allclose(laplace.best_modes(values, slopes, starts).theta, [[4.0]], atol=1e-3)


def test_covariances_of_very_different_scales_have_factors():
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(50, 15, 15)))[0]
    along = rng.normal(size=(50, 15)) * 10.0 ** rng.uniform(
        0, 9, (50, 1)
    )  # far along a ridge, and thin beside it
    spread = 10.0 ** rng.uniform(-8, 1.7, (50, 15))
    covariance = (axes * spread[:, None]) @ axes.transpose(0, 2, 1) + along[:, :, None] * along[:, None]
    factor = conditional_modes._factor(covariance)
    size = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    error = (factor @ factor.transpose(0, 2, 1) - covariance) / (size[:, :, None] * size[:, None])
    assert np.abs(error).max() < 1e-8
