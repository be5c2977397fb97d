"""Tasks that own no curve: any number of them, and when groups of several sources get one."""

import jax
import numpy as np
import pytest

import iclbayes
from iclbayes import laws
from iclbayes.background import background_tasks
from iclbayes.errors import InputError

SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128, 256])
PRIOR = np.array([0.02, 0.03, 0.15, 0.8])  # two sources, format known, nothing known
PROBS = np.array([[0.9, 0.2, 0.3, 0.01], [0.15, 0.8, 0.35, 0.02]])


def by_hand(efficiency, shots=SHOTS):
    """p_j(n) of theorem 1 in log shots with the tasks above [2, n]."""
    weight = PRIOR[None, :, None] * PROBS[:, :, None] ** (efficiency * np.log1p(shots))
    return (weight * PROBS[:, :, None]).sum(1) / weight.sum(1)


@pytest.mark.parametrize("name", ["bayesian_original", "bayesian_sampling", "bayesian_scoring"])
def test_every_task_without_a_curve_adds_its_parameters(name):
    law = laws.get(name)
    count = lambda b: sum(int(np.prod(s)) for s in law.raw_shapes(2, b).values())  # noqa: E731
    more = {"bayesian_original": 3, "bayesian_sampling": 2, "bayesian_scoring": 1}[
        name
    ]  # a prior, and J, 1, 0 probabilities
    assert count(1) - count(0) == more
    assert count(True) == count(1) and count(False) == count(0)
    assert count(3) - count(1) == (0 if name == "bayesian_scoring" else 2 * more)  # there all others are one
    rng = np.random.default_rng(0)
    y = rng.uniform(0.1, 0.9, (2, len(SHOTS)))
    for background in (0, 1, 2, 3):
        with jax.enable_x64(True):
            x = np.broadcast_to(SHOTS, y.shape)
            guess = law.guess(x, y, np.ones_like(y), 5, jax.random.key(0), background)
        assert {k: v.shape for k, v in guess.items()} == {
            k: (5, *s) for k, s in law.raw_shapes(2, background).items()
        }


def test_original_law_with_two_backgrounds_says_both_stages_of_two_sources():
    efficiency = 1.3
    curves = iclbayes.Curves.from_arrays(SHOTS, by_hand(efficiency)[None])
    losses = {b: iclbayes.fit(curves, "bayesian_original_log", background=b).loss[0] for b in (0, 1, 2)}
    assert losses[2] < 1e-6 < 1e-4 < losses[1] < losses[0]


def test_original_law_of_one_curve_with_two_backgrounds_is_the_staged_law():
    """One curve, three tasks in log shots: another way to write `bayesian_staged`."""
    truth = {
        "efficiency": np.array([1.5]),
        "t_format": np.array([3.0]),
        "t_task": np.array([60.0]),
        "p_task": np.array([0.85]),
        "p_format": np.array([0.4]),
        "p_none": np.array([0.04]),
    }
    levels = np.array([0.85, 0.4, 0.04])  # task, format, nothing
    odds = np.array([3.0 ** (-1.5 * np.log(0.4 / 0.04)), 60.0 ** (-1.5 * np.log(0.85 / 0.4))])
    prior = np.array([odds[0] * odds[1], odds[0], 1.0])
    same = {"prior": prior / prior.sum(), "efficiency": np.array(1.5), "probs": levels[None]}
    with jax.enable_x64(True):
        mean = laws.get("bayesian_original_log").mean(same, SHOTS)
        np.testing.assert_allclose(mean, laws.bayesian_staged.mean(truth, SHOTS), rtol=1e-10)


def test_groups_that_begin_too_low_for_their_sources_alone_get_a_background():
    rng = np.random.default_rng(0)
    low = by_hand(1.3)
    prior, gamma, beta = np.array([0.5, 0.5]), np.array([0.9, 0.8]), np.array([0.05, 0.05])
    rate = 0.05 * np.log(gamma / beta)[:, None]
    alone = beta[:, None] + (gamma - beta)[:, None] / (1 + (1 / prior[:, None] - 1) * np.exp(-rate * SHOTS))
    prob = np.clip(np.stack([low, alone]) + 0.02 * rng.standard_normal((2, 2, len(SHOTS))), 0, 1)
    curves = iclbayes.Curves.from_arrays(SHOTS, prob)
    assert background_tasks(curves).tolist() == [1, 0]
    assert background_tasks(curves, 2).tolist() == [2, 2]
    # What it is for: the fit then has the zero-shot values, and without it says that it has not.
    fits = iclbayes.fit(curves)
    assert fits.params["prior"].shape == (2, 3) and np.isnan(fits.params["prior"][1, 2])
    assert len(fits.zero_shot_misses()) == 0
    without = iclbayes.fit(curves, background=0).zero_shot_misses()
    assert set(without["source"]) <= {"0", "1", 0, 1} and len(without) >= 1
    assert (without["fitted"] - without["observed"]).min() > 0.1
    table = fits.to_frame()
    assert table["prior_background"].notna().tolist() == [True, True, False, False]


def test_groups_that_do_not_begin_at_zero_shots_or_have_one_curve():
    later = iclbayes.Curves.from_arrays(SHOTS[1:], by_hand(1.3)[None, :, 1:])
    assert background_tasks(later).tolist() == [0]
    single = iclbayes.Curves.from_arrays(SHOTS, by_hand(1.3)[:1][None])
    assert background_tasks(single).tolist() == [1]


@pytest.mark.parametrize("wrong", [-1, 1.5])
def test_a_number_of_tasks_that_is_none_is_refused(wrong):
    curves = iclbayes.Curves.from_arrays(SHOTS, by_hand(1.3)[None])
    with pytest.raises(InputError, match="tasks that own no curve"):
        iclbayes.fit(curves, background=wrong)
