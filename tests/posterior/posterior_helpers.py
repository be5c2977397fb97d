"""A law whose posterior is known in closed form, and small curves."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import iclbayes
from iclbayes.laws import Law
from iclbayes.laws.base import logit


@dataclasses.dataclass(frozen=True)
class Constant(Law):
    """p(n) = γ, whatever n: with a Beta prior on γ and binomial counts the posterior is a Beta distribution."""

    name: str = "constant"
    joint: ClassVar[bool] = False
    param_names: ClassVar[tuple[str, ...]] = ("gamma",)

    def raw_shapes(self, n_curves, background):
        return {"gamma": (n_curves,)}

    def constrain(self, raw):
        return {"gamma": jax.nn.sigmoid(raw["gamma"])}

    def unconstrain(self, params):
        return {"gamma": logit(params["gamma"])}

    def local(self, raw):
        return raw["gamma"][None]

    def point(self, q, x):
        return jax.nn.sigmoid(q[0]) + 0.0 * x

    def point_and_jacobian(self, q, x):
        p = self.point(q, x)
        return p, (p * (1 - p),)

    def guess(self, x, y, w, n_starts, key, background):
        mean = jnp.sum(w * y, -1) / jnp.maximum(jnp.sum(w, -1), 1e-9)
        return {"gamma": jnp.broadcast_to(logit(jnp.clip(mean, 0.01, 0.99)), (n_starts, *mean.shape))}

    def shots_to_reach(self, params, level):
        return jnp.where(params["gamma"] >= level, 0.0, jnp.inf)


def count_curves(n_correct, n_test, shots=None) -> "iclbayes.Curves":
    """Curves [G, n] of counts."""
    n_correct = np.asarray(n_correct, float)
    shots = np.arange(n_correct.shape[1]) if shots is None else shots
    return iclbayes.Curves.from_arrays(
        shots, n_correct / n_test, n_test=np.broadcast_to(n_test, n_correct.shape)
    )
