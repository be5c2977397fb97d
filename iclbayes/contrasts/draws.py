"""Draws of a Bayesian law's parameters around point fits, and tables of what any draws say of every curve."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from ..curves import Curves, curve_columns
from ..errors import InputError
from ..fits import Fits
from ..laws import Law, task_weights
from ..runtime import precision, programs

PARAMETERS = ("prior", "efficiency", "spread", "gamma", "beta")
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
_LIMIT = 50.0  # raw parameters beyond this are 0, 1 or infinity to double precision anyway


class Draws(Protocol):
    """What the functions below need; `NormalDraws` and `iclbayes.posterior.Posterior` have it. C chains of D draws, S = C D."""

    law: Law
    curves: Curves

    @property
    def params(self) -> dict[str, np.ndarray]:
        """[C, D, G, …] draws of the constrained parameters."""

    def task_weights(self, shots) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""

    def shots_to_reach(self, level: float) -> np.ndarray:
        """[S, G, J] draws of the shots to a level; inf for never."""


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
        return self.fits.law

    @property
    def curves(self) -> Curves:
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
            covariance = np.asarray(result.covariance)
            known = np.isfinite(covariance).all((1, 2))
            values, vectors = np.linalg.eigh(np.where(known[:, None, None], covariance, 0.0))
            root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
            normal = rng.standard_normal((len(centre), self.n_draws, centre.shape[1]))
            theta = np.clip(
                centre[:, None] + np.einsum("bpq,bsq->bsp", root, normal), -_LIMIT, _LIMIT
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
            for b, c in np.ndindex(block.groups.shape):
                part = tuple(slice(n) for n in piece.shape[3:])
                out[(slice(None), block.groups[b, c], *part)] = piece[b, :, c]
        return out

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """[1, S, G, …] draws of the constrained parameters."""
        return {name: value[None] for name, value in self._map(_params).items()}

    def task_weights(self, shots) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""
        return self._map(task_weights, np.asarray(shots, float))

    def shots_to_reach(self, level: float) -> np.ndarray:
        """[S, G, J] draws of the shots at which a curve is at `level`; 0 from the start, inf for never."""
        reach = self._map(_reach, np.asarray(level))
        return np.where(np.isnan(self.params["efficiency"][0])[..., None], np.nan, reach)


def _params(law: Law, params: dict[str, Array]) -> dict[str, Array]:
    del law
    return params


def _reach(law: Law, params: dict[str, Array], level: Array) -> Array:
    return law.shots_to_reach(params, level)


def source_params(one: Draws) -> dict[str, np.ndarray]:
    """Draws [S, G] of what a group has once, [S, G, J] of what each source has, by name.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    missing = {"prior", "efficiency", "gamma", "beta"} - set(one.law.param_names)
    if missing:
        raise InputError(
            f"the law {one.law.name} has no {', '.join(sorted(missing))} to contrast; "
            "take bayesian_scoring, bayesian_heterogeneous, bayesian_sampling or their _log readings"
        )
    n_sources = int(one.curves.rank().max()) + 1
    found = {}
    for name in PARAMETERS:
        if name in one.law.param_names:
            value = one.params[name]
            value = value.reshape(-1, *value.shape[2:])
            found[name] = value[..., :n_sources] if value.ndim > 2 else value
    return found


def parameter_table(one: Draws) -> pd.DataFrame:
    """A row per curve and parameter (efficiency and spread once per group, source ""): median, lo90, hi90."""
    keys, rank = curve_columns(one.curves), one.curves.rank()
    tables = []
    for name, value in source_params(one).items():
        if value.ndim == 2:
            frame, draws = one.curves.keys.assign(source=""), value
        else:
            frame, draws = keys, value[:, one.curves.group, rank]
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        tables.append(frame.assign(parameter=name, median=middle, lo90=low, hi90=high))
    return pd.concat(tables, ignore_index=True)


def posterior_table(one: Draws, shots) -> pd.DataFrame:
    """Weight of each curve's own task after n shots from it, w_jj(n).

    Returns:
      Group columns, source, shots, median, lo50, hi50, lo90, hi90; a row per curve and number of shots.
    """
    shots = np.asarray(shots, float)
    curves, rank = one.curves, one.curves.rank()
    own = one.task_weights(shots)[:, curves.group, rank, rank]  # [S, curves, n]
    keys = curve_columns(curves)
    frame = keys.iloc[np.repeat(np.arange(len(keys)), len(shots))].reset_index(drop=True)
    frame = frame.assign(shots=np.tile(shots, len(keys)))
    names = {"median": 0.5, "lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}
    for name, value in zip(names, np.quantile(own, list(names.values()), axis=0), strict=True):
        frame[name] = value.reshape(-1)
    return frame


def reach_table(one: Draws, level: float, *, horizon: float | None = None) -> pd.DataFrame:
    """Shots at which each curve is at `level`.

    Args:
      one: draws.
      level: a probability.
      horizon: more shots than this count as never; default: 100 × the curves' largest number, at least 100.

    Returns:
      Group columns, source, level, q05 … q95 (inf for never), p_never; a row per curve. NaN where a fit has no covariance.
    """
    horizon = 100 * max(1.0, float(one.curves.shots.max())) if horizon is None else horizon
    draws = one.shots_to_reach(level)[:, one.curves.group, one.curves.rank()]
    draws = np.where(draws > horizon, np.inf, draws)
    frame = curve_columns(one.curves).assign(level=level)
    known = ~np.isnan(draws).any(0)
    safe = np.where(known, draws, 0.0)
    for name, q in QUANTILES.items():
        frame[name] = np.where(known, np.quantile(safe, q, axis=0, method="inverted_cdf"), np.nan)
    return frame.assign(p_never=np.where(known, np.isinf(safe).mean(0), np.nan))
