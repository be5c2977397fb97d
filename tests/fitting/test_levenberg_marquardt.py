"""The optimizer as optax knows it, many problems at once, and the small linear algebra behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from iclbayes.fitting import levenberg_marquardt
from iclbayes.fitting.linear_algebra import (
    inverse_factor,
    inverse_of_scaled,
    largest_eigenvalue,
    solve_positive_definite,
)


@pytest.mark.smoke
def test_levenberg_marquardt_is_an_optax_optimizer_of_its_own():
    """Rosenbrock's residuals, by the textbook loop: value and curvature in, updates out."""
    with jax.enable_x64(True):
        residual = lambda p: jnp.array([10 * (p["y"] - p["x"] ** 2), 1 - p["x"]])  # noqa: E731
        tx = levenberg_marquardt()
        params = {"x": jnp.array(-1.2), "y": jnp.array(1.0)}
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            flat, unravel = jax.flatten_util.ravel_pytree(params)
            r, jac = residual(params), jax.jacobian(lambda f: residual(unravel(f)))(flat)
            grads = unravel(2 * jac.T @ r)
            updates, state = tx.update(grads, state, params, value=r @ r, gram=2 * jac.T @ jac)
            return optax.apply_updates(params, updates), state

        for _ in range(60):
            params, state = step(params, state)
        assert bool(state.converged)
        np.testing.assert_allclose([params["x"], params["y"]], [1.0, 1.0], atol=1e-6)


def test_levenberg_marquardt_steps_a_batch_as_vmap_does():
    """Six small least-squares problems at once, some at the box, one at a value that is no number."""
    rng = np.random.default_rng(3)
    jac, target = rng.standard_normal((6, 5, 3)), 40 * rng.standard_normal((6, 5))

    def look(theta):  # [P, B]
        r = np.einsum("bnp,pb->bn", jac, theta) - target
        value, gram = (r**2).sum(1), 2 * np.einsum("bnp,bnq->pqb", jac, jac)
        return value, 2 * np.einsum("bnp,bn->pb", jac, r), gram

    with jax.enable_x64(True):
        tx = levenberg_marquardt(box=8.0)
        last = lambda tree: jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), tree)  # noqa: E731
        start = jnp.asarray(rng.standard_normal((3, 6)))
        state = other = last(jax.vmap(tx.init)(start.T))
        theta = alike = start

        def single(g, s, t, v, h):
            return tx.update(g, s, t, value=v, gram=h)

        direct, mapped = jax.jit(single), jax.jit(jax.vmap(single, in_axes=-1, out_axes=-1))
        for i in range(12):
            value, grad, gram = (jnp.asarray(a) for a in look(np.asarray(theta)))
            value = jnp.where((jnp.arange(6) == 2) & (i == 3), jnp.nan, value)
            updates, state = direct(grad, state, theta, value, gram)
            expected, other = mapped(grad, other, alike, value, gram)
            np.testing.assert_allclose(updates, expected, rtol=1e-9, atol=1e-12)
            theta, alike = theta + updates, alike + expected
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert bool(state.converged.all())
        for b in range(6):
            found = optimize.lsq_linear(jac[b], target[b], bounds=(-8, 8))
            np.testing.assert_allclose(state.value[b], 2 * found.cost, rtol=1e-5)
        assert (np.abs(state.centre) == 8).any()


@pytest.mark.parametrize("size", [3, 8, 15, 30])
def test_small_linear_algebra_is_numpys(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((4, size, size + 4))
    a, b = root @ root.transpose(0, 2, 1), rng.standard_normal((4, size))
    with jax.enable_x64(True):
        x = jax.jit(jax.vmap(solve_positive_definite))(a, b)
        half = jax.jit(jax.vmap(lambda a: inverse_factor(a, 1e-12)))(a)
        largest = jax.jit(jax.vmap(largest_eigenvalue))(a)
        np.testing.assert_allclose(x, np.linalg.solve(a, b[..., None])[..., 0], rtol=1e-8)
        inverse = np.swapaxes(half, 1, 2) @ half
        np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-7, atol=1e-10)
        assert not np.triu(half, 1).any()
        np.testing.assert_allclose(largest, np.linalg.eigvalsh(a)[:, -1], rtol=0.05)


@pytest.mark.parametrize("open_to", [1, 2])
def test_what_data_determine_has_its_error_beside_what_they_leave_open(open_to):
    """Singular information JᵀJ: where g lies in the span of J's rows, the error of gᵀθ is that of least squares, by its SVD."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        jac = rng.standard_normal((30, 4 - open_to)) @ rng.standard_normal((4 - open_to, 4))
        jac = jac * 10.0 ** rng.uniform(-6, 6, 4)  # parameters of very different units
        gram = jac.T @ jac
        with jax.enable_x64(True):
            condition, factor = (np.asarray(a[0]) for a in jax.jit(inverse_of_scaled)(gram[None]))
        assert condition > 1e13
        root = np.sqrt(np.diag(gram))
        expected = np.sqrt(np.sum(((jac / root) @ np.linalg.pinv(jac / root, rcond=1e-9)) ** 2, axis=1))
        np.testing.assert_allclose(np.linalg.norm(jac @ factor, axis=1), expected, rtol=1e-5)


def test_a_pivot_that_rounding_made_negative_is_lifted():
    eps = np.finfo(float).eps
    a = np.array([[1.0, 1 + 4 * eps], [1 + 4 * eps, 1.0]])
    with jax.enable_x64(True):
        half = np.asarray(jax.jit(lambda a: inverse_factor(a, 2 * eps))(a))
    assert np.abs(half).max() == pytest.approx((2 * eps) ** -0.5)
