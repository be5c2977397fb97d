"""Coordinates in which a posterior looks like a standard normal, so that a sampler can take long steps.

    θ = centre + factor (z + bend q(z)),   q(z) = all s_a s_b with a ≤ b ≤ K,   s = z / √(1 + (z/4)²)

`factor` holds the principal axes, widest first, so that linear correlations (the prior ρ against K ln γ/β, for example) are gone.
Posteriors of learning curves are also bent: an amplitude, a position and a floor trade off along a curved ridge that is twenty
times as long as it is wide. `bend` straightens it: each axis is shifted by a quadratic function of the wider ones among the K
widest. An axis is shifted by wider axes alone, so the volume factor is constant and densities need no correction.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

WIDEST = 3  # K: axes that bend others; amplitude, position and floor of a curve are three
# Standard deviations beyond which the bend goes on less and less quadratically: it was learnt from draws, of which hardly any lie
# farther out, and a square that went on there would fold the space.
REACH = 4.0


class Coordinates(NamedTuple):
    """Coordinates of U posteriors: centre [U, P], factor [U, P, P], bend [U, P, K (K + 1) / 2]."""

    centre: np.ndarray
    factor: np.ndarray
    bend: np.ndarray


def _features(z: Any, xp: Any = np) -> Any:
    """[..., k (k + 1) / 2] with k = min(K, axes of z): those of the first axes come first."""
    wide = z[..., :WIDEST]
    s = wide / xp.sqrt(1 + (wide / REACH) ** 2)
    n = wide.shape[-1]
    return xp.stack([s[..., a] * s[..., b] for b in range(n) for a in range(b + 1)], -1)


def _count(axes: int) -> int:
    k = min(axes, WIDEST)
    return k * (k + 1) // 2


def straight(centre: np.ndarray, covariance: np.ndarray) -> Coordinates:
    """Coordinates without bend from centre [U, P] and covariance [U, P, P]."""
    values, vectors = np.linalg.eigh(covariance)
    factor = (vectors * np.sqrt(np.maximum(values, 1e-12))[:, None])[..., ::-1]
    return Coordinates(centre, factor, np.zeros((*centre.shape, _count(centre.shape[1]))))


def fit(draws: np.ndarray, worth: np.ndarray, covariance: np.ndarray) -> Coordinates:
    """Coordinates from draws of the posteriors, by ridge regression of each axis on the features of the wider ones.

    Args:
      draws: [U, n, P].
      worth: [U] how many independent draws these are worth.
      covariance: [U, P, P] an earlier estimate, which counts as 2 (P + 5) draws.
    """
    n_units, n, size = draws.shape
    mean = draws.mean(1)
    moved = draws - mean[:, None]
    own = np.einsum("unp,unq->upq", moved, moved, optimize=True) / n
    share = (worth / (worth + 2.0 * (size + 5)))[:, None, None]
    centre, factor, bend = straight(mean, share * own + (1 - share) * covariance)
    w = np.linalg.solve(factor[:, None], moved[..., None])[..., 0]
    z, shift, scale = np.zeros_like(w), np.zeros((n_units, size)), np.ones((n_units, size))
    for j in range(1, size + 1):
        # w_j = scale (z_j + bend · q) + shift, q of the axes before it
        axis, k = j - 1, _count(j - 1)
        residual = w[..., axis]
        if k:
            q = _features(z[..., :axis])
            q_mean = q.mean(1, keepdims=True)
            gram = np.einsum("unp,unq->upq", q - q_mean, q - q_mean) / n
            right = np.einsum("unp,un->up", q - q_mean, w[..., axis]) / n
            ridge = (k / np.maximum(worth, 1.0))[:, None, None] * np.eye(k)
            bend[:, axis, :k] = np.linalg.solve(gram + ridge, right[..., None])[..., 0]
            shift[:, axis] = -np.einsum("up,up->u", bend[:, axis, :k], q_mean[:, 0])
            residual = w[..., axis] - shift[:, axis, None] - np.einsum("unp,up->un", q, bend[:, axis, :k])
        # What the regression does not explain shrinks an axis; how little is known of it must not.
        scale[:, axis] = np.sqrt(residual.var(1) / np.maximum(w[..., axis].var(1), 1e-300)).clip(1e-3, 1.0)
        bend[:, axis] /= scale[:, axis, None]
        z[..., axis] = residual / scale[:, axis, None]
    centre = centre + np.einsum("upq,uq->up", factor, shift)
    return Coordinates(centre, factor * scale[:, None], bend)


def to_theta(at: Coordinates, z: Array) -> Array:
    """θ [U, ..., P] of z [U, ..., P]; traceable."""
    shape = z.shape
    z = jnp.reshape(z, (shape[0], -1, shape[-1]))
    bent = z + jnp.einsum("upq,ucq->ucp", at.bend, _features(z, jnp))
    return jnp.reshape(at.centre[:, None] + jnp.einsum("upq,ucq->ucp", at.factor, bent), shape)


def from_theta(at: Coordinates, theta: np.ndarray) -> np.ndarray:
    """z [U, n, P] of θ [U, n, P], in NumPy."""
    w = np.linalg.solve(at.factor[:, None], (theta - at.centre[:, None])[..., None])[..., 0]
    z = w.copy()
    for axis in range(1, z.shape[-1]):
        k = _count(axis)
        z[..., axis] -= np.einsum("unp,up->un", _features(z[..., :axis]), at.bend[:, axis, :k])
    return z
