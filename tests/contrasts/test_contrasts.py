"""Contrasts: draws around point fits, verdicts on what moved, tests of parameters in common."""

import numpy as np
import pytest
from base_and_chat import TASKS, simulate
from scipy import stats

import iclbayes
from iclbayes import InputError, contrasts
from iclbayes.contrasts.tables import quantiles


def test_a_gamma_that_moved_is_told_from_the_prior():
    frame = simulate(5, {"base": 0.2, "chat": 0.2}, gamma={"base": 0.85, "chat": 0.7})
    curves = iclbayes.curves_from_frame(frame, group_by=["model", "task"], source="source")
    pairs = [("base", "chat")]
    tests = contrasts.sharing_tests(curves, "bayesian_scoring", pairs)
    draws = contrasts.NormalDraws(iclbayes.fit(curves, "bayesian_scoring"))
    table = contrasts.contrast(draws, pairs, tests=tests)
    unsafe = table[table["source"] != "safe"].set_index(["parameter", "task"])["moved"]
    for task in TASKS:
        found = {name: unsafe[name, task] for name in ("prior", "gamma", "beta")}
        assert found == {"prior": "same", "gamma": "down", "beta": "same"}
        assert unsafe["efficiency", task] == "same"
    with pytest.raises(InputError, match="bayesian_sampling cannot be contrasted"):
        contrasts.sharing_tests(curves, "bayesian_sampling", pairs)


def test_normal_draws_have_the_moments_of_the_fit():
    frame = simulate(1)
    frame = frame[frame["task"] == "pursuit"]
    curves = iclbayes.curves_from_frame(frame, group_by=["model", "task"], source="source")
    fits = iclbayes.fit(curves, "bayesian_scoring")
    one = contrasts.NormalDraws(fits, n_draws=4000)
    gamma = one.params["gamma"]
    assert gamma.shape == (1, 4000, 2, 2)
    np.testing.assert_allclose(gamma.mean(1)[0], fits.params["gamma"], atol=2e-3)
    np.testing.assert_allclose(gamma.std(1)[0], fits.stderr["gamma"], rtol=0.1)
    weights = one.task_weights([0.0, 5.0])
    np.testing.assert_allclose(weights.sum(3), 1.0, atol=1e-9)
    np.testing.assert_allclose(weights[:, :, 0, :, 0], one.params["prior"][0], atol=1e-9)
    reach = contrasts.reach_table(one, 0.99)  # above every γ
    assert (reach["p_never"] == 1).all() and np.isinf(reach["q05"]).all()


class Fixed:
    """Draws that are given: prior of the unsafe task by group."""

    law = iclbayes.laws.bayesian_scoring

    def __init__(self, curves, params):
        self.curves, self.params = curves, params

    def undetermined(self):
        return {name: np.zeros(value.shape[2:], bool) for name, value in self.params.items()}


def test_verdicts_from_draws():
    rng = np.random.default_rng(0)
    frame = simulate(0)
    frame = frame[frame["task"] == "pursuit"]
    curves = iclbayes.curves_from_frame(frame, group_by=["model"], source="source")
    assert list(curves.source) == ["safe", "unsafe"] * 2

    def draws(values, sd):  # logits [2 groups, …] and their spread
        return 1 / (1 + np.exp(-(np.array(values) + sd * rng.standard_normal((1, 2000, *np.shape(values))))))

    params = {
        "prior": draws([[2.0, -2.0], [4.0, -4.0]], 0.2),
        "efficiency": np.exp(draws([1.0, 1.0], 3.0)),
        "gamma": draws([[1.0, 1.0], [1.0, 1.0]], 0.02),
        "beta": draws([[-2.0, -2.0], [-2.0, -1.0]], 0.1),
    }
    table = contrasts.contrast(Fixed(curves, params), [("base", "chat")])
    found = table.set_index(["parameter", "source"])["moved"].to_dict()
    assert found == {
        ("prior", "safe"): "up", ("prior", "unsafe"): "down", ("efficiency", ""): "unclear",
        ("gamma", "safe"): "same", ("gamma", "unsafe"): "same",
        ("beta", "safe"): "same", ("beta", "unsafe"): "up",
    }  # fmt: skip
    swapped = contrasts.contrast(Fixed(curves, params), [("chat", "base")])
    np.testing.assert_allclose(swapped["shift"], -table["shift"], atol=1e-9)


def test_holm_is_the_step_down_rule():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    # 0.005 × 4, 0.01 × 3, 0.03 × 2, max(0.06, 0.04 × 1)
    np.testing.assert_allclose(contrasts.holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(0)
    wrong = np.mean([contrasts.holm(stats.norm.sf(rng.standard_normal(7))).min() < 0.05 for _ in range(4000)])
    assert 0.035 < wrong < 0.065


def test_never_is_not_within_the_horizon():
    frame = simulate(1)
    frame = frame[frame["task"] == "pursuit"]
    curves = iclbayes.curves_from_frame(frame, group_by=["model", "task"], source="source")
    one = contrasts.NormalDraws(iclbayes.fit(curves, "bayesian_scoring"), n_draws=500)
    table = contrasts.reach_table(one, 0.6)
    assert (table["law"] == "bayesian_scoring").all() and (table["p_never"] == 0).all()
    unsafe = (table["source"] == "unsafe").to_numpy()
    # As many draws as those beyond the horizon become never; the safe task is at the level from the start.
    middle = float(table.loc[unsafe, "q50"].max())
    cut = contrasts.reach_table(one, 0.6, horizon=middle)
    assert abs(cut.loc[unsafe, "p_never"].max() - 0.5) < 0.02 and (cut.loc[~unsafe, "p_never"] == 0).all()
    assert contrasts.horizon_of(curves) == 100 * curves.shots.max()
    assert contrasts.horizon_of(curves, 7.0) == 7.0


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_quantiles_are_those_of_numpy(size):
    draws = np.random.default_rng(0).normal(size=(600, size))
    draws[3, 0], draws[5] = np.nan, np.inf
    levels = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
    found = quantiles(draws, levels)
    with np.errstate(invalid="ignore"):
        expected = np.quantile(draws, levels, axis=1)
    expected[:, 5] = np.inf
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    assert np.isnan(found[:, 3]).all()
