"""Ways to call a fit: jit, vmap and loop, weights of zero, precision, wrong arguments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from fit_helpers import curves_of, group_truth

import iclbayes
from iclbayes import laws
from iclbayes.errors import InputError
from iclbayes.fitting import Status
from iclbayes.runtime import programs


def test_jit_vmap_and_a_loop_agree():
    rng = np.random.default_rng(4)
    shots = jnp.arange(24.0)
    prob = 0.2 + 0.6 / (1 + jnp.exp(-(shots - 8) / 2)) + 0.01 * rng.standard_normal((3, 24))
    with jax.enable_x64(True):
        shots, prob = (jnp.asarray(np.asarray(a), jnp.float64) for a in (shots, prob))
        fit = functools.partial(iclbayes.fit_curve, laws.power, shots)
        mapped = jax.jit(jax.vmap(fit))(prob)
        compiled = jax.jit(fit)
        for i in range(3):
            one = compiled(prob[i])
            for key, value in one.params.items():
                np.testing.assert_allclose(value, mapped.params[key][i], rtol=1e-6)
            np.testing.assert_allclose(one.loss, mapped.loss[i], rtol=1e-9)
        bulk = iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(24), np.asarray(prob)), "power")
        np.testing.assert_allclose(bulk.loss[:, 0], mapped.loss, rtol=1e-9)


def test_fit_does_not_touch_the_users_precision():
    before = jnp.asarray(1.0).dtype
    rng = np.random.default_rng(5)
    curves, _ = curves_of(laws.bayesian_scoring, group_truth(rng, 4), 0.01, rng)
    fits = iclbayes.fit(curves)
    assert fits.params["gamma"].dtype == np.float64
    assert jnp.asarray(1.0).dtype == before == jnp.float32


def test_a_second_call_on_the_same_shapes_does_not_compile():
    rng = np.random.default_rng(6)
    law = laws.bayesian_scoring
    first, _ = curves_of(law, group_truth(rng, 16), 0.01, rng)
    iclbayes.fit(first, law)
    before = programs.compilations
    second, _ = curves_of(law, group_truth(rng, 16), 0.02, rng)
    iclbayes.fit(second, law, seed=3)
    ragged = second.with_weight(np.where(rng.uniform(size=len(second.shots)) < 0.9, 1.0, 0.0))
    iclbayes.fit(ragged, law)
    assert programs.compilations == before
    iclbayes.fit(second, law, n_starts=2)
    assert programs.compilations == before + 1  # the counter counts


def test_padding_and_held_out_points_do_not_count():
    rng = np.random.default_rng(8)
    curves, _ = curves_of(laws.bayesian_scoring, group_truth(rng, 4), 0.01, rng)
    spoiled = np.where(curves.within(0.5), curves.prob, 0.0)
    half = iclbayes.fit(curves, fraction=0.5)
    again = iclbayes.fit(dataclasses.replace(curves, prob=spoiled), fraction=0.5)
    np.testing.assert_array_equal(half.loss, again.loss)


def test_what_stands_at_weight_zero_does_not_matter():
    shots = np.arange(12.0)
    prob = np.exp(-(1.2 * (shots + 1) ** -0.6 + 0.2))
    weight = np.where(shots < 8, 1.0, 0.0)
    with jax.enable_x64(True):
        fit = jax.jit(functools.partial(iclbayes.fit_curve, laws.power))
        clean = fit(shots, prob, weight)
        spoiled = fit(np.where(weight > 0, shots, np.inf), np.where(weight > 0, prob, np.nan), weight)
        nothing = fit(shots, np.full(12, np.nan), weight)
    assert int(clean.status) == int(spoiled.status) == Status.CONVERGED
    np.testing.assert_array_equal(clean.loss, spoiled.loss)
    np.testing.assert_array_equal(clean.params["alpha"], spoiled.params["alpha"])
    assert all(np.isfinite(np.asarray(v)).all() for v in nothing.params.values())
    with pytest.raises(InputError, match="prob is not between 0 and 1"):
        iclbayes.Curves.from_arrays(shots, np.full((1, 12), np.nan))


def test_a_group_with_no_point_is_named():
    table = pd.DataFrame({"m": ["a", "a", "b"], "shots": [0, 1, 8], "prob": [0.1, 0.2, 0.3]})
    curves = iclbayes.curves_from_frame(table, group_by=["m"])
    with pytest.raises(InputError, match=r"group m=b: no point to fit at fraction 0\.5"):
        iclbayes.fit(curves, "power", fraction=0.5)
    for options, message in [({"law": "x"}, "unknown law"), ({"loss": "x"}, "unknown loss")]:
        with pytest.raises(InputError, match=message):
            iclbayes.fit(curves, **options)


def test_fit_curve_says_what_shape_it_wants():
    with pytest.raises(ValueError, match=r"prob must have shape \[points\]"):
        iclbayes.fit_curve(laws.power, np.arange(3.0), np.ones((2, 3)))
    with pytest.raises(ValueError, match="curve by curve"):
        iclbayes.fit_group(laws.power, np.arange(3.0), np.ones((2, 3)))
