"""Constant, stepped, falling, empty and extreme curves never give a NaN."""

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


finite = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-12, 1 - 1e-12])


hostile = st.lists(
    st.tuples(st.integers(0, 10**6), finite, st.sampled_from([0.0, 1.0, 1e-9, 1e6])), min_size=1, max_size=8
)
CONSTANT = [(n, 1.0, 1.0) for n in range(8)]
STEP = [(n, float(n >= 4), 1.0) for n in range(8)]
FALLING = [(n, 0.9 - 0.1 * n, 1.0) for n in range(8)]
HOSTILE = ["bayesian_scoring", "bayesian_heterogeneous", "bayesian_heterogeneous_exact", "power", "logistic"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_curves_never_give_a_nan(name):
    """Constant 0 or 1, one point, duplicates, 10⁶ shots, noise, steps, falling, probabilities of 1e-12, weights of 0."""
    rows = [CONSTANT, STEP, FALLING, [(n, 0.0, 1.0) for n in range(8)], [(5, 0.5, 1.0)], [(3, 0.2, 0.0)]]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(hostile, min_size=2, max_size=2))
    def check(drawn):
        cases = rows + drawn
        shots, prob, weight = np.zeros((8, 8)), np.zeros((8, 8)), np.zeros((8, 8))
        for i, case in enumerate(cases):
            for j, (n, p, w) in enumerate(case):
                shots[i, j], prob[i, j], weight[i, j] = n, p, w
        fitted = hostile_fit(name)(shots, prob, weight)
        has_data = weight.sum(1) > 0
        assert (np.asarray(fitted.status)[~has_data] == Status.NO_DATA).all()
        assert (np.asarray(fitted.status)[has_data] != Status.NO_DATA).all()
        good = has_data & (np.asarray(fitted.status) != Status.FAILED)
        assert good.sum() == has_data.sum()
        for leaf in (
            *fitted.params.values(),
            fitted.loss,
            fitted.grad_norm,
            fitted.condition,
            fitted.covariance,
        ):
            assert not np.isnan(np.asarray(leaf)[good]).any()
        assert (np.asarray(fitted.loss)[good] <= 1.0 + 1e-9).all()

    check()


@functools.cache
def hostile_fit(name):
    fit = jax.vmap(functools.partial(iclbayes.fit_curve, laws.get(name), n_starts=4))

    def run(*arrays):
        with jax.enable_x64(True):
            return jax.device_get(compiled(*(jnp.asarray(a, jnp.float64) for a in arrays)))

    compiled = jax.jit(fit)
    return run
