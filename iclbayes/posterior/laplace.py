"""The mode of a posterior, its curvature there, and draws of the normal (Laplace) and Student-t approximations.

Mode by Newton's method with the eigenvalues of the Hessian made positive, |λ| ≥ floor, and a backtracking line search: steps
of 1, 1/4, … 1/4⁵ are tried at once. Everything is for one unit; batch with `jax.vmap`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

FLOOR = 0.02  # smallest curvature believed: every prior here is at least that informative
DIFFERENCE = 1e-4  # step of the central differences; raw coordinates are of order 1
STUDENT = (
    6.0  # degrees of freedom of the proposals: tails heavier than those of posteriors with normal priors
)


class Mode(NamedTuple):
    """A mode of the posterior.

    Attributes:
      theta: [P].
      value: −ln density there.
      factor: [P, P] with factor factorᵀ = (Hessian, floored)⁻¹.
      log_det: ln |det factor|.
      grad_norm: largest component of factorᵀ gradient: distance to the mode in standard deviations.
      steps: Newton steps taken.
    """

    theta: Array
    value: Array
    factor: Array
    log_det: Array
    grad_norm: Array
    steps: Array


def find_mode(
    potential: Callable[[Array], Array], theta: Array, max_steps: int = 60, gtol: float = 1e-4
) -> Mode:
    """The mode near theta [P] of the density exp(−potential)."""
    gradient = jax.grad(potential)
    lengths = 0.25 ** jnp.arange(6, dtype=theta.dtype)

    steps = DIFFERENCE * jnp.eye(theta.size, dtype=theta.dtype)
    around = jnp.concatenate([jnp.zeros_like(steps[:1]), steps, -steps])

    def look(theta):
        # Differences of the gradient: one small graph, where second derivatives take five times as long to compile.
        slopes = jax.vmap(gradient)(theta + around)
        g, plus, minus = slopes[0], slopes[1 : theta.size + 1], slopes[theta.size + 1 :]
        h = (plus - minus) / (2 * DIFFERENCE)
        ok = jnp.all(jnp.isfinite(h)) & jnp.all(jnp.isfinite(g))
        h = jnp.where(ok, 0.5 * (h + h.T), jnp.eye(theta.size, dtype=theta.dtype))
        values, vectors = jnp.linalg.eigh(h)
        factor = vectors / jnp.sqrt(jnp.maximum(jnp.abs(values), FLOOR))
        return jnp.where(ok, g, 0.0), factor

    def step(carry):
        i, theta, value, _, _, _ = carry
        g, factor = look(theta)
        scaled = factor.T @ g
        # No step is longer than 5 standard deviations: far from the mode the curvature says little.
        size = jnp.sqrt(jnp.sum(scaled**2))
        direction = -(factor @ scaled) * jnp.minimum(1.0, 5.0 / jnp.maximum(size, 1e-30))
        tried = theta + lengths[:, None] * direction
        values = jax.vmap(potential)(tried)
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        best = jnp.argmin(values)
        norm = jnp.max(jnp.abs(scaled))
        # The last step only looks, so that the factor returned is the one at theta.
        move = (values[best] < value) & (norm > gtol) & (i < max_steps)
        theta, value = jnp.where(move, tried[best], theta), jnp.where(move, values[best], value)
        return i + 1, theta, value, factor, norm, ~move

    start = potential(theta)
    start = jnp.where(jnp.isfinite(start), start, jnp.inf)
    unknown = jnp.full((), jnp.inf, theta.dtype)
    nothing = jnp.eye(theta.size, dtype=theta.dtype)
    first = (jnp.zeros((), jnp.int32), theta, start, nothing, unknown, jnp.zeros((), bool))
    taken, theta, value, factor, norm, _ = jax.lax.while_loop(lambda carry: ~carry[-1], step, first)
    return Mode(theta, value, factor, jnp.linalg.slogdet(factor)[1], norm, taken)


def best_mode(potential: Callable[[Array], Array], starts: Array, **options) -> Mode:
    """The best of the modes found from starts [S, P], by the Laplace estimate of its mass."""
    modes = jax.vmap(lambda theta: find_mode(potential, theta, **options))(starts)
    mass = modes.log_det - modes.value
    best = jnp.argmax(jnp.where(jnp.isfinite(mass), mass, -jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], modes)


def normal_draws(key: Array, mode: Mode, n: int) -> Array:
    """[n, P] draws of N(mode, Hessian⁻¹)."""
    return mode.theta + jax.random.normal(key, (n, mode.theta.size), mode.theta.dtype) @ mode.factor.T


def student_draws(key: Array, centre: Array, factor: Array, n: int) -> tuple[Array, Array]:
    """[n, P] draws of a multivariate t around `centre`, and ln of their densities [n] up to a constant."""
    size = centre.size
    key_z, key_w = jax.random.split(key)
    z = jax.random.normal(key_z, (n, size), centre.dtype)
    w = jax.random.chisquare(key_w, STUDENT, (n,), dtype=centre.dtype) / STUDENT
    z = z / jnp.sqrt(w)[:, None]
    log_q = -0.5 * (STUDENT + size) * jnp.log1p(jnp.sum(z**2, 1) / STUDENT)
    return centre + z @ factor.T, log_q - jnp.linalg.slogdet(factor)[1]


def importance_draws(
    key: Array, potential: Callable[[Array], Array], mode: Mode, n: int, rounds: int = 4
) -> tuple[Array, Array]:
    """Draws [n, P] of a t proposal and their log importance ratios [n].

    The proposal starts at the mode with the Laplace covariance; in each round it takes over the mean and covariance of the
    weighted draws (adaptive importance sampling by moment matching), mixed with the Laplace covariance for safety.
    """
    size = mode.theta.size
    centre, factor = mode.theta, mode.factor
    laplace = mode.factor @ mode.factor.T
    keys = jax.random.split(key, rounds + 1)

    def propose(key, centre, factor):
        draws, log_q = student_draws(key, centre, factor, n)
        ratio = -jax.vmap(potential)(draws) - log_q
        return draws, jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)

    for key in keys[:-1]:
        draws, ratio = propose(key, centre, factor)
        # Weights are tempered until no draw holds more than a share of the whole.
        ratio = ratio - jnp.max(ratio)
        cap = jax.scipy.special.logsumexp(ratio) - jnp.log(n) + 0.5 * jnp.log(n)
        weight = jax.nn.softmax(jnp.minimum(ratio, cap))
        centre = weight @ draws
        moved = draws - centre
        covariance = (moved * weight[:, None]).T @ moved
        mixed = 0.9 * covariance + 0.1 * laplace + 1e-9 * jnp.eye(size, dtype=centre.dtype)
        chol = jnp.linalg.cholesky(mixed)
        usable = jnp.all(jnp.isfinite(chol))
        centre = jnp.where(usable, centre, mode.theta)
        factor = jnp.where(usable, chol, mode.factor)
    return propose(keys[-1], centre, factor)
