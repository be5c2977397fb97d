"""What a result says of itself: gradient, condition, what is not identified."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fit_helpers import POINTS, curves_of, mixed_bag

import iclbayes
from iclbayes import laws
from iclbayes.fitting import result
from iclbayes.fitting.batch import fit_batch
from iclbayes.fitting.losses import squared
from iclbayes.fitting.multistart import DEFAULT_OPTIMIZER
from iclbayes.fitting.objective import jacobian
from iclbayes.fitting.problem import Problem
from iclbayes.runtime import programs

LONG = 96  # points, enough for the starts to be run on binned points


@pytest.mark.parametrize(
    ("law", "points", "optimizer"),
    [
        ("logistic", LONG, DEFAULT_OPTIMIZER),
        ("logistic", 24, DEFAULT_OPTIMIZER),
        ("bayesian_scoring", LONG, DEFAULT_OPTIMIZER),
        ("logistic", LONG, optax.adam(0.1)),
    ],
)
def test_the_gradient_told_is_that_of_the_point_told(law, points, optimizer):
    """Cut off on the way, where the gradient is not yet zero: the last point tried need not be the best one, which is told."""
    law = laws.get(law)
    n, prob = mixed_bag(np.random.default_rng(4), 8, points)
    problem = Problem(law, squared, 1, law.joint, ridge=0.01 if law.joint else 0.0)
    with jax.enable_x64(True):
        shots, y = jnp.broadcast_to(n * 1.0, (8, 1, points)), jnp.asarray(prob)[:, None]
        run = functools.partial(fit_batch, problem, key=jax.random.key(0), max_steps=3, optimizer=optimizer)
        result = jax.jit(run)(shots, y, jnp.ones_like(y))
        theta = np.asarray(problem.ravel(result.raw))
        predicted = jax.jit(jax.vmap(lambda t: law.mean_raw(problem.unravel(t), n * 1.0)[0]))
        centre, precision = problem.ridge_terms()
        loss = lambda t: (  # noqa: E731
            np.mean((np.asarray(predicted(t)) - prob) ** 2, axis=1)
            + problem.ridge**2 / points * np.sum(precision * (t - centre) ** 2, axis=1)
        )
        steps = 1e-5 * np.eye(theta.shape[1])
        slopes = [(loss(theta + h) - loss(theta - h)) / 2e-5 for h in steps]
    told = np.asarray(result.grad_norm)
    assert (told > 1e-5).sum() >= 2
    np.testing.assert_allclose(told, np.max(np.abs(slopes), axis=0), rtol=1e-4, atol=1e-9)


def test_condition_is_that_of_the_scaled_gauss_newton_matrix():
    rng = np.random.default_rng(15)
    shots = np.arange(POINTS)
    params = {
        "C": np.array([[1.2], [0.4]]),
        "alpha": np.array([[0.7], [2.0]]),
        "E": np.array([[0.3], [0.05]]),
    }
    curves, _ = curves_of(laws.power, params, 0.01, rng)
    fits = iclbayes.fit(curves, "power")
    found = fits.diagnostics()["condition"].to_numpy()
    for g in range(2):
        raw = np.log([fits.params[name][g, 0] for name in ("C", "alpha", "E")])

        def mean(raw):
            c, alpha, e = np.exp(raw)
            return np.exp(-(c * (shots + 1.0) ** -alpha + e))

        step = 1e-6 * np.eye(3)
        jac = np.stack([(mean(raw + s) - mean(raw - s)) / 2e-6 for s in step], axis=1)
        jac /= np.linalg.norm(jac, axis=0)
        assert found[g] == pytest.approx(
            np.linalg.cond(jac.T @ jac), rel=0.1
        )  # power iteration stops a little short


def test_an_unidentified_fit_is_visible_under_a_ridge():
    rng = np.random.default_rng(12)
    flat = 0.5 + 0.001 * rng.standard_normal((2, POINTS))
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(POINTS), flat), "bayesian_heterogeneous")
    assert (fits.diagnostics()["condition"] > 1e8).all()
    rising = (
        0.2 + 0.6 / (1 + np.exp(-(np.arange(POINTS) - 15) / 4)) + 0.001 * rng.standard_normal((2, POINTS))
    )
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(POINTS), rising), "bayesian_heterogeneous")
    assert (fits.diagnostics()["condition"] < 1e8).all()


def test_errors_of_saturated_curves_are_those_of_least_squares():
    """Two or three of four parameters open: s² J (JᵀJ)⁺ Jᵀ by NumPy's SVD, J by complex steps, at the points of the data."""
    shots = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
    prob = np.random.default_rng(1).binomial(400, 0.97, (12, 8)) / 400
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, prob), "bayesian_scoring")
    assert (fits.diagnostics()["condition"] > 1e12).sum() >= 5
    told = fits.predict_stderr(shots)[:, 0]
    for i in range(12):
        theta = np.array(
            [fits.params[name][i].flat[0] for name in ("gamma", "beta", "efficiency", "prior")], complex
        )

        def mean(theta):
            gamma, beta, k, prior = theta
            z = np.log(prior / (1 - prior)) + k * shots * (np.log(gamma) - np.log(beta))
            return beta + (gamma - beta) / (1 + np.exp(-z))

        jac = np.stack([mean(theta + 1e-30j * theta * e).imag / 1e-30 for e in np.eye(4)], 1)
        residual = np.sqrt(np.sum((mean(theta).real - prob[i]) ** 2) / 4)
        size = np.linalg.norm(jac, axis=0)
        directions, values, _ = np.linalg.svd(jac / np.where(size > 0, size, 1.0), full_matrices=False)
        expected = residual * np.linalg.norm(directions[:, values > 1e-8], axis=1)
        np.testing.assert_allclose(told[i], expected, rtol=0.05)


def test_errors_in_single_precision_stay_below_the_noise_where_it_is_flat():
    """What is fitted at a point varies no more than one observation there, whatever the parameters do."""
    shots = np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128, 256])
    prob = 0.5 + 1e-6 * np.random.default_rng(0).standard_normal((8, 10))
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, prob), "bayesian_scoring", dtype=np.float32)
    noise = np.sqrt(np.sum((fits.predict(shots)[:, 0] - prob) ** 2, axis=1) / 6)
    assert (fits.predict_stderr(shots)[:, 0] <= 1.05 * noise[:, None]).all()


MIXED = {
    f"mixed {law.name}": laws.MixedLaw("mixed", base=law)
    for law in (laws.bayesian_scoring, laws.bayesian_original)
}


@pytest.mark.parametrize("name", [*laws.LAWS, *MIXED])
def test_the_jacobian_of_errors_is_that_of_the_prediction(name):
    """Against forward differentiation of p by the raw parameters, of two conditions that share one of them."""
    law = MIXED.get(name) or laws.get(name)
    joint, mixed = law.joint, name in MIXED
    shared = "efficiency" if joint else law.param_names[0]
    problem = Problem(law, squared, 3 if joint else 1, int(joint and not mixed), 2, (shared,))
    rng = np.random.default_rng(1)
    x = np.array([0.0, 1, 3, 40])
    if mixed:  # counts of each source's examples, then the source that is asked for
        asked = np.eye(3)[rng.integers(0, 3, (2, 4))]
        x = np.concatenate([rng.integers(0, 5, (3, 2, 4)), np.moveaxis(asked, 2, 0)])  # [2 J, C, n]
    else:
        x = np.broadcast_to(x, (6 if joint else 2, 4))
    with jax.enable_x64(True):
        theta, x = jnp.asarray(rng.normal(size=problem.size)), law.abscissa(jnp.asarray(x, float))
        p, found = jacobian(problem, theta[:, None], x[..., None])
        value = lambda t: law.point(problem.local(t)[..., None], x)  # noqa: E731
        np.testing.assert_allclose(p[..., 0], value(theta), rtol=1e-14)
        expected = jnp.moveaxis(jax.jacfwd(value)(theta), -1, 0)
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-9, atol=1e-13)


def test_what_follows_from_many_fits_is_made_in_parts_of_one_shape(monkeypatch):
    n, prob = mixed_bag(np.random.default_rng(3), 21, POINTS)
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "power")
    whole = fits.predict([0, 3, np.inf]), fits.predict(fits.curves), fits.stderr["alpha"]
    seen = []
    run = programs.run
    monkeypatch.setattr(result, "TOGETHER", 8)
    monkeypatch.setattr(
        programs, "run", lambda name, f, *a, **k: seen.append(len(a[0].loss)) or run(name, f, *a, **k)
    )
    parts = fits.predict([0, 3, np.inf]), fits.predict(fits.curves), fits.stderr["alpha"]
    assert seen == [8] * 9
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_covariance_beyond_all_numbers_is_infinite_without_a_word():
    """A direction that data leave open by 10²⁰⁰ standard deviations; warnings are errors here."""
    none = np.zeros((1,))
    factor = np.array([[[1e200, 1e200, 0.0], [1e200, -1e200, 0.0], [0.0, 0.0, 2.0]]])
    found = result.FitResult({}, {}, none, none, none, none, none, none, factor).covariance[0]
    assert np.isinf(found[:2, :2]).all() and found[2].tolist() == [0.0, 0.0, 4.0]
