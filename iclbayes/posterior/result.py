"""`Posterior`: draws of every group, and what can be asked of them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ..curves import Curves
from ..laws import Law
from . import batching
from . import predictive as along
from . import quantities as answers
from .draws import UnitDraws
from .model.model import split_sites, unravel


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Posteriors of one law for all groups of a `Curves`: G groups with up to J sources; C chains of D draws each.

    Attributes:
      law, curves: what was inferred, from which curves.
      used: [N] mask of the points that were used.
      blocks: draws by shape.
      seed: random numbers of the answers start from here, so that an answer does not change when asked again.
    """

    law: Law
    curves: Curves
    used: np.ndarray
    blocks: tuple[UnitDraws, ...]
    seed: int = 0

    def __repr__(self) -> str:
        table = self.diagnostics()
        c, d = self.blocks[0].theta.shape[1:3]
        good = int(table["ok"].sum())
        return f"Posterior({self.law.name}: {good} of {len(table)} posteriors with good diagnostics, {c} × {d} draws)"

    def assemble(self, pieces: list[np.ndarray], curvewise: bool) -> np.ndarray:
        """Pieces [U, C, D, G, …] of the blocks → [C, D, groups, …], NaN where a group has fewer sources."""
        tail = tuple(np.max([p.shape[4:] for p in pieces], axis=0)) if pieces[0].ndim > 4 else ()
        tail = tuple(int(t) for t in tail)
        chains, draws = pieces[0].shape[1:3]
        if curvewise:  # a curve per unit: its axis takes the place of the source axis of length 1
            n_sources = int(self.curves.rank().max()) + 1
            out = np.full((chains, draws, self.curves.n_groups, n_sources, *tail[1:]), np.nan)
        else:
            out = np.full((chains, draws, self.curves.n_groups, *tail), np.nan)
        for block, piece in zip(self.blocks, pieces, strict=True):
            for u in range(len(piece)):
                for g, group in enumerate(block.layout.groups[u]):
                    value = piece[u, :, :, g]
                    if curvewise:
                        rank = self.curves.rank()[block.layout.curves[u, g, 0]]
                        out[:, :, group, rank] = value[:, :, 0] if value.ndim > 2 else value
                    else:
                        out[(slice(None), slice(None), group, *(slice(s) for s in value.shape[2:]))] = value
        return out

    def over_draws(self, name: str, function: Callable, *arrays) -> list:
        """function(spec, sites of one draw, data, *unit arrays) for every draw of every unit; leaves [U, C, D, …]."""
        out = []
        for b, block in enumerate(self.blocks):
            spec = block.spec

            def per_unit(theta, data, *rest, spec=spec):
                def one(vector):
                    return function(spec, unravel(spec, vector, data.shots.shape[0]), data, *rest)

                return jax.vmap(jax.vmap(one))(theta)

            inputs = (block.theta, block.layout.data, *(a[b] for a in arrays))
            out.append(
                batching.over_units(
                    (name, spec), per_unit, inputs, min(16, batching.chunk_size(len(block.theta)))
                )
            )
        return out

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Draws of the constrained parameters by name: [C, D, G, …] for joint laws, [C, D, G, J] for the others; also those
        of the noise and of the discrepancy (`dispersion`, `overdispersion`, `example_scatter`, `noise`, `discrepancy`)."""
        found = self.over_draws("params", _constrained)
        return {name: self.assemble([f[name] for f in found], not self.law.joint) for name in found[0]}

    def summary(self) -> pd.DataFrame:
        """A row per group and entry of a parameter (`index`: number of the source or task, or none): mean, sd, median, lo90, hi90
        of the draws."""
        rows = []
        for name, value in self.params.items():
            flat = value.reshape(-1, *value.shape[2:])
            for at in np.ndindex(*value.shape[2:]):
                draws = flat[(slice(None), *at)]
                if np.isnan(draws).all():
                    continue
                key = self.curves.keys.iloc[at[0]].to_dict()
                low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
                stats = {"mean": draws.mean(), "sd": draws.std(), "median": middle, "lo90": low, "hi90": high}
                rows.append({**key, "parameter": name, "index": ",".join(map(str, at[1:])), **stats})
        return pd.DataFrame(rows)

    def diagnostics(self) -> pd.DataFrame:
        """A row per posterior: group columns (and source for laws fitted curve by curve), then `Block.checks`."""
        tables = []
        for block in self.blocks:
            first = block.layout.groups[:, 0]
            keys = self.curves.keys.iloc[first].reset_index(drop=True)
            if block.spec.hierarchy:
                keys = keys.iloc[:, :0]
            elif not self.law.joint and "source" not in keys:
                keys["source"] = self.curves.source[block.layout.curves[:, 0, 0]]
            tables.append(
                pd.concat([keys, block.checks()], axis=1).assign(_order=block.layout.curves[:, 0, 0])
            )
        return pd.concat(tables).sort_values("_order").drop(columns="_order").reset_index(drop=True)

    draws = along.draws
    log_score = along.log_score
    log_likelihood = along.log_likelihood
    forecast = along.forecast
    shots_to_reach = answers.shots_to_reach
    reach_table = answers.reach_table
    task_weights = answers.task_weights
    contrast = answers.contrast


def _constrained(spec, sites, data):
    raw, extra = split_sites(spec, sites, data)
    values = dict(jax.vmap(spec.law.constrain)(raw))
    named = {k.removeprefix("raw_"): jnp.exp(v) for k, v in extra.items() if k.startswith("raw_")}
    if not spec.law.joint:
        named = {k: v[:, None] for k, v in named.items()}
    return values | named
