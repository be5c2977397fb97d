"""Questions put to a posterior: shots to a level, weights of tasks, how two groups differ.

Functions of `PosteriorDraws`; `Posterior` has them as methods.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from numpy.typing import ArrayLike

from ..contrasts.draws import horizon_of, within_horizons
from ..contrasts.tables import BAND
from ..errors import InputError
from ..laws import task_weights as law_task_weights
from ..metrics import missed_zero_shots
from . import predictive
from .draws import PosteriorDraws
from .model.latent import split_sites
from .model.numpyro_model import Sites
from .model.spec import Spec, UnitData

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shots_to_reach(
    posterior: PosteriorDraws, level: float, *, horizon: float | None = None, grid: int = 160
) -> np.ndarray:
    """Draws [S, G, J] of the shots at which each curve is at `level`; see `Posterior.shots_to_reach`."""
    if not 0 < level < 1:
        raise InputError(f"level {level} is not a probability between 0 and 1")
    horizon = horizon_of(posterior.curves, horizon)
    if posterior.blocks[0].spec.discrepancy is None:
        levels = [np.full(len(block.theta), level) for block in posterior.blocks]
        found = posterior.over_draws("reach", _reach, levels)
        value = posterior.assemble(found, not posterior.law.joint)
        value = value.reshape(-1, *value.shape[2:])
        return within_horizons(value, posterior.curves, horizon)
    z = np.linspace(0.0, np.log1p(horizon), grid)
    p = predictive.draws(posterior, np.expm1(z), most=4000)
    above = p >= level
    first = above.argmax(-1)
    before = np.take_along_axis(p, np.maximum(first - 1, 0)[..., None], -1)[..., 0]
    here = np.take_along_axis(p, first[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(here > before, (level - before) / (here - before), 1.0)
    crossing = np.expm1(z[np.maximum(first - 1, 0)] + share * (z[1] - z[0]))
    value = np.where(above.any(-1), np.where(first == 0, 0.0, crossing), np.inf)
    value = within_horizons(value, posterior.curves, horizon)
    return np.where(np.isnan(p[..., 0]), np.nan, value)


def zero_shot_misses(posterior: PosteriorDraws, far: float = 0.1) -> pd.DataFrame:
    """The curves whose used zero-shot point the posterior misses; see `Posterior.zero_shot_misses`."""
    fitted = np.median(predictive.draws(posterior, posterior.curves), axis=0)
    return missed_zero_shots(posterior.curves, posterior.used, fitted, far)


def task_weights(posterior: PosteriorDraws, shots: ArrayLike) -> np.ndarray:
    """Draws [S, G, J, M, n] of the posterior over tasks w_jm(n); see `Posterior.task_weights`."""
    if "prior" not in posterior.law.param_names:
        raise InputError(f"the law {posterior.law.name} has no tasks, so no posterior over tasks")
    shots = np.asarray(shots, float)

    def weights(spec: Spec, sites: Sites, data: UnitData, at: Array) -> Array:
        raw, _ = split_sites(spec, sites, data)
        return jax.vmap(lambda r: law_task_weights(spec.law, spec.law.constrain(r), at))(raw)

    grids = [np.broadcast_to(shots, (len(b.theta), len(shots))) for b in posterior.blocks]
    value = posterior.assemble(posterior.over_draws("weights", weights, grids), False)
    return value.reshape(-1, *value.shape[2:])


def plot_task_weights(
    posterior: PosteriorDraws,
    shots: ArrayLike | None = None,
    *,
    group: int | dict[str, Any] = 0,
    source: Any = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the posterior over tasks by shots of one curve; see `Posterior.plot_task_weights`."""
    from ..plots import plot_tasks
    from ..plots.style import curve_title

    curves, number = posterior.curves, posterior.group_index(group)
    mine = np.flatnonzero(curves.group == number)
    labels = list(curves.source[mine])
    if source is not None and source not in labels:
        raise InputError(f"no source {source!r} in this group; there are {', '.join(map(str, labels))}")
    j = 0 if source is None else labels.index(source)
    largest = float(curves.max_shots()[mine[j]])
    at = np.expm1(np.linspace(0.0, np.log1p(max(largest, 1.0)), 120)) if shots is None else np.asarray(shots)
    weights = task_weights(posterior, at)[:, number, j]  # [S, M, n]
    weights = weights[:, ~np.isnan(weights).all((0, 2))]
    if len(labels) == 1 and weights.shape[1] > 1 and "source" not in curves.keys:
        labels = ["the task"]
    more = weights.shape[1] - len(labels)
    labels += ["everything else" + (f" {i + 1}" if i else "") for i in range(more)]
    return plot_tasks(
        at, weights, labels, measured_to=largest, title=curve_title(curves, int(mine[j])), ax=ax
    )


def difference(
    posterior: PosteriorDraws,
    a: int | dict[str, Any],
    b: int | dict[str, Any],
    *,
    shots: ArrayLike | None = None,
    level: float | None = None,
) -> pd.DataFrame:
    """Draws of group a − group b as a table; see `Posterior.difference`."""
    a, b = posterior.group_index(a), posterior.group_index(b)
    rows = []

    def add(quantity: str, source: Any, x: np.ndarray, y: np.ndarray, **more: Any) -> None:
        with np.errstate(invalid="ignore"):
            change = x - y
        change = np.where(np.isnan(change), 0.0, change)  # never against never: no difference
        rows.append(dict(quantity=quantity, source=source, **more, **_stats(change)))

    labels = posterior.curves.source[posterior.curves.group == a]
    if level is not None:
        reach = np.log1p(shots_to_reach(posterior, level))
        for j, label in enumerate(labels):
            add("ln(1 + shots to reach)", label, reach[:, a, j], reach[:, b, j], level=level)
    elif shots is not None:
        shots = np.asarray(shots, float)
        p = predictive.draws(posterior, shots, most=4000)
        for j, label in enumerate(labels):
            for i, n in enumerate(shots):
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


def _stats(x: np.ndarray) -> dict[str, float]:
    found = {name: float(np.quantile(x, q, method="inverted_cdf")) for name, q in BAND.items()}
    return {"mean": float(x.mean())} | found | {"p_positive": float((x > 0).mean())}


def _reach(spec: Spec, sites: Sites, data: UnitData, level: Array) -> Array:
    raw, _ = split_sites(spec, sites, data)
    n_curves = data.shots.shape[1]

    def one(raw: Sites) -> Array:
        return jnp.broadcast_to(spec.law.shots_to_reach(spec.law.constrain(raw), level), (n_curves,))

    return jax.vmap(one)(raw)
