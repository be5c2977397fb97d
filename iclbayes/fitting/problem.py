"""What is fitted (`Problem`) and to what (`Points`): the two arguments of everything numerical in this folder."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..laws import Law
from .losses import PointLoss

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Points(NamedTuple):
    """Points of a batch of fits.

    Attributes:
      x: abscissae [S, n, B] (with leading axes where the law wants them).
      y: probabilities [S, n, B].
      w: weights [S, n, B]; each fit's weights sum to 1 (or are all 0).
      pull: strength of the ridge [B], see `Problem.ridge`.
    """

    x: Array
    y: Array
    w: Array
    pull: Array


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is fitted: hashable, so that one compilation serves all data of the same shapes.

    Attributes:
      law, loss: see `iclbayes.laws` and `fitting.losses`.
      n_curves: curves J of one condition.
      background: number of tasks without a curve.
      n_conditions: conditions C that share parameters; their curves are stacked, S = C J.
      shared: names of the parameters that the conditions share.
      ridge: noise σ in λ Σ ((raw − centre)/scale)², λ = σ²/N: what normal priors on the raw parameters (`law.ridge_at`) add
        to the mean squared error of N points with noise σ.
    """

    law: Law
    loss: PointLoss
    n_curves: int
    background: int
    n_conditions: int = 1
    shared: tuple[str, ...] = ()
    ridge: float = 0.0

    @property
    def shapes(self) -> Shapes:
        """(name, shape) of the raw parameters; parameters that are not shared have a leading axis [C] if C > 1."""
        free = self.law.raw_shapes(self.n_curves, self.background)
        lead = () if self.n_conditions == 1 else (self.n_conditions,)
        return tuple((name, s if name in self.shared else lead + s) for name, s in sorted(free.items()))

    @property
    def size(self) -> int:
        """Number of raw parameters P."""
        return sum(math.prod(s) for _, s in self.shapes)

    def ridge_terms(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre [P] and 1/scale² [P] of the ridge; 0 for parameters that it leaves alone."""
        centre, precision = [], []
        for name, shape in self.shapes:
            at, scale = self.law.ridge_at.get(name, (0.0, np.inf))
            centre += [at] * math.prod(shape)
            precision += [scale**-2.0] * math.prod(shape)
        return np.array(centre), np.array(precision)

    def unravel(self, theta: Array) -> dict[str, Array]:
        """Vector [P] → raw parameters by name."""
        raw, at = {}, 0
        for name, shape in self.shapes:
            raw[name] = theta[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        return raw

    def ravel(self, raw: dict[str, Array]) -> Array:
        """Raw parameters by name (with any leading batch axes) → vectors [..., P]."""
        parts = []
        for name, shape in self.shapes:
            value = raw[name]
            parts.append(value.reshape(*value.shape[: value.ndim - len(shape)], -1))
        return jnp.concatenate(parts, axis=-1)

    def split(self, raw: dict[str, Array]) -> dict[str, Array]:
        """Raw parameters with shared ones repeated, so that every leaf has the leading axis [C]."""
        if self.n_conditions == 1:
            return {name: value[None] for name, value in raw.items()}
        repeat = lambda v: jnp.broadcast_to(v, (self.n_conditions, *v.shape))  # noqa: E731
        return {name: repeat(value) if name in self.shared else value for name, value in raw.items()}

    def local_order(self) -> np.ndarray:
        """[P] the local parameter behind each raw one, for laws whose local parameters are the raw ones (`local_is_raw`)."""
        return np.array([self.law.param_names.index(name) for name, _ in self.shapes])

    def local(self, theta: Array) -> Array:
        """Vector [P] → local parameters [d, S] of all curves."""
        q = jax.vmap(self.law.local)(self.split(self.unravel(theta)))  # [C, d, J]
        return jnp.moveaxis(q, 0, 1).reshape(q.shape[1], -1)
