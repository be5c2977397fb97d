"""Default priors of every law's parameters, and how to override them.

Priors live on the raw (unconstrained) parameters, so that a law's own transform is the only one:

    natural parameter      raw                        default prior of raw          median and 90 % range (natural)
    prior (ρ)              ln ρ_m − ln ρ_M            Normal(0, 2)                  odds 1 (0.04 to 27)
    efficiency (K)         ln K                       Normal(−3, 2)                 0.05 (0.002 to 1.3)
    efficiency, log shots  ln K                       Normal(−0.5, 1)               0.6 (0.12 to 3.1)
    spread (s)             ln s                       Normal(0.3, 0.5)              1.3 (0.6 to 3.1)
    gamma (γ)              logit γ                    Normal(1.5, 1.5)              0.82 (0.28 to 0.98)
    probs (P)              logit P                    Normal(0.5, 1.5)              0.62 (0.12 to 0.95)
    beta (β/γ)             logit(β/γ)                 Normal(−1, 1.5)               0.27 (0.03 to 0.81)
    C, L (nats)            ln                         Normal(0, 1)                  1 (0.2 to 5.2)
    alpha                  ln α                       Normal(−0.7, 0.7)             0.5 (0.16 to 1.6)
    kappa                  ln κ                       Normal(0.3, 0.8)              1.3 (0.36 to 5.0)
    t_0, t_c (shots)       ln                         Normal(3, 2)                  20 (0.7 to 540)
    E (nats)               ln E                       Normal(−1, 1.3)               0.37 (0.04 to 3.1)
    t_format (shots + 1)   ln                         Normal(0.5, 1)                1.6 (0.3 to 8.5)
    t_task (shots + 1)     ln                         Normal(3, 2)                  20 (0.7 to 540)
    kappa_format           ln                         Normal(0.3, 0.8)              1.3 (0.36 to 5.0)
    kappa_task             ln                         Normal(0.2, 0.7)              1.2 (0.39 to 3.9)
    p_task                 logit                      Normal(1, 1.5)                0.73 (0.19 to 0.97)
    p_format/p_task        logit                      Normal(0.5, 1.5)              0.62 (0.12 to 0.95)
    p_none/p_format        logit                      Normal(−1, 2)                 0.27 (0.01 to 0.91)

Those of E and of the steepness decide what is forecast while a plateau has not been reached. E says plateaus e^(−E) from 0.04
to 0.96, median 0.69: a curve may start near 0 and level off at 0.2. With Normal(−2, 1), 0.5 to 0.97, and a steepness of 1 ± 0.5
such a curve was forecast to rise to 0.5, and surely (90 % intervals of the logistic law for five curves of small models, fitted
on a tenth, covered 0.49 of the later points; with these priors 0.91), since the discrepancy lets a law be wrong within the
fitted shots and the prior speaks beyond them. On curves that do rise to 0.9 the wider priors cost that law a tenth of its CRPS
at a tenth of the shots.

A key of `priors` is a parameter's name (the distribution is then on its natural scale: LogNormal for K, Beta for γ, Dirichlet for
ρ; those of `beta`, `p_format`, `p_none` are on the ratios above, because β ≤ γ) or `raw_NAME` (a distribution on the real line).
`dispersion`, `overdispersion`, `example_scatter`, `noise` (of the likelihood) and `discrepancy` are named in the same way; their
raw value is the logarithm.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints
from numpyro.distributions.transforms import ExpTransform, SigmoidTransform, Transform

from ...errors import InputError
from ...laws import Law

# name: (transform from raw to natural, centre and scale of the normal prior of raw)
_TABLE: dict[str, tuple[str, float, float]] = {
    "prior": ("simplex", 0.0, 2.0),
    "efficiency": ("exp", -3.0, 2.0),
    "spread": ("exp", 0.3, 0.5),
    "gamma": ("sigmoid", 1.5, 1.5),
    "probs": ("sigmoid", 0.5, 1.5),
    "beta": ("sigmoid", -1.0, 1.5),
    "C": ("exp", 0.0, 1.0),
    "L": ("exp", 0.0, 1.0),
    "alpha": ("exp", -0.7, 0.7),
    "kappa": ("exp", 0.3, 0.8),
    "t_0": ("exp", 3.0, 2.0),
    "t_c": ("exp", 3.0, 2.0),
    "E": ("exp", -1.0, 1.3),
    "t_format": ("exp", 0.5, 1.0),
    "t_task": ("exp", 3.0, 2.0),
    "kappa_format": ("exp", 0.3, 0.8),
    "kappa_task": ("exp", 0.2, 0.7),
    "p_task": ("sigmoid", 1.0, 1.5),
    "p_format": ("sigmoid", 0.5, 1.5),
    "p_none": ("sigmoid", -1.0, 2.0),
}
_LOG_SHOTS = {"efficiency": ("exp", -0.5, 1.0)}
_UNKNOWN = ("identity", 0.0, 2.0)  # a parameter of a law that is not ours


class LogRatio(Transform):
    """Simplex [M] → log ratios to the last entry [M − 1]; ln |∂ρ/∂raw| = Σ ln ρ_m."""

    domain = constraints.simplex  # pyright: ignore[reportAssignmentType]
    codomain = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __call__(self, x: Array) -> Array:
        return jnp.log(x[..., :-1]) - jnp.log(x[..., -1:])

    def _inverse(self, y: Array) -> Array:
        return jax.nn.softmax(jnp.concatenate([y, jnp.zeros((*y.shape[:-1], 1), y.dtype)], -1), -1)

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        return -jnp.sum(jnp.log(x), -1)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)

    def tree_flatten(self) -> Any:
        return (), ((), {})


_INVERSES = {
    "exp": lambda: ExpTransform().inv,
    "sigmoid": lambda: SigmoidTransform().inv,
    "simplex": LogRatio,
}
Priors = tuple[tuple[str, dist.Distribution], ...]


def law_priors(law: Law) -> dict[str, dist.Distribution]:
    """Default priors of the raw parameters of a law, by name."""
    found = {}
    for name in law.param_names:
        _, centre, scale = _entry(law, name)
        found[name] = normal(centre, scale)
    return found


@functools.cache
def normal(centre: float, scale: float) -> dist.Distribution:
    """Normal(centre, scale), the same object for the same numbers: distributions compare by identity, programs are cached."""
    return dist.Normal(centre, scale)


def transform_of(law: Law, name: str) -> str:
    """What makes a law's natural parameter of the raw one: "exp", "sigmoid", "simplex" or "identity"."""
    return _entry(law, name)[0]


def _entry(law: Law, name: str) -> tuple[str, float, float]:
    if (law.log_shots or not law.joint) and name in _LOG_SHOTS:
        return _LOG_SHOTS[name]
    return _TABLE.get(name, _UNKNOWN)


def resolve(
    law: Law, extra: Mapping[str, dist.Distribution], given: Mapping[str, dist.Distribution] | None
) -> Priors:
    """The priors of all raw sites: the law's and the extra ones (raw scale, log), with those that the user gives.

    Args:
      law: the law.
      extra: default priors of the noise and discrepancy parameters, on their logarithms.
      given: name or `raw_NAME` → distribution.

    Raises:
      InputError: an unknown name (the known ones are listed), or a distribution whose support does not fit.
    """
    priors = law_priors(law) | dict(extra)
    for key, value in (given or {}).items():
        raw = key.startswith("raw_")
        name = key.removeprefix("raw_")
        if name not in priors:
            raise InputError(
                f"priors: unknown parameter {key!r}; known are {', '.join(priors)}, each also as raw_NAME"
            )
        if not isinstance(value, dist.Distribution):
            raise InputError(f"priors: {key!r} is {value!r}; give a numpyro distribution")
        kind = "exp" if name in extra else _entry(law, name)[0]
        priors[name] = value if raw or kind == "identity" else _to_raw(key, value, kind)
        if priors[name].support not in (constraints.real, constraints.real_vector):
            raise InputError(
                f"priors: {key!r} is on a bounded support; raw parameters need one on the whole real line"
            )
    return tuple(priors.items())


@functools.lru_cache(maxsize=256)
def _to_raw(key: str, value: dist.Distribution, kind: str) -> dist.Distribution:
    wanted = {
        "exp": constraints.positive,
        "sigmoid": constraints.unit_interval,
        "simplex": constraints.simplex,
    }[kind]
    if value.support != wanted and not (
        kind == "sigmoid" and value.support == constraints.interval(0.0, 1.0)
    ):
        words = {"exp": "positive numbers", "sigmoid": "the unit interval", "simplex": "the simplex"}[kind]
        raise InputError(
            f"priors: {key!r} needs a distribution on {words}; for the unconstrained value use raw_{key}"
        )
    return dist.TransformedDistribution(value, _INVERSES[kind]())
