"""Simulation-based calibration: are the posteriors of a law × likelihood right on average?

Parameters and observations are drawn from the numpyro model itself; the rank of each true parameter among the draws of its
posterior is then uniform if, and only if, the posterior is right on average (Talts et al. 2018, arXiv 1804.06788). The ranks are
turned into normal scores and tested for mean, variance and shape; the same tests applied to the posterior squeezed by a
fifth about its mean say whether they have the power to notice. Ranked are all parameters (of the original law only those that
do not depend on the names of tasks) and the expected probability at some of the shots.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro
from scipy import stats

from ..curves import Curves
from ..laws import Law, OriginalLaw, get
from .model.discrepancy import RandomWalk
from .model.likelihoods import LIKELIHOODS
from .model.numpyro_model import model, probability
from .model.spec import UnitData, make_spec
from .sampler import PosteriorWarning, sample

SHOTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
ASKED = (0, 3, 7)  # points at which the expected probability is ranked, too
TESTS, STDERR = 100.0, 0.02  # behind a count; of a probability with normal noise
SQUEEZE = 0.8
# Of the original law: tasks are named by nothing, so these depend on the order of the draws.
NAMED = ("prior", "probs")


class Scores(NamedTuple):
    """Normal scores of the truths of n simulated curves among their posteriors' draws, by quantity.

    Attributes:
      right: {quantity: [n]} of the posterior; standard normal if it is calibrated.
      squeezed: of the posterior squeezed by a fifth about its mean, which the tests must notice.
    """

    right: dict[str, np.ndarray]
    squeezed: dict[str, np.ndarray]

    def p_values(self) -> tuple[dict[str, float], dict[str, float]]:
        """`p_value` of every quantity: (of the posterior, of the squeezed one)."""
        right, squeezed = ({name: p_value(s) for name, s in one.items()} for one in self)
        return right, squeezed


def simulate(
    law: str | Law,
    likelihood: str,
    discrepancy: RandomWalk | None,
    n: int,
    *,
    shots: Sequence[float] = SHOTS,
    asked: Sequence[int] = ASKED,
    priors: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[Curves, dict[str, np.ndarray]]:
    """Curves from the model itself: draws of its prior, then of its observations.

    Args:
      law, likelihood, discrepancy, priors: as `sample` takes them.
      n: curves, each a group of its own.
      shots: of every curve.
      asked: indices of the shots whose expected probability is wanted as a quantity.
      seed: of the simulation.

    Returns:
      (curves, {quantity: true values [n]}); quantities are the parameters (of a vector its first entry) and "p(SHOTS)".
    """
    law, kind = get(law), LIKELIHOODS[likelihood]
    at = np.asarray(shots, float)
    shape = (n, 1, len(at))
    data = UnitData(
        shots=np.broadcast_to(at, shape),
        obs=np.zeros(shape),
        mask=np.ones(shape, bool),
        n_test=np.full(shape, TESTS),
        stderr=np.full(shape, STDERR if likelihood == "normal" else 0.0),
        first=np.full(shape[:2], at.min()),
        last=np.full(shape[:2], at.max()),
    )
    spec = make_spec(law, kind, 1, law.joint, discrepancy, priors)
    with jax.enable_x64(True):
        seeded = numpyro.handlers.seed(model, seed)
        trace = numpyro.handlers.trace(seeded).get_trace(spec, data)  # obs=None simulates
        sites = {name: site["value"] for name, site in trace.items()}
        raw = {name: sites[f"raw_{name}"] for name in spec.shapes}
        extra = {
            k: v for k, v in sites.items() if k == "steps" or k.removeprefix("raw_") in dict(spec.priors)
        }
        p = np.asarray(probability(spec, raw, extra, data))
    obs = np.asarray(sites["obs"])
    prob = obs / TESTS if kind.counts else obs
    curves = Curves.from_arrays(at, np.clip(prob, 0, 1), n_test=data.n_test if kind.counts else None)
    if likelihood == "normal":  # whose draws may lie outside 0 and 1, which a file may not
        stderr = np.full(len(curves.shots), STDERR)
        curves = Curves(**{**vars(curves), "stderr": stderr, "prob": prob.ravel()})
    found = {k: s["value"] for k, s in trace.items() if s["type"] == "deterministic"}
    truth = {name: np.asarray(value).reshape(n, -1)[:, 0] for name, value in found.items()}
    return curves, truth | {f"p({at[i]:g})": p[:, 0, i] for i in asked}


def scores(
    law: str | Law,
    likelihood: str,
    discrepancy: RandomWalk | None,
    n: int,
    *,
    shots: Sequence[float] = SHOTS,
    asked: Sequence[int] = ASKED,
    priors: Mapping[str, Any] | None = None,
    seed: int = 0,
    **options: Any,
) -> Scores:
    """Simulates n curves, samples their posteriors and ranks the truths among the draws.

    Args:
      law, likelihood, discrepancy, n, shots, asked, priors, seed: as `simulate` takes them.
      options: of `sample`. Poor diagnostics are not told: all curves count all the same.

    Returns:
      `Scores`.
    """
    law = get(law)
    curves, truth = simulate(
        law, likelihood, discrepancy, n, shots=shots, asked=asked, priors=priors, seed=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        one = sample(curves, law, likelihood=likelihood, discrepancy=discrepancy, priors=priors, **options)
    draws = {name: value.reshape(-1, n, *value.shape[3:]) for name, value in one.params.items()}
    draws = {name: value.reshape(len(value), n, -1)[..., 0] for name, value in draws.items()}
    at = np.asarray(shots, float)[list(asked)]
    p = one.draws(at)[:, :, 0]
    draws |= {f"p({x:g})": p[..., k] for k, x in enumerate(at)}
    right, squeezed = {}, {}
    for name, value in draws.items():
        if isinstance(law, OriginalLaw) and name in NAMED:
            continue
        value, true = unbounded(name, value), unbounded(name, truth[name])
        right[name] = normal_scores(value, true)
        centre = value.mean(0)
        squeezed[name] = normal_scores(centre + SQUEEZE * (value - centre), true)
    return Scores(right, squeezed)


def unbounded(name: str, value: np.ndarray) -> np.ndarray:
    """A quantity on a scale without ends, by its name. Ranks do not change; squeezing is cleaner."""
    if name in ("prior", "gamma", "beta", "probs") or name.startswith("p("):
        return stats.logistic.ppf(np.clip(value, 1e-12, 1 - 1e-12))
    return np.log(value)


def normal_scores(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Φ⁻¹ of the rank of each truth [n] among its draws [S, n]: standard normal for a calibrated posterior."""
    return stats.norm.ppf(((draws < truth).sum(0) + 0.5) / (len(draws) + 1))


def p_value(scores: np.ndarray) -> float:
    """Smallest p-value, times their number, of three tests of standard normality: mean, variance, Kolmogorov–Smirnov."""
    n = len(scores)
    mean = 2 * stats.norm.sf(abs(scores.mean()) * np.sqrt(n))
    spread = stats.chi2(n).cdf((scores**2).sum())
    shape = stats.kstest(scores, "norm").pvalue
    return float(min(1.0, 3 * min(mean, 2 * min(spread, 1 - spread), shape)))
