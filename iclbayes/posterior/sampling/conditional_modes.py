"""Modes of a posterior with one coordinate held further and further from its mode: where the arms of the posterior go.

Data that fix a sum leave a choice: with NLL(n) = E + L at the first shots and nothing known of later ones, either E or L may be
next to nothing. In ln E and ln L that posterior is an L whose two arms are as thin as the data are precise, and as long as the
prior lets them be. A proposal that begins at the mode, in one arm, never sees the other, and importance weights say nothing of
what is never seen. Held at a low value, though, either coordinate leads into its arm: the rest follows.

For coordinate j one path goes up from the mode and one down, in steps of the prior's standard deviation s_j. At every stop the
others move to their conditional mode c by quasi-Newton steps: a Hessian costs as many gradients as there are coordinates, so that
of the last stop serves, corrected by every gradient on the way (the symmetric rank-one update, which may be indefinite, as these
Hessians are). H is the Hessian of the potential V at c, without row and column j; its part among the coordinates of the
discrepancy's walk, which hardly changes, is taken from the mode. The stop becomes

    a component of centre c and covariance H⁻¹ + (s_j t)(s_j t)ᵀ,    t_j = 1, t_rest = −H⁻¹ ∂²V/∂θ_rest ∂θ_j

whose mass is, by Laplace's method, exp(−V(c)) |H|^(−1/2) s_j: nested Laplace approximations as in Rue, Martino and Chopin 2009
(J. R. Stat. Soc. B 71, 319), along one coordinate after the other.
"""

from typing import NamedTuple

import numpy as np

from .laplace import Mode, Slopes, Values, curvature, gradient, lowest_of, positive

STOPS = 4  # of a path
CORRECTIONS = 4  # quasi-Newton steps at a stop, at most
ARRIVED = 0.1  # standard deviations from a conditional mode that need no more of them
NEGLIGIBLE = 14.0  # nats below the mode from which a path goes no further
LENGTHS = np.array([1.0, 0.5, 0.25, 0.1, 0.03, 0.0])  # of steps; `laplace.TOGETHER` of them
APART = (
    8.0  # nats that a component takes from the mass of others on its spot, so that those chosen cover more
)


class Components(NamedTuple):
    """S components of U posteriors: centre [U, S, P], factor [U, S, P, P] of the covariance, log_mass [U, S], −inf of those that
    do not count."""

    centre: np.ndarray
    factor: np.ndarray
    log_mass: np.ndarray


def components(
    values: Values, slopes: Slopes, mode: Mode, scale: np.ndarray, held: np.ndarray, n: int, walk: int = 0
) -> Components:
    """The n components that cover most: the mode itself first, then stops of the paths, heavy ones and not two on one spot.

    Args:
      values, slopes: potentials and gradients, as in `laplace`.
      mode: of the U posteriors.
      scale: [P] standard deviations of the coordinates under the prior.
      held: indices of the coordinates that are held in turn; none leaves the mode.
      n: components of each posterior.
      walk: how many of the coordinates, the last ones, are those of the discrepancy's walk.
    """
    found = stops(values, slopes, mode, scale, held, walk)
    units = len(mode.theta)
    all_of = Components(
        np.concatenate([mode.theta[:, None], found.centre], 1),
        np.concatenate([_factor(mode.factor @ mode.factor.transpose(0, 2, 1))[:, None], found.factor], 1),
        np.concatenate([(mode.log_det - mode.value + 0.5 * np.log(2 * np.pi))[:, None], found.log_mass], 1),
    )
    rows, chosen = np.arange(units), np.zeros((units, n), int)
    left = np.where(np.isfinite(all_of.log_mass), all_of.log_mass, -np.inf)
    for k in range(n):
        if k:
            chosen[:, k] = left.argmax(1)
        centre, factor = (part[rows, chosen[:, k]][:, None] for part in all_of[:2])
        away = np.linalg.solve(factor, (all_of.centre - centre)[..., None])[..., 0]
        left -= APART * np.exp(-0.5 * (away**2).sum(2))
        left[rows, chosen[:, k]] = -np.inf
    centre, factor, mass = (part[rows[:, None], chosen] for part in all_of)
    again = (chosen == 0) & (np.arange(n) > 0)  # nothing was left to choose
    return Components(centre, factor, np.where(again, -np.inf, mass))


def stops(
    values: Values, slopes: Slopes, mode: Mode, scale: np.ndarray, held: np.ndarray, walk: int = 0
) -> Components:
    """The components along all paths, arguments as above: S = 2 `STOPS` times the number of coordinates held."""
    units, size = mode.theta.shape
    paths = 2 * len(held)
    shape = (STOPS, units * paths)
    out = Components(np.zeros((*shape, size)), np.tile(np.eye(size), (*shape, 1, 1)), np.full(shape, -np.inf))
    unit, j = np.arange(units).repeat(paths), np.tile(held.repeat(2), units)
    by = scale[j] * np.tile([1.0, -1.0], units * len(held))
    here = mode.theta[unit]
    at_mode = curvature(slopes, mode.theta, np.arange(units))
    of_walk = at_mode[1][:, size - walk :, size - walk :]
    slope, hessian = (part[unit] for part in at_mode)
    tangent = _conditional(hessian, j)[2]
    going = np.arange(len(unit))
    for stop in range(STOPS if len(held) else 0):
        who, at = unit[going], j[going]
        rows = np.arange(len(going))
        ahead = by[going, None] * tangent  # as the ridge ran at the last stop, or less far
        tried = here[:, None] + LENGTHS[:, None] * ahead[:, None]
        tried[rows, :, at] = (here[rows, at] + by[going])[:, None]
        before = here
        here, best = lowest_of(values, tried, who)
        active = rows
        for _ in range(CORRECTIONS):
            was, slope[active] = slope[active], gradient(slopes, here[active], who[active])
            hessian[active] = _secant(hessian[active], here[active] - before[active], slope[active] - was)
            inverse = _conditional(hessian[active], at[active])[0]
            step = -np.einsum("bij,bj->bi", inverse, slope[active])
            far = -np.einsum("bi,bi->b", step, slope[active]) > ARRIVED**2
            active, step = active[far], step[far]
            if len(active) == 0:
                break
            before = here.copy()
            tried = here[active, None] + LENGTHS[:, None] * step[:, None]
            here[active], best[active] = lowest_of(values, tried, who[active])
            active = active[(here[active] != before[active]).any(1)]  # the others found no step of use
            if len(active) == 0:
                break
        slope, hessian = curvature(slopes, here, who, of_walk[who])
        inverse, log_det, tangent = _conditional(hessian, at)
        along = scale[at, None] * tangent
        covariance = inverse + along[:, :, None] * along[:, None]
        out.centre[stop, going] = here
        out.factor[stop, going] = _factor(covariance)
        out.log_mass[stop, going] = np.log(scale[at]) + 0.5 * log_det - best
        on = best < mode.value[who] + NEGLIGIBLE
        going, here, tangent, slope, hessian = (part[on] for part in (going, here, tangent, slope, hessian))
        if len(going) == 0:
            break
    by_unit = [np.moveaxis(part, 0, 1).reshape(units, STOPS * paths, *part.shape[2:]) for part in out]
    return Components(*by_unit)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Lower factors of covariances [..., P, P], by those of correlations: a ridge may run 10⁸ times as far in one coordinate as
    in another, and rounding would then leave no digit of the smaller variances."""
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    correlation = covariance / (scale[..., :, None] * scale[..., None, :])
    return scale[..., None] * np.linalg.cholesky(correlation + 1e-9 * np.eye(covariance.shape[-1]))


def _secant(hessian: np.ndarray, moved: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Hessians [B, P, P] made to send the steps `moved` [B, P] to the changes of gradient [B, P] seen over them, by the symmetric
    matrix of rank one that does so; as they are where that matrix would be large by rounding alone."""
    missing = change - np.einsum("bij,bj->bi", hessian, moved)
    along = np.einsum("bi,bi->b", missing, moved)
    lengths = np.linalg.norm(missing, axis=1) * np.linalg.norm(moved, axis=1)
    usable = np.isfinite(along) & (np.abs(along) > 1e-8 * lengths)
    missing = np.where(usable[:, None], missing, 0.0)
    return hessian + missing[:, :, None] * missing[:, None] / np.where(usable, along, 1.0)[:, None, None]


def _conditional(hessian: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of Hessians [B, P, P] without row and column j [B], made positive: inverses [B, P, P], 0 in j, and ln of their determinants
    [B]; and how the conditional mode of the rest moves with coordinate j [B, P], 1 in j."""
    rows = np.arange(len(j))
    rest = hessian.copy()
    rest[rows, j], rest[rows, :, j] = 0.0, 0.0
    rest[rows, j, j] = 1.0
    values, vectors = positive(rest)
    inverse = (vectors / values[:, None]) @ vectors.transpose(0, 2, 1)
    inverse[rows, j, j] = 0.0
    tangent = -np.einsum("bij,bj->bi", inverse, hessian[rows, :, j])
    tangent[rows, j] = 1.0
    return inverse, -np.log(values).sum(1), tangent
