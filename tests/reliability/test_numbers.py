"""Numbers at the ends of their range, and numbers that mean nothing: right, or one line that says what is wrong."""

import numpy as np
import pytest

import iclbayes
from iclbayes import Curves, laws, runtime
from iclbayes.errors import InputError
from iclbayes.fitting.result import _delta

SHOTS = np.array([0, 1, 2, 4, 8, 16, 32, 64.0])
PROB = (0.1 + 0.6 * SHOTS / (SHOTS + 8))[None]


def one(**options):
    return Curves.from_arrays(SHOTS, PROB, **options)


@pytest.mark.parametrize(
    "dtype, weight",
    [
        *((np.float64, 1e308), (np.float64, 3.0), (np.float64, 1e-320)),
        *((np.float32, 2e38), (np.float32, 1e300), (np.float32, 1e-320)),
    ],
)
def test_however_large_or_small_equal_weights_are_the_fit_is_that_of_weight_one(dtype, weight):
    plain = iclbayes.fit(one(), "logistic", dtype=dtype)
    found = iclbayes.fit(one(weight=np.full((1, 8), weight)), "logistic", dtype=dtype)
    assert found.diagnostics()["status"][0] == plain.diagnostics()["status"][0] == "converged"
    assert found.loss[0, 0] == pytest.approx(plain.loss[0, 0], rel=1e-3) and found.loss[0, 0] > 0
    for name, value in plain.params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=2e-3)


def test_large_weights_of_counts_do_not_overflow_with_their_trials():
    tests = np.full((1, 8), 10**6)
    plain = iclbayes.fit(one(n_test=tests), "logistic")
    found = iclbayes.fit(one(n_test=tests, weight=np.full((1, 8), 1e305)), "logistic")
    np.testing.assert_allclose(found.predict(SHOTS), plain.predict(SHOTS), atol=1e-6)


@pytest.mark.parametrize(
    "law", ["logistic", "power", "bounded_power", "bayesian_scoring", "bayesian_sampling"]
)
def test_constant_curves_converge(law):
    levels = np.repeat(np.array([0.1, 0.5, 0.9])[:, None], 8, 1)
    fits = iclbayes.fit(Curves.from_arrays(SHOTS, levels), law)
    assert (fits.diagnostics()["status"] == "converged").all()
    np.testing.assert_allclose(fits.predict(SHOTS)[:, 0], levels, atol=1e-6)


@pytest.mark.parametrize("law", list(laws.LAWS))
def test_infinitely_many_shots_are_told_the_limit(law):
    for dtype in (np.float64, np.float32):
        fits = iclbayes.fit(one(), law, dtype=dtype)
        found = fits.predict(np.array([1e9, 1e300, np.inf]))[0, 0]
        assert np.isfinite(found).all() and found[1] == found[2] and found[0] <= found[2] + 1e-6
        assert not np.isnan(fits.predict_stderr(np.array([1e300, np.inf]))).any()


@pytest.mark.parametrize("shots", [[np.nan], [-1.0], [[1.0]]])
def test_shots_that_are_none_are_refused(shots):
    with pytest.raises(InputError, match="shots"):
        iclbayes.fit(one(), "power").predict(np.array(shots))


@pytest.mark.parametrize(
    "options, told",
    [
        *(({"weight": np.r_[bad, np.ones(7)][None]}, "weight") for bad in (-1.0, np.nan, np.inf)),
        *(({"n_test": np.full((1, 8), bad)}, "n_test") for bad in (0, -3, 2.5, np.inf)),
        ({"source": [0, 1, 2]}, "3 labels for 1"),
    ],
)
def test_what_means_nothing_in_a_curve_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        one(**options)


@pytest.mark.parametrize(
    "options, told",
    [
        *(({"dtype": bad}, "float32 or float64") for bad in (np.float16, int, complex, "x")),
        *(({"seed": bad}, "seed") for bad in (-1, 2.5, 2**70)),
        *(({"n_starts": bad}, "n_starts") for bad in (0, -1, 2.5, 10**12)),
        *(({"max_steps": bad}, "max_steps") for bad in (0, 10**12)),
        *(({"baseline_offset": bad}, "baseline_offset") for bad in (np.inf, np.nan, -1)),
    ],
)
def test_what_means_nothing_in_a_fit_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        iclbayes.fit(one(), "power", **options)


def test_empty_arrays_and_other_weights_of_a_wrong_number_are_refused():
    with pytest.raises(InputError, match="no point"):
        Curves.from_arrays(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(InputError, match="8 points"):
        one().with_weight(np.ones(3))
    with pytest.raises(InputError, match="negative"):
        one().with_weight(-np.ones(8))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_standard_errors_do_not_overflow_on_their_way(dtype):
    large, small = float(np.finfo(dtype).max) / 4, float(np.finfo(dtype).tiny) * 4
    with runtime.precision(dtype):
        row, factor = np.array([large, 1, -large], dtype), np.diag([small, 1, small]).astype(dtype) ** 0.5
        found = _delta(row, factor)
        # √(2 · large² · small), of which large² is beyond the largest number.
        np.testing.assert_allclose(found, large * np.sqrt(2.0 * small), rtol=1e-3)
        mixed = np.array([[1, 2, -3.0], [0, 0, 0]], dtype)
        plain = np.array([[4, 1, 0], [1, 3, -1], [0, -1, 2.0]], dtype)
        found = _delta(mixed, np.linalg.cholesky(plain))
        np.testing.assert_allclose(found, np.sqrt(np.diag(mixed @ plain @ mixed.T)), rtol=1e-6)
        assert _delta(row, np.diag([large, large, large]).astype(dtype)) == np.inf
        assert (_delta(np.array([[np.nan, 1, 1], [np.inf, 1, 1]], dtype), plain) == np.inf).all()
        assert _delta(mixed, np.full((3, 3), np.inf, dtype)).tolist() == [np.inf, np.inf]


def test_shots_beyond_the_precision_are_its_largest_number():
    shots = np.array([0, 1, 1e10, 1e300])
    curves = Curves.from_arrays(shots, np.array([[0.1, 0.2, 0.5, 0.9]]))
    fits = iclbayes.fit(curves, "logistic", dtype="float32")
    assert np.isfinite(fits.predict(shots)).all() and fits.diagnostics()["status"][0] != "failed"
