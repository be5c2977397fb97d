"""Fits of curves made of known parameters give them back; losses are as low as SciPy's."""

import jax
import numpy as np
import pytest
from fit_helpers import POINTS, curves_of, group_truth
from scipy import optimize

import iclbayes
from iclbayes import laws
from iclbayes.errors import InputError
from iclbayes.fitting import Status


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["bayesian_scoring", "bayesian_sampling"])
def test_joint_laws_give_back_their_parameters(name):
    rng = np.random.default_rng(0)
    law = laws.get(name)
    truth = group_truth(rng, 16)
    curves, mean = curves_of(law, truth, 0.01, rng)
    fits = iclbayes.fit(curves, law)
    assert (fits.status == Status.CONVERGED).all()
    # Noise 0.01 on 48 points leaves errors of a few thousandths on plateaus; z-scores below say that more sharply.
    np.testing.assert_allclose(fits.params["gamma"], truth["gamma"], atol=0.03)
    np.testing.assert_allclose(fits.params["beta"], truth["beta"], atol=0.06)
    np.testing.assert_allclose(fits.params["prior"], truth["prior"], atol=0.12)
    np.testing.assert_allclose(fits.params["efficiency"], truth["efficiency"], rtol=0.15)
    error = np.abs(fits.predict(np.arange(POINTS)) - mean) / fits.predict_stderr(np.arange(POINTS))
    assert error.max() < 5
    assert np.sqrt(np.mean(fits.loss)) == pytest.approx(0.01, rel=0.1)
    z = np.concatenate([((fits.params[k] - truth[k]) / fits.stderr[k]).reshape(-1) for k in truth])
    assert 0.7 < z.std() < 1.3  # standard errors are of the right size


def test_original_law_gives_back_the_curve():
    """Its matrix is not identified from pure curves, its curves are."""
    rng = np.random.default_rng(1)
    law = laws.bayesian_original
    truth = group_truth(rng, 8)
    probs = np.where(np.eye(3, dtype=bool), truth["gamma"][:, :, None], truth["beta"][:, :, None])
    params = {"prior": truth["prior"], "efficiency": truth["efficiency"], "probs": probs}
    curves, mean = curves_of(law, params, 0.01, rng)
    fits = iclbayes.fit(curves, law)
    np.testing.assert_allclose(fits.predict(np.arange(POINTS)), mean, atol=0.02)
    assert np.sqrt(fits.loss.max()) < 0.0115


@pytest.mark.parametrize("name", ["power", "bounded_power", "logistic"])
def test_baselines_give_back_the_curve(name):
    rng = np.random.default_rng(2)
    law = laws.get(name)
    draw = {
        "C": rng.uniform(0.8, 2, (24, 1)),
        "L": rng.uniform(0.8, 2, (24, 1)),
        "alpha": rng.uniform(0.4, 1.2, (24, 1)),
        "kappa": rng.uniform(1, 2, (24, 1)),
        "t_c": rng.uniform(3, 12, (24, 1)),
        "t_0": rng.uniform(3, 12, (24, 1)),
        "E": rng.uniform(0.1, 0.4, (24, 1)),
    }
    params = {k: draw[k] for k in law.param_names}
    curves, mean = curves_of(law, params, 0.01, rng)
    fits = iclbayes.fit(curves, law)
    # Four parameters on 48 points: an error of about 0.01 √(4/48) = 0.003.
    assert np.sqrt(np.mean((fits.predict(np.arange(POINTS)) - mean) ** 2)) < 0.0045
    if name == "logistic":
        for key in ("L", "kappa", "t_0", "E"):
            assert (np.abs(fits.params[key] - params[key]) < 4 * fits.stderr[key]).all()
            assert np.median(np.abs(fits.params[key] - params[key]) / params[key]) < 0.1


def test_mixed_contexts_give_back_their_parameters():
    rng = np.random.default_rng(10)
    truth = {k: v[0] for k, v in group_truth(rng, 1).items()}
    counts, query = rng.integers(0, 20, (200, 3)), rng.integers(0, 3, 200)
    with jax.enable_x64(True):
        prob = np.asarray(laws.mean_mixed(laws.bayesian_sampling, truth, counts, query))
    prob = np.clip(prob + 0.005 * rng.standard_normal(200), 0, 1)
    result = iclbayes.fit_mixed("bayesian_sampling", counts, query, prob)
    assert result.status == Status.CONVERGED
    for key, value in truth.items():
        np.testing.assert_allclose(result.params[key], value, rtol=0.1, atol=0.02)
    with pytest.raises(InputError, match="context 1 is out of range"):
        iclbayes.fit_mixed("bayesian_sampling", counts, np.r_[0, 7, query[2:]], prob)


def test_the_exact_heterogeneous_law_finds_jumps_and_what_made_a_curve():
    """A jump between the first two of many decades of shots, which a wide spread can almost imitate; and known parameters."""
    law, shots = laws.bayesian_heterogeneous_exact, np.r_[0, np.geomspace(1, 1e6, 19).round()]
    truth = {"prior": np.array([0.05, 0.95]), "efficiency": np.array(0.02), "spread": np.array(1.3)}
    truth |= {"gamma": np.array([0.8]), "beta": np.array([0.2])}
    with jax.enable_x64(True):
        made = np.asarray(law.mean(truth, shots))[0]
    curves = [np.r_[0.1, np.full(19, top)] for top in (0.5, 0.6, 0.9)]
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, np.array([*curves, made])), law)
    assert (fits.loss[:3] < 1e-7).all() and (fits.params["spread"][:3] < 2).all()
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, made[None]), law, ridge=0)
    for name, value in truth.items():
        np.testing.assert_allclose(fits.params[name][0], value, rtol=0.01)


def test_loss_is_as_low_as_scipys_from_the_truth():
    rng = np.random.default_rng(3)
    law = laws.logistic
    params = {"L": 1.5, "kappa": 1.4, "t_0": 8.0, "E": 0.2}
    params = {k: np.full((24, 1), v) for k, v in params.items()}
    curves, _ = curves_of(law, params, 0.02, rng)
    fits = iclbayes.fit(curves, law)
    t = np.arange(POINTS) + 1.0

    def curve(t, big, kappa, t_0, floor):
        return np.exp(-(np.exp(big) / (1 + (t / np.exp(t_0)) ** np.exp(kappa)) + np.exp(floor)))

    for i in range(24):
        y = curves.prob[curves.start[i] : curves.start[i + 1]]
        start = np.log([1.5, 1.4, 8.0, 0.2])
        best, _ = optimize.curve_fit(curve, t, y, p0=start, maxfev=5000, ftol=1e-12, xtol=1e-12)
        assert fits.loss[i, 0] <= np.mean((curve(t, *best) - y) ** 2) * (1 + 1e-6)
