"""The same of long joint groups, in both precisions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import iclbayes
from iclbayes import laws
from iclbayes.fitting import Status

LONG = 96  # points, enough for the starts to be run on binned points


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
