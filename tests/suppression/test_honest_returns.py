"""Forecasts of returns that no scoring law describes: their intervals hold what comes, or they say that they do not know."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import suppression
from iclbayes.suppression import unforeseen

SHOTS = np.unique(np.r_[:24, np.geomspace(24, 200, 30).round()])
ERROR = 0.015


def returning(seed: int, pairs: int = 20) -> pd.DataFrame:
    """Curves whose log odds grow with ln(1 + n); tuning lowers the prior, and for half of them the height, to 40 to 80 %."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(pairs):
        gamma, beta, odds = rng.uniform(0.6, 0.95), rng.uniform(0.02, 0.2), rng.uniform(-2, 0)
        steep, fall = rng.uniform(1, 3), rng.uniform(-7, -2)
        height = 1.0 if number % 2 else rng.uniform(0.4, 0.8)
        for method, low, high, start in (
            ("none", beta, gamma, odds),
            ("sft", 0.5 * beta, beta + height * (gamma - beta), odds + fall),
        ):
            share = 1 / (1 + np.exp(-start) * (1 + SHOTS) ** -steep)
            prob = low + (high - low) * share + ERROR * rng.standard_normal(len(SHOTS))
            parts.append(
                pd.DataFrame(
                    {
                        "method": method, "layers": 1, "seed": number, "k": 3, "source": 1, "step": 0, "stderr": ERROR,
                        "amount": 0 if method == "none" else 8, "shots": SHOTS, "prob": prob.clip(1e-3, 0.999),
                    }
                )
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    found = suppression.forecast(returning(5), windows=(0.02, 0.06))
    return found[found["forecaster"] == "knowledge"]


def test_intervals_hold_returns_in_log_shots_whether_or_not_the_height_fell(table):
    ahead, beyond = table[table["case"] == "ahead"], table[table["case"] == "beyond"]
    assert len(ahead) >= 40 and len(beyond) >= 15
    # 90 % is asked for. With the height all but unmoved and the law exact beyond what was seen: 0.88 and 0.78; of the plain
    # scoring law on curves of this kind: 0.44 and 0.17.
    assert ahead["covered"].mean() >= 0.85 and beyond["covered"].mean() >= 0.85
    # Not by saying nothing: what is not to come is forecast to be much less likely to come.
    assert beyond["p_never"].mean() > ahead["p_never"].mean() + 0.1


def test_beyond_what_was_seen_draws_go_on_faster_or_slower_and_drift():
    q = np.array([[[2.0, -1.0, -1.5, -3.0, 0.5]] * 3])
    drawn = unforeseen.Paths(q, np.array([8.0]), np.array([[1.0, 0.5, 1.0]]), np.array([[0.0, 0.0, -0.7]]))
    u = np.log1p(np.array([0.0, 4.0, 8.0, 20.0, 80.0]))
    law, slow, falling = drawn.at(0, u)
    np.testing.assert_allclose(slow[:3], law[:3])
    np.testing.assert_allclose(falling[:3], law[:3])
    # Half the pace in log shots: at 80 shots, 9 times as many as 8 and one, it is where the law is at 26.
    there = suppression.before_after.curves_of(q[0, :1], np.array([[9 * 3.0 - 1]]))[0, 0]
    np.testing.assert_allclose(slow[-1], there, rtol=1e-6)
    odds = np.log(falling / (1 - falling)) - np.log(law / (1 - law))
    np.testing.assert_allclose(odds[3:], -0.7 * (u[3:] - u[2]), rtol=1e-6)
    levels = np.array([0.3, 0.6, 0.99])
    reached = drawn.shots_to(0, levels)
    exact = [suppression.shots_to_level(q[0, 0], level) for level in levels]
    np.testing.assert_allclose(reached[:, 0], exact, rtol=0.01)
    assert reached[1, 1] > reached[1, 0] and np.isinf(reached[2]).all()


def test_sentences_say_what_is_not_determined():
    rows = [
        (24.0, 12.0, 163.0, 0.0),
        (44.0, 16.0, np.inf, 0.08),
        (np.inf, 20.0, np.inf, 0.7),
        (np.inf,) * 3 + (1.0,),
    ]
    table = pd.DataFrame(rows, columns=["predicted", "lo90", "hi90", "p_never"])
    table = table.assign(forecaster="knowledge", share=0.5, level=0.46, seen=8.0)
    first, second, third, fourth = suppression.return_sentences(table)
    assert first == "50 % of the way back (0.46), from 8 shots: after 24 shots (90 %: 12 to 163)"
    assert second.endswith(
        "not determined by these data (90 %: 16 shots to never); never within 100,000 shots: 8 %"
    )
    assert (
        "may never come; never within 100,000 shots: 70 %, and if it comes, after 20 shots or more" in third
    )
    assert fourth.endswith("not to be expected; never within 100,000 shots: 100 %")
