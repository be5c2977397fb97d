"""Where the search for the mode of a posterior begins.

Posteriors have several modes (one stage or two, tasks in either order), and Newton's method finds the one downhill of where it
begins. So it begins at the centre of the prior and at those of a few dozen draws of the prior that suit the points best, and the
best mode counts. A search from point fits ends in a worse mode more often: they ask what is nearest to the points, not where mass
is (`experiments/bench_posterior.md`).
"""

import numpy as np

from ..model.latent import prior_points
from ..model.spec import Spec
from .laplace import TOGETHER, Values

CALLS = 6  # of the density, `TOGETHER` draws each
BEST = 4  # of these draws


def starts(spec: Spec, n_groups: int, values: Values, n_units: int) -> np.ndarray:
    """[U, 1 + `BEST`, P] points of U units: the same law in all groups, noise at its prior's centre, no discrepancy.

    Args:
      spec, n_groups: of the units.
      values: potentials, as in `laplace`.
      n_units: U.
    """
    points = prior_points(spec, n_groups, CALLS * TOGETHER, np.random.SeedSequence(0))
    centre, drawn = points[:1], points[1:]
    asked = np.tile(drawn.reshape(CALLS, TOGETHER, -1), (n_units, 1, 1))
    found = values(asked, np.arange(n_units).repeat(CALLS)).reshape(n_units, -1)
    best = np.argsort(np.where(np.isfinite(found), found, np.inf), axis=1)[:, :BEST]
    return np.concatenate([np.tile(centre, (n_units, 1, 1)), drawn[best]], 1)
