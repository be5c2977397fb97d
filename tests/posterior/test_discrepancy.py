"""The discrepancy: stable motions outside the fitted shots, the walk inside, its coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import iclbayes
from iclbayes import InputError, posterior
from iclbayes.posterior.model.discrepancy import RandomWalk, levy, stable

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("alpha", [2.0, 1.5, 1.0, 0.7])
def test_stable_draws_have_the_distribution_of_scipy_and_add_up(alpha):
    reference = stats.levy_stable(alpha, 0.0, scale=0.5 ** (1 / alpha))
    if alpha in (1.0, 2.0):  # closed forms of the same convention
        reference = stats.cauchy(scale=0.5) if alpha == 1 else stats.norm()
    draws = stable(np.random.default_rng(0), alpha, (40_000,))
    # SciPy's general law is by quadrature: compare it on a grid, with the standard error of 40,000 draws.
    grid = np.array([-4.0, -1.5, -0.6, -0.2, 0.0, 0.2, 0.6, 1.5, 4.0])
    np.testing.assert_allclose(
        (draws[:, None] < grid).mean(0), reference.cdf(grid), atol=4 * 0.5 / np.sqrt(40_000)
    )
    # Three unequal steps of the motion are one step of their sum: self-similarity with index 1/α.
    t = np.array([2.0, 0.3, 3.0])
    path = levy(np.random.default_rng(1), t, 40_000, alpha)
    whole = path[:, 2] / 3.0 ** (1 / alpha)
    np.testing.assert_allclose(
        (whole[:, None] < grid).mean(0), reference.cdf(grid), atol=4 * 0.5 / np.sqrt(40_000)
    )


def test_the_motion_outside_the_range_is_brownian_in_log_shots_where_stability_is_2():
    t = np.array([0.0, 2.0, 0.5, 2.0])
    draws = levy(np.random.default_rng(0), t, 20_000)
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
    shots = np.array([1.0, 5.0, 20.0, 100.0, 10_000.0])
    sigma, first, last = np.full((2, 20_000), 0.3), np.array([5.0, 0.0]), np.array([20.0, 20_000.0])
    away, inside = walk.outside(np.random.default_rng(1), sigma, first, last, np.stack([shots, shots]))
    assert (inside == 0).all()  # another curve, whose range holds all of these shots
    u = np.log1p(shots)
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


@pytest.mark.parametrize(
    "observed",
    [
        # Next to nothing at 0 shots, known to a tenth of itself, as a model that does not know the format yet measures.
        {"prob": [0.0008, 0.43, 0.52, 0.5, 0.53, 0.51, 0.52, 0.5], "stderr": [0.0001] + [0.04] * 7},
        {"n_correct": [2, 400, 800, 950, 985, 995, 998, 999], "n_test": [1000] * 8},
    ],
    ids=["error", "counts"],
)
def test_coordinates_of_the_walk_are_nearly_standard_where_points_lie_next_to_0_and_1(observed):
    """Observed log odds used to be cut off at 2 and 98 %, hundreds of errors away from such points: the coordinates then had
    means of 12 and standard deviations of 6, and a posterior that samplers could not see the whole of."""
    curves = iclbayes.curves_from_frame(pd.DataFrame({"shots": [0, 1, 2, 4, 8, 16, 32, 64], **observed}))
    block = posterior.sample(curves, "logistic", seed=1).blocks[0]
    z = block.theta.reshape(-1, block.theta.shape[-1])[:, -RandomWalk().n_steps :]
    assert (np.abs(z.mean(0)) < 1.0).all() and (z.std(0) > 0.8).all() and (z.std(0) < 1.25).all()
