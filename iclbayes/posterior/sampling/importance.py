"""Importance sampling with an adapted mixture as proposal. Batched over units.

A posterior of a law is often curved (prior against efficiency), has two modes (one stage or two) or two arms (floor or amplitude
next to nothing), and a single t of the right mean and covariance then leaves some of it out. The proposal here (`mixture`) starts
with `COMPONENTS` of them, at the mode and along the arms (`conditional_modes`), and is fitted to the weighted draws of every look
but the last: an expectation–maximisation whose expectations are importance sampled, adaptive importance sampling in mixture
classes of Cappé, Douc, Guillin, Marin and Robert 2008 (Statistics and Computing 18, 447). A component moves as far as its draws
are worth, as if a few draws a coordinate had been seen where it stands: a few draws do not tell the shape of a thin arm.

The draws of the later half of the looks count, each weighed by the proposal that it was drawn from. Which looks count is settled
beforehand: weighed by how much their draws seem to be worth, those that met the rare heavy draw of an arm would count less than
those that missed it. Nor are they weighed by the average of the proposals: one is high where the draws stood that it was fitted
to, so that these weigh too little, and standard deviations of 200 simulated posteriors came out 2 % too small.

Whether it was enough is said by k̂, and by how many independent draws the weights are worth: k̂ is blind for what was never seen,
and a proposal that fits badly where it looks is the likelier to have missed something elsewhere.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from .conditional_modes import Components
from .laplace import Slopes, Values, curvature, positive
from .mixture import DEFENSIVE, Mixture, adapted, capped, log_parts, mixture_of, sample

COMPONENTS = 12  # of the mixture, the defensive one not counted
PART = 1000  # draws of a unit in one call of the density
LOOKS = 3  # of ordinary posteriors, the last two of which count
WITHOUT = 6  # without a walk, which takes up what a law does not explain: the ridges and arms of such a posterior are thin
AGAIN = 8  # of a second effort, with twice the components: where next to nothing was seen, it takes four to find the rest


class Proposed(NamedTuple):
    """Draws of U posteriors' proposals.

    Attributes:
      x: [U, n, P], of the looks that count.
      ratio: [U, n] log importance ratios; −inf where there is no density.
      mixture: the last proposals.
    """

    x: np.ndarray
    ratio: np.ndarray
    mixture: Mixture


def importance_draws(
    rng: np.random.Generator, values: Values, start: Components, n: int, walk: int = 0
) -> Proposed:
    """Draws of adapted proposals.

    Args:
      rng: of the proposals.
      values: potentials of the U posteriors, as in `laplace`.
      start: the components to begin with.
      n: draws of all looks, rounded up to a multiple of `LOOKS` × `PART`; without a walk there are `WITHOUT` looks as large.
      walk: how many of the coordinates, the last ones, are those of the discrepancy's walk.
    """
    units, _, size = start.centre.shape
    mixture = mixture_of(start.log_mass, start.centre, start.factor, size - walk)
    looks = LOOKS if walk else WITHOUT
    return _adapted_in_looks(rng, values, mixture, np.arange(units), looks, n * looks // LOOKS)


def second_effort(
    rng: np.random.Generator, values: Values, slopes: Slopes, first: Proposed, unit: np.ndarray, n: int
) -> Proposed:
    """`importance_draws` gone on with for some units, where it left something out.

    As many components again begin at the first draws, picked by weight: large weights stand where a proposal is too thin. They
    have the shape of the posterior there, as its curvature says, but no wider than the whole.

    Args:
      rng, values, slopes: as there and in `laplace`, of U units.
      first: what it returned for them.
      unit: [V] the units to go on with.
      n: draws of all looks, rounded up to a multiple of `AGAIN` × `PART`.
    """
    x, ratio, old = first.x[unit], first.ratio[unit], Mixture(*(part[unit] for part in first.mixture))
    own = old.factor.shape[2]
    picked = _picked(rng, x, ratio)
    shape = picked.shape[:2]
    hessian = curvature(slopes, picked.reshape(-1, x.shape[2]), unit.repeat(shape[1]))[1][:, :own, :own]
    bend, axes = positive(hessian, floor=0.0)
    precision = ((axes * bend[:, None]) @ axes.transpose(0, 2, 1)).reshape(*shape, own, own)
    whole = (old.wide @ old.wide.transpose(0, 2, 1))[:, None, :own, :own]
    mixture = old._replace(
        weight=np.concatenate([old.weight / 2, np.full(shape, (1 - DEFENSIVE) / 2 / shape[1])], 1),
        centre=np.concatenate([old.centre, picked], 1),
        factor=np.concatenate(
            [old.factor, np.linalg.cholesky(np.linalg.inv(precision + np.linalg.inv(whole)))], 1
        ),
    )
    return _adapted_in_looks(rng, values, mixture, unit, AGAIN, n)


def _adapted_in_looks(
    rng: np.random.Generator,
    values: Values,
    mixture: Mixture,
    unit: np.ndarray,
    looks: int,
    n: int,
) -> Proposed:
    """Draws for the units [V] of `values`."""
    parts = -(-n // (looks * PART))
    each = parts * PART
    counted = -(-looks // 2)
    units, size = len(unit), mixture.centre.shape[2]
    x, ratio = np.empty((counted, units, each, size)), np.empty((counted, units, each))
    for look in range(looks):
        now = sample(rng, mixture, each)
        potential = values(now.reshape(-1, PART, size), unit.repeat(parts)).reshape(units, -1)
        known = log_parts(mixture, now)
        weight = -potential - np.asarray(logsumexp(known[0], axis=1))
        weight = np.where(np.isfinite(weight), weight, -np.inf)
        if look >= looks - counted:
            x[look - looks], ratio[look - looks] = now, weight
        if look < looks - 1:
            mixture = adapted(mixture, now, weight, known)
    return Proposed(_in_a_row(x), _in_a_row(ratio), mixture)


def _in_a_row(looks: np.ndarray) -> np.ndarray:
    """[V, looks × n, …] of draws [looks, V, n, …]."""
    return np.concatenate(tuple(looks), axis=1)


def _picked(rng: np.random.Generator, x: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """`COMPONENTS` draws [U, K, P] of x by weight."""
    picks = np.stack(
        [
            rng.choice(len(w), COMPONENTS, p=w / w.sum()) if w.sum() > 0 else np.zeros(COMPONENTS, int)
            for w in capped(ratio)
        ]
    )
    return np.take_along_axis(x, picks[..., None], 1)
