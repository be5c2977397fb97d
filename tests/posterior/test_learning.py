"""Priors learned from past curves: against quadrature over the population, a known truth, and through files and commands."""

import json

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from posterior_helpers import Constant, count_curves
from scipy import special, stats

import iclbayes
from iclbayes import InputError, posterior
from iclbayes.cli.main import main
from iclbayes.posterior import LearnedPriors, learn_priors, read_priors
from iclbayes.posterior.learning import population
from iclbayes.posterior.model.learned import Normal
from iclbayes.posterior.model.priors import law_priors

OPTIONS = {"likelihood": "binomial", "discrepancy": None}


def curves_of(gamma, n_test, points=4, seed=0):
    rng = np.random.default_rng(seed)
    return count_curves(rng.binomial(n_test, np.repeat(gamma[:, None], points, 1)), n_test)


def next_curve(curves, centre=1.5, scale=1.5):
    """Quantiles 5, 50, 95 % of the next curve's logit γ by quadrature over its own value, and over μ and τ of the population.

    The hyperprior is that of the module: μ | τ² ~ Normal(m, τ²), τ² ~ InverseGamma(1/2, s²/2).
    """
    theta = np.linspace(-12, 12, 1201)
    point = curves.point_curve()
    k = np.bincount(point, curves.n_correct, curves.n_curves)[:, None]
    n = np.bincount(point, curves.n_test, curves.n_curves)[:, None]
    log_likelihood = k * special.log_expit(theta) + (n - k) * special.log_expit(-theta)
    likelihood = np.exp(log_likelihood - log_likelihood.max(1, keepdims=True))
    total = np.zeros_like(theta)
    for tau in np.exp(np.linspace(np.log(0.05), np.log(20), 160)):
        mean = centre + tau * np.linspace(-4, 4, 161)
        mean = np.union1d(mean, np.linspace(-4, 4, 161))
        step = np.gradient(mean)
        population = stats.norm.pdf(theta[None], mean[:, None], tau)  # [μ, θ]
        evidence = np.exp(np.log(population @ likelihood.T + 1e-300).sum(1))
        weight = evidence * stats.norm.pdf(mean, centre, tau) * step
        weight *= stats.invgamma.pdf(tau**2, 0.5, scale=scale**2 / 2) * tau**2  # d τ² = 2 τ² d ln τ
        total += weight @ population
    cumulative = np.cumsum(total) / total.sum()
    return np.interp([0.05, 0.5, 0.95], cumulative, theta)


@pytest.mark.parametrize(("n_test", "spread"), [(400, 0.4), (10, 1.0)])
def test_the_next_curve_is_that_of_quadrature_over_the_population(n_test, spread):
    rng = np.random.default_rng(1)
    curves = curves_of(special.expit(-1 + spread * rng.standard_normal(12)), n_test)
    lo, middle, hi = next_curve(curves)
    found = learn_priors(curves, [Constant()], **OPTIONS).laws["constant"]["gamma"]
    assert found.mean == pytest.approx(middle, abs=0.1)
    assert 2 * 1.645 * found.sd == pytest.approx(hi - lo, rel=0.12)
    # The second round, under the prior of the first, gives the same answer: the weights undo whatever prior was sampled.
    first = population(posterior.sample(curves, Constant(), **OPTIONS), np.random.default_rng(0))["gamma"]
    assert first.mean == pytest.approx(found.mean, abs=0.1) and first.sd == pytest.approx(found.sd, rel=0.15)


def test_curves_that_say_nothing_leave_the_default():
    curves = curves_of(np.full(3, 0.7), 1, points=1)
    _, middle, _ = next_curve(curves)  # above the default's 1.5: three answers of three are right
    found = learn_priors(curves, [Constant()], **OPTIONS).laws["constant"]["gamma"]
    assert found.learned < 0.2 and found.sd > 1.3
    assert abs(found.mean - middle) < 0.4


def test_past_curves_sharpen_the_forecast_of_the_next():
    """Curves of one kind, half of their plateau unseen in the next one: the learned prior's interval is narrower, and right."""
    rng = np.random.default_rng(3)
    shots = np.array([0.0, 1, 2, 4, 8, 16, 32, 64, 128])
    law = iclbayes.laws.get("logistic")

    def simulated(n):
        raw = {"L": 0.0, "t_0": np.log(12), "kappa": 0.4, "E": -0.9}
        raw = {name: value + 0.2 * rng.standard_normal(n) for name, value in raw.items()}
        p = np.array(law.mean_raw(raw, np.tile(shots, (n, 1))))
        return p, iclbayes.Curves.from_arrays(
            shots, rng.binomial(200, p) / 200, n_test=np.full(p.shape, 200.0)
        )

    _, past = simulated(20)
    truth, ahead = simulated(8)
    learned = learn_priors(past, [law], **OPTIONS)
    for name, centre in {"t_0": np.log(12), "E": -0.9}.items():
        assert learned.laws["logistic"][name].mean == pytest.approx(centre, abs=0.25), name
        assert learned.laws["logistic"][name].sd < 0.5 * law_priors(law)[name].scale, name
    widths, errors = {}, {}
    for kind, priors in (("default", None), ("learned", learned)):
        one = posterior.sample(ahead, law, fraction=0.1, priors=priors, **OPTIONS)
        draws = one.draws([128.0])[:, :, 0, 0]
        lo, middle, hi = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        widths[kind], errors[kind] = (hi - lo).mean(), np.abs(middle - truth[:, -1]).mean()
        assert np.mean((lo <= truth[:, -1]) & (truth[:, -1] <= hi)) >= 0.75, kind
    assert widths["learned"] < 0.6 * widths["default"]
    assert errors["learned"] < errors["default"]


def test_a_file_gives_the_same_priors_and_says_what_is_wrong_with_it(tmp_path):
    priors = LearnedPriors(
        {"staged": {"E": Normal(-1.5, 0.5, 0.8), "discrepancy": Normal(-2.0, 0.4)}}, {"groups": 9}
    )
    path = tmp_path / "prior.json"
    priors.write(path)
    again = read_priors(path)
    assert again.laws == priors.laws and again.learned_from == {"groups": 9}
    row = json.loads(path.read_text())["laws"]["staged"]["E"]
    assert (
        row["median"] == pytest.approx(np.exp(-1.5), rel=1e-3) and row["lo90"] < row["median"] < row["hi90"]
    )
    # Parameters that a posterior does not have are left out, others are as a user would give them.
    assert set(priors.of("staged")) == {"raw_E"} and set(priors.of("staged", ["discrepancy"])) == {
        "raw_E",
        "raw_discrepancy",
    }
    assert isinstance(priors.of("staged")["raw_E"], dist.Normal)
    with pytest.raises(InputError, match="none were learned for the law power, only for staged"):
        priors.of("power")
    text = path.read_text()
    for damage, message in (
        (text.replace("-1.5", "-1.6"), "damaged or changed"),
        ("{}", "holds no priors"),
        ("[1]", "no JSON object"),
        (json.dumps({"kind": "iclbayes priors", "version": 1, "laws": {}}), "priors of no law"),
        (json.dumps({"kind": "iclbayes priors", "version": 1, "laws": {"nix": {}}}), "'nix' is no law"),
        (
            json.dumps(
                {"kind": "iclbayes priors", "version": 1, "laws": {"power": {"C": {"mean": 1, "sd": 0}}}}
            ),
            "a positive sd",
        ),
    ):
        path.write_text(damage)
        with pytest.raises(InputError, match=message):
            read_priors(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_priors(tmp_path / "none.json")
    with pytest.raises(InputError, match="2 groups tell no population"):
        learn_priors(curves_of(np.array([0.2, 0.4]), 10), [Constant()])


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_the_commands_learn_write_and_use(tmp_path, capsys):
    rng = np.random.default_rng(0)
    shots = np.array([0, 1, 2, 4, 8, 16, 32])
    rows = [
        {"model": f"m{m}", "shots": n, "n_test": 100, "n_correct": rng.binomial(100, 0.1 + 0.7 * n / (n + 5))}
        for m in range(4)
        for n in shots
    ]
    past, ahead, out = tmp_path / "past.csv", tmp_path / "next.csv", tmp_path / "prior.json"
    pd.DataFrame(rows).to_csv(past, index=False)
    pd.DataFrame(rows[:4]).to_csv(ahead, index=False)
    command = ["learn-prior", str(past), "--group-by", "model", "--law", "power", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "power: what 4 groups say of the next" in said and "alpha" in said and f"priors: {out}" in said
    assert main(command) == 0, "a rerun goes over its own output"
    assert main(["posterior", str(ahead), "--law", "power", "--prior", str(out)]) == 0
    assert f"priors of {out}, learned from 4 groups" in capsys.readouterr().out
    assert main(["posterior", str(ahead), "--law", "logistic", "--prior", str(out)]) == 2
    assert "none were learned for the law logistic" in capsys.readouterr().err
    assert main(["posterior", str(ahead), "--law", "power", "--prior", str(past)]) == 2
    assert "is not whole JSON" in capsys.readouterr().err
