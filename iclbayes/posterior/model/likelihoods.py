"""Likelihoods of one observed point given the expected probability p of the right answer.

    binomial        k ~ Binomial(n, p)
    beta_binomial   k ~ BetaBinomial(n, p φ, (1 − p) φ), φ = 1/s² − 1: the share of right answers has standard deviation
                    s √(p (1 − p)) beyond binomial sampling (prompts, shuffles and runs differ); s is `overdispersion`
    quasi_binomial  k ~ N(n p, n² v) rounded to a whole number in 0…n, v = p (1 − p) (d/n + s² + t²/(1 + shots)); d is
                    `dispersion`, s as above, t is `example_scatter`
    normal          y ~ N(p, stderr² + noise²), stderr known (where the file has none, the median of its
                    curve's, or 0), `noise` the extra scale
    logit_normal    logit y ~ N(logit p, noise²)
    beta            y ~ Beta(p φ, (1 − p) φ), φ = 1/s² − 1, s is `overdispersion`

y is a probability, k a count, n the number of test examples. Each has defaults for its noise parameters on the log scale.

A benchmark asks the same n test examples after every number of shots. What luck there was in choosing them is then the same along
the whole curve, a part of the p that is forecast; and as some examples are always right and others always wrong, counts scatter
from one number of shots to the next by less than a binomial: their variance is Σ_i p_i (1 − p_i) = n (p (1 − p) − var_i p_i) over
the examples i. Binomial and beta-binomial noise cannot be that small; `quasi_binomial` can (d < 1): the default for counts.
(`experiments/forecast_coverage.py --scatter`: 0.1 to 0.5 of a binomial's variance on real curves, 1 where shuffles differ much.)

What adds scatter is which examples stand in the prompt. The influence of one of n examples averages out as that of any mean of n
draws, its variance as 1/n: large in short prompts, nothing in long ones. Noise that is the same at every number of shots takes
the scatter of the first shots for that of a forecast of the hundredth, and is then too wide; hence t.
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpy import ndarray
from numpy.random import Generator

from ...curves import Curves
from ...errors import InputError
from .distributions import RoundedNormal, SmoothBetaBinomial
from .priors import normal

Noise = dict[str, Array]  # noise parameters by name
Drawn = dict[str, ndarray]  # the same, of draws, outside programs

# Probabilities are kept this far from 0 and 1: of a million tests (more than anyone asks) a law at the edge expects a thousandth
# of a wrong answer, yet its log odds, ±21, and their slopes are finite.
EDGE = 1e-9
# Coordinates of the walk tell no smaller probabilities apart, of laws and of observations alike.
NEAREST = 1e-4
NEAR = 0.02  # and 0.98: beyond, log odds of an observation with a normal error can be far from normal
# Beyond this φ a beta-binomial of 10⁴ tests is a binomial to one part in 10⁴, and ln Γ(φ) has so many digits before the point
# that differences of it are rounding, in the end worth more than any prior takes off.
MOST_PHI = 1e8
MANY = 50  # tests from which on a count is nearly normal: at p = 0.9 the skewness of a binomial is 0.4 there


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Shared by all; hashable, so that it can be part of what is compiled.

    Attributes:
      name: as on the command line.
    """

    name: ClassVar[str] = ""
    counts: ClassVar[bool] = False  # observes k out of n rather than a probability
    noise: ClassVar[
        tuple[tuple[str, float, float], ...]
    ] = ()  # (name, centre, scale) of the normal prior of the log

    def priors(self) -> dict[str, dist.Distribution]:
        """Default priors of the logarithms of the noise parameters."""
        return {name: normal(centre, scale) for name, centre, scale in self.noise}

    def at_shots(self, noise: Noise, shots: Array) -> Noise:
        """The noise parameters that `distribution` takes at these shots, from those of the curve (which broadcast)."""
        del shots
        return noise

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        """Distribution of the observation, for p, n_test, stderr of one shape and noise parameters that broadcast."""
        raise NotImplementedError

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        """Rough variance of the observed log odds at an observed probability y; it only shapes the coordinates of the walk."""
        raise NotImplementedError

    def logit_edge(self, noise: Noise, stderr: Array) -> Array | float:
        """How near to 0 and 1 the log odds of an observed probability are taken at face value; counts keep off them by half of
        one. It only shapes the coordinates of the walk. A likelihood whose errors do not shrink towards 0 and 1 needs its own."""
        del noise, stderr
        return NEAREST

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        """Draws of the observation as a probability (counts over n_test), in NumPy; shapes as in `distribution`."""
        raise NotImplementedError

    def log_prob(self, p: Array, noise: Noise, n_test: Array, stderr: Array, y: Array) -> Array:
        """ln of the density or mass of the observation y."""
        return jnp.asarray(self.distribution(p, noise, n_test, stderr).log_prob(y))


@dataclasses.dataclass(frozen=True)
class Binomial(Likelihood):
    name: ClassVar[str] = "binomial"
    counts: ClassVar[bool] = True

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del noise, stderr
        return dist.BinomialProbs(p, n_test.astype(int))

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return 1 / (n_test * y * (1 - y))

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        return rng.binomial(n_test.astype(int), p) / n_test


@dataclasses.dataclass(frozen=True)
class BetaBinomial(Likelihood):
    name: ClassVar[str] = "beta_binomial"
    counts: ClassVar[bool] = True
    noise: ClassVar = (("overdispersion", -3.5, 0.7),)  # s about 0.03 (0.01 to 0.1)

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del stderr
        return SmoothBetaBinomial(*_beta(p, noise["overdispersion"]), n_test.astype(int))

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return (1 / n_test + noise["overdispersion"] ** 2) / (y * (1 - y))

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        share = rng.beta(*_beta(p, noise["overdispersion"], np))
        return rng.binomial(n_test.astype(int), np.clip(share, 0.0, 1.0)) / n_test


@dataclasses.dataclass(frozen=True)
class QuasiBinomial(Likelihood):
    name: ClassVar[str] = "quasi_binomial"
    counts: ClassVar[bool] = True
    noise: ClassVar = (
        ("dispersion", -0.7, 1.0),  # 0.5 (0.1 to 2.6)
        ("overdispersion", -4.0, 1.0),  # 0.018 (0.0035 to 0.095)
        ("example_scatter", -2.3, 1.0),  # 0.1 (0.02 to 0.52); 1 would let one example decide everything
    )

    def at_shots(self, noise: Noise, shots: Array) -> Noise:
        variance = noise["overdispersion"] ** 2 + noise["example_scatter"] ** 2 / (1.0 + shots)
        return {"dispersion": noise["dispersion"], "overdispersion": variance**0.5}

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del stderr
        variance = p * (1 - p) * (noise["dispersion"] / n_test + noise["overdispersion"] ** 2)
        return RoundedNormal(n_test * p, n_test * jnp.sqrt(variance), n_test)

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return (noise["dispersion"] / n_test + noise["overdispersion"] ** 2) / (y * (1 - y))

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        variance = p * (1 - p) * (noise["dispersion"] / n_test + noise["overdispersion"] ** 2)
        k = np.rint(n_test * (p + np.sqrt(variance) * rng.standard_normal(p.shape)))
        return np.clip(k, 0.0, n_test) / n_test


@dataclasses.dataclass(frozen=True)
class Normal(Likelihood):
    name: ClassVar[str] = "normal"
    noise: ClassVar = (("noise", -4.0, 1.0),)  # 0.018 (0.0035 to 0.095)

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del n_test
        return dist.Normal(p, jnp.sqrt(stderr**2 + noise["noise"] ** 2))

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return (stderr**2 + noise["noise"] ** 2) / (y * (1 - y)) ** 2

    def logit_edge(self, noise: Noise, stderr: Array) -> Array:
        # Nearer than its own error an observation says no more than that p is small.
        return jnp.clip(jnp.sqrt(stderr**2 + noise["noise"] ** 2), NEAREST, NEAR)

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        scale = np.sqrt(stderr**2 + noise["noise"] ** 2)
        return np.clip(p + scale * rng.standard_normal(p.shape), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class LogitNormal(Likelihood):
    name: ClassVar[str] = "logit_normal"
    noise: ClassVar = (("noise", -2.0, 1.0),)  # 0.14 log odds (0.026 to 0.7)

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del n_test, stderr
        base = dist.Normal(jnp.log(p) - jnp.log1p(-p), jnp.broadcast_to(noise["noise"], p.shape))
        return dist.TransformedDistribution(base, dist.transforms.SigmoidTransform())

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return jnp.broadcast_to(noise["noise"] ** 2, y.shape)

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        z = np.log(p) - np.log1p(-p) + noise["noise"] * rng.standard_normal(p.shape)
        return 1.0 / (1.0 + np.exp(-z))


@dataclasses.dataclass(frozen=True)
class Beta(Likelihood):
    name: ClassVar[str] = "beta"
    noise: ClassVar = (("overdispersion", -3.0, 1.0),)

    def distribution(self, p: Array, noise: Noise, n_test: Array, stderr: Array) -> dist.Distribution:
        del n_test, stderr
        return dist.Beta(*_beta(p, noise["overdispersion"]))

    def logit_variance(self, y: Array, noise: Noise, n_test: Array, stderr: Array) -> Array:
        return noise["overdispersion"] ** 2 / (y * (1 - y))

    def sample(self, rng: Generator, p: ndarray, noise: Drawn, n_test: ndarray, stderr: ndarray) -> ndarray:
        return rng.beta(*_beta(p, noise["overdispersion"], np))


def _beta(p: Any, spread: Any, xp: Any = jnp) -> tuple[Any, Any]:
    phi = 1.0 / xp.maximum(spread, MOST_PHI**-0.5) ** 2 - 1.0
    phi = xp.maximum(phi, 1e-3)
    return p * phi, (1.0 - p) * phi


LIKELIHOODS: dict[str, Likelihood] = {
    kind.name: kind() for kind in (Binomial, BetaBinomial, QuasiBinomial, Normal, LogitNormal, Beta)
}


def choose(name: str | Likelihood, curves: Curves, used: np.ndarray) -> Likelihood:
    """The likelihood by name, checked against the data; "auto" takes counts first, then standard errors, then shape.

    Auto: where every point has counts, quasi_binomial (beta_binomial if any is of fewer than 50 tests, since rounded normals are
    no counts of few); normal where points have standard errors, or a probability is
    exactly 0 or 1; else logit_normal.

    Args:
      used: [N] mask of the points to be fitted.

    Raises:
      InputError: an unknown name, or data that the likelihood cannot take.
    """
    if isinstance(name, Likelihood):
        chosen = name
    elif name == "auto":
        chosen = LIKELIHOODS[_auto(curves, used)]
    elif name in LIKELIHOODS:
        chosen = LIKELIHOODS[name]
    else:
        raise InputError(f"unknown likelihood {name!r}: choose auto or one of {', '.join(LIKELIHOODS)}")
    if chosen.counts:
        known = ~np.isnan(curves.n_test) & ~np.isnan(curves.n_correct)
        _refuse(curves, used & ~known, f"has no counts, which {chosen.name} needs (n_correct and n_test)")
        bad = known & ((curves.n_correct > curves.n_test) | (curves.n_correct < 0))
        _refuse(curves, used & bad, "has n_correct outside 0 to n_test; mend the counts")
    if chosen.name == "normal":
        _refuse(
            curves, used & (curves.stderr == 0), "has a stderr of 0; leave it empty (unknown) or give counts"
        )
    if chosen.name in ("logit_normal", "beta"):
        edge = (curves.prob <= 0) | (curves.prob >= 1)
        _refuse(
            curves,
            used & edge,
            f"has a probability of 0 or 1, where {chosen.name} is undefined; use normal or counts",
        )
    return chosen


def _auto(curves: Curves, used: ndarray) -> str:
    if not np.isnan(curves.n_test[used]).any() and not np.isnan(curves.n_correct[used]).any():
        return "quasi_binomial" if (curves.n_test[used] >= MANY).all() else "beta_binomial"
    edge = (curves.prob[used] <= 0) | (curves.prob[used] >= 1)
    return "normal" if edge.any() or not np.isnan(curves.stderr[used]).all() else "logit_normal"


def _refuse(curves: Curves, bad: ndarray, problem: str) -> None:
    where = np.flatnonzero(bad)
    if len(where):
        curve = curves.point_curve()[where[0]]
        key = "".join(f"{c}={v}, " for c, v in curves.keys.iloc[curves.group[curve]].items())
        more = f" (and {len(where) - 1} more points)" if len(where) > 1 else ""
        raise InputError(
            f"{key}source={curves.source[curve]}, shots={curves.shots[where[0]]:g}: the point {problem}{more}"
        )
