"""The numpyro model: any law, any likelihood, with or without discrepancy and hierarchy.

`model` is a plain numpyro model function with visible priors; with obs=None it simulates. All of its latent sites have the
whole real line as support, so that a dictionary of them is a point of the space in which samplers move.

    raw_NAME  [G, …]            the law's raw parameters (or, shared over groups: raw_NAME = location + scale · deviation_NAME)
    raw_overdispersion …        log of the noise parameter [G]
    raw_discrepancy, steps      log σ [G] and the increments [G, J, n_steps] of the walk
    NAME                        deterministic: the constrained parameters
    obs                         observations [G, J, n]
"""

import math

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from .likelihoods import EDGE, NEAREST
from .spec import Spec, UnitData

Sites = dict[str, Array]


def model(spec: Spec, data: UnitData, obs: Array | None = None) -> Array:
    """The numpyro model of G groups. See the module's text for its sites.

    Args:
      spec: what is inferred.
      data: where observations are (its own `obs` is not read).
      obs: [G, J, n], or None to simulate.

    Returns:
      The observations [G, J, n].
    """
    n_groups = data.shots.shape[0]
    priors = dict(spec.priors)
    raw = {}
    for name, shape in spec.shapes.items():
        if math.prod(shape) == 0:  # one task and no background: ρ = 1
            raw[name] = jnp.zeros((n_groups, *shape))
            continue
        raw[name] = _sample_raw(spec, name, shape, priors[name], n_groups)
    extra = {}
    for name in priors:
        if name not in spec.shapes:
            extra[f"raw_{name}"] = numpyro.sample(f"raw_{name}", iid(priors[name], n_groups, ()))
            numpyro.deterministic(name, jnp.exp(extra[f"raw_{name}"]))
    if spec.discrepancy:
        shape = (n_groups, spec.n_curves, spec.discrepancy.n_steps)
        extra["steps"] = numpyro.sample("steps", dist.Normal(0.0, 1.0).expand(shape).to_event(3))
    for name, value in jax.vmap(spec.law.constrain)(raw).items():
        numpyro.deterministic(name, value)
    if spec.discrepancy and obs is not None:
        # Same prior of the increments, other coordinates: see `walk_steps`.
        steps, log_volume = walk_steps(spec, raw, extra, data)
        old, extra["steps"] = extra["steps"], steps
        numpyro.factor("coordinates", 0.5 * jnp.sum(old**2) - 0.5 * jnp.sum(steps**2) + log_volume)
    p = probability(spec, raw, extra, data)
    # Padding repeats a curve's own first point, so every term is finite before the mask.
    obs_dist = _point_distribution(spec, extra, p, data)
    return jnp.asarray(numpyro.sample("obs", obs_dist.mask(data.mask).to_event(3), obs=obs))


def walk_steps(spec: Spec, raw: Sites, extra: Sites, data: UnitData) -> tuple[Array, Array]:
    """The walk's increments from their coordinates, and ln of the volume factor of that change of variables.

    Given law and noise, the data pin the increments almost as a normal regression would; in the coordinates in which that
    normal is standard they hardly depend on the law's parameters any more, and the posterior is no longer a thin curved sheet.
    """
    walk = spec.discrepancy
    assert walk is not None
    total = data.n_test
    y = (data.obs + 0.5) / (total + 1) if spec.likelihood.counts else data.obs
    noise = noise_at(spec, extra, data.shots)
    # Both only shape the coordinates, so they may be rough: a law that goes to 0 or 1 must not send the residual far away.
    edge = spec.likelihood.logit_edge(noise, data.stderr)
    y = jnp.clip(y, edge, 1 - edge)
    residual = logit(y) - logit(jnp.clip(_of_law(spec, raw, data), NEAREST, 1 - NEAREST))
    variance = spec.likelihood.logit_variance(y, noise, total, data.stderr)
    precision = jnp.where(data.mask, 1 / (variance + 1e-6), 0.0)  # at most that of a thousandth of log odds
    sigma = jnp.exp(extra["raw_discrepancy"])[:, None]
    ramps = walk.ramps(data.first, data.last, data.shots)
    steps, log_volume = walk.increments(sigma, ramps, residual, precision, extra["steps"])
    return steps, jnp.sum(log_volume)


def noise_at(spec: Spec, extra: Sites, shots: Array) -> Sites:
    """The noise parameters of the likelihood at shots [G, J, n], broadcastable to them."""
    noise = {name: jnp.exp(extra[f"raw_{name}"])[:, None, None] for name, _, _ in spec.likelihood.noise}
    return spec.likelihood.at_shots(noise, shots)


def _sample_raw(
    spec: Spec, name: str, shape: tuple[int, ...], prior: dist.Distribution, n_groups: int
) -> Array:
    if name not in spec.hierarchy:
        return jnp.asarray(numpyro.sample(f"raw_{name}", iid(prior, n_groups, shape)))
    # Non-centred: groups that say little about a parameter do not make a funnel of its scale.
    location = jnp.asarray(numpyro.sample(f"location_{name}", iid(prior, 1, shape)))[0]
    log_scale = numpyro.sample(f"log_scale_{name}", dist.Normal(jnp.log(spec.hierarchy_scale), 0.7))
    size = (n_groups, *shape)
    deviation = numpyro.sample(f"deviation_{name}", dist.Normal(0.0, 1.0).expand(size).to_event(len(size)))
    return jnp.asarray(numpyro.deterministic(f"raw_{name}", location + jnp.exp(log_scale) * deviation))


def iid(prior: dist.Distribution, n_groups: int, shape: tuple[int, ...]) -> dist.Distribution:
    """The prior of one entry as that of independent entries [G, *shape]."""
    batch = (n_groups, *shape)
    if prior.event_dim:  # a distribution over the whole vector
        batch = batch[: len(batch) - prior.event_dim]
    prior = prior.expand(batch)
    return prior.to_event(len(batch))


def probability(spec: Spec, raw: Sites, extra: Sites, data: UnitData) -> Array:
    """Expected probability [G, J, n] with the discrepancy within the fitted range (constant beyond it)."""
    p = _of_law(spec, raw, data)
    if not spec.discrepancy:
        return p
    sigma = jnp.exp(extra["raw_discrepancy"])
    delta = spec.discrepancy.inside(sigma, extra["steps"], data.first, data.last, data.shots)
    return shift(p, delta)


def _of_law(spec: Spec, raw: Sites, data: UnitData) -> Array:
    """The law's probability [G, J, n], kept off 0 and 1."""
    return jnp.clip(jax.vmap(spec.law.mean_raw)(raw, data.shots), EDGE, 1 - EDGE)


def logit(p: Array) -> Array:
    """Log odds of p in (0, 1). The difference of two logarithms is no more accurate: 1 − p is exact where it is small."""
    return jnp.log(p / (1.0 - p))


def shift(p: Array, delta: Array) -> Array:
    """sigmoid(logit p + δ), kept off 0 and 1."""
    return jnp.clip(jax.nn.sigmoid(logit(p) + delta), EDGE, 1 - EDGE)


def _point_distribution(spec: Spec, extra: Sites, p: Array, data: UnitData) -> dist.Distribution:
    return spec.likelihood.distribution(p, noise_at(spec, extra, data.shots), data.n_test, data.stderr)
