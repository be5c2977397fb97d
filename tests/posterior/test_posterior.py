"""Posteriors end to end: a closed form, answers, exchange, bad input."""

import dataclasses

import arviz as az
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from posterior_helpers import Constant, count_curves
from scipy import stats

import iclbayes
from iclbayes import InputError, posterior
from iclbayes.posterior import sample
from iclbayes.posterior.sampling import schedule as inference
from iclbayes.runtime import programs

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
PRIOR = {"gamma": dist.Beta(2.0, 3.0)}
OPTIONS = {"likelihood": "binomial", "priors": PRIOR, "discrepancy": None}


def exact(g):
    return stats.beta(2 + COUNTS[g].sum(), 3 + 80 - COUNTS[g].sum())


@pytest.fixture(scope="module")
def constant():
    return posterior.posterior(count_curves(COUNTS, 20), LAW, method="nuts", **OPTIONS)


@pytest.mark.parametrize("method", ["nuts", "psis", "laplace"])
def test_every_method_finds_the_beta_posterior(method, constant):
    curves = count_curves(COUNTS, 20)
    one = constant if method == "nuts" else posterior.posterior(curves, LAW, method=method, **OPTIONS)
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
    one = posterior.posterior(curves, LAW, priors=known, **options)
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
    columns = ["group", "source", "shots", "mean", "median", "lo50", "hi50", "lo90", "hi90", "law"]
    assert list(table.columns) == columns and len(table) == 6
    assert (table["lo90"] <= table["lo50"]).all() and (table["hi50"] <= table["hi90"]).all()
    scores = constant.log_score(constant.curves, most=2000)
    a, b = exact(1).args
    np.testing.assert_allclose(scores[4:8], stats.betabinom(20, a, b).logpmf(COUNTS[1]), atol=0.1)


def test_shots_to_reach_contrast_and_summary(constant):
    table = constant.reach_table(0.5)
    np.testing.assert_allclose(table["p_never"], [exact(g).cdf(0.5) for g in range(3)], atol=0.06)
    assert np.isinf(table["q95"][0]) and table["q50"][1] == 0
    contrast = constant.contrast(1, 0).iloc[0]
    assert contrast["p_positive"] == 1 and abs(contrast["mean"] - exact(1).mean() + exact(0).mean()) < 0.01
    assert constant.contrast({"group": 0}, 1, level=0.5)["p_positive"][0] > 0.9
    assert (constant.contrast(0, 0, shots=[3])["mean"] == 0).all()
    with pytest.raises(InputError, match="name exactly one"):
        constant.contrast({"group": 7}, 0)
    with pytest.raises(InputError, match="no tasks"):
        constant.task_weights([1])
    summary = constant.summary()
    np.testing.assert_allclose(summary["mean"], [exact(g).mean() for g in range(3)], atol=0.01)


def test_a_second_call_compiles_nothing_and_gives_the_same_draws(constant):
    before = programs.compilations
    again = posterior.posterior(count_curves(COUNTS, 20), LAW, method="nuts", **OPTIONS)
    np.testing.assert_array_equal(again.params["gamma"], constant.params["gamma"])
    assert programs.compilations == before
    other = posterior.posterior(count_curves(COUNTS, 20), LAW, method="nuts", seed=1, **OPTIONS)
    assert not np.array_equal(other.params["gamma"], constant.params["gamma"])


def test_inference_data_serves_arviz_and_survives_netcdf(constant, tmp_path):
    posterior.write_netcdf(constant, tmp_path / "draws.nc")
    data = posterior.read_netcdf(tmp_path / "draws.nc")
    summary = az.summary(data, var_names=["gamma"], round_to="none")
    np.testing.assert_allclose(summary["mean"], constant.params["gamma"].mean((0, 1))[:, 0], rtol=1e-6)
    with np.errstate(all="ignore"):
        loo = az.loo(data, pointwise=True, reff=1.0)
    ours = posterior.loo(constant)
    np.testing.assert_allclose(ours["elpd"], loo.loo_i, atol=1e-6)
    # Leaving out one count of a conjugate model is another beta-binomial.
    a, b = exact(0).args
    k = COUNTS[0, 1]
    np.testing.assert_allclose(ours["elpd"][1], stats.betabinom(20, a - k, b - 20 + k).logpmf(k), atol=0.1)
    with pytest.raises(InputError, match="no such file"):
        posterior.read_netcdf(tmp_path / "none.nc")


def test_groups_that_fail_are_named():
    curves = count_curves(COUNTS, 20)
    with pytest.warns(posterior.PosteriorWarning, match=r"3 of 3 .*group=0, source=0: .*ESS .*group=2"):
        one = posterior.posterior(curves, LAW, n_draws=12, n_chains=2, retries=0, **OPTIONS)
    assert not one.diagnostics()["ok"].any()


def test_fewer_points_than_parameters_leave_the_prior_to_speak():
    curves = iclbayes.Curves.from_arrays([0, 3], np.array([[0.5, 0.6]]), n_test=np.array([[20, 20]]))
    with pytest.warns(posterior.PosteriorWarning, match="fewer points than parameters"):
        one = posterior.posterior(
            curves, "power", method="psis", max_k_hat=np.inf, **OPTIONS | {"priors": None}
        )
    assert one.diagnostics()["n_params"][0] == 3 and one.diagnostics()["k_hat"][0] < 0.7
    alpha = np.log(one.params["alpha"]).std()
    assert 0.3 < alpha < 0.8  # hardly narrower than its prior, 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "cubic"}, "unknown law 'cubic'"),
        ({"likelihood": "poisson"}, "unknown likelihood 'poisson': choose auto or one of binomial"),
        ({"method": "gibbs"}, "unknown method 'gibbs'"),
        ({"priors": {"delta": dist.Normal(0.0, 1.0)}}, "unknown parameter 'delta'; known are gamma"),
        ({"hierarchy": "beta"}, "hierarchy: unknown parameter 'beta'"),
        ({"fraction": 2.0}, "fraction 2.0"),
        ({"n_walkers": 3}, "unknown option 'n_walkers'"),
        ({"n_draws": 0}, "must be at least 1"),
        ({"retries": -1}, "retries -1 is negative"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"discrepancy": "drift"}, "unknown discrepancy 'drift'"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {"law": LAW, **OPTIONS} | change
    with pytest.raises(InputError, match=message):
        posterior.posterior(count_curves(COUNTS, 20), **arguments)


def test_group_columns_are_kept_or_refused():
    curves = count_curves(COUNTS, 20)
    by_source = dataclasses.replace(curves, keys=pd.DataFrame({"source": ["x", "y", "z"]}))
    one = posterior.posterior(by_source, LAW, method="laplace", **OPTIONS)
    for frame in (one.forecast([1.0]), one.reach_table(0.5), one.diagnostics(), posterior.loo(one)):
        assert list(frame["source"].unique()) == ["x", "y", "z"]
    for name in ("level", "method", "ok"):
        taken = dataclasses.replace(curves, keys=pd.DataFrame({name: [1, 2, 3]}))
        with pytest.raises(InputError, match=f"column '{name}' has a meaning"):
            posterior.posterior(taken, LAW, **OPTIONS)


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")  # two points, three parameters
def test_what_is_left_out_of_a_forecast_is_its_later_part_in_any_order():
    shots = np.array([64, 2, 16, 8, 1, 32])
    p = np.array([[0.9, 0.3, 0.7, 0.5, 0.2, 0.8]])
    curves = iclbayes.Curves.from_arrays(shots, p, n_test=np.full((1, 6), 50))
    scores = posterior.leave_future_out(curves, ["power"], method="laplace")
    assert sorted(scores["shots"]) == [16, 32, 64]
    fitted = posterior.leave_future_out(curves, ["power"], fraction=0.25, method="laplace")
    assert sorted(fitted["shots"]) == [8, 16]
    without = curves.with_weight(np.array([1, 0, 1, 1, 0, 1.0]))  # the first two shots are not there
    assert sorted(posterior.leave_future_out(without, ["power"], method="laplace")["shots"]) == [32, 64]
    named = dataclasses.replace(curves, keys=pd.DataFrame({"power": [1]}))
    with pytest.raises(InputError, match="column 'power' is the name of a law"):
        posterior.leave_future_out(named, ["power"], method="laplace")


def test_unknown_standard_errors_are_the_same_in_the_fit_and_in_its_densities():
    shots, p = [0, 1, 2, 4], np.array([[0.0, 0.2, 0.4, 0.6]])
    curves = iclbayes.Curves.from_arrays(shots, p)
    curves = dataclasses.replace(curves, stderr=np.array([np.nan, 0.02, 0.03, 0.05]))
    one = posterior.posterior(curves, LAW, method="laplace", discrepancy=None)
    assert one.blocks[0].spec.likelihood.name == "normal"
    np.testing.assert_array_equal(one.blocks[0].layout.data.stderr[0, 0, 0, :4], [0.03, 0.02, 0.03, 0.05])
    gamma, noise = (one.params[name].reshape(-1, 1) for name in ("gamma", "noise"))
    exact = stats.norm.logpdf(p, gamma, np.hypot(noise, [0.03, 0.02, 0.03, 0.05]))
    np.testing.assert_allclose(one.log_likelihood().reshape(-1, 4), exact, rtol=1e-8)


def test_mendable_leaves_alone_what_the_number_of_draws_forbids():
    good = {"divergences": 0, "r_hat": 1.0, "e_bfmi": 1.0}
    rows = [good, good | {"divergences": 2}, good | {"r_hat": 1.2}, good | {"e_bfmi": 0.1}]
    short = [good | {"r_hat": np.nan, "divergences": d} for d in (0, 1)]
    checks = pd.DataFrame([*rows, *short])
    found = inference.diagnostics.mendable(checks, 180)
    assert list(found) == [False, True, True, True, False, True]
    assert list(inference.diagnostics.mendable(checks, 400)) == [True, True, True, True, False, True]


def test_one_point_weighs_all_laws_alike_and_reaches_a_level_some_day():
    curves = iclbayes.Curves.from_arrays([0], np.array([[0.3]]), n_test=np.array([[50]]))
    with pytest.warns(posterior.PosteriorWarning, match="all weigh the same"):
        weights = posterior.forecast_weights(curves, ["power", "logistic"])
    np.testing.assert_array_equal(weights, [0.5, 0.5])
    with pytest.warns(posterior.PosteriorWarning, match="prior speaks"):
        one = posterior.posterior(curves, "logistic", method="laplace")
    assert 0 < one.reach_table(0.5)["p_never"][0] < 1


def test_energies_are_judged_before_they_are_thinned(monkeypatch):
    """Thinned energies look more independent than they were: a chain twice as long must not pass by that alone."""
    seen = []

    def watch(energy):
        seen.append(energy.shape[-1])
        return np.full(energy.shape[:-1], 0.1 if len(seen) < 3 else 1.0)

    monkeypatch.setattr(inference.diagnostics, "e_bfmi", watch)
    monkeypatch.setattr(inference.diagnostics, "MAX_RHAT", 0.0)  # so that chains are made longer
    with pytest.warns(posterior.PosteriorWarning, match="R-hat"):
        one = posterior.posterior(count_curves(COUNTS, 20), LAW, n_draws=100, retries=1, **OPTIONS)
    assert seen == [100, 200] and one.blocks[0].energy.shape == (3, 4, 100)
    assert (one.diagnostics()["e_bfmi"] == 0.1).all()


def test_too_few_draws_for_the_diagnostics_are_not_drawn_again(monkeypatch):
    calls = []
    real = inference._nuts
    monkeypatch.setattr(inference, "_nuts", lambda *a: calls.append(1) or real(*a))
    monkeypatch.setattr(inference.diagnostics, "MAX_RHAT", 2.0)
    for few in ({"n_draws": 5}, {"n_draws": 50, "n_chains": 2}):  # no R-hat; no ESS of 200
        with pytest.warns(posterior.PosteriorWarning, match="poor diagnostics"):
            posterior.posterior(count_curves(COUNTS, 20), LAW, **few, **OPTIONS)
    assert len(calls) == 2


def test_data_that_a_likelihood_cannot_take_are_refused():
    curves = count_curves(COUNTS, 20)
    too_many = iclbayes.Curves(**{**vars(curves), "n_correct": curves.n_correct + 20})
    with pytest.raises(
        InputError, match="group=0, source=0, shots=0: the point has n_correct outside 0 to n_test"
    ):
        posterior.posterior(too_many, LAW, likelihood="binomial")
    sure = iclbayes.Curves(**{**vars(curves), "stderr": np.zeros(12)})
    with pytest.raises(InputError, match="has a stderr of 0"):
        posterior.posterior(sure, LAW, likelihood="normal")
    plain = iclbayes.Curves.from_arrays([0, 1], np.array([[0.0, 0.5]]))
    with pytest.raises(InputError, match="has no counts"):
        posterior.posterior(plain, LAW, likelihood="beta_binomial")
    with pytest.raises(InputError, match="probability of 0 or 1"):
        posterior.posterior(plain, LAW, likelihood="logit_normal")


def test_hierarchy_lends_strength_to_short_curves():
    counts = np.array(
        [[12, 15, 13, 14, 13, 15], [13, 14, 14, 12, 15, 13], [14, 13, 13, 15, 14, 12], [13, 0, 0, 0, 0, 0]]
    )
    curves = count_curves(counts, 20)
    curves = curves.with_weight(np.r_[np.ones(19), np.zeros(5)])
    options = {"likelihood": "binomial", "discrepancy": None}
    alone = posterior.posterior(curves, LAW, method="psis", **options)
    together = posterior.posterior(curves, LAW, hierarchy="gamma", method="nuts", **options)
    width = [one.params["gamma"][..., 3, 0].std() for one in (alone, together)]
    assert width[1] < 0.8 * width[0]
    assert len(together.diagnostics()) == 1 and together.diagnostics()["ok"][0]


def test_sampling_settings_are_checked():
    with pytest.raises(InputError, match="target_accept"):
        sample.SamplerOptions(target_accept=1.5)
