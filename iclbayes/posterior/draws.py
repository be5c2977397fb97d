"""`PosteriorDraws`: the draws of all units of a `Curves`, and how a quantity of units becomes one of groups."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..curves import Curves
from ..errors import InputError
from ..laws import Law
from .model.latent import split_sites, unravel
from .model.numpyro_model import Sites
from .model.spec import Spec, UnitData
from .sampling.unit_draws import UnitDraws
from .units import chunk_size, over_units


@dataclasses.dataclass(frozen=True)
class PosteriorDraws:
    """Draws of one law's parameters for all groups of a `Curves`: G groups with up to J sources; C chains of D draws each.

    A unit is what has a posterior of its own: a group for a joint law, a curve for the others, all of them for a hierarchy.

    Attributes:
      law, curves: what was inferred, from which curves.
      used: [N] mask of the points that were used.
      blocks: the draws of the units of each bucket.
      seed: random numbers of the answers start from here, so that an answer does not change when asked again.
    """

    law: Law
    curves: Curves
    used: np.ndarray
    blocks: tuple[UnitDraws, ...]
    seed: int = 0

    @property
    def n_draws(self) -> tuple[int, int]:
        """Chains C and draws D of each chain."""
        chains, draws = self.blocks[0].theta.shape[1:3]
        return chains, draws

    @property
    def n_sources(self) -> int:
        """J, the most sources that a group has."""
        return int(self.curves.rank().max()) + 1

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Draws of the constrained parameters by name: [C, D, G, …] for joint laws, [C, D, G, J] for the others; also those
        of the noise and of the discrepancy (`dispersion`, `overdispersion`, `example_scatter`, `noise`, `discrepancy`)."""
        found = self.over_draws("params", _constrained)
        return {name: self.assemble([f[name] for f in found], not self.law.joint) for name in found[0]}

    def over_draws(self, name: str, function: Callable[..., Any], *arrays: Sequence[np.ndarray]) -> list[Any]:
        """A function of one draw of one unit, for every draw of every unit.

        Args:
          name: hashable; stands for the function and what it closes over in the cache of compiled programs.
          function: (spec, latent sites, data of the unit, *its own arrays) → arrays.
          arrays: of each kind, one [U, …] per block.

        Returns:
          The function's pytree for every block, leaves [U, C, D, …].
        """
        out = []
        for b, block in enumerate(self.blocks):
            spec = block.spec

            def per_unit(theta: Array, data: UnitData, *rest: Array, spec: Spec = spec) -> Any:
                def one(vector: Array) -> Any:
                    return function(spec, unravel(spec, vector, data.shots.shape[0]), data, *rest)

                return jax.vmap(jax.vmap(one))(theta)

            inputs = (block.theta, block.units.data, *(a[b] for a in arrays))
            out.append(over_units((name, spec), per_unit, inputs, chunk_size(len(block.theta), most=16)))
        return out

    def assemble(self, pieces: Sequence[np.ndarray], curvewise: bool) -> np.ndarray:
        """Pieces of the blocks in the order of the groups.

        Args:
          pieces: [U, C, D, G_U, …] of every block, for units of G_U groups.
          curvewise: a unit is a curve; its axis takes the place of the source axis of length 1.

        Returns:
          [C, D, G, …], or [C, D, G, J, …] where curvewise; NaN where a group has fewer sources.
        """
        tail = (
            tuple(int(t) for t in np.max([p.shape[4:] for p in pieces], axis=0)) if pieces[0].ndim > 4 else ()
        )
        lead = (*self.n_draws, self.curves.n_groups)
        out = np.full((*lead, self.n_sources, *tail[1:]) if curvewise else (*lead, *tail), np.nan)
        rank = self.curves.rank()
        for block, piece in zip(self.blocks, pieces, strict=True):
            for u, g in np.ndindex(block.units.groups.shape):
                group, value = block.units.groups[u, g], piece[u, :, :, g]
                if curvewise:
                    source = rank[block.units.curves[u, g, 0]]
                    out[:, :, group, source] = value[:, :, 0] if value.ndim > 2 else value
                else:
                    out[(slice(None), slice(None), group, *(slice(n) for n in value.shape[2:]))] = value
        return out

    def group_index(self, which: int | dict[str, Any]) -> int:
        """Index of a group, given as an index or as a dict of group columns that names exactly one.

        Raises:
          InputError: a group that is not there or not the only one.
        """
        if not isinstance(which, dict):
            if not 0 <= int(which) < self.curves.n_groups:
                raise InputError(f"group {which} is not one of 0 to {self.curves.n_groups - 1}")
            return int(which)
        keys = self.curves.keys
        absent = [c for c in which if c not in keys]
        if absent:
            raise InputError(
                f"no group column {absent[0]!r}; the columns are {', '.join(map(str, keys.columns))}"
            )
        match = np.flatnonzero(np.logical_and.reduce([keys[c] == v for c, v in which.items()]))
        if len(match) != 1:
            raise InputError(f"{len(match)} groups are {which}; name exactly one")
        return int(match[0])


def _constrained(spec: Spec, sites: Sites, data: UnitData) -> Sites:
    raw, extra = split_sites(spec, sites, data)
    values = dict(jax.vmap(spec.law.constrain)(raw))
    named = {k.removeprefix("raw_"): jnp.exp(v) for k, v in extra.items() if k.startswith("raw_")}
    if not spec.law.joint:
        named = {k: v[:, None] for k, v in named.items()}
    return values | named
