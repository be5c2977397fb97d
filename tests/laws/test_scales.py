"""Intervals are made where parameters have no ends: none leaves the values that there are, and they hold the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import iclbayes
from iclbayes.laws import LAWS, scales


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_parameter_of_every_law_has_the_scale_of_its_values(name):
    law = LAWS[name]
    background = 1 if law.joint else 0
    rng = np.random.default_rng(0)
    raw = {
        key: jnp.asarray(rng.normal(0, 6, (200, *shape)))
        for key, shape in law.raw_shapes(1, background).items()
    }
    for key, value in jax.vmap(law.constrain)(raw).items():
        assert (np.asarray(value) > 0).all()
        assert (scales.scale_of(key) == "logit") == bool((np.asarray(value) <= 1).all()), key


def test_intervals_are_normal_on_the_scale_without_ends():
    value, error = np.array([0.02, 0.5, 0.97]), np.array([0.05, 0.1, 0.05])
    z = stats.norm.ppf(0.95)
    low, high = scales.interval(value, error, "logit", 0.9)
    odds = error / (value * (1 - value))
    assert np.allclose(low, special.expit(special.logit(value) - z * odds))
    assert np.allclose(high, special.expit(special.logit(value) + z * odds))
    assert (low > 0).all() and (high < 1).all() and value[0] - z * error[0] < 0
    low, high = scales.interval(np.array([0.1, 40.0]), np.array([0.2, 10.0]), "log", 0.5)
    z = stats.norm.ppf(0.75)
    assert np.allclose(low, [0.1 * np.exp(-2 * z), 40 * np.exp(-z / 4)]) and np.allclose(
        low * high, [0.01, 1600]
    )


def test_what_is_unknown_has_the_whole_range():
    for error in (np.inf, np.nan):
        assert scales.interval(0.3, error, "logit") == (0, 1) and scales.interval(0.3, error, "log") == (
            0,
            np.inf,
        )
    assert scales.interval(0.0, 0.1, "logit") == (0, 1) and scales.interval(1.0, 0.1, "logit") == (0, 1)
    assert np.isnan(scales.interval(np.nan, 0.1, "log")).all()
    with pytest.raises(iclbayes.InputError, match="level"):
        scales.interval(0.5, 0.1, "log", 1.0)


def test_intervals_of_fits_hold_the_truth_and_stay_inside():
    rng = np.random.default_rng(1)
    shots = np.arange(0, 60, 2.0)
    truth = {"C": 2.5, "alpha": 0.5, "E": 0.05}
    p = np.exp(-truth["C"] * (shots + 1) ** -truth["alpha"] - truth["E"])
    prob = np.clip(p + rng.normal(0, 0.02, (300, len(shots))), 0, 1)
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, prob), "power")
    low, high = fits.predict_interval(shots)
    assert (low >= 0).all() and (high <= 1).all()
    assert 0.85 < ((low[:, 0] <= p) & (p <= high[:, 0])).mean() < 0.95
    ends = fits.interval()
    for name in ("C", "alpha"):
        assert 0.8 < ((ends[name][0] <= truth[name]) & (truth[name] <= ends[name][1])).mean() < 0.97, name
    table = fits.to_frame(stderr=True)
    assert (table["E_lo90"] >= 0).all() and (table["E"] - 1.645 * table["E_se"] < 0).any()
    assert (table["C_lo90"] < table["C"]).all() and (table["C"] < table["C_hi90"]).all()
