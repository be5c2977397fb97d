"""Laws with two stages: what their parameters mean, whether they come back, whether first guesses find the lowest loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes import laws

GRIDS = (
    np.array([0.0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]),
    np.array([1.0, 2, 5, 10, 20, 25, 50, 75, 100, 200, 250, 500, 750]),
    np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]),
)
STAGED = {
    "t_format": np.array([3.0]),
    "kappa_format": np.array([2.0]),
    "L": np.array([0.8]),
    "t_task": np.array([100.0]),
    "kappa_task": np.array([1.5]),
    "E": np.array([0.15]),
}
LEVELS = {
    "efficiency": np.array([1.5]),
    "t_format": np.array([3.0]),
    "t_task": np.array([100.0]),
    "p_task": np.array([0.85]),
    "p_format": np.array([0.4]),
    "p_none": np.array([0.04]),
}
TRUTHS = {"staged": STAGED, "bayesian_staged": LEVELS}


def simulated(law, count, seed=3, noises=(0.0, 0.01, 0.03)):
    """Curves with parameters drawn about the ridge's centres (0.8 of its scales), on three grids, clean and noisy."""
    rng = np.random.default_rng(seed)
    frames = []
    with jax.enable_x64(True):
        for i in range(count):
            raw = {
                name: np.array([c + 0.8 * s * rng.standard_normal()]) for name, (c, s) in law.ridge_at.items()
            }
            shots = GRIDS[i % 3]
            prob = np.asarray(law.mean_raw(raw, shots))[0] + noises[i // 3 % 3] * rng.standard_normal(
                len(shots)
            )
            frames.append(pd.DataFrame({"curve": i, "shots": shots, "prob": np.clip(prob, 0, 1)}))
    return iclbayes.curves_from_frame(pd.concat(frames), group_by=["curve"])


def objective(fits):
    """Mean squared error and ridge [curves], from the definition."""
    out = np.empty(fits.curves.n_curves)
    used = np.bincount(fits.curves.point_curve(), fits.curves.weight > 0, fits.curves.n_curves)
    for block in fits.blocks:
        pull = np.zeros(len(block.curves))
        for name, (centre, scale) in fits.law.ridge_at.items():
            pull += ((np.asarray(block.result.raw[name])[:, 0] - centre) / scale) ** 2
        index = block.curves[:, 0]
        out[index] = np.asarray(block.result.loss) + fits.law.ridge**2 / used[index] * pull
    return out


@pytest.mark.parametrize("name", list(TRUTHS))
def test_parameters_come_back_from_simulated_curves(name):
    """Of 3,000 shots of a clean curve, without the ridge; then with it and noise, which leaves a few percent."""
    law, shots = laws.get(name), np.unique(np.round(np.geomspace(1, 3000, 60))) - 1
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        clean = np.asarray(law.mean(TRUTHS[name], shots))[0]
    noisy = clean + 0.004 * rng.standard_normal((8, len(shots)))
    exact = iclbayes.fit(iclbayes.Curves.from_arrays(shots, clean[None]), law, ridge=0.0, max_steps=1000)
    for key, value in TRUTHS[name].items():
        np.testing.assert_allclose(exact.params[key].ravel(), value, rtol=5e-3, err_msg=key)
    fits = iclbayes.fit(iclbayes.Curves.from_arrays(shots, noisy[:, None]), law)
    for key, value in TRUTHS[name].items():
        assert np.median(fits.params[key]) == pytest.approx(value[0], rel=0.12), key


def test_stages_are_where_the_odds_are_even():
    law, t = laws.bayesian_staged, np.array([LEVELS["t_format"][0], LEVELS["t_task"][0]])
    found = law.stages(LEVELS)
    np.testing.assert_allclose([found["format"][0], found["task"][0]], t - 1)
    # Theorem 1 with the prior written out: ρ_m t^(K ln P_m).
    levels = np.array([LEVELS[k][0] for k in ("p_none", "p_format", "p_task")])
    k = LEVELS["efficiency"][0]
    prior = np.cumprod(
        [1.0, t[0] ** (-k * np.log(levels[1] / levels[0])), t[1] ** (-k * np.log(levels[2] / levels[1]))]
    )
    weight = prior * t[:, None] ** (k * np.log(levels))
    assert weight[0, 1] == pytest.approx(weight[0, 0])
    assert weight[1, 2] == pytest.approx(weight[1, 1])
    mean = np.asarray(law.mean(LEVELS, t - 1))[0]
    np.testing.assert_allclose(mean, (weight * levels).sum(1) / weight.sum(1), rtol=1e-5)


def test_staged_law_without_a_format_to_learn_is_the_logistic_law():
    shots = GRIDS[2]
    plain = {"L": STAGED["L"], "kappa": STAGED["kappa_task"], "t_0": STAGED["t_task"], "E": STAGED["E"]}
    with jax.enable_x64(True):
        staged = laws.staged.mean(STAGED | {"t_format": np.array([1e-9])}, shots)
        np.testing.assert_allclose(staged, laws.logistic.mean(plain, shots), rtol=1e-12)


def test_half_of_the_answers_fail_for_the_format_at_t_format():
    """p(t_format − 1) is half of what the task alone would give."""
    with jax.enable_x64(True):
        shots = STAGED["t_format"] - 1
        known = laws.staged.mean(STAGED | {"t_format": np.array([1e-9])}, shots)
        assert float(laws.staged.mean(STAGED, shots)[0, 0]) == pytest.approx(
            0.5 * float(known[0, 0]), rel=1e-9
        )
    assert float(laws.staged.stages(STAGED)["format"][0]) == 2.0
    assert float(laws.staged.stages(STAGED | {"t_format": np.array([0.2])})["format"][0]) == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(TRUTHS))
def test_far_out_nothing_is_nan(name, dtype):
    law = laws.get(name)
    with jax.enable_x64(dtype == np.float64):
        x = jnp.array([0.0, 0.7, 7.0, 27.0], dtype)
        both = jax.jit(lambda q: law.point_and_jacobian(q[:, None], x))
        for signs in np.ndindex(*(2,) * 6):
            q = jnp.asarray(np.where(signs, 29.0, -29.0), dtype)
            p, rows = both(q)
            assert p.dtype == dtype
            assert np.isfinite(p).all() and np.all((p >= 0) & (p <= 1))
            assert np.isfinite(np.asarray(rows)).all()


@pytest.mark.parametrize("name", list(TRUTHS))
def test_first_guesses_reach_the_lowest_known_objective(name, request):
    """Against 40 starts of another seed; simulated curves, and real ones where they are at hand."""
    law = laws.get(name)
    sets = [simulated(law, 90)]
    try:
        path = request.getfixturevalue("real_curves")
        sets.append(iclbayes.read_curves(path, group_by=["model", "task", "selection"]))
    except pytest.skip.Exception:
        pass
    for curves in sets:
        shown = []
        for fraction in (1.0, 0.5):
            some = curves.with_weight(np.where(curves.within(fraction), curves.weight, 0.0))
            own = objective(iclbayes.fit(some, law))
            best = np.minimum(own, objective(iclbayes.fit(some, law, n_starts=40, seed=1)))
            shown.append(own <= 1.01 * best + 1e-12)
        assert np.mean(shown) >= 0.96


def test_a_ridge_of_its_own_is_the_default_and_can_be_left_out():
    curves = simulated(laws.staged, 3, noises=(0.0,))
    weak = dataclasses.replace(laws.staged)
    assert iclbayes.fit(curves, weak).blocks[0].problem.ridge == laws.staged.ridge == 0.003
    assert iclbayes.fit(curves, weak, ridge=0.0).blocks[0].problem.ridge == 0.0
