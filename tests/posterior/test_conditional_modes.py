"""Paths along the arms of a posterior, against a normal density in closed form and an L-shaped one by quadrature."""

import numpy as np
import pytest

from iclbayes.posterior.sampling import conditional_modes, importance, laplace, psis
from iclbayes.posterior.sampling.laplace import Mode

WALK = np.array([1.4, 0.7])
PRECISION = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]])
CENTRE = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


def normal(theta, unit):
    away = theta - CENTRE[unit][:, None]
    return 0.5 * np.einsum("bni,ij,bnj->bn", away, PRECISION, away)


def slopes_of_normal(theta, unit):
    return (theta - CENTRE[unit][:, None]) @ PRECISION


def mode_of_normal():
    factor = np.tile(np.linalg.cholesky(np.linalg.inv(PRECISION)), (2, 1, 1))
    zero = np.zeros(2)
    return Mode(CENTRE, zero, factor, np.linalg.slogdet(factor)[1], zero, zero.astype(int))


def test_paths_of_a_normal_density_are_its_conditional_means_with_its_marginal_densities():
    scale = np.array([1.0, 0.5, 2.0])
    found = conditional_modes.stops(normal, slopes_of_normal, mode_of_normal(), scale, np.array([0, 2]))
    covariance = np.linalg.inv(PRECISION)
    log_z = 0.5 * np.log(np.linalg.det(covariance)) + 1.5 * np.log(2 * np.pi)
    seen = 0
    for u in range(2):
        centre = found.centre[u].reshape(2, 2, conditional_modes.STOPS, 3)
        mass = found.log_mass[u].reshape(2, 2, conditional_modes.STOPS)
        factor = found.factor[u].reshape(*mass.shape, 3, 3)
        for c, j in enumerate((0, 2)):
            for s, sign in enumerate((1, -1)):
                for stop in range(conditional_modes.STOPS):
                    if not np.isfinite(mass[c, s, stop]):
                        continue
                    seen += 1
                    away = sign * (stop + 1) * scale[j]
                    expected = CENTRE[u] + covariance[:, j] / covariance[j, j] * away
                    np.testing.assert_allclose(centre[c, s, stop], expected, atol=1e-6)
                    # ∫ over the rest, of which Laplace's method leaves out (2π)^(2/2): the marginal density times the step.
                    density = -0.5 * np.log(2 * np.pi * covariance[j, j]) - 0.5 * away**2 / covariance[j, j]
                    assert mass[c, s, stop] + np.log(2 * np.pi) - log_z == pytest.approx(
                        density + np.log(scale[j]), abs=1e-5
                    )
                    rest = [i for i in range(3) if i != j]
                    along = covariance[:, j] / covariance[j, j] * scale[j]
                    shape = np.outer(along, along)
                    shape[np.ix_(rest, rest)] += np.linalg.inv(PRECISION[np.ix_(rest, rest)])
                    np.testing.assert_allclose(
                        factor[c, s, stop] @ factor[c, s, stop].T, shape, rtol=1e-4, atol=1e-5
                    )
    assert seen > 12  # paths end only where next to nothing is left


def bent(theta, unit):
    """−ln density of x ~ N(0, 1), y ~ N(x², 0.2²), z ~ N(sin y, 0.3²)."""
    del unit
    x, y, z = np.moveaxis(theta, -1, 0)
    return 0.5 * (x**2 + ((y - x**2) / 0.2) ** 2 + ((z - np.sin(y)) / 0.3) ** 2)


def slopes_of_bent(theta, unit):
    del unit
    x, y, z = np.moveaxis(theta, -1, 0)
    of_y, of_z = (y - x**2) / 0.04, (z - np.sin(y)) / 0.09
    return np.stack([x - 2 * x * of_y, of_y - np.cos(y) * of_z, of_z], -1)


def test_stops_of_a_bent_density_lie_on_its_ridge():
    mode = laplace.best_modes(bent, slopes_of_bent, np.array([[[0.3, 0.1, 0.0]]]))
    found = conditional_modes.stops(bent, slopes_of_bent, mode, np.full(3, 0.8), np.array([0]))
    x, y, z = found.centre[0][np.isfinite(found.log_mass[0])].T
    assert np.abs(x).max() > 3  # four steps away, where the ridge has turned by 80°
    np.testing.assert_allclose(y, x**2, atol=0.1)
    np.testing.assert_allclose(z, np.sin(y), atol=0.15)


def test_secant_updates_find_a_hessian_in_as_many_steps_as_coordinates():
    rng = np.random.default_rng(0)
    truth = np.diag([3.0, -1.0, 0.2, 5.0]) + 0.3
    hessian, steps = np.tile(np.eye(4), (2, 1, 1)), rng.standard_normal((4, 2, 4))
    for moved in steps:
        hessian = conditional_modes._secant(hessian, moved, moved @ truth)
    np.testing.assert_allclose(hessian, np.tile(truth, (2, 1, 1)), atol=1e-9)
    still = conditional_modes._secant(hessian, np.zeros((2, 4)), np.ones((2, 4)))
    np.testing.assert_array_equal(still, hessian)


def two_arms(theta, unit):
    """−ln posterior of x, y with e^x + e^y measured as 1 ± s under N(−1, 1.3²) for each; s is 0.1 and 0.01."""
    s = np.array([0.1, 0.01])[unit][:, None]
    with np.errstate(over="ignore"):
        total = np.exp(theta).sum(2)
    return 0.5 * (np.minimum(np.abs(total - 1), 1e100) / s) ** 2 + 0.5 * (((theta + 1) / 1.3) ** 2).sum(2)


def slopes_of_two_arms(theta, unit):
    s = np.array([0.1, 0.01])[unit][:, None, None]
    e = np.exp(theta)
    return (e.sum(2, keepdims=True) - 1) * e / s**2 + (theta + 1) / 1.3**2


def test_both_arms_of_a_thin_posterior_are_sampled():
    starts = np.array([[[0.0, -4.0], [-0.5, -1.0], [-0.1, -2.0]]] * 2)
    mode = laplace.best_modes(two_arms, slopes_of_two_arms, starts)
    begin = conditional_modes.components(
        two_arms, slopes_of_two_arms, mode, np.full(2, 1.3), np.arange(2), importance.COMPONENTS
    )
    rng = np.random.default_rng(0)
    first = importance.importance_draws(rng, two_arms, begin, 8000)
    assert psis.smooth(first.ratio)[1][0] < psis.GOOD  # the thinner one takes more rounds
    found = importance.second_effort(rng, two_arms, slopes_of_two_arms, first, np.arange(2), 8000)
    weight, k_hat = psis.smooth(found.ratio)
    assert (k_hat < psis.GOOD).all()
    assert (1 / np.exp(2 * weight).sum(1) > 1000).all()
    for u, s in enumerate((0.1, 0.01)):
        # e^x + e^y = r on a curve: x = ln r + ln σ(d), y = ln r + ln σ(−d), dx dy = d(ln r) dd.
        d = np.linspace(-14, 14, 2801)
        log_r = np.linspace(np.log(1 - 5 * s), np.log(1 + 5 * s), 201)
        x = log_r[:, None] - np.logaddexp(0, -d)
        y = log_r[:, None] - np.logaddexp(0, d)
        mass = np.exp(-two_arms(np.stack([x, y], -1).reshape(1, -1, 2), np.array([u]))).reshape(x.shape)
        mass /= mass.sum()
        for name, i, value in (("x", 0, x), ("y", 1, y)):
            for bound in (-3.0, -2.0, -1.0, -0.5):
                truth = mass[value < bound].sum()
                share = np.exp(weight[u]) @ (found.x[u, :, i] < bound)
                assert abs(share - truth) < 0.03, (s, name, bound, share, truth)


def test_where_nothing_is_held_all_components_stand_at_the_mode():
    found = conditional_modes.components(
        normal, slopes_of_normal, mode_of_normal(), np.ones(3), np.arange(0), 4
    )
    assert found.centre.shape == (2, 4, 3)
    np.testing.assert_allclose(found.centre, np.repeat(CENTRE[:, None], 4, 1))
    assert np.isfinite(found.log_mass[:, 0]).all() and (found.log_mass[:, 1:] == -np.inf).all()


def test_a_density_that_is_nowhere_finite_gives_components_without_nan():
    with np.errstate(invalid="ignore"):
        found = conditional_modes.components(
            lambda theta, unit: np.full(theta.shape[:2], np.nan),
            lambda theta, unit: np.full(theta.shape, np.nan),
            mode_of_normal(),
            np.ones(3),
            np.arange(3),
            5,
        )
    assert np.isfinite(found.centre).all() and np.isfinite(found.factor).all()


def walked(theta, unit):
    """Two coordinates that bend, and two of a walk that is normal given them, not quite standard."""
    u, away = theta[..., :2], theta[..., 2:] - 0.4 * np.sin(theta[..., :1])
    return (np.cosh(u) - 1).sum(-1) + 0.5 * (away**2 * WALK).sum(-1)


def slopes_of_walked(theta, unit):
    away = (theta[..., 2:] - 0.4 * np.sin(theta[..., :1])) * WALK
    g = np.concatenate([np.sinh(theta[..., :2]), away], -1)
    g[..., 0] -= 0.4 * np.cos(theta[..., 0]) * away.sum(-1)
    return g


def test_the_curvature_of_the_walk_along_the_paths_is_that_at_the_mode(monkeypatch):
    seen = []
    real = conditional_modes.curvature

    def watched(slopes, theta, unit, known=None):
        seen.append(known)
        return real(slopes, theta, unit, known)

    monkeypatch.setattr(conditional_modes, "curvature", watched)
    mode = laplace.best_modes(walked, slopes_of_walked, np.array([[[0.5, -0.3, 0.2, 0.1]]]), walk=2)
    scale, held = np.array([1.0, 0.7, 1.0, 1.0]), np.array([0, 1])
    short = conditional_modes.stops(walked, slopes_of_walked, mode, scale, held, walk=2)
    assert seen[0] is None and len(seen) > 2
    for known in seen[1:]:
        np.testing.assert_allclose(known, np.tile(np.diag(WALK), (len(known), 1, 1)), atol=1e-4)
    whole = conditional_modes.stops(walked, slopes_of_walked, mode, scale, held)
    assert (np.isfinite(short.log_mass) == np.isfinite(whole.log_mass)).all()
    np.testing.assert_allclose(short.centre, whole.centre, atol=0.02)
    np.testing.assert_allclose(short.log_mass, whole.log_mass, atol=0.02)
    np.testing.assert_allclose(short.factor, whole.factor, atol=0.02)


def test_paths_on_which_no_step_is_of_use_end():
    """Rounding can leave a slope that leads nowhere lower. Programs cannot take an empty batch, so none is asked of them."""

    def values(theta, unit):
        assert len(theta)
        return normal(theta, unit)

    def misled(theta, unit):
        assert len(theta)
        return -slopes_of_normal(theta, unit) + np.array([0.0, 3.0, 0.0])

    scale = np.array([1.0, 0.5, 2.0])
    found = conditional_modes.stops(values, misled, mode_of_normal(), scale, np.array([0]))
    assert np.isfinite(found.centre).all() and np.isfinite(found.factor).all()
