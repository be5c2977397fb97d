"""Draws of a Bayesian law's parameters: what they have to provide, and those around point fits."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from ..curves import Curves
from ..errors import InputError
from ..fit_blocks import left_open
from ..fits import Fits
from ..laws import Law, task_weights
from ..runtime import precision, programs

PARAMETERS = ("prior", "efficiency", "spread", "gamma", "beta")
# A curve that would take a hundred times the shots that anybody has looked at is said never to arrive: a law's form alone speaks
# that far out. Not less, since people do ask about ten times the shots that they have.
BEYOND = 100.0
_LIMIT = 50.0  # raw parameters beyond this are 0, 1 or infinity to double precision anyway


class LawDraws(Protocol):
    """Draws of a law's parameters: C chains of D draws, S = C D."""

    @property
    def law(self) -> Law:
        """What was inferred."""
        ...

    @property
    def curves(self) -> Curves:
        """From which curves: G groups with up to J sources."""
        ...

    @property
    def params(self) -> dict[str, np.ndarray]:
        """[C, D, G, …] draws of the constrained parameters."""
        ...


class ParameterDraws(LawDraws, Protocol):
    """What contrasts and tables need besides; `NormalDraws` and `iclbayes.posterior.Posterior` have it."""

    def undetermined(self) -> dict[str, np.ndarray]:
        """By parameter of `source_params`, whether the data leave it open: [G], or [G, J] of what each source has."""
        ...

    def task_weights(self, shots: ArrayLike) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""
        ...

    def shots_to_reach(self, level: float, *, horizon: float | None = None) -> np.ndarray:
        """[S, G, J] draws of the shots to a level; inf where it is not reached within `horizon_of` shots."""
        ...


def horizon_of(curves: Curves, horizon: float | None = None) -> float:
    """Shots beyond which a level counts as never reached: `horizon`, or else 100 × the curves' largest number, at least 100."""
    return BEYOND * max(1.0, float(curves.max_shots().max())) if horizon is None else horizon


def horizons(curves: Curves, horizon: float | None = None) -> np.ndarray:
    """[C] shots beyond which a level counts as never reached: `horizon_of`, or the curve's context window if that is smaller."""
    return np.minimum(horizon_of(curves, horizon), curves.window)


def within_horizons(shots: np.ndarray, curves: Curves, horizon: float | None = None) -> np.ndarray:
    """Shots [S, G, J], inf where they lie beyond the `horizons` of their curve."""
    limit = np.full(shots.shape[1:], np.inf)
    limit[curves.group, curves.rank()] = horizons(curves, horizon)
    return np.where(shots > limit, np.inf, shots)


@dataclasses.dataclass(frozen=True)
class NormalDraws:
    """Draws of a joint law's parameters around its point fits, raw ~ N(raw̑, Σ), as one chain of `n_draws`.

    Attributes:
      fits: of a Bayesian law.
      n_draws, seed: how many, and of which random numbers. Fits without spare points have no covariance: NaN.
    """

    fits: Fits
    n_draws: int = 4000
    seed: int = 0

    @property
    def law(self) -> Law:
        """That of the fits."""
        return self.fits.law

    @property
    def curves(self) -> Curves:
        """Those of the fits."""
        return self.fits.curves

    @cached_property
    def _raw(self) -> list[dict[str, np.ndarray]]:
        """Raw parameters [B, S, C, …] of every block."""
        rng = np.random.default_rng(self.seed)
        found = []
        for block in self.fits.blocks:
            result = block.result
            with precision(self.fits.dtype):
                centre = np.asarray(block.problem.ravel(result.raw))
            known = np.all(np.isfinite(result.factor), axis=(1, 2))
            factor = np.where(known[:, None, None], result.factor, 0.0)
            normal = rng.standard_normal((len(centre), self.n_draws, centre.shape[1]))
            theta = np.clip(
                centre[:, None] + np.einsum("bpq,bsq->bsp", factor, normal), -_LIMIT, _LIMIT
            )  # exp overflows far out, where nothing changes any more
            theta[~known] = np.nan
            with precision(self.fits.dtype):
                split = jax.vmap(jax.vmap(lambda t, p=block.problem: p.split(p.unravel(t))))
                found.append(jax.device_get(split(jnp.asarray(theta))))
        return found

    def _map(self, function: Callable[..., Any], *arrays: np.ndarray) -> Any:
        """function(law, parameters of one group, *arrays) of every draw and group: leaves [S, G, …], NaN where shorter."""
        law, pieces = self.law, []

        def all_draws(raw, *arrays):
            return jax.vmap(jax.vmap(jax.vmap(lambda r: function(law, law.constrain(r), *arrays))))(raw)

        for raw in self._raw:
            arrays = tuple(np.asarray(a, self.fits.dtype) for a in arrays)
            pieces.append(
                programs.run(("normal draws", function, law), all_draws, raw, *arrays, dtype=self.fits.dtype)
            )
        leaves = zip(*(jax.tree.leaves(piece) for piece in pieces), strict=True)
        return jax.tree.unflatten(jax.tree.structure(pieces[0]), [self._assemble(leaf) for leaf in leaves])

    def _assemble(self, pieces) -> np.ndarray:
        tail = (
            tuple(int(n) for n in np.max([p.shape[3:] for p in pieces], axis=0)) if pieces[0].ndim > 3 else ()
        )
        out = np.full((self.n_draws, self.curves.n_groups, *tail), np.nan)
        for block, piece in zip(self.fits.blocks, pieces, strict=True):
            part = tuple(slice(n) for n in piece.shape[3:])
            out[(slice(None), block.groups, *part)] = np.moveaxis(piece, 1, 0)
        return out

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """[1, S, G, …] draws of the constrained parameters."""
        return {name: value[None] for name, value in self._map(_params).items()}

    def undetermined(self) -> dict[str, np.ndarray]:
        """By parameter, whether the data leave it open in the fits, see `fit_blocks.left_open`: [G], or [G, J]."""
        check_law(self.law)
        table = self.fits.to_frame(stderr=True)
        place = (self.curves.group, self.curves.rank())
        sizes = (self.curves.n_groups, int(place[1].max()) + 1)
        found = {}
        for name in (name for name in PARAMETERS if name in self.law.param_names):
            axes = 1 if self.params[name].ndim == 3 else 2  # what a group has once, or each of its sources
            found[name] = np.zeros(sizes[:axes], bool)
            np.logical_or.at(found[name], place[:axes], left_open(table, name))
        return found

    def task_weights(self, shots: ArrayLike) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""
        return self._map(task_weights, np.asarray(shots, float))

    def shots_to_reach(self, level: float, *, horizon: float | None = None) -> np.ndarray:
        """[S, G, J] draws of the shots at which a curve is at `level`: 0 from the start, inf if not within `horizon_of`; NaN if
        the fit does not determine them, see `Fits.reach_table`."""
        reach = self._map(_reach, np.asarray(level))
        reach = within_horizons(reach, self.curves, horizon)
        opened = self.fits.reach_table(level)["undetermined"]
        reach[:, self.curves.group[opened], self.curves.rank()[opened]] = np.nan
        return reach


def _params(law: Law, params: dict[str, Array]) -> dict[str, Array]:
    del law
    return params


def _reach(law: Law, params: dict[str, Array], level: Array) -> Array:
    return law.shots_to_reach(params, level)


def check_law(law: Law) -> None:
    """Raises InputError for a law without prior, efficiency, gamma and beta."""
    missing = {"prior", "efficiency", "gamma", "beta"} - set(law.param_names)
    if missing:
        raise InputError(
            f"the law {law.name} has no {', '.join(sorted(missing))} to contrast; "
            "take bayesian_scoring, bayesian_heterogeneous_exact, bayesian_sampling or their _log readings"
        )


def source_params(one: LawDraws) -> dict[str, np.ndarray]:
    """Draws [S, G] of what a group has once, [S, G, J] of what each source has, by name.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    check_law(one.law)
    n_sources = int(one.curves.rank().max()) + 1
    found = {}
    for name in PARAMETERS:
        if name in one.law.param_names:
            value = one.params[name]
            value = value.reshape(-1, *value.shape[2:])
            found[name] = value[..., :n_sources] if value.ndim > 2 else value
    return found
