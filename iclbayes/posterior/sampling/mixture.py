"""Proposals of importance sampling: mixtures of Student t, fitted to weighted draws. Batched over units.

A draw is x = (u, w): D coordinates u of the law, its noise and the scale of its discrepancy, and E coordinates w of the
discrepancy's walk, which come last. The proposal is

    q(x) = Σ_k weight_k t(u; u_k, F_k F_kᵀ) N(w; w_k + R (u − u_k), S Sᵀ) + DEFENSIVE t(x; middle, wide wideᵀ)

with `STUDENT` degrees of freedom. What bends a posterior are the law's parameters; given these, the walk is nearly a normal
regression (see `model.numpyro_model.walk_steps`), whose coefficients R and spread S all components share: learnt by each of them
alone, from the few draws that fall to it, they would be noise, and a quarter of the draws' worth is lost. The defensive part is
wide around the whole, so that weights stay bounded where the components leave gaps.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from ...runtime import map_chunks

STUDENT = 6.0  # degrees of freedom: tails heavier than those of posteriors with normal priors
DEFENSIVE = 0.15  # share of the wide part
WIDER = 1.5  # its covariance, in units of that of all weighted draws
WALK_WIDER = 1.1  # the walk's covariance given the rest, in units of the one that was seen
LEAST = 0.01  # share of a component before all are made to add up
TRUST = 2.0  # draws for each coordinate that a component's place and shape count for when new draws are seen
SHARED_TRUST = 10.0  # the same, of a standard normal walk that depends on nothing else
SIDE = 2  # units that are worked on together: their draws stay in a core's cache


class Mixture(NamedTuple):
    """Proposals of U units with K components beside the defensive part.

    Attributes:
      weight: [U, K] adding up to 1 − `DEFENSIVE`.
      centre: [U, K, P] of u and of w, P = D + E.
      factor: [U, K, D, D] F_k.
      slope, spread: [U, E, D] and [U, E, E] R and S.
      middle, wide: [U, P] and [U, P, P] of the defensive part.
    """

    weight: np.ndarray
    centre: np.ndarray
    factor: np.ndarray
    slope: np.ndarray
    spread: np.ndarray
    middle: np.ndarray
    wide: np.ndarray


def mixture_of(log_mass: np.ndarray, centre: np.ndarray, factor: np.ndarray, own: int) -> Mixture:
    """A first mixture, of components of a posterior.

    Args:
      log_mass: [U, K] rough masses: their square roots leave more to those that seem light, and none gets less than `LEAST`.
      centre: [U, K, P].
      factor: [U, K, P, P] of their covariances.
      own: D.
    """
    top = log_mass.max(1, keepdims=True)
    weight = np.exp(0.5 * np.where(np.isfinite(top), log_mass - top, 0.0))
    weight = np.maximum(weight / weight.sum(1, keepdims=True), LEAST)
    weight /= weight.sum(1, keepdims=True)
    covariance = factor @ factor.transpose(0, 1, 3, 2)
    middle, between = moments(weight, centre)
    wide = np.linalg.cholesky(WIDER * (between + np.einsum("uk,ukpq->upq", weight, covariance)))
    units, walk = len(centre), centre.shape[2] - own
    return Mixture(
        (1 - DEFENSIVE) * weight,
        centre,
        np.linalg.cholesky(covariance[..., :own, :own]),
        np.zeros((units, walk, own)),
        np.tile(np.sqrt(WALK_WIDER) * np.eye(walk), (units, 1, 1)),
        middle,
        wide,
    )


def sample(rng: np.random.Generator, mixture: Mixture, n: int) -> np.ndarray:
    """[U, n, P] draws; each component gives its share of n but for rounding, in an order without meaning."""
    (units, _, size), own = mixture.centre.shape, mixture.factor.shape[2]
    # Stratified: the k-th draw belongs to the component in which (k + u) / n falls, so those of a component stand together.
    at = (np.arange(n) + rng.random((units, 1))) / n
    z = rng.standard_normal((units, n, size))
    scale = np.sqrt(STUDENT / rng.chisquare(STUDENT, (units, n, 1)))
    z[..., :own] *= scale
    for unit in range(units):
        begins = np.searchsorted(at[unit], np.cumsum(mixture.weight[unit]), side="right")
        last = begins[-1]
        for k, part in enumerate(np.split(z[unit, :last], begins[:-1])):
            away = part[:, :own] @ mixture.factor[unit, k].T
            part[:, own:] = part[:, own:] @ mixture.spread[unit].T + away @ mixture.slope[unit].T
            part[:, :own] = away
            part += mixture.centre[unit, k]
        z[unit, last:, own:] *= scale[unit, last:]
        z[unit, last:] = z[unit, last:] @ mixture.wide[unit].T + mixture.middle[unit]
    return z


def log_parts(mixture: Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([U, K + 1, n] ln of weight times density of every component and of the defensive part at x [U, n, P],
    [U, K, n] squared distances of u from the components)."""
    return map_chunks(_log_parts, (mixture, x), SIDE, padding=None)


def _log_parts(some: tuple[Mixture, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mixture, x = some
    units, n, size = x.shape
    components, own = mixture.factor.shape[1:3]
    walk = size - own
    inverse = np.linalg.inv(mixture.factor)  # [U, K, D, D]
    whiten = np.linalg.inv(mixture.spread)
    at_centre = np.einsum("ukij,ukj->uki", inverse, mixture.centre[..., :own])
    along = mixture.centre[..., own:] - mixture.centre[..., :own] @ mixture.slope.transpose(0, 2, 1)
    along = along @ whiten.transpose(0, 2, 1)
    distance = np.empty((units, components, n))
    parts = np.empty((units, components + 1, n))
    with np.errstate(divide="ignore"):
        level = np.log(mixture.weight) - np.linalg.slogdet(mixture.factor)[1]
    level += _student(own) - 0.5 * walk * np.log(2 * np.pi) - np.linalg.slogdet(mixture.spread)[1][:, None]
    for unit in range(units):
        u, w = x[unit, :, :own], x[unit, :, own:]
        # All components' whitened coordinates in one product.
        z = u @ inverse[unit].reshape(-1, own).T - at_centre[unit].ravel()
        z = z.reshape(n, components, own)
        distance[unit] = np.einsum("nkd,nkd->kn", z, z)
        parts[unit, :-1] = level[unit, :, None] - 0.5 * (STUDENT + own) * np.log1p(distance[unit] / STUDENT)
        if walk:
            rest = (w - u @ mixture.slope[unit].T) @ whiten[unit].T
            square = (along[unit] ** 2).sum(1)[:, None] + (rest**2).sum(1)
            parts[unit, :-1] -= 0.5 * np.maximum(square - 2 * along[unit] @ rest.T, 0.0)
        z = (x[unit] - mixture.middle[unit]) @ np.linalg.inv(mixture.wide[unit]).T
        parts[unit, -1] = -0.5 * (STUDENT + size) * np.log1p((z**2).sum(1) / STUDENT)
    parts[:, -1] += np.log(DEFENSIVE) + _student(size) - np.linalg.slogdet(mixture.wide)[1][:, None]
    return parts, distance


def _student(size: int) -> float:
    """ln of the constant of a t density in so many dimensions."""
    return float(gammaln((STUDENT + size) / 2) - gammaln(STUDENT / 2) - 0.5 * size * np.log(STUDENT * np.pi))


def capped(log_ratio: np.ndarray) -> np.ndarray:
    """Weights [U, n] adding up to 1, first capped at a share 1/√n of their sum: few draws do not settle the moments alone. 0
    where no ratio is finite."""
    total = np.asarray(logsumexp(log_ratio, axis=1, keepdims=True))
    cap = np.where(np.isfinite(total), total, 0.0) - 0.5 * np.log(log_ratio.shape[1])
    weight = np.exp(np.minimum(log_ratio, cap) - cap)
    return weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)


def worth(weight: np.ndarray) -> np.ndarray:
    """How many independent draws weighted ones are worth, [...] of weights [..., n]."""
    return weight.sum(-1) ** 2 / np.maximum((weight**2).sum(-1), 1e-300)


def moments(weight: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [U, P] and covariance [U, P, P] of draws x [U, n, P] with weights [U, n] that add up to 1."""
    mean = np.einsum("un,unp->up", weight, x)
    moved = x - mean[:, None]
    return mean, (moved * weight[..., None]).transpose(0, 2, 1) @ moved


def factor_of(covariance: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """Lower factors of covariances [..., P, P], and those of `instead` where a covariance has none."""
    if covariance.shape[-1] == 0:
        return covariance
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
    """The mixture fitted to weighted draws: one step of expectation–maximisation for its components, and for what they share.

    Args:
      mixture, x, log_ratio: what is fitted, and to which draws [U, n, P] of which log importance ratios [U, n].
      known: `log_parts(mixture, x)`, where it was computed already.
    """
    seen = (mixture, x, capped(log_ratio), *(known or log_parts(mixture, x)))
    return map_chunks(_adapted, seen, SIDE, padding=None)


def _adapted(some: tuple[Mixture, np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> Mixture:
    mixture, x, weight, parts, distance = some
    size, own = x.shape[2], mixture.factor.shape[2]
    u, parts = x[..., :own], parts[:, :-1]
    share = np.exp(parts - np.asarray(logsumexp(parts, axis=1, keepdims=True))) * weight[:, None]  # [U, K, n]
    mass = share.sum(2)
    trust = worth(share)[..., None]
    trust = trust / (trust + TRUST * size)
    # A t is a normal of random scale: far draws count less.
    pull = share * (STUDENT + own) / (STUDENT + distance)
    seen = pull @ u / np.maximum(pull.sum(2), 1e-300)[..., None]
    before = mixture.centre[..., :own], mixture.factor @ mixture.factor.transpose(0, 1, 3, 2)
    centre = trust * seen + (1 - trust) * before[0]
    spread = np.empty_like(before[1])
    for k in range(spread.shape[1]):
        moved = u - centre[:, k, None]
        spread[:, k] = (moved * pull[:, k, :, None]).transpose(0, 2, 1) @ moved
    spread /= np.maximum(mass, 1e-300)[..., None, None]
    factor = factor_of(trust[..., None] * spread + (1 - trust[..., None]) * before[1], before[1])
    # The walk given the rest: what the draws of all components say together.
    mean = share @ x / np.maximum(mass, 1e-300)[..., None]
    middle, covariance = moments(weight, x)
    away = mean - middle[:, None]
    within = covariance - (away * mass[..., None]).transpose(0, 2, 1) @ away
    slope, walk = _shared(worth(weight), within, own)
    seen = mean[..., own:] + (centre - mean[..., :own]) @ slope.transpose(0, 2, 1)
    of_walk = trust * seen + (1 - trust) * mixture.centre[..., own:]
    all_of = mixture.wide @ mixture.wide.transpose(0, 2, 1)
    wide = factor_of(0.9 * WIDER * covariance + 0.1 * all_of, all_of)
    nothing = weight.sum(1) == 0  # was seen: the defensive part stays where it is
    middle = np.where(nothing[:, None], mixture.middle, middle)
    wide = np.where(nothing[:, None, None], mixture.wide, wide)
    mass = np.maximum(mass, LEAST)
    mass = (1 - DEFENSIVE) * mass / mass.sum(1, keepdims=True)
    return Mixture(mass, np.concatenate([centre, of_walk], 2), factor, slope, walk, middle, wide)


def _shared(counts: np.ndarray, within: np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """R and S, from the covariance [U, P, P] of weighted draws within the components; the draws are worth `counts` [U].

    Drawn to R = 0 and S = I, as if `SHARED_TRUST` draws a coordinate of such a walk had been seen.
    """
    size = within.shape[1]
    trust = (counts / (counts + SHARED_TRUST * size))[:, None, None]
    of_u, both, of_walk = within[:, :own, :own], within[:, own:, :own], within[:, own:, own:]
    scale = np.sqrt(np.maximum(np.diagonal(of_u, axis1=1, axis2=2), 1e-300))
    correlation = of_u / (scale[:, :, None] * scale[:, None]) + 1e-9 * np.eye(own)
    slope = np.linalg.solve(correlation, (both / scale[:, None]).transpose(0, 2, 1)) / scale[..., None]
    slope = trust * np.where(np.isfinite(slope), slope, 0.0).transpose(0, 2, 1)
    crossed = both @ slope.transpose(0, 2, 1)
    rest = of_walk - crossed - crossed.transpose(0, 2, 1) + slope @ of_u @ slope.transpose(0, 2, 1)
    plain = np.broadcast_to(np.eye(size - own), rest.shape)
    return slope, np.sqrt(WALK_WIDER) * factor_of(trust * rest + (1 - trust) * plain, plain)
