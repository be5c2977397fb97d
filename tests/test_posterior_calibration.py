"""Simulation-based calibration: parameters drawn from the prior rank uniformly among the draws of their posterior."""

import warnings

import jax
import numpy as np
import numpyro
import pytest
from scipy import stats

import iclbayes
from iclbayes import laws, posterior
from iclbayes.posterior import models
from iclbayes.posterior.discrepancy import RandomWalk
from iclbayes.posterior.likelihoods import LIKELIHOODS

SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32, 64])
ASKED = np.array([0, 3, 7])  # points at which the expected probability is ranked, too
SHORT = {"n_chains": 2, "n_warmup": 100, "n_draws": 60, "max_tree_depth": 6, "retries": 0}
# The posterior of an amplitude and a floor that only their sum is known of is L-shaped: short chains miss one arm of it.
LONG = {"n_chains": 4, "n_warmup": 300, "n_draws": 150, "retries": 1}
QUICK = {"method": "psis", "max_k_hat": np.inf, "n_draws": 60}
SWAPPED = (
    "prior",
    "probs",
)  # of the original law: tasks are named by nothing, so only what does not change with names is ranked


def simulate(law, likelihood, discrepancy, n, seed=0):
    """(curves, {quantity: true values [n]}) from the model itself: draws of its prior, then of its observations."""
    law = laws.get(law)
    shape = (n, 1, len(SHOTS))
    kind = LIKELIHOODS[likelihood]
    shots = np.broadcast_to(SHOTS, shape)
    data = models.Data(
        shots=shots,
        obs=np.zeros(shape),
        mask=np.ones(shape, bool),
        n_test=np.full(shape, 100.0),
        stderr=np.full(shape, 0.02 if likelihood == "normal" else 0.0),
        first=shots[..., 0],
        last=shots[..., -1],
    )
    spec = models.make_spec(law, kind, 1, law.joint, discrepancy)
    with jax.enable_x64(True):
        seeded = numpyro.handlers.seed(models.model, seed)
        trace = numpyro.handlers.trace(seeded).get_trace(spec, data)  # obs=None simulates
        sites = {name: site["value"] for name, site in trace.items()}
        raw = {name: sites[f"raw_{name}"] for name in spec.shapes}
        extra = {
            k: v for k, v in sites.items() if k == "steps" or k.removeprefix("raw_") in dict(spec.priors)
        }
        p = np.asarray(models.probability(spec, raw, extra, data))
    obs = np.asarray(sites["obs"])
    prob = obs / 100 if kind.counts else obs
    curves = iclbayes.Curves.from_arrays(
        SHOTS, np.clip(prob, 0, 1), n_test=data.n_test if kind.counts else None
    )
    if likelihood == "normal":  # whose draws may lie outside 0 and 1, which a file may not
        stderr = np.full(len(curves.shots), 0.02)
        curves = iclbayes.Curves(**{**vars(curves), "stderr": stderr, "prob": prob.ravel()})
    found = {k: s["value"] for k, s in trace.items() if s["type"] == "deterministic"}
    truth = {name: np.asarray(value).reshape(n, -1)[:, 0] for name, value in found.items()}
    return curves, truth | {f"p({SHOTS[i]:g})": p[:, 0, i] for i in ASKED}


def normal_scores(draws, truth):
    """Φ⁻¹ of the rank of each truth [n] among its draws [S, n]: standard normal for a calibrated posterior."""
    return stats.norm.ppf(((draws < truth).sum(0) + 0.5) / (len(draws) + 1))


def p_value(scores) -> float:
    """Smallest p-value, times their number, of three tests of standard normality: mean, variance, Kolmogorov–Smirnov."""
    n = len(scores)
    mean = 2 * stats.norm.sf(abs(scores.mean()) * np.sqrt(n))
    spread = stats.chi2(n).cdf((scores**2).sum())
    return 3 * min(mean, 2 * min(spread, 1 - spread), stats.kstest(scores, "norm").pvalue)


def unbounded(name, value):
    """On a scale without ends. Ranks do not change; squeezing is cleaner."""
    if name in ("prior", "gamma", "beta", "probs") or name.startswith("p("):
        return stats.logistic.ppf(np.clip(value, 1e-12, 1 - 1e-12))
    return np.log(value)


def calibrate(law, likelihood, discrepancy, n, options):
    """({quantity: p-value}, {quantity: p-value of the posterior squeezed by 20 %}) of n simulated curves."""
    curves, truth = simulate(law, likelihood, discrepancy, n)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", posterior.PosteriorWarning
        )  # poor diagnostics: all curves count all the same
        one = posterior.posterior(curves, law, likelihood=likelihood, discrepancy=discrepancy, **options)
    draws = {k: v.reshape(-1, n, *v.shape[3:]) for k, v in one.params.items()}
    draws = {k: v.reshape(len(v), n, -1)[..., 0] for k, v in draws.items()}
    p = one.draws(SHOTS[ASKED])[:, :, 0]
    draws |= {f"p({SHOTS[i]:g})": p[..., k] for k, i in enumerate(ASKED)}
    found, narrow = {}, {}
    for name, value in draws.items():
        if law.startswith("bayesian_original") and name in SWAPPED:
            continue
        value, true = unbounded(name, value), unbounded(name, truth[name])
        found[name] = p_value(normal_scores(value, true))
        centre = value.mean(0)
        narrow[name] = p_value(normal_scores(centre + 0.8 * (value - centre), true))
    return found, narrow


CELLS = [(law, likelihood, walk) for law in laws.LAWS for likelihood in LIKELIHOODS for walk in (False, True)]
# A cell for every law and every likelihood, half of them with the discrepancy.
FEW = [(law, [*LIKELIHOODS][i % len(LIKELIHOODS)], i // 2 % 2 == 1) for i, law in enumerate(laws.LAWS)]


@pytest.mark.parametrize(("law", "likelihood", "walk"), FEW)
def test_ranks_are_uniform(law, likelihood, walk):
    options = LONG if law in ("bounded_power", "logistic") else SHORT
    found, _ = calibrate(law, likelihood, RandomWalk() if walk else None, 64, options)
    assert min(found.values()) > 1e-3, found


def test_ranks_of_a_posterior_a_fifth_too_narrow_are_not_uniform():
    found, narrow = calibrate("power", "binomial", None, n=300, options=QUICK)
    assert min(found.values()) > 1e-3, found
    assert max(narrow[name] for name in ("C", "alpha", "E")) < 1e-6, narrow


@pytest.mark.slow
@pytest.mark.parametrize(("law", "likelihood", "walk"), CELLS)
def test_ranks_are_uniform_for_every_law_and_likelihood(law, likelihood, walk):
    found, narrow = calibrate(law, likelihood, RandomWalk() if walk else None, 200, LONG)
    assert min(found.values()) > 1e-4, found
    assert min(narrow.values()) < 1e-4, narrow
