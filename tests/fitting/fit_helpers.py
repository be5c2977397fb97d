"""Groups of curves made of known parameters."""

import jax
import jax.numpy as jnp
import numpy as np

import iclbayes

POINTS = 48  # one length for most tests: a law then compiles once


def group_truth(rng, n_groups, n_curves=3):
    """Identifiable parameters of joint laws, and their curves on 0 … 47 shots."""
    prior = rng.dirichlet(np.full(n_curves, 6.0), n_groups)
    gamma = rng.uniform(0.6, 0.95, (n_groups, n_curves))
    beta = gamma * rng.uniform(0.2, 0.5, (n_groups, n_curves))
    efficiency = rng.uniform(0.1, 0.3, n_groups)
    return {"prior": prior, "efficiency": efficiency, "gamma": gamma, "beta": beta}


def curves_of(law, params, noise, rng, points=POINTS):
    with jax.enable_x64(True):
        mean = jax.vmap(law.mean, (0, None))(params, jnp.arange(points, dtype=float))
    prob = np.clip(np.asarray(mean) + noise * rng.standard_normal(mean.shape), 0, 1)
    return iclbayes.Curves.from_arrays(np.arange(points), prob), np.asarray(mean)


def mixed_bag(rng, count, points):
    """Curves of every law's shape, steps, falling and noisy ones, [count, points]."""
    n = np.arange(points)
    kinds = [
        0.1
        + 0.8
        / (1 + np.exp(-(n[None] - rng.uniform(1, points, (count, 1))) / rng.uniform(0.3, 20, (count, 1)))),
        np.exp(-(rng.uniform(0.3, 2, (count, 1)) * (n + 1.0) ** -rng.uniform(0.1, 2, (count, 1)) + 0.1)),
        (n[None] >= rng.integers(1, points, (count, 1))).astype(float),
        np.broadcast_to(0.9 - 0.8 * n / points, (count, points)),
        np.full((count, points), 0.5),
    ]
    which = rng.integers(0, len(kinds), count)
    prob = np.stack(kinds)[which, np.arange(count)]
    return n, np.clip(prob + rng.choice([0.0, 0.02, 0.3], (count, 1)) * rng.standard_normal(prob.shape), 0, 1)
