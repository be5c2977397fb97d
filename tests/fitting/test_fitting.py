"""The fitting engine against known truths, SciPy, and itself run another way."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import iclbayes
from iclbayes import laws
from iclbayes.errors import InputError
from iclbayes.fitting import LOSSES, Status, levenberg_marquardt
from iclbayes.fitting.linear_algebra import (
    invert_positive_definite,
    largest_eigenvalue,
    solve_positive_definite,
)
from iclbayes.runtime import programs

POINTS = 48  # one length for most tests: a law then compiles once


def group_truth(rng, n_groups, n_curves=3):
    """Identifiable parameters of joint laws, and their curves on 0 … 47 shots."""
    prior = rng.dirichlet(np.full(n_curves, 6.0), n_groups)
    gamma = rng.uniform(0.6, 0.95, (n_groups, n_curves))
    beta = gamma * rng.uniform(0.2, 0.5, (n_groups, n_curves))
    efficiency = rng.uniform(0.1, 0.3, n_groups)
    return {"prior": prior, "efficiency": efficiency, "gamma": gamma, "beta": beta}


def curves_of(law, params, noise, rng, points=POINTS):
    with jax.enable_x64(True):
        mean = jax.vmap(law.mean, (0, None))(params, jnp.arange(points, dtype=float))
    prob = np.clip(np.asarray(mean) + noise * rng.standard_normal(mean.shape), 0, 1)
    return iclbayes.Curves.from_arrays(np.arange(points), prob), np.asarray(mean)


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


@pytest.mark.parametrize("optimizer", [optax.lbfgs(), optax.adam(0.1)], ids=["lbfgs", "adam"])
def test_other_optimizers_run_in_the_same_loop(optimizer):
    rng = np.random.default_rng(7)
    params = {"C": np.full((4, 1), 1.2), "alpha": np.full((4, 1), 0.7), "E": np.full((4, 1), 0.3)}
    curves, _ = curves_of(laws.power, params, 0.01, rng, points=16)
    best = iclbayes.fit(curves, "power")
    other = iclbayes.fit(curves, "power", optimizer=optimizer, n_starts=4, max_steps=600)
    assert (other.status != Status.FAILED).all()
    np.testing.assert_allclose(other.loss, best.loss, rtol=0.02)
    assert (best.loss <= other.loss * (1 + 1e-6)).all()


def test_levenberg_marquardt_is_an_optax_optimizer_of_its_own():
    """Rosenbrock's residuals, by the textbook loop: value and curvature in, updates out."""
    with jax.enable_x64(True):
        residual = lambda p: jnp.array([10 * (p["y"] - p["x"] ** 2), 1 - p["x"]])  # noqa: E731
        tx = levenberg_marquardt()
        params = {"x": jnp.array(-1.2), "y": jnp.array(1.0)}
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            flat, unravel = jax.flatten_util.ravel_pytree(params)
            r, jac = residual(params), jax.jacobian(lambda f: residual(unravel(f)))(flat)
            grads = unravel(2 * jac.T @ r)
            updates, state = tx.update(grads, state, params, value=r @ r, gram=2 * jac.T @ jac)
            return optax.apply_updates(params, updates), state

        for _ in range(60):
            params, state = step(params, state)
        assert bool(state.converged)
        np.testing.assert_allclose([params["x"], params["y"]], [1.0, 1.0], atol=1e-6)


def test_levenberg_marquardt_steps_a_batch_as_vmap_does():
    """Six small least-squares problems at once, some at the box, one at a value that is no number."""
    rng = np.random.default_rng(3)
    jac, target = rng.standard_normal((6, 5, 3)), 40 * rng.standard_normal((6, 5))

    def look(theta):  # [P, B]
        r = np.einsum("bnp,pb->bn", jac, theta) - target
        value, gram = (r**2).sum(1), 2 * np.einsum("bnp,bnq->pqb", jac, jac)
        return value, 2 * np.einsum("bnp,bn->pb", jac, r), gram

    with jax.enable_x64(True):
        tx = levenberg_marquardt(box=8.0)
        last = lambda tree: jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), tree)  # noqa: E731
        start = jnp.asarray(rng.standard_normal((3, 6)))
        state = other = last(jax.vmap(tx.init)(start.T))
        theta = alike = start

        def single(g, s, t, v, h):
            return tx.update(g, s, t, value=v, gram=h)

        direct, mapped = jax.jit(single), jax.jit(jax.vmap(single, in_axes=-1, out_axes=-1))
        for i in range(12):
            value, grad, gram = (jnp.asarray(a) for a in look(np.asarray(theta)))
            value = jnp.where((jnp.arange(6) == 2) & (i == 3), jnp.nan, value)
            updates, state = direct(grad, state, theta, value, gram)
            expected, other = mapped(grad, other, alike, value, gram)
            np.testing.assert_allclose(updates, expected, rtol=1e-9, atol=1e-12)
            theta, alike = theta + updates, alike + expected
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert bool(state.converged.all())
        for b in range(6):
            found = optimize.lsq_linear(jac[b], target[b], bounds=(-8, 8))
            np.testing.assert_allclose(state.value[b], 2 * found.cost, rtol=1e-5)
        assert (np.abs(state.centre) == 8).any()


def test_padding_and_held_out_points_do_not_count():
    rng = np.random.default_rng(8)
    curves, _ = curves_of(laws.bayesian_scoring, group_truth(rng, 4), 0.01, rng)
    spoiled = np.where(curves.within(0.5), curves.prob, 0.0)
    half = iclbayes.fit(curves, fraction=0.5)
    again = iclbayes.fit(dataclasses.replace(curves, prob=spoiled), fraction=0.5)
    np.testing.assert_array_equal(half.loss, again.loss)


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


def test_condition_is_that_of_the_scaled_gauss_newton_matrix():
    rng = np.random.default_rng(15)
    shots = np.arange(POINTS)
    params = {
        "C": np.array([[1.2], [0.4]]),
        "alpha": np.array([[0.7], [2.0]]),
        "E": np.array([[0.3], [0.05]]),
    }
    curves, _ = curves_of(laws.power, params, 0.01, rng)
    fits = iclbayes.fit(curves, "power")
    found = fits.diagnostics()["condition"].to_numpy()
    for g in range(2):
        raw = np.log([fits.params[name][g, 0] for name in ("C", "alpha", "E")])

        def mean(raw):
            c, alpha, e = np.exp(raw)
            return np.exp(-(c * (shots + 1.0) ** -alpha + e))

        step = 1e-6 * np.eye(3)
        jac = np.stack([(mean(raw + s) - mean(raw - s)) / 2e-6 for s in step], axis=1)
        jac /= np.linalg.norm(jac, axis=0)
        assert found[g] == pytest.approx(
            np.linalg.cond(jac.T @ jac), rel=0.1
        )  # power iteration stops a little short


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


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_have_the_slope_they_say(loss):
    with jax.enable_x64(True):
        function = LOSSES[loss]
        p, y = jnp.linspace(0.05, 0.9, 30), jnp.linspace(0.9, 0.1, 30)
        _, slope, curvature = function(p, y)
        up, down = function(p + 1e-6, y)[0], function(p - 1e-6, y)[0]
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-5, atol=1e-7)
        assert (curvature > 0).all()


def test_binomial_loss_is_the_maximum_likelihood_fit():
    rng = np.random.default_rng(11)
    n_test = np.array([50, 200, 30, 400, 100, 80, 60, 500])
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    truth = np.exp(-(1.2 * (shots + 1.0) ** -0.5 + 0.2))
    table = pd.DataFrame({"shots": shots, "n_correct": rng.binomial(n_test, truth), "n_test": n_test})
    fits = iclbayes.fit(iclbayes.curves_from_frame(table), "power", loss="binomial")

    def negative(theta):
        c, alpha, e = np.exp(theta)
        p = np.exp(-(c * (shots + 1.0) ** -alpha + e))
        return -stats.binom.logpmf(table["n_correct"], n_test, p).sum()

    found = {k: v[0, 0] for k, v in fits.params.items()}
    ours = negative(np.log([found["C"], found["alpha"], found["E"]]))
    best = optimize.minimize(
        negative, np.log([1.2, 0.5, 0.2]), method="Nelder-Mead", options={"maxiter": 4000}
    )
    assert ours <= best.fun + 1e-4


finite = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-12, 1 - 1e-12])
hostile = st.lists(
    st.tuples(st.integers(0, 10**6), finite, st.sampled_from([0.0, 1.0, 1e-9, 1e6])), min_size=1, max_size=8
)
CONSTANT = [(n, 1.0, 1.0) for n in range(8)]
STEP = [(n, float(n >= 4), 1.0) for n in range(8)]
FALLING = [(n, 0.9 - 0.1 * n, 1.0) for n in range(8)]


HOSTILE = ["bayesian_scoring", "bayesian_heterogeneous", "bayesian_heterogeneous_exact", "power", "logistic"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_curves_never_give_a_nan(name):
    """Constant 0 or 1, one point, duplicates, 10⁶ shots, noise, steps, falling, probabilities of 1e-12, weights of 0."""
    rows = [CONSTANT, STEP, FALLING, [(n, 0.0, 1.0) for n in range(8)], [(5, 0.5, 1.0)], [(3, 0.2, 0.0)]]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(hostile, min_size=2, max_size=2))
    def check(drawn):
        cases = rows + drawn
        shots, prob, weight = np.zeros((8, 8)), np.zeros((8, 8)), np.zeros((8, 8))
        for i, case in enumerate(cases):
            for j, (n, p, w) in enumerate(case):
                shots[i, j], prob[i, j], weight[i, j] = n, p, w
        fitted = hostile_fit(name)(shots, prob, weight)
        has_data = weight.sum(1) > 0
        assert (np.asarray(fitted.status)[~has_data] == Status.NO_DATA).all()
        assert (np.asarray(fitted.status)[has_data] != Status.NO_DATA).all()
        good = has_data & (np.asarray(fitted.status) != Status.FAILED)
        assert good.sum() == has_data.sum()
        for leaf in (
            *fitted.params.values(),
            fitted.loss,
            fitted.grad_norm,
            fitted.condition,
            fitted.covariance,
        ):
            assert not np.isnan(np.asarray(leaf)[good]).any()
        assert (np.asarray(fitted.loss)[good] <= 1.0 + 1e-9).all()

    check()


@functools.cache
def hostile_fit(name):
    fit = jax.vmap(functools.partial(iclbayes.fit_curve, laws.get(name), n_starts=4))

    def run(*arrays):
        with jax.enable_x64(True):
            return jax.device_get(compiled(*(jnp.asarray(a, jnp.float64) for a in arrays)))

    compiled = jax.jit(fit)
    return run


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


def test_an_unidentified_fit_is_visible_under_a_ridge():
    rng = np.random.default_rng(12)
    flat = 0.5 + 0.001 * rng.standard_normal((2, POINTS))
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(POINTS), flat), "bayesian_heterogeneous")
    assert (fits.diagnostics()["condition"] > 1e8).all()
    rising = (
        0.2 + 0.6 / (1 + np.exp(-(np.arange(POINTS) - 15) / 4)) + 0.001 * rng.standard_normal((2, POINTS))
    )
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(POINTS), rising), "bayesian_heterogeneous")
    assert (fits.diagnostics()["condition"] < 1e8).all()


@pytest.mark.parametrize("size", [3, 8, 15, 30])
def test_small_linear_algebra_is_numpys(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((4, size, size + 4))
    a, b = root @ root.transpose(0, 2, 1), rng.standard_normal((4, size))
    with jax.enable_x64(True):
        x = jax.jit(jax.vmap(solve_positive_definite))(a, b)
        inverse = jax.jit(jax.vmap(invert_positive_definite))(a)
        largest = jax.jit(jax.vmap(largest_eigenvalue))(a)
        np.testing.assert_allclose(x, np.linalg.solve(a, b[..., None])[..., 0], rtol=1e-8)
        np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(largest, np.linalg.eigvalsh(a)[:, -1], rtol=0.05)


EIGHT = """
import sys
import jax, numpy as np, iclbayes
from iclbayes.runtime import use_compilation_cache
use_compilation_cache(sys.argv[1])
rng = np.random.default_rng(0)
n = np.arange(16)
prob = 0.2 + 0.6 / (1 + np.exp(-(n - 5 - rng.uniform(0, 3, (20, 1))) / 2)) + 0.01 * rng.standard_normal((20, 16))
fits = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "power", n_starts=4)
print(len(jax.local_devices()))
np.save(sys.argv[2], np.concatenate([fits.loss, *fits.params.values()], axis=1))
"""


def test_eight_devices_give_the_result_of_one(tmp_path):
    results = []
    for count in (1, 8):
        flags = f"--xla_force_host_platform_device_count={count}"
        out = tmp_path / f"{count}.npy"
        cache = jax.config.jax_compilation_cache_dir
        done = subprocess.run(
            [sys.executable, "-c", EIGHT, cache, str(out)],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(count)]
        results.append(np.load(out))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
