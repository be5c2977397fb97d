"""Importance sampling with a mixture of Student t as proposal, adapted to each posterior. Batched over units.

A posterior of a law is often curved (prior against efficiency), has two modes (one stage or two) or two arms (floor or amplitude
next to nothing), and a single t of the right mean and covariance then leaves some of it out. The proposal here starts as
`COMPONENTS` of them, at the mode and along the arms (`conditional_modes`), and is fitted to weighted draws in a few rounds: an
expectation–maximisation whose expectations are importance sampled, adaptive importance sampling in mixture classes of Cappé,
Douc, Guillin, Marin and Robert 2008 (Statistics and Computing 18, 447). A component moves as far as its draws are worth, as if
`TRUST` draws a coordinate had been seen where it stands: a few draws do not tell the shape of a thin arm. One part of the
proposal stays a wide t around the whole (a defensive part), so that weights stay bounded where the components leave gaps.

Whether it was enough is said by k̂ of the last round's weights, and by how many independent draws they are worth: k̂ is blind for
what was never seen, and a proposal that fits badly where it looks is the likelier to have missed something elsewhere.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from ...runtime import map_chunks
from .conditional_modes import Components
from .laplace import Slopes, Values, curvature, positive

COMPONENTS = 12  # of the mixture, the defensive one not counted
STUDENT = 6.0  # degrees of freedom: tails heavier than those of posteriors with normal priors
DEFENSIVE = 0.15  # share of the wide part
WIDER = 1.5  # its covariance, in units of that of all weighted draws
LEAST = 0.01  # share of a component before all are made to add up
TRUST = 2.0  # draws for each coordinate that a component's place and shape count for when new draws are seen
SIDE = 2  # units whose mixtures are worked on together: their draws stay in a core's cache
PART = 1000  # draws of a unit in one call of the density; a round has two of them
ROUNDS = 4  # of ordinary posteriors, four more gain nothing
AGAIN = 8  # of a second effort, with twice the components and twice the draws


class Mixture(NamedTuple):
    """Σ_k weight_k t(x; centre_k, factor_k factor_kᵀ) of U units: weight [U, K], centre [U, K, P], factor [U, K, P, P]."""

    weight: np.ndarray
    centre: np.ndarray
    factor: np.ndarray


def sample(rng: np.random.Generator, mixture: Mixture, n: int) -> np.ndarray:
    """[U, n, P] draws; each component gives its share of n but for rounding, in an order without meaning."""
    units, _, size = mixture.centre.shape
    # Stratified: the k-th draw belongs to the component in which (k + u) / n falls, so those of a component stand together.
    at = (np.arange(n) + rng.random((units, 1))) / n
    z = rng.standard_normal((units, n, size)) / np.sqrt(rng.chisquare(STUDENT, (units, n, 1)) / STUDENT)
    for unit in range(units):
        begins = np.searchsorted(at[unit], np.cumsum(mixture.weight[unit])[:-1], side="right")
        for k, own in enumerate(np.split(z[unit], begins)):
            own[:] = own @ mixture.factor[unit, k].T + mixture.centre[unit, k]
    return z


def log_parts(mixture: Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([U, K, n] ln of weight times density of every component at x [U, n, P], [U, K, n] squared distances)."""
    return map_chunks(_log_parts, (mixture, x), SIDE, padding=None)


def _log_parts(some: tuple[Mixture, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mixture, x = some
    size = x.shape[2]
    inverse = np.linalg.inv(mixture.factor).transpose(0, 1, 3, 2)
    units, components = mixture.weight.shape
    distance = np.empty((units, components, x.shape[1]))
    for k in range(components):  # one at a time: all together take K times the memory of x, and longer
        z = (x - mixture.centre[:, k, None]) @ inverse[:, k]
        np.einsum("unp,unp->un", z, z, out=distance[:, k])
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
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> Mixture:
    """One round: the components, all but the last, fitted to weighted draws; the last one wide around all of them.

    Args:
      mixture, x, log_ratio: what is fitted, and to which draws [U, n, P] of which log importance ratios [U, n].
      known: `log_parts(mixture, x)`, where it was computed already.
    """
    seen = (mixture, x, capped(log_ratio), *(known or log_parts(mixture, x)))
    return map_chunks(_adapted, seen, SIDE, padding=None)


def _adapted(some: tuple[Mixture, np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> Mixture:
    mixture, x, weight, parts, distance = some
    size = x.shape[2]
    parts, distance = parts[:, :-1], distance[:, :-1]
    share = np.exp(parts - np.asarray(logsumexp(parts, axis=1, keepdims=True))) * weight[:, None]  # [U, K, n]
    mass = share.sum(2)
    worth = mass**2 / np.maximum((share**2).sum(2), 1e-300)
    trust = (worth / (worth + TRUST * size))[..., None]
    # A t is a normal of random scale: far draws count less.
    pull = share * (STUDENT + size) / (STUDENT + distance)
    seen = np.einsum("ukn,unp->ukp", pull, x, optimize=True) / np.maximum(pull.sum(2), 1e-300)[..., None]
    before = mixture.centre[:, :-1], mixture.factor[:, :-1] @ mixture.factor[:, :-1].transpose(0, 1, 3, 2)
    centre = trust * seen + (1 - trust) * before[0]
    spread = np.empty_like(before[1])
    for k in range(spread.shape[1]):
        moved = x - centre[:, k, None]
        spread[:, k] = (moved * pull[:, k, :, None]).transpose(0, 2, 1) @ moved
    spread /= np.maximum(mass, 1e-300)[..., None, None]
    factor = factor_of(trust[..., None] * spread + (1 - trust[..., None]) * before[1], before[1])
    mean, covariance = moments(weight, x)
    all_of = covariance_of(mixture)
    wide = factor_of(WIDER * (0.9 * covariance + 0.1 * all_of), all_of)
    mass = np.maximum(mass, LEAST)
    mass = (1 - DEFENSIVE) * mass / mass.sum(1, keepdims=True)
    return _joined(mass, centre, factor, mean, wide)


def covariance_of(mixture: Mixture) -> np.ndarray:
    """Covariance [U, P, P] of the components' centres and scale matrices."""
    spread = mixture.factor @ mixture.factor.transpose(0, 1, 3, 2)
    between = moments(mixture.weight, mixture.centre)[1]
    return between + np.einsum("uk,ukpq->upq", mixture.weight, spread)


def _joined(
    weight: np.ndarray, centre: np.ndarray, factor: np.ndarray, mean: np.ndarray, wide: np.ndarray
) -> Mixture:
    """Components [U, K, …] of weights that add up to 1 − `DEFENSIVE`, and the defensive one."""
    return Mixture(
        np.concatenate([weight, np.full((len(weight), 1), DEFENSIVE)], 1),
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


def importance_draws(rng: np.random.Generator, values: Values, start: Components, n: int) -> Proposed:
    """Draws of adapted proposals; n is rounded up to a multiple of `PART`.

    Args:
      rng: of the proposals.
      values: potentials of the U posteriors, as in `laplace`.
      start: the components to begin with.
      n: draws of the last round, the ones that are returned.
    """
    top = start.log_mass.max(1, keepdims=True)
    # Masses are rough: their square roots leave more to those that seem light.
    weight = np.exp(0.5 * np.where(np.isfinite(top), start.log_mass - top, 0.0))
    weight = np.maximum(weight / weight.sum(1, keepdims=True), LEAST)
    weight /= weight.sum(1, keepdims=True)
    narrow = Mixture(weight, start.centre, start.factor)
    mean = moments(weight, start.centre)[0]
    wide = np.linalg.cholesky(WIDER * covariance_of(narrow))
    mixture = _joined((1 - DEFENSIVE) * weight, start.centre, start.factor, mean, wide)
    return _adapted_in_rounds(rng, values, mixture, np.arange(len(weight)), ROUNDS, 2, n)


def second_effort(
    rng: np.random.Generator, values: Values, slopes: Slopes, first: Proposed, unit: np.ndarray, n: int
) -> Proposed:
    """`importance_draws` gone on with for some units, where it left something out.

    As many components again begin at draws of the last round, picked by weight: large weights stand where a proposal is too thin.
    They have the shape of the posterior there, as its curvature says, but no wider than the whole.

    Args:
      rng, values, slopes: as there and in `laplace`, of U units.
      first: what it returned for them.
      unit: [V] the units to go on with.
      n: draws that are returned.
    """
    x, ratio, old = first.x[unit], first.ratio[unit], Mixture(*(part[unit] for part in first.mixture))
    picked = _picked(rng, x, ratio)
    shape = picked.shape[:2]
    hessian = curvature(slopes, picked.reshape(-1, x.shape[2]), unit.repeat(shape[1]))[1]
    bend, axes = positive(hessian, floor=0.0)
    inverse = np.linalg.inv(covariance_of(old))[:, None]
    precision = (axes * bend[:, None]) @ axes.transpose(0, 2, 1)
    local = np.linalg.cholesky(np.linalg.inv(precision.reshape(*shape, *precision.shape[1:]) + inverse))
    mixture = _joined(
        np.concatenate(
            [old.weight[:, :-1] / 2, np.full(shape, (1 - DEFENSIVE) / 2 / shape[1])],
            1,
        ),
        np.concatenate([old.centre[:, :-1], picked], 1),
        np.concatenate([old.factor[:, :-1], local], 1),
        old.centre[:, -1],
        old.factor[:, -1],
    )
    return _adapted_in_rounds(rng, values, mixture, unit, AGAIN, 4, n)


def _adapted_in_rounds(
    rng: np.random.Generator,
    values: Values,
    mixture: Mixture,
    unit: np.ndarray,
    rounds: int,
    parts: int,
    n: int,
) -> Proposed:
    for _ in range(rounds):
        found = _look(rng, values, mixture, unit, parts)
        mixture = adapted(mixture, found.x, found.ratio, found.parts)
    # Parts of the last round are many numbers, not needed again.
    return _look(rng, values, mixture, unit, -(-n // PART))._replace(parts=None)


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
