"""Laws against plain NumPy, quadrature, root finding and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special

from iclbayes import laws
from iclbayes.errors import InputError

SHOTS = np.array([0.0, 1.0, 2.0, 5.0, 13.0, 40.0, 250.0])
BASIC = {
    "prior": np.array([0.5, 0.2, 0.2, 0.1]),
    "efficiency": np.array(0.3),
    "gamma": np.array([0.9, 0.7, 0.8]),
    "beta": np.array([0.1, 0.3, 0.25]),
}
PROBS = np.array([[0.9, 0.2, 0.1, 0.3], [0.3, 0.8, 0.25, 0.2], [0.4, 0.1, 0.7, 0.05]])
PARAMS = {
    "bayesian_original": {"prior": BASIC["prior"], "efficiency": BASIC["efficiency"], "probs": PROBS},
    "bayesian_sampling": BASIC | {"beta": np.array([0.1, 0.3, 0.25, 0.15])},
    "bayesian_scoring": BASIC,
    "bayesian_heterogeneous": BASIC | {"spread": np.array(0.8)},
    "bayesian_heterogeneous_exact": BASIC | {"spread": np.array(0.8)},
    "power": {"C": np.array([1.5]), "alpha": np.array([0.6]), "E": np.array([0.2])},
    "bounded_power": {
        "C": np.array([1.5]),
        "alpha": np.array([1.6]),
        "t_c": np.array([9.0]),
        "E": np.array([0.2]),
    },
    "logistic": {
        "L": np.array([1.5]),
        "kappa": np.array([1.3]),
        "t_0": np.array([6.0]),
        "E": np.array([0.2]),
    },
    "staged": {
        "t_format": np.array([2.0]),
        "kappa_format": np.array([1.5]),
        "L": np.array([0.9]),
        "t_task": np.array([60.0]),
        "kappa_task": np.array([1.2]),
        "E": np.array([0.2]),
    },
    "bayesian_staged": {
        "efficiency": np.array([1.2]),
        "t_format": np.array([2.0]),
        "t_task": np.array([60.0]),
        "p_task": np.array([0.8]),
        "p_format": np.array([0.4]),
        "p_none": np.array([0.05]),
    },
}
PARAMS |= {name + "_log": PARAMS[name] for name in list(PARAMS) if name.startswith("bayesian")}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def table(law):
    """P[j, m] as SPEC writes it."""
    p = PARAMS[law.name]
    if "probs" in p:
        return p["probs"]
    n_curves, tasks = 3, 4
    out = np.empty((n_curves, tasks))
    for j in range(n_curves):
        for m in range(tasks):
            off = p["beta"][m] if law.name.startswith("bayesian_sampling") else p["beta"][j]
            out[j, m] = p["gamma"][j] if j == m else off
    return out


def by_hand(law, n):
    """Expected probability [J] after n shots, straight from the definition."""
    p = PARAMS[law.name]
    if not law.joint:
        t = n + 1
        if law.name == "power":
            nll = p["C"] * t ** -p["alpha"] + p["E"]
        elif law.name == "bounded_power":
            nll = p["C"] * (1 + t / p["t_c"]) ** -p["alpha"] + p["E"]
        elif law.name == "staged":
            nll = np.log(1 + (t / p["t_format"]) ** -p["kappa_format"]) + p["E"]
            nll = nll + p["L"] / (1 + (t / p["t_task"]) ** p["kappa_task"])
        elif law.name == "bayesian_staged":  # theorem 1 in log shots, the prior from where the odds are even
            k, levels = p["efficiency"], np.stack([p["p_none"], p["p_format"], p["p_task"]])
            odds = [
                (p[f"t_{s}"] ** (-k * np.log(levels[m + 1] / levels[m])))
                for m, s in enumerate(("format", "task"))
            ]
            prior = np.stack([np.ones(1), odds[0], odds[0] * odds[1]])
            weight = prior * (t ** (k * np.log(levels / levels[0])))
            return (weight * levels).sum(0) / weight.sum(0)
        else:
            nll = p["L"] / (1 + (t / p["t_0"]) ** p["kappa"]) + p["E"]
        return np.exp(-nll)
    x = np.log1p(n) if law.log_shots else n
    matrix = table(law)

    def at(efficiency):
        weight = np.log(p["prior"]) + efficiency * x * np.log(matrix)
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        return (weight * matrix).sum(axis=1)

    if "spread" not in p:
        return at(p["efficiency"])

    def integrand(z, j):
        return at(p["efficiency"] * np.exp(p["spread"] * z))[j] * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    return np.array([integrate.quad(integrand, -8, 8, args=(j,), limit=200)[0] for j in range(3)])


@pytest.mark.parametrize("name", list(laws.LAWS))
def test_mean_is_the_definition(name):
    law = laws.LAWS[name]
    mean = np.asarray(law.mean(PARAMS[name], SHOTS))
    expected = np.stack([by_hand(law, n) for n in SHOTS], axis=1)
    # 15 quadrature nodes leave an error of their own for a spread of 0.8.
    tolerance = 1e-4 if "exact" in name else 2e-3 if "heterogeneous" in name else 1e-12
    np.testing.assert_allclose(mean, expected, atol=tolerance)


@pytest.mark.parametrize("name", list(laws.LAWS))
def test_raw_and_constrained_parameters_are_inverse(name):
    law = laws.LAWS[name]
    raw = law.unconstrain(PARAMS[name])
    shapes = law.raw_shapes(3 if law.joint else 1, background=law.joint)
    assert {k: np.shape(v) for k, v in raw.items()} == shapes
    assert set(law.param_names) == set(PARAMS[name])
    for key, value in law.constrain(raw).items():
        np.testing.assert_allclose(value, PARAMS[name][key], rtol=1e-12)


@pytest.mark.parametrize("name", list(laws.LAWS))
def test_jacobian_is_the_finite_difference(name):
    law = laws.LAWS[name]
    q = law.local(law.unconstrain(PARAMS[name]))[..., None]
    x = law.abscissa(jnp.asarray(SHOTS))
    _, rows = law.point_and_jacobian(q, x)
    for i, row in enumerate(rows):
        step = 1e-6 * max(1.0, float(jnp.max(jnp.abs(q[i]))))
        difference = (law.point(q.at[i].add(step), x) - law.point(q.at[i].add(-step), x)) / (2 * step)
        np.testing.assert_allclose(row, difference, atol=2e-8)


def test_scoring_with_spread_zero_is_the_plain_law():
    plain = laws.bayesian_scoring.mean(BASIC, SHOTS)
    spread = laws.bayesian_heterogeneous.mean(BASIC | {"spread": np.array(1e-9)}, SHOTS)
    np.testing.assert_allclose(plain, spread, atol=1e-8)


LOGITS = (20.0, 3.0, 0.0, -1.0, -4.0, -8.0, -16.0, -29.0)
SPREADS = (1e-9, 0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0, 1.5, 3.0, 8.0)


def test_exact_heterogeneous_law_is_the_integral_for_any_prior_and_spread():
    """Against a sum over 20,001 speeds, whose own error is below 1e-8: the steps of 15 nodes reach 0.14 here."""
    law, m = laws.bayesian_heterogeneous_exact, np.linspace(-12, 12, 97)
    z = np.linspace(-9, 9, 20001)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()

    @jax.jit
    def found(start, spread):
        q = jnp.stack([jnp.zeros(()), jnp.ones(()), start, jnp.zeros(()), spread])
        return law.point(q[:, None], jnp.exp(m))

    for start in LOGITS:
        for spread in SPREADS:
            speed = np.exp(np.clip(m[:, None] + spread * z, -60, 60))
            expected = special.expit(start + speed) @ weight
            np.testing.assert_allclose(found(start, spread), expected, atol=1e-4, err_msg=f"{start} {spread}")


def test_jacobian_of_the_exact_heterogeneous_law_follows_the_passage_between_its_rules():
    law, x = laws.bayesian_heterogeneous_exact, jnp.array([0.0, 0.1, 1.0, 5.0, 300.0, 1e6])
    point = jax.jit(lambda q: law.point(q[:, None], x))
    rows_at = jax.jit(lambda q: law.point_and_jacobian(q[:, None], x)[1])
    for start in (3.0, -1.0, -8.0):
        for spread in (0.05, 0.15, 0.3, 0.5, 0.6, 0.8, 2.0):
            q = jnp.array([0.1, 0.7, start, -1.0, spread])
            for i, row in enumerate(rows_at(q)):
                difference = (point(q.at[i].add(1e-6)) - point(q.at[i].add(-1e-6))) / 2e-6
                np.testing.assert_allclose(row, difference, atol=2e-7, err_msg=f"{start} {spread} {i}")


def test_gradients_of_the_exact_heterogeneous_law_are_its_jacobian_and_that_by_shots():
    law, x = laws.bayesian_heterogeneous_exact, jnp.array([0.0, 0.1, 1.0, 5.0, 300.0])
    q = jnp.array([0.1, 0.7, -3.0, -1.0, 0.7])
    rows = law.point_and_jacobian(q[:, None], x)[1]
    backward = jax.jacrev(lambda q: law.point(q[:, None], x))(q)
    forward = jax.jacfwd(lambda q: law.point(q[:, None], x))(q)
    np.testing.assert_allclose(backward, np.stack(rows, 1), rtol=1e-12)
    np.testing.assert_allclose(forward, np.stack(rows, 1), rtol=1e-12)
    by_shots = jax.vmap(jax.grad(lambda n: law.point(q, n)))(x)
    difference = (law.point(q[:, None], x * (1 + 1e-6)) - law.point(q[:, None], x * (1 - 1e-6))) / (2e-6 * x)
    np.testing.assert_allclose(by_shots[1:], difference[1:], rtol=1e-5)
    assert by_shots[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_heterogeneous_law_far_out_is_finite(dtype):
    law, x = laws.bayesian_heterogeneous_exact, jnp.array([0.0, 1e-3, 1.0, 1e6, 1e12], dtype)
    both = jax.jit(lambda q: law.point_and_jacobian(q[:, None], x))
    for start in (40.0, -29.0, -300.0):
        for rate in (-60.0, 0.0, 60.0):
            for spread in (0.0, 1e-12, 1.0, 30.0, 1e4):
                p, rows = both(jnp.array([0.1, 0.7, start, rate, spread], dtype))
                assert p.dtype == dtype
                assert np.isfinite(p).all() and np.all((p >= 0.1 - 1e-6) & (p <= 0.7 + 1e-6))
                assert np.all(np.diff(p) >= -1e-6)
                assert all(np.isfinite(row).all() for row in rows)
                # However wide the spread, 0 shots say nothing.
                assert p[0] == pytest.approx(0.1 + 0.6 * special.expit(start), rel=1e-5)
                assert abs(rows[3][0]) < 1e-30 and abs(rows[4][0]) < 1e-30


@pytest.mark.parametrize("name", list(laws.LAWS))
@pytest.mark.parametrize("level", [0.3, 0.6, 0.78])
def test_shots_to_reach_is_the_root(name, level):
    law = laws.LAWS[name]
    found = np.asarray(law.shots_to_reach(PARAMS[name], level))

    if "heterogeneous" in name:  # its own quadrature, or the nodes' error would count
        mean = jax.jit(lambda n: law.mean(PARAMS[name], n[None])[:, 0])
    else:
        mean = functools.partial(by_hand, law)

    def gap(n, j):
        return float(mean(np.asarray(n))[j]) - level

    for j, n in enumerate(found):
        if gap(0.0, j) >= 0:
            assert n == 0
        elif gap(1e12, j) <= 0:
            assert np.isinf(n)
        else:
            assert n == pytest.approx(optimize.brentq(gap, 0, 1e12, args=(j,), rtol=1e-12), rel=1e-5)


@pytest.mark.parametrize(
    "name", ["bayesian_scoring", "bayesian_original", "bayesian_heterogeneous", "logistic"]
)
def test_shots_to_reach_is_differentiable(name):
    law = laws.LAWS[name]
    raw = law.unconstrain(PARAMS[name])
    key = "efficiency" if law.joint else "E"

    def reach(shift):
        return law.shots_to_reach(law.constrain(raw | {key: raw[key] + shift}), 0.6)[0]

    slope = float(jax.grad(reach)(0.0))
    difference = float(reach(1e-5) - reach(-1e-5)) / 2e-5
    assert np.isfinite(slope) and slope != 0
    assert slope == pytest.approx(difference, rel=1e-3)


def test_mixed_contexts_reduce_to_the_pure_law_and_follow_the_definition():
    law = laws.bayesian_original
    p = PARAMS[law.name]
    pure = np.zeros((7, 3))
    pure[:, 1] = SHOTS
    mixed = laws.mean_mixed(law, p, pure, np.ones(7, int))
    np.testing.assert_allclose(mixed, law.mean(p, SHOTS)[1], atol=1e-12)

    counts = np.array([[3, 0, 2], [1, 5, 0]])
    query = np.array([0, 2])
    for i in range(2):
        w = p["prior"] * np.prod(PROBS ** (p["efficiency"] * counts[i])[:, None], axis=0)
        w /= w.sum()
        expected = w @ PROBS[query[i]]
        assert float(laws.mean_mixed(law, p, counts, query)[i]) == pytest.approx(expected, rel=1e-10)


def test_task_weights_are_a_posterior():
    law, p = laws.bayesian_original, PARAMS["bayesian_original"]
    w = np.asarray(laws.task_weights(law, p, SHOTS))
    expected = p["prior"][None, :, None] * PROBS[:, :, None] ** (p["efficiency"] * SHOTS)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(w, expected, atol=1e-12)
    with pytest.raises(ValueError, match="no tasks"):
        laws.task_weights(laws.power, PARAMS["power"], SHOTS)


def test_shot_offset_counts_the_query_as_a_shot():
    shifted = laws.get("bayesian_scoring", shot_offset=1.0)
    np.testing.assert_allclose(shifted.mean(BASIC, SHOTS), laws.bayesian_scoring.mean(BASIC, SHOTS + 1))
    assert laws.get("power", shot_offset=1.0) is laws.power  # its t is n + 1 already


@pytest.mark.parametrize("name", ["power", "bounded_power", "logistic", "staged", "bayesian_staged"])
def test_baseline_offset_is_what_t_is_ahead_of_the_shots(name):
    plain, shifted = laws.get(name), laws.get(name, baseline_offset=0.0)
    np.testing.assert_allclose(
        shifted.mean(PARAMS[name], SHOTS[1:]), plain.mean(PARAMS[name], SHOTS[1:] - 1), rtol=1e-12
    )
    assert np.isfinite(np.asarray(shifted.mean(PARAMS[name], SHOTS))).all()
    later = shifted.shots_to_reach(PARAMS[name], 0.6)
    np.testing.assert_allclose(later, plain.shots_to_reach(PARAMS[name], 0.6) + 1, rtol=1e-9)
    with pytest.raises(InputError, match="baseline_offset is -1"):
        laws.get(name, baseline_offset=-1)


def test_scoring_law_far_out_is_finite():
    p = BASIC | {"efficiency": np.array(50.0), "beta": np.array([1e-9, 1e-300, 0.6])}
    value = laws.bayesian_scoring.mean(p, np.array([0.0, 1e6, 1e12]))
    assert np.isfinite(np.asarray(value)).all()
    np.testing.assert_allclose(value[:, 2], p["gamma"], rtol=1e-6)


def test_a_level_that_is_a_plateau_is_decided_by_the_parameters_as_given():
    p = {"prior": np.array([0.1, 0.9]), "efficiency": np.array(0.3), "gamma": np.array([0.8])}
    law = laws.bayesian_scoring
    for log_shots in (law, laws.LAWS["bayesian_scoring_log"]):
        assert np.isinf(log_shots.shots_to_reach(p | {"beta": np.array([0.1])}, 0.8)).all()
        np.testing.assert_array_equal(log_shots.shots_to_reach(p | {"beta": np.array([0.1])}, 0.1), 0)
        np.testing.assert_array_equal(log_shots.shots_to_reach(p | {"beta": np.array([0.8])}, 0.8), 0)
        assert np.isinf(log_shots.shots_to_reach(p | {"beta": np.array([0.8])}, 0.81)).all()


def test_plain_numbers_as_parameters_keep_double_precision():
    plain = BASIC | {"efficiency": 0.3}
    assert laws.bayesian_scoring.unconstrain(plain)["efficiency"].dtype == np.float64
    assert laws.bayesian_scoring.unconstrain(BASIC | {"efficiency": 1})["efficiency"] == 0
    for level in (0.3, 0.6):
        found = laws.bayesian_scoring.shots_to_reach(plain, level)
        np.testing.assert_allclose(found, laws.bayesian_scoring.shots_to_reach(BASIC, level), rtol=1e-14)


def test_unknown_law_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown law 'powre'.*bayesian_original.*logistic"):
        laws.get("powre")
