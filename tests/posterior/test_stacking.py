"""Leave-future-out, stacking weights, the mixture of laws."""

import contextlib
import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import iclbayes
from iclbayes import InputError, posterior
from iclbayes.posterior import stacking

# The normal approximation stands here for any draws; that its k-hat is poor is not the question.
pytestmark = pytest.mark.filterwarnings("ignore:.*poor diagnostics:iclbayes.posterior.PosteriorWarning")

RNG = np.random.default_rng(0)


def test_stacking_weights_maximise_the_held_out_log_density():
    elpd = RNG.normal(size=(50, 3)) + np.array([0.0, 0.4, -2.0])
    weights = stacking.stacking_weights(elpd, prior=0.0, steps=5000)

    def loss(free):
        w = np.exp(np.r_[free, 0.0])
        return -np.log(np.exp(elpd) @ (w / w.sum())).sum()

    best = optimize.minimize(loss, np.zeros(2)).fun
    assert -np.log(np.exp(elpd) @ weights).sum() <= best + 1e-3
    np.testing.assert_allclose(weights.sum(), 1.0)
    even = stacking.stacking_weights(elpd, prior=1e6)
    np.testing.assert_allclose(even, 1 / 3, atol=1e-3)


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


def test_one_point_weighs_all_laws_alike_and_reaches_a_level_some_day():
    curves = iclbayes.Curves.from_arrays([0], np.array([[0.3]]), n_test=np.array([[50]]))
    with pytest.warns(posterior.PosteriorWarning, match="all weigh the same"):
        weights = posterior.forecast_weights(curves, ["power", "logistic"])
    np.testing.assert_array_equal(weights, [0.5, 0.5])
    with pytest.warns(posterior.PosteriorWarning, match="prior speaks"):
        one = posterior.sample(curves, "logistic")
    assert 0 < one.reach_table(0.5)["p_never"][0] < 1


@pytest.fixture(scope="module")
def power_counts():
    """Counts of one power law, and the two laws' stack of its first part."""
    shots = np.array([0, 1, 2, 4, 7, 12, 20, 35, 60, 100])
    p = np.exp(-(1.2 * (shots + 1.0) ** -0.6 + 0.2))
    curves = iclbayes.Curves.from_arrays(shots, np.round(400 * p)[None] / 400, n_test=np.full((1, 10), 400))
    steps = []

    @contextlib.contextmanager
    def watch(step):
        steps.append(step)
        yield lambda n: steps.append(n)

    options = {"likelihood": "binomial", "discrepancy": None, "method": "auto", "n_draws": 250}
    one = posterior.stack(curves, ("power", "logistic"), fraction=0.35, watch=watch, **options)
    return curves, one, steps, options


def test_a_stack_is_the_laws_posteriors_and_their_weights_by_leave_future_out(power_counts):
    curves, one, steps, options = power_counts
    assert steps == ["power", 1, "logistic", 1, "stacking"]
    alone = posterior.sample(curves, "logistic", fraction=0.35, **options)
    np.testing.assert_array_equal(one.posteriors[1].params["L"], alone.params["L"])
    weighed_by = options | {"method": "auto"}
    weights = posterior.forecast_weights(curves, ("power", "logistic"), fraction=0.35, **weighed_by)
    np.testing.assert_allclose(one.weights, weights)
    assert one.weights.sum() == pytest.approx(1) and one.weights.min() > 0
    single = posterior.stack(curves, ("power",), fraction=0.35, **options)
    np.testing.assert_array_equal(single.weights, [1.0])
    with pytest.raises(InputError, match="no law"):
        posterior.stack(curves, ())


def test_predictions_of_a_stack_are_a_mixture_with_its_weights(power_counts):
    curves, one, *_ = power_counts
    at = np.array([50.0, 400.0])
    mixed = dataclasses.replace(one, weights=np.array([0.25, 0.75]), most=800)
    parts = [law.draws(at, most=800) for law in mixed.posteriors]
    draws = mixed.draws(at)
    assert draws.shape == (800, 1, 1, 2)
    assert set(draws[:200].ravel()) <= set(parts[0].ravel()) and set(draws[200:].ravel()) <= set(
        parts[1].ravel()
    )
    # Distribution functions of a mixture add up.
    level = 0.6
    shares = [np.mean(law.shots_to_reach(level) > 20) for law in mixed.posteriors]
    reach = mixed.shots_to_reach(level)
    assert reach.shape == (800, 1, 1)
    np.testing.assert_allclose(np.mean(reach > 20), shares @ mixed.weights, atol=0.02)
    table = mixed.reach_table(level)
    np.testing.assert_allclose(table["q50"], np.median(reach), rtol=0.02)
    assert table["law"][0] == "stacked" and table["p_never"][0] == np.isinf(reach).mean()
    assert table["horizon"][0] == 10_000
    ahead = mixed.forecast(at)
    np.testing.assert_allclose(ahead["latent_median"], np.median(draws[:, 0, 0], 0))
    assert ahead["observed"].isna().all() and (ahead["hi90"] > ahead["latent_hi90"]).all()
    forecast = mixed.forecast(curves)
    assert list(forecast["shots"]) == list(curves.shots) and set(forecast["law"]) == {"stacked"}
    sure = dataclasses.replace(one, weights=np.array([1.0, 0.0]), most=100)
    np.testing.assert_array_equal(sure.draws(at), one.posteriors[0].draws(at, most=100))
