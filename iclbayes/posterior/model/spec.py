"""What is inferred of which points: `Spec`, hashable, so that programs can be cached by it, and `UnitData`, arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpyro.distributions as dist

from ...laws import Law
from .discrepancy import RandomWalk
from .learned import LearnedPriors
from .likelihoods import LIKELIHOODS, Likelihood
from .priors import Priors, resolve

Numbers = Any  # arrays: NumPy's outside programs, JAX's inside


class UnitData(NamedTuple):
    """The points of G groups of J curves, padded to n.

    Attributes:
      shots, obs: [G, J, n]; obs is a count or a probability, as the likelihood wants.
      mask: [G, J, n], True where there is a point to fit.
      n_test, stderr: [G, J, n]; 1 and 0 where unknown.
      first, last: [G, J] fewest and most fitted shots.
    """

    shots: Numbers
    obs: Numbers
    mask: Numbers
    n_test: Numbers
    stderr: Numbers
    first: Numbers
    last: Numbers


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is inferred, hashable.

    Attributes:
      law, likelihood: see `iclbayes.laws` and `likelihoods`.
      discrepancy: None for a law taken to be true.
      priors: of the raw sites, from `priors.resolve`.
      n_curves, background: shape of a group: its curves, and the tasks that own none.
      hierarchy: names of law parameters whose values in the groups are drawn from a common normal (raw scale).
      hierarchy_scale: median of the log-normal prior of that normal's standard deviation; 0.5 lets groups differ by a factor of
        1.6 (one standard deviation of a log), between laws that hardly differ and groups that share nothing.
    """

    law: Law
    likelihood: Likelihood
    discrepancy: RandomWalk | None
    priors: Priors
    n_curves: int
    background: int
    hierarchy: tuple[str, ...] = ()
    hierarchy_scale: float = 0.5

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the law's raw parameters in one group; ρ of a single task has size 0."""
        shapes = self.law.raw_shapes(self.n_curves, self.background)
        return {name: shapes[name] for name in self.law.param_names}


def make_spec(
    law: Law,
    likelihood: str | Likelihood,
    n_curves: int,
    background: int,
    discrepancy: RandomWalk | None = None,
    priors: Mapping[str, dist.Distribution] | LearnedPriors | None = None,
    hierarchy: tuple[str, ...] = (),
) -> Spec:
    """A `Spec` with resolved priors; `priors` as in `iclbayes.posterior.sample`."""
    likelihood = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    extra = likelihood.priors() | (discrepancy.priors() if discrepancy else {})
    if isinstance(priors, LearnedPriors):
        priors = priors.of(law, extra)
    return Spec(
        law, likelihood, discrepancy, resolve(law, extra, priors), n_curves, background, tuple(hierarchy)
    )
