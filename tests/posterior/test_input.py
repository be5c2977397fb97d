"""Mistakes of the user are named."""

import dataclasses

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from posterior_helpers import Constant, count_curves

import iclbayes
from iclbayes import InputError, posterior

LAW = Constant()
COUNTS = np.array([[3, 5, 4, 2], [18, 16, 19, 20], [9, 11, 10, 8]])  # of 20
PRIOR = {"gamma": dist.Beta(2.0, 3.0)}
OPTIONS = {"likelihood": "binomial", "priors": PRIOR, "discrepancy": None}


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
        ({"n_draws": 0}, "from 1 to"),
        ({"retries": -1}, "retries -1 is negative"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"discrepancy": "drift"}, "unknown discrepancy 'drift'"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {"law": LAW, **OPTIONS} | change
    with pytest.raises(InputError, match=message):
        posterior.sample(count_curves(COUNTS, 20), **arguments)


@pytest.mark.parametrize("law", ["logistic", "bayesian_scoring"])
def test_a_group_without_a_point_to_fit_is_named(law):
    late = pd.DataFrame(
        {"model": ["a"] * 3 + ["b"], "shots": [0, 1, 100, 90], "n_correct": [3, 4, 9, 8], "n_test": 10}
    )
    curves = iclbayes.curves_from_frame(late, group_by=["model"])
    with pytest.raises(InputError, match=r"group model=b: no point to fit at fraction 0\.1; give it more"):
        posterior.sample(curves, law, fraction=0.1)
    with pytest.raises(InputError, match=r"model=a: no point to fit.*1 more group"):
        posterior.stack(curves.with_weight(np.zeros(4)), [law])
    with pytest.raises(InputError, match="no curves"):
        none = {name: value[: int(name == "start")] for name, value in vars(curves).items()}
        posterior.sample(iclbayes.Curves(**none), law)


@pytest.mark.parametrize("law", ["logistic", "bayesian_scoring"])
@pytest.mark.parametrize("background", [-1, 1.5, 10**9])
def test_numbers_of_background_tasks_that_mean_nothing_are_refused(law, background):
    with pytest.raises(InputError, match="background"):
        posterior.sample(count_curves(COUNTS, 20), law, background=background)


def test_group_columns_are_kept_or_refused():
    curves = count_curves(COUNTS, 20)
    by_source = dataclasses.replace(curves, keys=pd.DataFrame({"source": ["x", "y", "z"]}))
    one = posterior.sample(by_source, LAW, method="laplace", **OPTIONS)
    for frame in (one.forecast([1.0]), one.reach_table(0.5), one.diagnostics(), posterior.loo(one)):
        assert list(frame["source"].unique()) == ["x", "y", "z"]
    for name in ("level", "method", "ok"):
        taken = dataclasses.replace(curves, keys=pd.DataFrame({name: [1, 2, 3]}))
        with pytest.raises(InputError, match=f"column '{name}' has a meaning"):
            posterior.sample(taken, LAW, **OPTIONS)


def test_data_that_a_likelihood_cannot_take_are_refused():
    curves = count_curves(COUNTS, 20)
    too_many = iclbayes.Curves(**{**vars(curves), "n_correct": curves.n_correct + 20})
    with pytest.raises(
        InputError, match="group=0, source=0, shots=0: the point has n_correct outside 0 to n_test"
    ):
        posterior.sample(too_many, LAW, likelihood="binomial")
    sure = iclbayes.Curves(**{**vars(curves), "stderr": np.zeros(12)})
    with pytest.raises(InputError, match="has a stderr of 0"):
        posterior.sample(sure, LAW, likelihood="normal")
    plain = iclbayes.Curves.from_arrays([0, 1], np.array([[0.0, 0.5]]))
    with pytest.raises(InputError, match="has no counts"):
        posterior.sample(plain, LAW, likelihood="beta_binomial")
    with pytest.raises(InputError, match="probability of 0 or 1"):
        posterior.sample(plain, LAW, likelihood="logit_normal")
