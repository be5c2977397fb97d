"""Starts on binned points, finished on all: against NumPy, and against an exhaustive search on every point."""

import functools
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import iclbayes
from iclbayes import laws
from iclbayes.fitting import Status, execute, levenberg_marquardt
from iclbayes.fitting import binning as coarse
from iclbayes.fitting.batch import fit_batch
from iclbayes.fitting.losses import squared
from iclbayes.fitting.minimise import minimise
from iclbayes.fitting.multistart import DEFAULT_OPTIMIZER
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
        found = jax.device_get(coarse.bin_points(data, jnp.asarray(shots), bins=7))
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
    ("batch", "shape", "workers", "devices", "size"),
    [
        (2048, (1, LONG), 2, 1, 1024),
        (2047, (1, LONG), 2, 1, 512),
        (10_000, (1, LONG), 16, 1, 512),  # no core without work
        (10_000, (1, LONG), 1, 1, 1024),  # a GPU, too
        (10_000, (8, 64), 2, 1, 512),  # joint groups: their matrices
        (10_000, (1, 2048), 2, 1, 512),
        (10_000, (1, LONG), 1, 8, 4096),
        (4_096, (1, LONG), 2, (8, 2), 2048),  # two hosts: one chunk each
        (4_096, (1, LONG), 2, (1, 2), 1024),
        (40, (1, LONG), 64, 1, 8),
        (1, (1, LONG), 2, 1, 1),
    ],
)
def test_chunks_are_as_large_as_leaves_every_core_one(batch, shape, workers, devices, size):
    devices, hosts = devices if isinstance(devices, tuple) else (devices, 1)
    assert execute.chunk_size(batch, shape, workers, devices, hosts) == size


def test_hosts_with_other_cores_cut_alike(monkeypatch):
    """Every host has to know the chunks of all; only who runs how many at once is its own affair."""
    seen = []
    monkeypatch.setattr(execute, "chunk_size", lambda *a: seen.append(a) or 8)
    monkeypatch.setattr(execute, "gather", lambda result, *rest: result)
    monkeypatch.setattr(execute, "devices_of_each_host", lambda: 1)
    monkeypatch.setattr(execute.jax, "process_count", lambda: 2)
    for cores in (2, 16):
        monkeypatch.setattr(execute, "workers", lambda n=cores: n)
        iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(8), np.full((16, 8), 0.5)), "power", max_steps=1)
    assert seen[0] == seen[1]


def test_a_large_batch_gives_what_small_ones_give(monkeypatch):
    """Chunks of 1,024 fits, their points in blocks, and the padded rest, against chunks of 128."""
    monkeypatch.setattr(execute, "workers", lambda: 2)
    rng = np.random.default_rng(3)
    n = np.arange(LONG)
    rate, middle = rng.uniform(0.05, 0.5, (2100, 1)), rng.uniform(10, 80, (2100, 1))
    prob = 0.1 + 0.8 / (1 + np.exp(-rate * (n - middle))) + 0.01 * rng.standard_normal((2100, LONG))
    whole = iclbayes.fit(iclbayes.Curves.from_arrays(n, np.clip(prob, 0, 1)), "logistic")
    for part in (slice(0, 300), slice(900, 1200), slice(1800, 2100)):
        few = iclbayes.fit(iclbayes.Curves.from_arrays(n, np.clip(prob[part], 0, 1)), "logistic")
        losses = [fits.diagnostics()["loss"].to_numpy() for fits in (whole, few)]
        ratio = losses[0][part] / losses[1]
        # Who meets whom in the pool may change which of two minima is found, seldom.
        assert np.mean(np.abs(ratio - 1) < 1e-6) > 0.98 and np.abs(np.log(ratio)).max() < 0.5


def mixed_bag(rng, count, points):
    """Curves of every law's shape, steps, falling and noisy ones, [count, points]."""
    n = np.arange(points)
    kinds = [
        0.1
        + 0.8
        / (1 + np.exp(-(n[None] - rng.uniform(1, points, (count, 1))) / rng.uniform(0.3, 20, (count, 1)))),
        np.exp(-(rng.uniform(0.3, 2, (count, 1)) * (n + 1.0) ** -rng.uniform(0.1, 2, (count, 1)) + 0.1)),
        (n[None] >= rng.integers(1, points, (count, 1))).astype(float),
        np.broadcast_to(0.9 - 0.8 * n / points, (count, points)),
        np.full((count, points), 0.5),
    ]
    which = rng.integers(0, len(kinds), count)
    prob = np.stack(kinds)[which, np.arange(count)]
    return n, np.clip(prob + rng.choice([0.0, 0.02, 0.3], (count, 1)) * rng.standard_normal(prob.shape), 0, 1)


@pytest.mark.parametrize(
    "law", ["bayesian_scoring", "bayesian_scoring_log", "logistic", "bounded_power", "power"]
)
def test_the_search_on_binned_points_finds_what_a_search_on_all_points_finds(law, monkeypatch):
    # 94 to 100 % of such curves end within 1.001 of the best, by law; 512 of them know that share to 1 %.
    n, prob = mixed_bag(np.random.default_rng(1), 512, LONG)
    curves = iclbayes.Curves.from_arrays(n, prob)
    quick = iclbayes.fit(curves, law)
    monkeypatch.setattr(coarse, "WORTHWHILE", np.inf)
    # Another optimizer object, so that another program is compiled.
    thorough = iclbayes.fit(curves, law, n_starts=16, optimizer=levenberg_marquardt())
    ratio = quick.loss.reshape(-1) / np.maximum(thorough.loss.reshape(-1), 1e-12)
    tiny = quick.loss.reshape(-1) < 1e-8  # exact fits: any ratio of rounding errors
    assert np.mean((ratio <= 1.001) | tiny) >= 0.92, np.sort(ratio)[-50:]
    assert np.mean((ratio <= 1.01) | tiny) >= 0.96, np.sort(ratio)[-50:]
    assert (quick.diagnostics()["n_agreed"] >= 1).all()
    assert (quick.diagnostics()["n_agreed"] <= 8).all()


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


finite = st.floats(0, 1, allow_nan=False)
hostile = st.lists(
    st.tuples(st.integers(0, 10**6), finite, st.sampled_from([0.0, 1.0, 1e-9, 1e6])),
    min_size=1,
    max_size=LONG,
)


@functools.cache
def long_fit(name, curves, dtype):
    fit = jax.vmap(functools.partial(iclbayes.fit_group, laws.get(name), n_starts=4, max_steps=50))
    compiled = jax.jit(fit)

    def run(*arrays):
        with jax.enable_x64(dtype == "float64"):
            return jax.device_get(compiled(*(jnp.asarray(a, dtype) for a in arrays)))

    return run


@pytest.mark.parametrize(
    ("name", "n_curves", "dtype"),
    [
        ("bayesian_original", 3, "float64"),
        ("bayesian_sampling", 3, "float64"),
        ("bayesian_scoring", 3, "float32"),
        ("bounded_power", 1, "float32"),
        ("bayesian_scoring_log", 1, "float64"),
    ],
)
def test_hostile_groups_never_give_a_nan(name, n_curves, dtype):
    """Joint groups, both precisions: constants, steps, noise, one point, nothing, 10⁶ shots, weights of 0 and of 1e6."""
    n = np.arange(LONG)
    rows = [np.ones(LONG), np.zeros(LONG), (n >= 40) * 1.0, 1 - n / LONG, np.full(LONG, 1e-12)]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(hostile, min_size=n_curves, max_size=n_curves), st.integers(0, 2**16))
    def check(drawn, seed):
        rng = np.random.default_rng(seed)
        shots = np.broadcast_to(n, (4, n_curves, LONG)).astype(float).copy()
        prob = np.stack([np.stack([rows[i] for i in rng.integers(0, 5, n_curves)]) for _ in range(4)])
        weight = np.ones_like(prob)
        prob[1] = rng.uniform(size=prob[1].shape)
        weight[2] = 0.0
        weight[3] = 0.0
        for j, case in enumerate(drawn):
            for i, (s, p, w) in enumerate(case):
                shots[3, j, i], prob[3, j, i], weight[3, j, i] = s, p, w
        found = long_fit(name, n_curves, dtype)(shots, prob, weight)
        has_data = weight.sum((1, 2)) > 0
        assert (found.status[~has_data] == Status.NO_DATA).all()
        assert np.isin(found.status[has_data], [Status.CONVERGED, Status.MAX_STEPS]).all()
        for leaf in (*found.params.values(), found.loss, found.grad_norm, found.condition, found.covariance):
            assert not np.isnan(leaf[has_data]).any()
        assert (found.loss[has_data] <= 1.0 + 1e-6).all()
        # A constant is among the curves that every law can draw, and so is what a fit must not do worse than.
        flat = np.average(prob.reshape(4, -1)[1]), prob.reshape(4, -1)[1]
        assert found.loss[1] <= np.mean((flat[1] - flat[0]) ** 2) * 1.02

    check()


TWO_HOSTS = """
import sys
import numpy as np, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.distributed.initialize(sys.argv[2], num_processes=int(sys.argv[3]), process_id=int(sys.argv[4]))
import iclbayes
rng = np.random.default_rng(0)
n = np.arange(16)
prob = np.exp(-(rng.uniform(0.3, 2, (int(sys.argv[6]), 1)) * (n + 1.0) ** -0.7 + 0.1))
fits = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "power")
if jax.process_index() == jax.process_count() - 1:
    np.save(sys.argv[5], np.concatenate([fits.loss, *fits.params.values()], axis=1))
"""


@pytest.mark.parametrize("count", [1, 40])
def test_two_hosts_give_the_result_of_one(tmp_path, count):
    """Also where there are fewer fits than hosts, so that one of them has nothing to do."""
    results = []
    for hosts in (1, 2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        out = tmp_path / f"{hosts}.npy"
        cache = jax.config.jax_compilation_cache_dir
        running = [
            subprocess.Popen(
                [sys.executable, "-c", TWO_HOSTS, cache, address, str(hosts), str(i), str(out), str(count)],
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(hosts)
        ]
        errors = [process.communicate(timeout=240)[1] for process in running]
        assert all(process.returncode == 0 for process in running), errors
        results.append(np.load(out))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
