"""Coordinates that straighten a bent ridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iclbayes.posterior.sampling import coordinates


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_coordinates_straighten_a_bent_ridge_and_lead_back():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((2, 4000, 5))
    theta = z * [1.0, 0.8, 0.6, 0.02, 0.05]
    theta[..., 3] += 0.3 * z[..., 0] ** 2 + 0.2 * z[..., 0] * z[..., 1] + 2
    theta[..., 4] += 0.5 * z[..., 1]
    covariance = np.stack([np.cov(t.T) for t in theta])
    at = coordinates.fit(theta, np.full(2, 4000.0), covariance)
    back = coordinates.from_theta(at, theta)
    np.testing.assert_allclose(coordinates.to_theta(at, jnp.asarray(back)), theta, atol=1e-9)
    np.testing.assert_allclose(back.var(1), 1.0, atol=0.1)
    plain = coordinates.from_theta(coordinates.straight(theta.mean(1), covariance), theta)
    # The bend is seen where the ridge is thin: there the straight coordinates are far from normal.
    squares = [np.abs(np.corrcoef(x[0, :, 0] ** 2, x[0, :, 3:].T)[0, 1:]).max() for x in (plain, back)]
    assert squares[0] > 0.5 and squares[1] < 0.2
    one = jax.tree.map(lambda a: a[:1], at)
    jacobian = jax.vmap(jax.jacobian(lambda t: coordinates.to_theta(one, t[None, None])[0, 0]))
    volumes = np.linalg.slogdet(np.asarray(jacobian(jnp.asarray(back[0, :5]))))[1]
    np.testing.assert_allclose(volumes, np.linalg.slogdet(at.factor[0])[1], atol=1e-9)


def test_coordinates_of_few_draws_lean_on_the_earlier_covariance():
    rng = np.random.default_rng(4)
    draws = 0.01 * rng.standard_normal((1, 50, 3))
    known = np.diag([4.0, 1.0, 0.25])[None]
    found = [coordinates.fit(draws, np.array([worth]), known) for worth in (1.0, 1e6)]
    widths = [np.sqrt((at.factor[0] ** 2).sum(1)) for at in found]
    np.testing.assert_allclose(widths[0], [2, 1, 0.5], rtol=0.1)
    assert widths[1].max() < 0.05
