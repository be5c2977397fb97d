"""The mode of a posterior, its curvature there, draws of the normal (Laplace) approximation, and whether they can be trusted.

Mode by Newton's method with the eigenvalues of the Hessian made positive, |λ| ≥ floor, and a backtracking line search: steps
of 1, 1/4, … 1/4⁵ are tried at once. Everything is batched over units. Densities and gradients are programs of JAX; the small
matrices between them are NumPy's, whose LAPACK needs no compilation and cannot wait for the threads of two programs at once.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from . import psis

FLOOR = 0.02  # smallest curvature believed: every prior here is at least that informative
DIFFERENCE = (
    1e-6  # step of the differences; raw coordinates are of order 1, gradients good to 1e-12 of themselves
)
LONGEST = 5.0  # standard deviations of a Newton step at most
PATIENCE = 10  # steps after which that doubles with each one that was of use
NEAR = 0.3  # standard deviations from a mode at which its mass is known well enough to choose among modes
TOGETHER = 6  # points of a posterior whose densities are asked for at once, but for large samples: one shape of program

Values = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (theta [B, n, P], unit [B]) → potential [B, n]
Slopes = Callable[[np.ndarray, np.ndarray], np.ndarray]  # the same → gradients [B, n, P]


@dataclasses.dataclass(frozen=True)
class Mode:
    """Modes of U posteriors.

    Attributes:
      theta: [U, P].
      value: [U] −ln density there.
      factor: [U, P, P] with factor factorᵀ = (Hessian, floored)⁻¹.
      log_det: [U] ln |det factor|.
      grad_norm: [U] largest component of factorᵀ gradient: distance to the mode in standard deviations.
      steps: [U] Newton steps taken.
    """

    theta: np.ndarray
    value: np.ndarray
    factor: np.ndarray
    log_det: np.ndarray
    grad_norm: np.ndarray
    steps: np.ndarray


def curvature(
    slopes: Slopes, theta: np.ndarray, unit: np.ndarray, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [B, P] and Hessian [B, P, P] at theta [B, P], the Hessian by differences of the gradient; 0 and the identity where
    they are not finite.

    Args:
      slopes: as said above.
      known: [B, E, E] what the Hessian is among the last E coordinates, which then need no gradients.
    """
    size = theta.shape[1]
    own = size - (0 if known is None else known.shape[-1])
    around = DIFFERENCE * np.concatenate([np.zeros((1, size)), np.eye(own, size)])
    found = slopes(theta[:, None] + around, unit)
    g = found[:, 0]
    rows = (found[:, 1:] - g[:, None]) / DIFFERENCE
    h = np.zeros((len(theta), size, size))
    h[:, :own, :own] = 0.5 * (rows[..., :own] + rows[..., :own].transpose(0, 2, 1))
    h[:, :own, own:], h[:, own:, :own] = rows[..., own:], rows[..., own:].transpose(0, 2, 1)
    if known is not None:
        h[:, own:, own:] = known
    ok = np.all(np.isfinite(found), axis=(1, 2))
    h = np.where(ok[:, None, None], h, np.eye(size))
    return np.where(ok[:, None], g, 0.0), h


def gradient(slopes: Slopes, theta: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Gradient [B, P] at theta [B, P]; 0 where it is not finite."""
    found = slopes(theta[:, None], unit)[:, 0]
    return np.where(np.isfinite(found).all(1, keepdims=True), found, 0.0)


def positive(hessian: np.ndarray, floor: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [..., P] of Hessians made positive, |λ| ≥ floor, and eigenvectors [..., P, P]."""
    values, vectors = np.linalg.eigh(hessian)
    return np.maximum(np.abs(values), floor), vectors


def _look(slopes: Slopes, theta: np.ndarray, unit: np.ndarray, walk: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [B, P] and factor [B, P, P] at theta [B, P]."""
    g, h = curvature(slopes, theta, unit, np.tile(np.eye(walk), (len(theta), 1, 1)))
    values, vectors = positive(h)
    return g, vectors / np.sqrt(values)[:, None]


def find_modes(
    values: Values,
    slopes: Slopes,
    theta: np.ndarray,
    unit: np.ndarray,
    walk: int = 0,
    gtol: float = 1e-3,
    max_steps: int = 60,
) -> Mode:
    """Modes near theta [B, P] of the densities exp(−potential) of the units [B]; the last `walk` coordinates are taken to be
    standard normal given the rest, but for what this does to the gradient."""
    n, size = theta.shape
    theta = theta.copy()
    value = _finite(values(theta[:, None].repeat(TOGETHER, 1), unit)[:, 0])
    factor = np.tile(np.eye(size), (n, 1, 1))
    norm, steps = np.full(n, np.inf), np.zeros(n, int)
    lengths, longest = 0.25 ** np.arange(TOGETHER), np.full(n, LONGEST)
    active = np.arange(n)
    for step in range(max_steps + 1):
        g, factor[active] = _look(slopes, theta[active], unit[active], walk)
        scaled = np.einsum("bij,bi->bj", factor[active], g)
        norm[active] = np.abs(scaled).max(1)
        going = norm[active] > gtol
        if step == max_steps or not going.any():
            break
        active, scaled = active[going], scaled[going]
        # Far from the mode the curvature says little; but very precise data are thousands of standard deviations away.
        length = np.sqrt((scaled**2).sum(1))
        direction = -np.einsum("bij,bj->bi", factor[active], scaled)
        direction *= np.minimum(1.0, longest[active] / length)[:, None]
        tried = theta[active][:, None] + lengths[:, None] * direction[:, None]
        best, found = lowest_of(values, tried, unit[active])
        served = (best == tried[:, 0]).all(1) & (step >= PATIENCE)
        longest[active] = np.where(served, 2 * longest[active], LONGEST)
        better = found < value[active]
        active = active[better]
        theta[active], value[active] = best[better], found[better]
        steps[active] += 1
        if len(active) == 0:
            break
    return Mode(theta, value, factor, np.linalg.slogdet(factor)[1], norm, steps)


def lowest_of(values: Values, tried: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest [B, P] of the points tried [B, n, P], and its potential [B]."""
    found = _finite(values(tried, unit))
    best = found.argmin(1)
    rows = np.arange(len(tried))
    return tried[rows, best], found[rows, best]


def best_modes(values: Values, slopes: Slopes, starts: np.ndarray, walk: int = 0, gtol: float = 1e-3) -> Mode:
    """The best of the modes found from starts [U, S, P], by the Laplace estimate of their mass.

    All are followed until they are `NEAR` a mode; then the best alone, with all of its curvature.

    Args:
      values, slopes, walk, gtol: as in `find_modes`.
    """
    n_units, n_starts, size = starts.shape
    unit = np.repeat(np.arange(n_units), n_starts)
    found = find_modes(values, slopes, starts.reshape(-1, size), unit, walk, NEAR)
    mass = _lowest(found.log_det - found.value).reshape(n_units, n_starts)
    chosen = np.arange(n_units) * n_starts + mass.argmax(1)
    last = find_modes(values, slopes, found.theta[chosen], np.arange(n_units), gtol=gtol)
    return dataclasses.replace(last, steps=found.steps[chosen] + last.steps)


def normal_draws(rng: np.random.Generator, mode: Mode, n: int) -> np.ndarray:
    """[U, n, P] draws of N(mode, Hessian⁻¹)."""
    z = rng.standard_normal((len(mode.theta), n, mode.theta.shape[1]))
    return mode.theta[:, None] + z @ mode.factor.transpose(0, 2, 1)


def k_hat(values: Values, mode: Mode, theta: np.ndarray, part: int) -> np.ndarray:
    """[U] Pareto shapes of the ratios of posterior to normal approximation at draws theta [U, n, P] of the latter: above 0.7 they
    miss part of the posterior. n is a multiple of `part`, the draws whose densities are asked for at once."""
    units, n, size = theta.shape
    unit = np.arange(units).repeat(n // part)
    potential = values(theta.reshape(-1, part, size), unit).reshape(units, n)
    z = np.linalg.solve(mode.factor, (theta - mode.theta[:, None]).transpose(0, 2, 1))
    return psis.smooth(_lowest(0.5 * (z**2).sum(1) - potential))[1]


def _finite(value):
    return np.where(np.isfinite(value), value, np.inf)


def _lowest(value):
    return np.where(np.isfinite(value), value, -np.inf)
