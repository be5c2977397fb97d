"""The numpyro model: any law, any likelihood, with or without discrepancy and hierarchy.

`model` is a plain numpyro model function with visible priors; with obs=None it simulates. All of its latent sites have the
whole real line as support, so that a dictionary of them is a point of the space in which samplers move.

    raw_NAME  [G, …]            the law's raw parameters (or, shared over groups: raw_NAME = location + scale · deviation_NAME)
    raw_overdispersion …        log of the noise parameter [G]
    raw_discrepancy, steps      log σ [G] and the increments [G, J, n_steps] of the walk
    NAME                        deterministic: the constrained parameters
    obs                         observations [G, J, n]
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer.util import log_density

from ...laws import Law
from .discrepancy import RandomWalk
from .likelihoods import EDGE, LIKELIHOODS, Likelihood
from .priors import Priors, resolve

Sites = dict[str, Array]


class UnitData(NamedTuple):
    """The points of G groups of J curves, padded to n.

    Attributes:
      shots, obs: [G, J, n]; obs is a count or a probability, as the likelihood wants.
      mask: [G, J, n], True where there is a point to fit.
      n_test, stderr: [G, J, n]; 1 and 0 where unknown.
      first, last: [G, J] fewest and most fitted shots.
    """

    shots: Array
    obs: Array
    mask: Array
    n_test: Array
    stderr: Array
    first: Array
    last: Array


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is inferred, hashable.

    Attributes:
      law, likelihood: see `iclbayes.laws` and `likelihoods`.
      discrepancy: None for a law taken to be true.
      priors: of the raw sites, from `priors.resolve`.
      n_curves, background: shape of a group.
      hierarchy: names of law parameters whose values in the groups are drawn from a common normal (raw scale).
      hierarchy_scale: median of the log-normal prior of that normal's standard deviation.
    """

    law: Law
    likelihood: Likelihood
    discrepancy: RandomWalk | None
    priors: Priors
    n_curves: int
    background: bool
    hierarchy: tuple[str, ...] = ()
    hierarchy_scale: float = 0.5

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the law's raw parameters in one group, without those of size 0."""
        shapes = self.law.raw_shapes(self.n_curves, self.background)
        return {name: shapes[name] for name in self.law.param_names}


def make_spec(
    law: Law,
    likelihood: "str | Likelihood",
    n_curves: int,
    background: bool,
    discrepancy: RandomWalk | None = None,
    priors=None,
    hierarchy: tuple[str, ...] = (),
) -> Spec:
    """A `Spec` with resolved priors; `priors` as in `iclbayes.posterior.posterior`."""
    likelihood = LIKELIHOODS[likelihood] if isinstance(likelihood, str) else likelihood
    extra = likelihood.priors() | (discrepancy.priors() if discrepancy else {})
    return Spec(
        law, likelihood, discrepancy, resolve(law, extra, priors), n_curves, background, tuple(hierarchy)
    )


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
            extra[f"raw_{name}"] = numpyro.sample(f"raw_{name}", _iid(priors[name], n_groups, ()))
            numpyro.deterministic(name, jnp.exp(extra[f"raw_{name}"]))
    if spec.discrepancy:
        shape = (n_groups, spec.n_curves, spec.discrepancy.n_steps)
        extra["steps"] = numpyro.sample("steps", dist.Normal(0.0, 1.0).expand(shape).to_event(3))
    for name, value in jax.vmap(spec.law.constrain)(raw).items():
        numpyro.deterministic(name, value)
    if spec.discrepancy and obs is not None:
        # Same prior of the increments, other coordinates: see `_steps`.
        steps, log_volume = _steps(spec, raw, extra, data)
        old, extra["steps"] = extra["steps"], steps
        numpyro.factor("coordinates", 0.5 * jnp.sum(old**2) - 0.5 * jnp.sum(steps**2) + log_volume)
    p = probability(spec, raw, extra, data)
    # Padding repeats a curve's own first point, so every term is finite before the mask.
    obs_dist = _point_distribution(spec, extra, p, data)
    return numpyro.sample("obs", obs_dist.mask(data.mask).to_event(3), obs=obs)


def _steps(spec: Spec, raw: Sites, extra: Sites, data: UnitData) -> tuple[Array, Array]:
    """The walk's increments from their coordinates, and ln of the volume factor of that change of variables.

    Given law and noise, the data pin the increments almost as a normal regression would; in the coordinates in which that
    normal is standard they hardly depend on the law's parameters any more, and the posterior is no longer a thin curved sheet.
    """
    walk = spec.discrepancy
    total = data.n_test
    y = (data.obs + 0.5) / (total + 1) if spec.likelihood.counts else data.obs
    y = jnp.clip(y, 0.02, 0.98)
    law = jnp.clip(jax.vmap(spec.law.mean_raw)(raw, data.shots), 1e-4, 1 - 1e-4)
    residual = jnp.log(y) - jnp.log1p(-y) - jnp.log(law) + jnp.log1p(-law)
    variance = spec.likelihood.logit_variance(y, noise_at(spec, extra, data.shots), total, data.stderr)
    precision = jnp.where(data.mask, 1 / (variance + 1e-6), 0.0)
    sigma = jnp.exp(extra["raw_discrepancy"])[:, None]
    ramps = walk.ramps(data.first, data.last, data.shots)
    steps, log_volume = walk.increments(sigma, ramps, residual, precision, extra["steps"])
    return steps, jnp.sum(log_volume)


def noise_at(spec: Spec, extra: Sites, shots: Array) -> Sites:
    """The noise parameters of the likelihood at shots [G, J, n], broadcastable to them."""
    noise = {name: jnp.exp(extra[f"raw_{name}"])[:, None, None] for name, _, _ in spec.likelihood.noise}
    return spec.likelihood.at_shots(noise, shots)


def _sample_raw(spec, name, shape, prior, n_groups):
    if name not in spec.hierarchy:
        return numpyro.sample(f"raw_{name}", _iid(prior, n_groups, shape))
    # Non-centred: groups that say little about a parameter do not make a funnel of its scale.
    location = numpyro.sample(f"location_{name}", _iid(prior, 1, shape))[0]
    log_scale = numpyro.sample(f"log_scale_{name}", dist.Normal(jnp.log(spec.hierarchy_scale), 0.7))
    size = (n_groups, *shape)
    deviation = numpyro.sample(f"deviation_{name}", dist.Normal(0.0, 1.0).expand(size).to_event(len(size)))
    return numpyro.deterministic(f"raw_{name}", location + jnp.exp(log_scale) * deviation)


def _iid(prior, n_groups, shape):
    batch = (n_groups, *shape)
    if prior.event_dim:  # a distribution over the whole vector
        batch = batch[: len(batch) - prior.event_dim]
    prior = prior.expand(batch)
    return prior.to_event(len(batch))


def probability(spec: Spec, raw: Sites, extra: Sites, data: UnitData) -> Array:
    """Expected probability [G, J, n] with the discrepancy within the fitted range (constant beyond it)."""
    p = jnp.clip(jax.vmap(spec.law.mean_raw)(raw, data.shots), EDGE, 1 - EDGE)
    if not spec.discrepancy:
        return p
    sigma = jnp.exp(extra["raw_discrepancy"])
    delta = spec.discrepancy.inside(sigma, extra["steps"], data.first, data.last, data.shots)
    return shift(p, delta)


def shift(p: Array, delta: Array) -> Array:
    """sigmoid(logit p + δ), kept off 0 and 1."""
    return jnp.clip(jax.nn.sigmoid(jnp.log(p) - jnp.log1p(-p) + delta), EDGE, 1 - EDGE)


def _point_distribution(spec, extra, p, data):
    return spec.likelihood.distribution(p, noise_at(spec, extra, data.shots), data.n_test, data.stderr)


def _named(kind: Likelihood) -> Callable:
    def of_one_likelihood(spec: Spec, data: UnitData, obs: Array | None = None) -> Array:
        return model(dataclasses.replace(spec, likelihood=kind), data, obs)

    of_one_likelihood.__name__ = of_one_likelihood.__qualname__ = f"{kind.name}_model"
    of_one_likelihood.__doc__ = f"`model` with the {kind.name} likelihood, whatever the one of `spec`."
    return of_one_likelihood


MODELS: dict[str, Callable] = {
    name: _named(kind) for name, kind in LIKELIHOODS.items()
}  # a model function per likelihood

# --- the space in which samplers move -----------------------------------------------------------------------------------


@functools.cache
def latent_shapes(spec: Spec, n_groups: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(name, shape) of the latent sites in the order of the latent vector."""

    def draw():
        blank = jnp.zeros((n_groups, spec.n_curves, 1))
        data = UnitData(blank, blank, blank > 0, blank + 1, blank, blank[..., 0], blank[..., 0])
        with numpyro.handlers.seed(rng_seed=0):
            trace = numpyro.handlers.trace(model).get_trace(spec, data, data.obs)
        sites = trace.values()
        return {s["name"]: s["value"] for s in sites if s["type"] == "sample" and not s["is_observed"]}

    return tuple((name, leaf.shape) for name, leaf in sorted(jax.eval_shape(draw).items()))


def unravel(spec: Spec, theta: Array, n_groups: int) -> Sites:
    """Vector [P] → latent sites."""
    sites, at = {}, 0
    for name, shape in latent_shapes(spec, n_groups):
        size = math.prod(shape)
        sites[name] = theta[at : at + size].reshape(shape)
        at += size
    return sites


def ravel(spec: Spec, sites: Sites, n_groups: int) -> Array:
    """Latent sites → vector [P]."""
    return jnp.concatenate([jnp.ravel(sites[name]) for name, _ in latent_shapes(spec, n_groups)])


def potential(spec: Spec, theta: Array, data: UnitData) -> Array:
    """−ln of the joint density of the latent vector [P] and the observations."""
    sites = unravel(spec, theta, data.shots.shape[0])
    return -log_density(model, (spec, data, data.obs), {}, sites)[0]


def split_sites(spec: Spec, sites: Sites, data: UnitData) -> tuple[Sites, Sites]:
    """Latent sites → (raw parameters of the law, noise and discrepancy sites), leading axis [G], for the data conditioned on."""
    n_groups = data.shots.shape[0]
    raw, extra = {}, {}
    for name, shape in spec.shapes.items():
        if name in spec.hierarchy:
            scale = jnp.exp(sites[f"log_scale_{name}"])
            raw[name] = sites[f"location_{name}"][0] + scale * sites[f"deviation_{name}"]
        elif f"raw_{name}" in sites:
            raw[name] = sites[f"raw_{name}"]
        else:
            raw[name] = jnp.zeros((n_groups, *shape))
    for name, value in sites.items():
        if name == "steps" or (name.startswith("raw_") and name.removeprefix("raw_") not in spec.shapes):
            extra[name] = value
    if spec.discrepancy:
        extra["steps"] = _steps(spec, raw, extra, data)[0]
    return raw, extra


def start_vector(spec: Spec, raw: Sites, data: UnitData) -> Array:
    """Latent vector [P] at given raw parameters [G, …]; noise at its prior centre, no discrepancy, no deviation from the mean."""
    sites = {}
    n_groups = data.shots.shape[0]
    for name, shape in latent_shapes(spec, n_groups):
        kind, _, rest = name.partition("_")
        if name.startswith("location_"):
            sites[name] = jnp.mean(raw[rest], 0, keepdims=True)
        elif name.startswith("log_scale_"):
            sites[name] = jnp.full(shape, jnp.log(spec.hierarchy_scale))
        elif name.startswith("deviation_"):
            parameter = raw[rest]
            sites[name] = jnp.clip((parameter - jnp.mean(parameter, 0)) / spec.hierarchy_scale, -2.0, 2.0)
        elif kind == "raw" and rest in raw:
            sites[name] = raw[rest]
        elif kind == "raw":
            sites[name] = jnp.broadcast_to(_centre(dict(spec.priors)[rest]), shape)
        else:
            sites[name] = jnp.zeros(shape)
    return ravel(spec, sites, n_groups)


def _centre(prior):
    return prior.loc if isinstance(prior, dist.Normal) else prior.sample(jax.random.key(0), (101,)).mean(0)
