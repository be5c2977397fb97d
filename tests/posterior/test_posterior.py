"""Posteriors end to end against a closed form: methods, predictions, quantities, hierarchy."""

import dataclasses

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from posterior_helpers import Constant, count_curves
from scipy import stats

import iclbayes
from iclbayes import InputError, posterior
from iclbayes.runtime import programs

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
PRIOR = {"gamma": dist.Beta(2.0, 3.0)}
# The normal approximation stands here for any draws; that its k-hat is poor is not the question.
pytestmark = pytest.mark.filterwarnings("ignore:.*poor diagnostics:iclbayes.posterior.PosteriorWarning")
OPTIONS = {"likelihood": "binomial", "priors": PRIOR, "discrepancy": None}


def exact(g):
    return stats.beta(2 + COUNTS[g].sum(), 3 + 80 - COUNTS[g].sum())


@pytest.fixture(scope="module")
def constant():
    return posterior.sample(count_curves(COUNTS, 20), LAW, method="nuts", **OPTIONS)


@pytest.mark.parametrize("method", ["nuts", "psis", "laplace"])
def test_every_method_finds_the_beta_posterior(method, constant):
    curves = count_curves(COUNTS, 20)
    one = constant if method == "nuts" else posterior.sample(curves, LAW, method=method, **OPTIONS)
    gamma = one.params["gamma"]
    assert gamma.shape == (4, 500, 3, 1)
    # Laplace is normal on the logit scale; the others are exact up to Monte Carlo error.
    for g in range(3):
        draws = gamma[..., g, 0].ravel()
        levels = [0.05, 0.25, 0.5, 0.75, 0.95]
        wrong = (np.quantile(draws, levels) - exact(g).ppf(levels)) / exact(g).std()
        assert np.abs(wrong).max() < (0.3 if method == "laplace" else 0.18)
    table = one.diagnostics()
    assert table["ok"].all() and (table["method"] == method).all()


def test_scatter_by_the_choice_of_examples_fades_with_shots():
    n_test, rest = 250, {"dispersion": 0.5, "overdispersion": 0.02, "example_scatter": 0.3}
    curves = count_curves([[125] * 8], n_test, shots=2.0 ** np.arange(8))
    known = {f"raw_{name}": dist.Normal(np.log(value), 1e-3) for name, value in rest.items()}
    known["raw_gamma"] = dist.Normal(0.0, 1e-3)
    options = {"likelihood": "quasi_binomial", "discrepancy": None, "method": "laplace"}
    one = posterior.sample(curves, LAW, priors=known, **options)
    shots = np.array([0.0, 8.0, 1e4])
    draws = one.draws(shots, observation=True, most=2000)[:, 0, 0]

    def variance(shots):
        return 0.25 * (0.5 / n_test + 0.02**2 + 0.3**2 / (1 + shots))

    expected = variance(shots) + 1 / (12 * n_test**2)  # rounding to whole counts
    np.testing.assert_allclose(draws.var(0), expected, rtol=0.12)  # four standard errors of 2,000 draws
    scale = n_test * np.sqrt(variance(curves.shots))
    np.testing.assert_allclose(one.log_score(curves), stats.norm(0, scale).logpdf(0), atol=0.05)


def test_observations_follow_the_beta_binomial_of_the_closed_form(constant):
    draws = constant.draws(np.array([0.0, 50.0]), observation=True, most=2000)
    assert draws.shape == (2000, 3, 1, 2)
    for g in range(3):
        a, b = exact(g).args
        expected = stats.betabinom(20, a, b)
        assert abs(draws[:, g].mean() * 20 - expected.mean()) < 0.3
        assert abs(draws[:, g].std() * 20 / expected.std() - 1) < 0.1
    table = constant.forecast(np.array([0.0, 9.0]))
    stats_ = ["mean", "median", "lo50", "hi50", "lo90", "hi90"]
    columns = [*stats_, *(f"latent_{name}" for name in stats_), "observed", "prior_dominated", "law"]
    assert list(table.columns) == ["group", "source", "shots", *columns] and len(table) == 6
    latent = exact(1)  # of the expected probability itself, a beta distribution
    rows = table[table["group"] == 1]
    np.testing.assert_allclose(rows["latent_hi90"], latent.ppf(0.95), atol=0.02)
    np.testing.assert_allclose(rows["latent_mean"], latent.mean(), atol=0.01)
    assert not table["prior_dominated"].any()  # of a uniform prior
    assert (table["lo90"] <= table["lo50"]).all() and (table["hi50"] <= table["hi90"]).all()
    scores = constant.log_score(constant.curves, most=2000)
    a, b = exact(1).args
    np.testing.assert_allclose(scores[4:8], stats.betabinom(20, a, b).logpmf(COUNTS[1]), atol=0.1)


def test_shots_to_reach_difference_and_summary(constant):
    table = constant.reach_table(0.5)
    np.testing.assert_allclose(table["p_never"], [exact(g).cdf(0.5) for g in range(3)], atol=0.06)
    assert np.isinf(table["q95"][0]) and table["q50"][1] == 0
    moved = constant.difference(1, 0).iloc[0]
    assert moved["p_positive"] == 1 and abs(moved["mean"] - exact(1).mean() + exact(0).mean()) < 0.01
    assert constant.difference({"group": 0}, 1, level=0.5)["p_positive"][0] > 0.9
    assert (constant.difference(0, 0, shots=[3])["mean"] == 0).all()
    with pytest.raises(InputError, match="name exactly one"):
        constant.difference({"group": 7}, 0)
    with pytest.raises(InputError, match="no tasks"):
        constant.task_weights([1])
    summary = constant.summary()
    np.testing.assert_allclose(summary["mean"], [exact(g).mean() for g in range(3)], atol=0.01)


@pytest.mark.parametrize("shots", [[], [[1.0, 2.0]], [-1.0], [np.nan]])
def test_shots_are_at_least_one_number_not_below_0(constant, shots):
    with pytest.raises(InputError, match="at least one of them"):
        constant.forecast(shots)


def test_a_second_call_compiles_nothing_and_gives_the_same_draws(constant):
    before = programs.compilations
    again = posterior.sample(count_curves(COUNTS, 20), LAW, method="nuts", **OPTIONS)
    np.testing.assert_array_equal(again.params["gamma"], constant.params["gamma"])
    assert programs.compilations == before
    other = posterior.sample(count_curves(COUNTS, 20), LAW, method="nuts", seed=1, **OPTIONS)
    assert not np.array_equal(other.params["gamma"], constant.params["gamma"])


def test_fewer_points_than_parameters_leave_the_prior_to_speak():
    curves = iclbayes.Curves.from_arrays([0, 3], np.array([[0.5, 0.6]]), n_test=np.array([[20, 20]]))
    with pytest.warns(posterior.PosteriorWarning, match="fewer points than parameters"):
        one = posterior.sample(curves, "power", method="psis", max_k_hat=np.inf, **OPTIONS | {"priors": None})
    assert one.diagnostics()["n_params"][0] == 3 and one.diagnostics()["k_hat"][0] < 0.7
    alpha = np.log(one.params["alpha"]).std()
    assert 0.3 < alpha < 0.8  # hardly narrower than its prior, 0.7


def test_unknown_standard_errors_are_the_same_in_the_fit_and_in_its_densities():
    shots, p = [0, 1, 2, 4], np.array([[0.0, 0.2, 0.4, 0.6]])
    curves = iclbayes.Curves.from_arrays(shots, p)
    curves = dataclasses.replace(curves, stderr=np.array([np.nan, 0.02, 0.03, 0.05]))
    one = posterior.sample(curves, LAW, method="laplace", discrepancy=None)
    assert one.blocks[0].spec.likelihood.name == "normal"
    np.testing.assert_array_equal(one.blocks[0].units.data.stderr[0, 0, 0, :4], [0.03, 0.02, 0.03, 0.05])
    gamma, noise = (one.params[name].reshape(-1, 1) for name in ("gamma", "noise"))
    exact = stats.norm.logpdf(p, gamma, np.hypot(noise, [0.03, 0.02, 0.03, 0.05]))
    np.testing.assert_allclose(one.log_likelihood().reshape(-1, 4), exact, rtol=1e-8)


def test_hierarchy_lends_strength_to_short_curves():
    counts = np.array(
        [[12, 15, 13, 14, 13, 15], [13, 14, 14, 12, 15, 13], [14, 13, 13, 15, 14, 12], [13, 0, 0, 0, 0, 0]]
    )
    curves = count_curves(counts, 20)
    curves = curves.with_weight(np.r_[np.ones(19), np.zeros(5)])
    options = {"likelihood": "binomial", "discrepancy": None}
    alone = posterior.sample(curves, LAW, method="psis", **options)
    together = posterior.sample(curves, LAW, hierarchy="gamma", method="nuts", **options)
    width = [one.params["gamma"][..., 3, 0].std() for one in (alone, together)]
    assert width[1] < 0.8 * width[0]
    assert len(together.diagnostics()) == 1 and together.diagnostics()["ok"][0]


def test_the_former_names_still_work_and_say_so(constant):
    curves = count_curves(COUNTS, 20)
    with pytest.warns(DeprecationWarning, match=r"iclbayes\.posterior\.sample"):
        old = posterior.posterior(curves, LAW, method="laplace", **OPTIONS)
    new = posterior.sample(curves, LAW, method="laplace", **OPTIONS)
    np.testing.assert_array_equal(old.params["gamma"], new.params["gamma"])
    with pytest.warns(DeprecationWarning, match=r"Posterior\.difference"):
        table = constant.contrast(1, 0)
    pd.testing.assert_frame_equal(table, constant.difference(1, 0))


def test_never_means_not_within_the_horizon_with_and_without_a_discrepancy():
    shots = np.arange(6)
    p = np.exp(
        -(1.5 * (shots + 1.0) ** -0.4 + 0.02)
    )  # at 0.9 after 1,300 shots, more than 100 times the largest number
    curves = count_curves([np.round(2000 * p)], 2000, shots=shots)
    known = {"raw_C": np.log(1.5), "raw_alpha": np.log(0.4), "raw_E": np.log(0.02)}
    known = {name: dist.Normal(value, 1e-4) for name, value in known.items()}
    options = {"likelihood": "binomial", "method": "laplace", "priors": known}
    exact = ((-np.log(0.9) - 0.02) / 1.5) ** (-1 / 0.4) - 1
    plain = posterior.sample(curves, "power", discrepancy=None, **options)
    assert exact > 500 and plain.reach_table(0.9)["p_never"][0] == 1
    far = plain.reach_table(0.9, horizon=1e5).iloc[0]
    np.testing.assert_allclose([far["q05"], far["q50"], far["q95"]], exact, rtol=0.01)
    walk = posterior.RandomWalk(centre=np.log(1e-6), scale=1e-3)
    wandering = posterior.sample(curves, "power", discrepancy=walk, **options)
    assert wandering.reach_table(0.9)["p_never"][0] == 1
    np.testing.assert_allclose(wandering.reach_table(0.9, horizon=1e5)["q50"], exact, rtol=0.01)


def test_draws_along_a_curve_are_those_of_the_law_whatever_their_number_and_that_of_the_points():
    """Rows of a program hold so many draws and points; what fills them up must not show, nor may draws change places."""
    probs = np.linspace(0.3, 0.8, 6)[None].repeat(3, 0)
    curves = iclbayes.Curves.from_arrays(np.arange(6.0), probs, n_test=np.full(probs.shape, 100))
    one = posterior.sample(
        curves, "logistic", method="laplace", discrepancy=None, n_chains=1, n_draws=700, seed=2
    )
    params = {name: value[0, :, :, 0] for name, value in one.params.items()}  # [700, 3]
    for shots in ([4.0], np.linspace(0, 300, 17)):
        drawn = one.draws(shots)
        assert drawn.shape == (700, 3, 1, len(shots))
        for k, n in enumerate(shots):
            nll = params["L"] / (1 + ((n + 1) / params["t_0"]) ** params["kappa"]) + params["E"]
            expected = np.exp(-nll)
            np.testing.assert_allclose(drawn[:, :, 0, k], np.clip(expected, 1e-9, 1 - 1e-9), rtol=1e-9)
