"""Importance sampling with a mixture of Student t as proposal, adapted to each posterior. Batched over units.

A posterior of a law is often curved (prior against efficiency) or has two modes (one stage or two), and a single t of the right
mean and covariance then leaves some of it out. The proposal here starts as one t at the mode, becomes `COMPONENTS` of them seeded
at weighted draws, and is fitted to weighted draws in a few rounds: an expectation–maximisation whose expectations are importance
sampled, adaptive importance sampling in mixture classes of Cappé, Douc, Guillin, Marin and Robert 2008 (Statistics and
Computing 18, 447). One part of the proposal stays a wide t around the whole (a defensive part), so that weights stay bounded
where the components leave gaps. k̂ of the last round's weights says whether it was enough.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from .laplace import Mode, Values

COMPONENTS = 6  # of the mixture, the defensive one not counted
STUDENT = 6.0  # degrees of freedom: tails heavier than those of posteriors with normal priors
DEFENSIVE = 0.25  # share of the wide part
WIDER = 1.5  # its covariance, in units of that of all weighted draws
PART = 1000  # draws of a round that moves one t, and of a unit in one call of the density
SINGLE, MIXED = 3, 6  # rounds of one t, then of the mixture
AGAIN = 8  # rounds of a second effort, with twice the components and as many draws again
RIDGE = 0.1  # share of the whole covariance that every component's keeps, so that none collapses on few draws


class Mixture(NamedTuple):
    """Σ_k weight_k t(x; centre_k, factor_k factor_kᵀ) of U units: weight [U, K], centre [U, K, P], factor [U, K, P, P]."""

    weight: np.ndarray
    centre: np.ndarray
    factor: np.ndarray


def sample(rng: np.random.Generator, mixture: Mixture, n: int) -> np.ndarray:
    """[U, n, P] draws; each component gives its share of n but for rounding, in an order without meaning."""
    units, _, size = mixture.centre.shape
    # Stratified: the k-th draw belongs to the component in which (k + u) / n falls.
    at = (np.arange(n) + rng.random((units, 1))) / n
    ends = np.cumsum(mixture.weight, 1)
    which = (at[:, :, None] >= ends[:, None, :-1]).sum(2)
    z = rng.standard_normal((units, n, size)) / np.sqrt(rng.chisquare(STUDENT, (units, n, 1)) / STUDENT)
    rows = np.arange(units)[:, None]
    out = mixture.centre[rows, which]
    for k in range(mixture.weight.shape[1]):  # a factor for each draw would need n P² numbers a unit
        out += np.where((which == k)[..., None], z @ mixture.factor[:, k].transpose(0, 2, 1), 0.0)
    return out


def log_parts(mixture: Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([U, K, n] ln of weight times density of every component at x [U, n, P], [U, K, n] squared distances)."""
    size = x.shape[2]
    moved = x[:, None] - mixture.centre[:, :, None]
    z = moved @ np.linalg.inv(mixture.factor).transpose(0, 1, 3, 2)
    distance = (z**2).sum(3)
    log_det = np.linalg.slogdet(mixture.factor)[1]
    constant = gammaln((STUDENT + size) / 2) - gammaln(STUDENT / 2) - 0.5 * size * np.log(STUDENT * np.pi)
    density = constant - log_det[..., None] - 0.5 * (STUDENT + size) * np.log1p(distance / STUDENT)
    with np.errstate(divide="ignore"):
        return np.log(mixture.weight)[..., None] + density, distance


def capped(log_ratio: np.ndarray) -> np.ndarray:
    """Weights [U, n] adding up to 1, first capped at a share 1/√n of their sum: few draws do not settle the moments alone."""
    total = np.asarray(logsumexp(log_ratio, axis=1, keepdims=True))
    cap = np.where(np.isfinite(total), total, 0.0) - 0.5 * np.log(log_ratio.shape[1])
    weight = np.exp(np.minimum(log_ratio, cap) - cap)
    return weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)


def moments(weight: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [U, P] and covariance [U, P, P] of draws x [U, n, P] with weights [U, n] that add up to 1."""
    mean = np.einsum("un,unp->up", weight, x)
    moved = x - mean[:, None]
    return mean, np.einsum("unp,unq->upq", moved * weight[..., None], moved, optimize=True)


def factor_of(covariance: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """Lower factors of covariances [..., P, P], and those of `instead` where a covariance has none."""
    finite = np.asarray(np.isfinite(covariance).all((-2, -1)))
    safe = np.where(finite[..., None, None], covariance, np.eye(covariance.shape[-1]))
    usable = finite & (np.linalg.eigvalsh(safe)[..., 0] > 1e-12 * np.trace(safe, axis1=-2, axis2=-1))
    return np.linalg.cholesky(np.where(usable[..., None, None], safe, instead))


def adapted(
    mixture: Mixture,
    x: np.ndarray,
    log_ratio: np.ndarray,
    laplace: np.ndarray,
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> Mixture:
    """One round: the components, all but the last, fitted to weighted draws; the last one wide around all of them.

    Args:
      mixture, x, log_ratio: what is fitted, and to which draws [U, n, P] of which log importance ratios [U, n].
      laplace: covariances [U, P, P] that a tenth of every component's is made of.
      known: `log_parts(mixture, x)`, where it was computed already.
    """
    size = x.shape[2]
    weight = capped(log_ratio)
    mean, covariance = moments(weight, x)
    whole = 0.9 * covariance + 0.1 * laplace
    parts, distance = known or log_parts(mixture, x)
    parts, distance = parts[:, :-1], distance[:, :-1]
    share = np.exp(parts - np.asarray(logsumexp(parts, axis=1, keepdims=True))) * weight[:, None]  # [U, K, n]
    mass = share.sum(2)
    pull = (
        share * (STUDENT + size) / (STUDENT + distance)
    )  # a t is a normal of random scale: far draws count less
    total = np.maximum(pull.sum(2), 1e-300)
    centre = np.einsum("ukn,unp->ukp", pull, x, optimize=True) / total[..., None]
    moved = x[:, None] - centre[:, :, None]
    spread = (
        np.einsum("ukn,uknp,uknq->ukpq", pull, moved, moved, optimize=True)
        / np.maximum(mass, 1e-300)[..., None, None]
    )
    factor = factor_of((1 - RIDGE) * spread + RIDGE * whole[:, None], whole[:, None])
    lost = mass < 1e-3  # starved components begin anew, wide, at the mean
    centre = np.where(lost[..., None], mean[:, None], centre)
    factor = np.where(lost[..., None, None], factor_of(whole, laplace)[:, None], factor)
    mass = np.maximum(mass, 0.02)
    mass = (1 - DEFENSIVE) * mass / mass.sum(1, keepdims=True)
    wide = factor_of(WIDER * whole, laplace)
    return Mixture(
        np.concatenate([mass, np.full((len(mass), 1), DEFENSIVE)], 1),
        np.concatenate([centre, mean[:, None]], 1),
        np.concatenate([factor, wide[:, None]], 1),
    )


class Proposed(NamedTuple):
    """Draws of U posteriors' proposals: x [U, n, P], their log importance ratios [U, n], the proposals, and their `log_parts`
    at x where they are at hand."""

    x: np.ndarray
    ratio: np.ndarray
    mixture: Mixture
    parts: tuple[np.ndarray, np.ndarray] | None = None


def importance_draws(rng: np.random.Generator, values: Values, mode: Mode, n: int) -> Proposed:
    """Draws of adapted proposals; n is rounded up to a multiple of `PART`.

    Args:
      rng: of the proposals.
      values: potentials of the posteriors, as in `laplace`.
      mode: of the U posteriors.
      n: draws of the last round, the ones that are returned.
    """
    unit, laplace = np.arange(len(mode.theta)), _laplace(mode)
    one = Mixture(np.ones((len(unit), 1)), mode.theta[:, None], factor_of(laplace, laplace)[:, None])
    for _ in range(SINGLE):
        x, ratio, *_ = _look(rng, values, one, unit, 1)
        mean, covariance = moments(capped(ratio), x)
        factor = factor_of(0.9 * covariance + 0.1 * laplace, laplace)
        mean = np.where(np.isfinite(mean), mean, mode.theta)
        one = Mixture(one.weight, mean[:, None], factor[:, None])

    x, ratio, *_ = _look(rng, values, one, unit, 2)
    centre = _picked(rng, x, ratio)
    start = Mixture(
        np.concatenate(
            [
                np.full((len(unit), COMPONENTS), (1 - DEFENSIVE) / COMPONENTS),
                np.full((len(unit), 1), DEFENSIVE),
            ],
            1,
        ),
        np.concatenate([centre, one.centre], 1),
        np.concatenate([np.repeat(one.factor, COMPONENTS, 1) * np.sqrt(0.5), one.factor * np.sqrt(WIDER)], 1),
    )
    mixture = adapted(start, x, ratio, laplace)
    return _adapted_in_rounds(rng, values, mixture, unit, laplace, MIXED, 2, n)


def second_effort(
    rng: np.random.Generator, values: Values, mode: Mode, first: Proposed, unit: np.ndarray, n: int
) -> Proposed:
    """`importance_draws` gone on with for some units, where it left something out.

    As many components again begin at draws of the last round, picked by weight: large weights stand where a proposal is too thin.

    Args:
      rng, values, mode: as there, of U units.
      first: what it returned for them.
      unit: [V] the units to go on with.
      n: draws that are returned.
    """
    laplace = _laplace(mode)[unit]
    x, ratio, old = first.x[unit], first.ratio[unit], Mixture(*(part[unit] for part in first.mixture))
    wide = old.factor[:, -1:] * np.sqrt(0.5 / WIDER)
    start = Mixture(
        np.concatenate(
            [
                old.weight[:, :-1] / 2,
                np.full((len(unit), COMPONENTS), (1 - DEFENSIVE) / 2 / COMPONENTS),
                old.weight[:, -1:],
            ],
            1,
        ),
        np.concatenate([old.centre[:, :-1], _picked(rng, x, ratio), old.centre[:, -1:]], 1),
        np.concatenate([old.factor[:, :-1], np.repeat(wide, COMPONENTS, 1), old.factor[:, -1:]], 1),
    )
    mixture = adapted(start, x, ratio, laplace)
    return _adapted_in_rounds(rng, values, mixture, unit, laplace, AGAIN, 4, n)


def _adapted_in_rounds(
    rng: np.random.Generator,
    values: Values,
    mixture: Mixture,
    unit: np.ndarray,
    laplace: np.ndarray,
    rounds: int,
    parts: int,
    n: int,
) -> Proposed:
    for _ in range(rounds):
        found = _look(rng, values, mixture, unit, parts)
        mixture = adapted(mixture, found.x, found.ratio, laplace, found.parts)
    return _look(rng, values, mixture, unit, -(-n // PART))._replace(
        parts=None
    )  # many numbers, not needed again


def _look(rng: np.random.Generator, values: Values, mixture: Mixture, unit: np.ndarray, n: int) -> Proposed:
    """n × `PART` draws of each proposal, for the units [V] of `values`."""
    x = sample(rng, mixture, n * PART)
    potential = values(x.reshape(-1, PART, x.shape[2]), unit.repeat(n)).reshape(len(unit), -1)
    parts = log_parts(mixture, x)
    ratio = -potential - np.asarray(logsumexp(parts[0], axis=1))
    return Proposed(x, np.where(np.isfinite(ratio), ratio, -np.inf), mixture, parts)


def _picked(rng: np.random.Generator, x: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """`COMPONENTS` draws [U, K, P] of x by weight."""
    picks = np.stack(
        [
            rng.choice(len(w), COMPONENTS, p=w / w.sum()) if w.sum() > 0 else np.zeros(COMPONENTS, int)
            for w in capped(ratio)
        ]
    )
    return np.take_along_axis(x, picks[..., None], 1)


def _laplace(mode: Mode) -> np.ndarray:
    return mode.factor @ mode.factor.transpose(0, 2, 1)
