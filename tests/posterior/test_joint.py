"""Posteriors of groups with several sources: known truth, weights of the tasks, hierarchy."""

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import posterior

SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
GAMMA, BETA, RHO = np.array([0.9, 0.8]), np.array([0.3, 0.2]), np.array([0.2, 0.8])
TESTS = 2000
OPTIONS = {
    "likelihood": "binomial",
    "discrepancy": None,
    "method": "psis",
    "n_draws": 250,
    "max_k_hat": np.inf,
}
# Curves of two points: k-hat and the number of points are warned of, and widths that differ twofold need no better draws.
FEW = pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")


def weights(rho, k, gamma, beta, n):
    """w_jm(n) ∝ ρ_m P[j, m]^(K n) with P[j, j] = γ_j and β_j elsewhere: [J, M, n], by the formula itself."""
    p = np.where(np.eye(2, dtype=bool), gamma[:, None], beta[:, None])
    odds = rho[:, None] * p[..., None] ** (k * n)
    return odds / odds.sum(1, keepdims=True), p


def simulate(efficiencies, sources="ab", shots=SHOTS, seed=0):
    """Curves of the scoring law: a group per efficiency, two sources each."""
    rng = np.random.default_rng(seed)
    rows = []
    for g, k in enumerate(efficiencies):
        w, p = weights(RHO, k, GAMMA, BETA, shots)
        mean = (w * p[..., None]).sum(1)
        for j, name in enumerate("ab"):
            counts = rng.binomial(TESTS, mean[j])
            table = {"group": g, "source": name, "shots": shots, "n_correct": counts, "n_test": TESTS}
            rows.append(pd.DataFrame(table))
    table = pd.concat(rows)
    table = table[table["source"].isin(list(sources))]
    return iclbayes.curves_from_frame(table, group_by=["group"], source="source")


@pytest.fixture(scope="module")
def two_sources():
    return posterior.sample(simulate([0.15]), "bayesian_scoring", **OPTIONS)


def test_sources_of_a_group_share_its_prior_and_efficiency_and_the_truth_is_recovered(two_sources):
    params = two_sources.params
    assert params["prior"].shape == (4, 250, 1, 2) and params["efficiency"].shape == (4, 250, 1)
    assert params["gamma"].shape == params["beta"].shape == (4, 250, 1, 2)
    assert len(two_sources.diagnostics()) == 1
    truth = {"prior": RHO, "efficiency": np.array(0.15), "gamma": GAMMA, "beta": BETA}
    for name, value in truth.items():
        draws = params[name].reshape(1000, *value.shape)
        assert (np.abs(draws.mean(0) - value) < 4 * draws.std(0)).all(), name
        assert (draws.std(0) < 0.25 * value).all(), name


@FEW
def test_the_other_source_tells_of_a_curve_seen_at_few_shots():
    seen = np.r_[np.ones(8), np.ones(2), np.zeros(6)]  # source b at 0 and 1 shots alone
    joint = posterior.sample(simulate([0.15]).with_weight(seen), "bayesian_scoring", **OPTIONS)
    alone = posterior.sample(
        simulate([0.15], sources="b").with_weight(seen[8:]), "bayesian_scoring", **OPTIONS
    )
    width = [np.log(one.params["efficiency"]).std() for one in (joint, alone)]
    assert width[0] < 0.5 * width[1]


def test_posterior_of_the_task_weights_is_the_formula_at_every_draw(two_sources):
    at = np.array([0.0, 3.0, 20.0])
    found = two_sources.task_weights(at)
    assert found.shape == (1000, 1, 2, 2, 3)
    flat = {name: value.reshape(1000, *value.shape[3:]) for name, value in two_sources.params.items()}
    for s in (0, 137, 999):
        expected, _ = weights(flat["prior"][s], flat["efficiency"][s], flat["gamma"][s], flat["beta"][s], at)
        np.testing.assert_allclose(found[s, 0], expected, rtol=1e-6)
    truth, _ = weights(RHO, 0.15, GAMMA, BETA, at)
    low, high = np.quantile(found[:, 0], [0.0005, 0.9995], axis=0)
    assert ((low <= truth) & (truth <= high)).all()
    np.testing.assert_allclose(found.sum(3), 1.0)


@FEW
def test_groups_of_a_joint_law_lend_each_other_strength():
    curves = simulate([0.15, 0.14, 0.16, 0.15, 0.15])
    group = curves.group[curves.point_curve()]
    curves = curves.with_weight(
        ((group < 4) | (curves.shots < 2)).astype(float)
    )  # the last at 0 and 1 shots alone
    alone = posterior.sample(curves, "bayesian_scoring", **OPTIONS)
    # Of the hierarchy's 34 parameters importance sampling gets a dozen distinct draws (k-hat 3): chains.
    chains = OPTIONS | {"method": "nuts", "n_warmup": 150, "retries": 0}
    together = posterior.sample(curves, "bayesian_scoring", hierarchy=("efficiency", "prior"), **chains)
    assert len(together.diagnostics()) == 1 and len(alone.diagnostics()) == 5
    assert together.params["efficiency"].shape == (4, 250, 5) == alone.params["efficiency"].shape
    width = [np.log(one.params["efficiency"][..., 4]).std() for one in (together, alone)]
    assert width[0] < 0.6 * width[1]
    draws = np.log(together.params["efficiency"][..., 4])
    assert abs(draws.mean() - np.log(0.15)) < 3 * draws.std()
