"""Parameters that conditions have in common."""

import numpy as np
import pandas as pd
import pytest
from fit_helpers import curves_of, group_truth

import iclbayes
from iclbayes import laws
from iclbayes.errors import InputError


def test_sharing_is_by_name_and_like_one_fit_with_common_parameters():
    rng = np.random.default_rng(9)
    truth = group_truth(rng, 1)
    frames = []
    for amount, (prior, efficiency) in enumerate([([0.6, 0.3, 0.1], 0.1), ([0.2, 0.3, 0.5], 0.3)]):
        params = truth | {"prior": np.array([prior]), "efficiency": np.array([efficiency])}
        curves, _ = curves_of(laws.bayesian_scoring, params, 0.01, rng)
        frames.append(curves.to_frame().assign(amount=amount))
    curves = iclbayes.curves_from_frame(
        pd.concat(frames).drop(columns="group"), group_by=["amount"], source="source"
    )
    fits = iclbayes.fit(curves, share=("gamma", "beta"), across="amount")
    np.testing.assert_array_equal(fits.params["gamma"][0], fits.params["gamma"][1])
    np.testing.assert_allclose(fits.params["gamma"][0], truth["gamma"][0], atol=0.02)
    np.testing.assert_allclose(fits.params["prior"], [[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], atol=0.06)
    np.testing.assert_allclose(fits.params["efficiency"], [0.1, 0.3], rtol=0.1)
    free = iclbayes.fit(curves)
    assert fits.loss[0] >= free.loss.mean() * (1 - 1e-9)
    for wrong, message in [
        ({"share": ("gama",), "across": "amount"}, "gama"),
        ({"share": ("beta",), "across": "amount"}, "needs sharing 'gamma'"),
        ({"share": ("gamma",), "across": "size"}, "size"),
    ]:
        with pytest.raises(InputError, match=message):
            iclbayes.fit(curves, **wrong)


def test_families_that_share_are_fitted_apart_from_each_other():
    rng = np.random.default_rng(14)
    frames = []
    for model in "ab":
        truth = group_truth(rng, 1)
        for amount in (1, 2):
            params = truth | {"efficiency": np.array([0.1 * amount])}
            curves, _ = curves_of(laws.bayesian_scoring, params, 0.01, rng)
            frames.append(curves.to_frame().drop(columns="group").assign(model=model, amount=amount))
    table = pd.concat(frames)
    options = {"share": ("gamma", "beta"), "across": "amount"}

    def fit(rows):
        curves = iclbayes.curves_from_frame(rows, group_by=["model", "amount"], source="source")
        return curves, iclbayes.fit(curves, **options)

    curves, together = fit(table)
    for model in "ab":
        _, alone = fit(table[table["model"] == model])
        mine = (curves.keys["model"] == model).to_numpy()
        np.testing.assert_allclose(together.loss[mine], alone.loss, rtol=1e-6)
        for name, value in alone.params.items():
            np.testing.assert_allclose(together.params[name][mine], value, rtol=1e-3, atol=1e-4)
    gamma = together.params["gamma"]
    np.testing.assert_array_equal(gamma[::2], gamma[1::2])
    assert (np.abs(gamma[0] - gamma[2]) > 1e-3).any()
