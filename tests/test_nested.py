"""F-tests of nested fits: against SciPy's analysis of variance, on families of conditions that share a mean."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import iclbayes
from iclbayes.nested import Pooled, f_test, pooled

SIZE = 12


@pytest.fixture(scope="module")
def curves():
    """Three families of two groups; the groups of the last differ."""
    rng = np.random.default_rng(0)
    means = np.array([0.5, 0.5, 0.3, 0.32, 0.4, 0.6])[:, None]
    return iclbayes.Curves.from_arrays(np.arange(SIZE), means + 0.05 * rng.standard_normal((6, SIZE)))


FAMILY = np.array([0, 0, 1, 1, 2, 2])


def means_of(curves, code):
    """What `pooled` reads of fits, for a mean of every group (code 0 … 5) or of every family."""
    prob = curves.prob.reshape(6, SIZE)
    fitted = np.array([prob[code == c].mean() for c in code])
    groups = np.array([np.flatnonzero(code == c) for c in np.unique(code)])
    block = SimpleNamespace(groups=groups, problem=SimpleNamespace(size=1))
    return SimpleNamespace(curves=curves, blocks=(block,), predict=lambda c: fitted[c.group[c.point_curve()]])


def test_a_shared_mean_is_the_analysis_of_variance(curves):
    free, shared = (pooled(means_of(curves, code), FAMILY) for code in (np.arange(6), FAMILY))
    np.testing.assert_array_equal(free.n_params, [2, 2, 2])
    np.testing.assert_array_equal(shared.n_params, [1, 1, 1])
    np.testing.assert_array_equal(free.n_points, [2 * SIZE] * 3)
    f, p_value = f_test(free, shared)
    prob = curves.prob.reshape(3, 2, SIZE)
    for k in range(3):
        exact = stats.f_oneway(*prob[k])
        np.testing.assert_allclose([f[k], p_value[k]], [exact.statistic, exact.pvalue], rtol=1e-9)
    assert p_value[2] < 1e-6 < 0.01 < p_value[0]


def test_points_of_no_weight_do_not_count(curves):
    weight = np.ones((6, SIZE))
    weight[:, 5:] = 0
    some = dataclasses.replace(curves, weight=weight.ravel())
    fits = means_of(some, np.arange(6))
    np.testing.assert_array_equal(pooled(fits, FAMILY).n_points, [10, 10, 10])
    residual = (fits.predict(some) - some.prob).reshape(3, 2, SIZE)
    np.testing.assert_allclose(pooled(fits, FAMILY).sse, (residual[..., :5] ** 2).sum((1, 2)))
    everything = pooled(fits, FAMILY, np.ones(6 * SIZE, bool))
    np.testing.assert_allclose(everything.sse, (residual**2).sum((1, 2)))


def test_parameters_of_real_fits_are_counted_once():
    shots = np.arange(8.0)
    p = np.exp(-(1.2 * (shots + 1) ** -np.array([[0.5], [0.8]]) + 0.2))
    noisy = p + 0.01 * np.random.default_rng(1).standard_normal(p.shape)
    curves = iclbayes.Curves.from_arrays(shots, noisy)
    free = pooled(iclbayes.fit(curves, "power"), np.zeros(2, int))
    assert free.n_params == [6] and free.n_points == [16] and 1e-4 < free.sse[0] < 4e-3


def test_undefined_tests_are_nan_and_a_better_nested_fit_loses_nothing():
    free = Pooled(np.array([1.0, 1.0, 0.0, 1.0]), np.array([9, 4, 9, 9]), np.array([4, 4, 4, 4]))
    shared = Pooled(np.array([2.0, 2.0, 2.0, 0.9]), free.n_points, np.array([4, 3, 3, 3]))
    f, p_value = f_test(free, shared)
    assert np.isnan(f[:3]).all() and np.isnan(p_value[:3]).all()
    assert f[3] == 0 and p_value[3] == 1
