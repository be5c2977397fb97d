"""The space in which samplers move: the latent sites of the model as one vector, the potential over it, and where to start."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.infer.util import log_density
from scipy.special import ndtri

from .numpyro_model import Sites, iid, model, walk_steps
from .spec import Spec, UnitData


@functools.cache
def latent_shapes(spec: Spec, n_groups: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(name, shape) of the latent sites in the order of the latent vector: those of `numpyro_model.model`, without tracing it."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in spec.shapes.items():
        if math.prod(shape) == 0:
            continue
        if name in spec.hierarchy:
            found[f"location_{name}"] = (1, *shape)
            found[f"log_scale_{name}"] = ()
            found[f"deviation_{name}"] = (n_groups, *shape)
        else:
            found[f"raw_{name}"] = (n_groups, *shape)
    found |= {f"raw_{name}": (n_groups,) for name, _ in spec.priors if name not in spec.shapes}
    if spec.discrepancy:
        found["steps"] = (n_groups, spec.n_curves, spec.discrepancy.n_steps)
    return tuple(sorted(found.items()))


def unravel(spec: Spec, theta: Array, n_groups: int) -> Sites:
    """Vector [P] → latent sites."""
    sites, at = {}, 0
    for name, shape in latent_shapes(spec, n_groups):
        size = math.prod(shape)
        sites[name] = theta[at : at + size].reshape(shape)
        at += size
    return sites


def potential(spec: Spec, theta: Array, data: UnitData) -> Array:
    """−ln of the joint density of the latent vector [P] and the observations."""
    sites = unravel(spec, theta, data.shots.shape[0])
    return -jnp.asarray(log_density(model, (spec, data, data.obs), {}, sites)[0])


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
        extra["steps"] = walk_steps(spec, raw, extra, data)[0]
    return raw, extra


def walk_size(spec: Spec, n_groups: int) -> int:
    """How many coordinates of the latent vector, the last ones, are steps of the discrepancy's walk."""
    return math.prod(dict(latent_shapes(spec, n_groups)).get("steps", (0,)))


def prior_scales(spec: Spec, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """([P] standard deviations of the latent vector under the prior, indices of those that are no deviation from something else:
    parameters and noise, neither the steps of the walk nor a hierarchy's deviations)."""
    of_itself = [
        np.full(math.prod(shape), name != "steps" and not name.startswith("deviation_"))
        for name, shape in latent_shapes(spec, n_groups)
    ]
    draws = prior_draws(spec, n_groups, 500, np.random.SeedSequence(0))
    return draws.std(0), np.flatnonzero(np.concatenate(of_itself))


def prior_draws(spec: Spec, n_groups: int, n: int, seed: np.random.SeedSequence) -> np.ndarray:
    """[n, P] draws of the latent vector under the prior alone."""
    rng = np.random.default_rng(seed)
    priors = dict(spec.priors)
    parts = []
    for name, shape in latent_shapes(spec, n_groups):
        kind, _, rest = name.partition("_")
        if kind in ("raw", "location"):
            value = _draws(rng, priors[rest], n, shape[0], spec.shapes.get(rest, ()))
        elif name.startswith("log_scale_"):
            value = np.log(spec.hierarchy_scale) + 0.7 * rng.standard_normal((n, *shape))
        else:  # steps of the walk, deviations of a hierarchy
            value = rng.standard_normal((n, *shape))
        parts.append(value.reshape(n, -1))
    return np.concatenate(parts, 1)


def prior_points(spec: Spec, n_groups: int, n: int, seed: np.random.SeedSequence) -> np.ndarray:
    """[1 + n, P] latent vectors: the prior's centre, and n draws of the law's parameters, the same in all groups; noise at its
    prior's centre, no discrepancy.

    The draws of normal priors are a Latin hypercube (McKay, Beckman and Conover 1979, Technometrics 21, 239): one in each n-th of
    every parameter's mass.
    """
    rng = np.random.default_rng(seed)
    priors, parts = dict(spec.priors), []
    for name, shape in latent_shapes(spec, n_groups):
        kind, _, rest = name.partition("_")
        value = np.zeros((1 + n, *shape))
        if name.startswith("log_scale_"):
            value[:] = np.log(spec.hierarchy_scale)
        elif kind in ("raw", "location"):
            value[:] = _centre(priors[rest])
            if rest in spec.shapes:
                value[1:] = _draws(rng, priors[rest], n, 1, spec.shapes[rest], even=True)
        parts.append(value.reshape(1 + n, -1))
    return np.concatenate(parts, 1)


def _hypercube(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal draws, in each entry one of every n-th of the mass, n the leading axis of `shape`."""
    n = shape[0]
    place = rng.permuted(np.broadcast_to(np.arange(n), (*shape[1:], n)), axis=-1)
    return ndtri((np.moveaxis(place, -1, 0) + rng.random(shape)) / n)


def _draws(
    rng: np.random.Generator,
    prior: dist.Distribution,
    n: int,
    n_groups: int,
    shape: tuple[int, ...],
    even: bool = False,
) -> np.ndarray:
    """[n, G, *shape] draws of a prior of independent entries; those of a normal one as a Latin hypercube if `even`."""
    known = normal_prior(prior)
    if known:
        centre, scale = (np.broadcast_to(np.asarray(x, float), (n_groups, *shape)) for x in known)
        size = (n, n_groups, *shape)
        return centre + scale * (_hypercube(rng, size) if even else rng.standard_normal(size))
    key = jax.random.key(int(rng.integers(2**31)))
    with jax.enable_x64(True):
        return np.asarray(iid(prior, n_groups, shape).sample(key, (n,)))


def _centre(prior: dist.Distribution) -> np.ndarray:
    """Its mean if it is normal, else the median of draws."""
    known = normal_prior(prior)
    if known:
        return np.asarray(known[0])
    with jax.enable_x64(True):
        return np.median(np.asarray(prior.sample(jax.random.key(0), (101,))), 0)


def normal_prior(prior: dist.Distribution) -> tuple[Any, Any] | None:
    """Centre and scale of a normal prior; None of any other."""
    return (prior.loc, prior.scale) if isinstance(prior, dist.Normal) else None
