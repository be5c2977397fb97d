"""What no law foretells of a return: beyond the last shot seen, curves go on faster or slower than the law, and drift.

With u = ln(1 + n) and u₀ that of the last shot seen, a draw of the law's curve is taken to go on as

    logit p(u) = logit law( u₀ + F (u − u₀) ) + S (u − u₀),     ln F ~ N(0, stretch²),  S ~ N(0, drift²)

F is an error of pace. S, in log odds per factor e in shots, is one of height: a curve that the law holds to be at its plateau
rises on a little, or falls. Without both, a posterior of few shots that have not yet risen is sure that they never will, and
one whose shots have begun to rise is sure of the shot at which they arrive; `experiments/suppression.md` has what came. The
drift's scale is that of `posterior`'s discrepancy, 0.2.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from .before_after import curves_of

HORIZON = 1e5  # shots: what is not back by then is never back
GRID = np.linspace(0.0, np.log1p(HORIZON), 192)  # of u, on which crossings are looked for


@dataclasses.dataclass(frozen=True)
class Unforeseen:
    """How far a curve may part from the law beyond what was seen; both 0 for a law that is exactly true."""

    stretch: float = 0.5  # standard deviation of ln F
    drift: float = 0.2  # of S


UNFORESEEN = Unforeseen()


class Paths(NamedTuple):
    """Draws of curves.

    Attributes:
      q: [curves, draws, 4 or 5] parameters, as `curves_of` takes them.
      seen: [curves] the largest number of shots seen.
      stretch, drift: [curves, draws] F and S.
    """

    q: np.ndarray
    seen: np.ndarray
    stretch: np.ndarray
    drift: np.ndarray

    def at(self, curve: int, u: np.ndarray) -> np.ndarray:
        """Probabilities [draws, n] of one curve at u [n] = ln(1 + shots)."""
        start = np.log1p(self.seen[curve])
        ahead = np.maximum(u - start, 0.0)
        on_the_law = np.minimum(u, start) + self.stretch[curve][:, None] * ahead
        p = np.clip(curves_of(self.q[curve], np.expm1(on_the_law)), 1e-12, 1 - 1e-12)
        odds = np.log(p) - np.log1p(-p) + self.drift[curve][:, None] * ahead
        return 1.0 / (1.0 + np.exp(-odds))

    def shots_to(self, curve: int, levels: np.ndarray) -> np.ndarray:
        """Shots [levels, draws] at which one curve first is at each of some levels: 0 from the start, inf for never."""
        p = self.at(curve, GRID)
        return np.stack([first_crossing(p, level) for level in levels])


def paths(q: np.ndarray, seen: np.ndarray, unforeseen: Unforeseen = UNFORESEEN, seed: int = 0) -> Paths:
    """The curves of q [curves, draws, 4 or 5] with draws of F and S; `seen` [curves] is the largest number of shots seen."""
    rng = np.random.default_rng([seed, 1])
    stretch, drift = rng.standard_normal((2, *q.shape[:2]))
    return Paths(q, seen, np.exp(unforeseen.stretch * stretch), unforeseen.drift * drift)


def first_crossing(p: np.ndarray, level: float) -> np.ndarray:
    """Shots [draws] at which p [draws, len(GRID)] first is at a level, interpolated in u."""
    above = p >= level
    first = above.argmax(axis=1)
    rows, before = np.arange(len(p)), np.maximum(first - 1, 0)
    low, high = p[rows, before], p[rows, first]
    share = np.where(high > low, (level - low) / np.where(high > low, high - low, 1.0), 1.0)
    shots = np.expm1(GRID[before] + share * (GRID[1] - GRID[0]))
    return np.where(above.any(axis=1), np.where(first == 0, 0.0, shots), np.inf)
