"""Starts on binned points, finished on all: against NumPy, and against an exhaustive search on every point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fit_helpers import curves_of, mixed_bag

import iclbayes
from iclbayes import laws
from iclbayes.fitting import Status, binning, levenberg_marquardt
from iclbayes.fitting.losses import squared
from iclbayes.fitting.minimise import minimise
from iclbayes.fitting.problem import Points, Problem

LONG = 96  # points, enough for the starts to be run on binned points


def test_binned_points_are_weighted_means():
    rng = np.random.default_rng(0)
    shots = np.sort(rng.integers(0, 500, (2, 3, 90)), axis=-1).astype(float)
    prob, weight = (
        rng.uniform(size=shots.shape),
        rng.uniform(size=shots.shape) * (rng.uniform(size=shots.shape) < 0.7),
    )
    with jax.enable_x64(True):
        data = Points(*(jnp.asarray(a) for a in (shots, prob, weight)), jnp.zeros(2))
        found = jax.device_get(binning.bin_points(data, jnp.asarray(shots), bins=7))
    for index in np.ndindex(2, 3):
        u, w = np.log1p(shots[index]), weight[index]
        low, high = u[w > 0].min(), u[w > 0].max()
        place = np.clip(np.floor((u - low) / (high - low) * 7), 0, 6)
        for k in range(7):
            inside = (place == k) & (w > 0)
            assert found.w[index][k] == pytest.approx(w[inside].sum())
            if inside.any():
                assert found.x[index][k] == pytest.approx(np.average(shots[index][inside], weights=w[inside]))
                assert found.y[index][k] == pytest.approx(np.average(prob[index][inside], weights=w[inside]))
    assert np.isfinite(np.stack(jax.tree.leaves(found[:3]))).all()


@pytest.mark.parametrize(
    "law", ["bayesian_scoring", "bayesian_scoring_log", "logistic", "bounded_power", "power"]
)
def test_the_search_on_binned_points_finds_what_a_search_on_all_points_finds(law, monkeypatch):
    # 94 to 100 % of such curves end within 1.001 of the best, by law; 512 of them know that share to 1 %.
    n, prob = mixed_bag(np.random.default_rng(1), 512, LONG)
    curves = iclbayes.Curves.from_arrays(n, prob)
    quick = iclbayes.fit(curves, law)
    monkeypatch.setattr(binning, "WORTHWHILE", np.inf)
    # Another optimizer object, so that another program is compiled.
    thorough = iclbayes.fit(curves, law, n_starts=16, optimizer=levenberg_marquardt())
    ratio = quick.loss.reshape(-1) / np.maximum(thorough.loss.reshape(-1), 1e-12)
    tiny = quick.loss.reshape(-1) < 1e-8  # exact fits: any ratio of rounding errors
    assert np.mean((ratio <= 1.001) | tiny) >= 0.92, np.sort(ratio)[-50:]
    assert np.mean((ratio <= 1.01) | tiny) >= 0.96, np.sort(ratio)[-50:]
    assert (quick.diagnostics()["n_agreed"] >= 1).all()
    assert (quick.diagnostics()["n_agreed"] <= 8).all()


def test_every_start_of_an_easy_curve_agrees():
    rng = np.random.default_rng(2)
    n = np.arange(LONG)
    prob = 0.2 + 0.6 / (1 + np.exp(-(n - 30) / 6)) + 0.01 * rng.standard_normal((8, LONG))
    found = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "logistic").diagnostics()
    assert (
        found["n_agreed"] >= 5
    ).all()  # the others are given up on the way, before it is known where they end
    assert (found["status"] == "converged").all()


@pytest.mark.parametrize("count", [1, 5, 64])
def test_starts_that_compete_find_the_best_end_in_fewer_steps(count):
    """Some join others, some are given up, none of another fit matters, and the best is that of a search without rivalry."""
    n, prob = mixed_bag(np.random.default_rng(3), count, 24)
    prob[1:2] = 0.98 * prob[:1]  # ends close to the first one's, at another value: another fit all the same
    law, key = laws.get("logistic"), jax.random.key(0)
    problem = Problem(law, squared, 1, False)
    with jax.enable_x64(True):
        x = jnp.broadcast_to(law.abscissa(n * 1.0), (count, 1, 24))
        y = jnp.asarray(prob)[:, None]
        data = Points(x, y, jnp.full_like(x, 1 / 24), jnp.zeros(count))
        theta = jax.vmap(lambda x, y, w: problem.ravel(law.guess(x, y, w, 8, key, False)))(*data[:3])
        # Every start twice, and in the other order.
        theta = jnp.concatenate([theta, theta[:, ::-1] + 0.01], axis=1)
        run = functools.partial(
            minimise, problem, levenberg_marquardt(), data, jnp.repeat(jnp.arange(count), 16), max_steps=100
        )
        alone = jax.device_get(jax.jit(run)(theta.reshape(-1, 4)))
        rivals = jax.device_get(jax.jit(functools.partial(run, compete=16))(theta.reshape(-1, 4)))
    by_fit = lambda a: a.reshape(count, 16)  # noqa: E731
    best = by_fit(alone.value).min(1)
    kept = np.where(by_fit(rivals.given_up), np.inf, by_fit(rivals.value))
    found = kept.min(1)
    assert np.mean(found <= best * 1.001 + 1e-9) >= 0.95, np.sort(found / np.maximum(best, 1e-12))[-5:]
    assert (rivals.steps <= alone.steps).all()
    assert rivals.steps.sum() < 0.7 * alone.steps.sum()
    left = by_fit(rivals.given_up)
    # Far behind, or it would not have been given up.
    assert (by_fit(rivals.value) >= 2 * found[:, None])[left].all()
    # Each run has the end of the one that it follows to the last, which follows none and is of the same fit.
    follows = rivals.follows
    np.testing.assert_array_equal(follows[follows], follows)
    np.testing.assert_array_equal(follows // 16, np.repeat(np.arange(count), 16))
    np.testing.assert_array_equal(rivals.theta, rivals.theta[follows])
    assert np.mean([len(np.unique(fit)) for fit in by_fit(follows)]) <= 8  # at least the twins go on as one
    assert left.any() or count < 64


@pytest.mark.parametrize("optimizer", [optax.lbfgs(), optax.adam(0.1)], ids=["lbfgs", "adam"])
def test_other_optimizers_run_in_the_same_loop(optimizer):
    rng = np.random.default_rng(7)
    params = {"C": np.full((4, 1), 1.2), "alpha": np.full((4, 1), 0.7), "E": np.full((4, 1), 0.3)}
    curves, _ = curves_of(laws.power, params, 0.01, rng, points=16)
    best = iclbayes.fit(curves, "power")
    other = iclbayes.fit(curves, "power", optimizer=optimizer, n_starts=4, max_steps=600)
    assert (other.status != Status.FAILED).all()
    np.testing.assert_allclose(other.loss, best.loss, rtol=0.02)
    assert (best.loss <= other.loss * (1 + 1e-6)).all()
