"""Questions put to a posterior: shots to a level, weights of tasks, contrasts of two groups. All are methods of `Posterior`."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ..curves import curve_columns
from ..errors import InputError
from ..laws import task_weights as law_task_weights
from .model.model import split_sites
from .predictive import LEVELS

if TYPE_CHECKING:
    from .result import Posterior


def shots_to_reach(
    posterior: "Posterior", level: float, *, horizon: float | None = None, grid: int = 300
) -> np.ndarray:
    """Draws of the smallest number of shots at which each curve's expected probability is at `level`: [S, G, J].

    0 from the start, inf for never. Without discrepancy the law's own formula; with it, the first passage of law and walk
    on a grid even in ln(1 + n), and "never" means not before `horizon` shots (default: 100 × the curves' largest number, at
    least 100).

    Raises:
      InputError: level outside (0, 1).
    """
    if not 0 < level < 1:
        raise InputError(f"level {level} is not a probability between 0 and 1")
    if posterior.blocks[0].spec.discrepancy is None:
        found = posterior.over_draws(
            f"reach {level}", lambda spec, sites, data: _reach(spec, sites, data, level)
        )
        value = posterior.assemble(found, not posterior.law.joint)
        return value.reshape(-1, *value.shape[2:])
    horizon = 100 * max(1.0, float(posterior.curves.max_shots().max())) if horizon is None else horizon
    z = np.linspace(0.0, np.log1p(horizon), grid)
    p = posterior.draws(np.expm1(z), most=4000)
    above = p >= level
    first = above.argmax(-1)
    before = np.take_along_axis(p, np.maximum(first - 1, 0)[..., None], -1)[..., 0]
    here = np.take_along_axis(p, first[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(here > before, (level - before) / (here - before), 1.0)
    crossing = np.expm1(z[np.maximum(first - 1, 0)] + share * (z[1] - z[0]))
    value = np.where(above.any(-1), np.where(first == 0, 0.0, crossing), np.inf)
    return np.where(np.isnan(p[..., 0]), np.nan, value)


def reach_table(posterior: "Posterior", level: float, **options) -> pd.DataFrame:
    """Quantiles of `shots_to_reach`, a row per curve: group columns, source, level, q05, q25, q50, q75, q95, p_never."""
    draws = posterior.shots_to_reach(level, **options)[:, posterior.curves.group, posterior.curves.rank()]
    frame = curve_columns(posterior.curves).assign(level=level)
    for q in (5, 25, 50, 75, 95):
        frame[f"q{q:02d}"] = np.quantile(draws, q / 100, axis=0, method="inverted_cdf")
    return frame.assign(p_never=np.isinf(draws).mean(0), law=posterior.law.name)


def task_weights(posterior: "Posterior", shots) -> np.ndarray:
    """Draws of the weights w_jm(n) of a Bayesian law, [S, G, J, M, n]. Raises InputError for laws without tasks."""
    if "prior" not in posterior.law.param_names:
        raise InputError(f"the law {posterior.law.name} has no tasks, so no posterior over tasks")
    shots = np.asarray(shots, float)

    def weights(spec, sites, data, at):
        raw, _ = split_sites(spec, sites, data)
        return jax.vmap(lambda r: law_task_weights(spec.law, spec.law.constrain(r), at))(raw)

    grids = [np.broadcast_to(shots, (len(b.theta), len(shots))) for b in posterior.blocks]
    value = posterior.assemble(posterior.over_draws("weights", weights, grids), False)
    return value.reshape(-1, *value.shape[2:])


def contrast(posterior: "Posterior", a, b, *, shots=None, level: float | None = None) -> pd.DataFrame:
    """How group `a` differs from group `b`: draws of a − b of every parameter, or of p at `shots`, or of shots to `level`.

    Args:
      a, b: index of a group, or a dict of group columns that names exactly one (base and chat, before and after).

    Returns:
      A row per quantity and source: quantity, source, (shots,) mean, median, lo50, hi50, lo90, hi90, p_positive (of a − b
      > 0). For `level` the difference is of ln(1 + n), with never counted as infinitely many.

    Raises:
      InputError: a group that is not there or not the only one.
    """
    a, b = _group(posterior, a), _group(posterior, b)
    rows = []

    def add(quantity, source, x, y, **more):
        with np.errstate(invalid="ignore"):
            difference = x - y
        difference = np.where(np.isnan(difference), 0.0, difference)  # never against never: no difference
        rows.append(dict(quantity=quantity, source=source, **more, **_stats(difference)))

    labels = posterior.curves.source[posterior.curves.group == a]
    if level is not None:
        reach = np.log1p(posterior.shots_to_reach(level))
        for j, label in enumerate(labels):
            add("ln(1 + shots to reach)", label, reach[:, a, j], reach[:, b, j], level=level)
    elif shots is not None:
        p = posterior.draws(shots, most=4000)
        for j, label in enumerate(labels):
            for i, n in enumerate(np.asarray(shots, float)):
                add("probability", label, p[:, a, j, i], p[:, b, j, i], shots=n)
    else:
        for name, value in posterior.params.items():
            flat = value.reshape(-1, *value.shape[2:])
            for at in np.ndindex(*flat.shape[2:]):
                x, y = flat[(slice(None), a, *at)], flat[(slice(None), b, *at)]
                if not np.isnan(x).all():
                    label = labels[at[0]] if at and at[0] < len(labels) else ""
                    add(name, label, x, y, index=",".join(map(str, at)))
    return pd.DataFrame(rows)


def _group(posterior: "Posterior", which) -> int:
    if not isinstance(which, dict):
        if not 0 <= int(which) < posterior.curves.n_groups:
            raise InputError(f"group {which} is not one of 0 to {posterior.curves.n_groups - 1}")
        return int(which)
    keys = posterior.curves.keys
    absent = [c for c in which if c not in keys]
    if absent:
        raise InputError(
            f"no group column {absent[0]!r}; the columns are {', '.join(map(str, keys.columns))}"
        )
    match = np.flatnonzero(np.logical_and.reduce([keys[c] == v for c, v in which.items()]))
    if len(match) != 1:
        raise InputError(f"{len(match)} groups are {which}; name exactly one")
    return int(match[0])


def _stats(x: np.ndarray) -> dict[str, float]:
    out = {"mean": x.mean(), "median": np.quantile(x, 0.5, method="inverted_cdf")}
    out |= {name: np.quantile(x, q, method="inverted_cdf") for name, q in LEVELS.items()}
    return out | {"p_positive": (x > 0).mean()}


def _reach(spec, sites, data, level):
    raw, _ = split_sites(spec, sites, data)
    n_curves = data.shots.shape[1]

    def one(raw):
        return jnp.broadcast_to(
            spec.law.shots_to_reach(spec.law.constrain(raw), jnp.asarray(level)), (n_curves,)
        )

    return jax.vmap(one)(raw)
