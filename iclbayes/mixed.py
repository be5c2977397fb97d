"""Fitting a Bayesian law to contexts that mix examples of several sources: "how many benign shots undo these"."""

import jax
import numpy as np
import optax

from .errors import InputError
from .fitting import execute
from .fitting.losses import PointLoss, get_loss
from .fitting.multistart import DEFAULT_OPTIMIZER
from .fitting.problem import Problem
from .fitting.result import FitResult
from .laws import Law, MixedLaw, get


def fit_mixed(
    law: str | Law,
    counts: np.ndarray,
    query: np.ndarray,
    prob: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    background: bool = False,
    loss: str | PointLoss = "squared",
    optimizer: optax.GradientTransformation | None = None,
    n_starts: int = 8,
    max_steps: int = 200,
    seed: int = 0,
) -> FitResult:
    """Fits p = Σ_m w_m P[query, m], w_m ∝ ρ_m Π_i P[i,m]^(K n_i), to N observed contexts.

    Args:
      law: `bayesian_original`, `bayesian_sampling` or `bayesian_scoring`.
      counts: [N, J], examples of each source in the context, in any order.
      query: [N], index of the source that the query is drawn from.
      prob: [N], probability of the right answer.
      weight: [N], default 1.
      background: add a task that owns no source.
      loss, optimizer, n_starts, max_steps, seed: as in `iclbayes.fit`.

    Returns:
      `FitResult`, arrays in NumPy; predict with `iclbayes.laws.mean_mixed(law, result.params, counts, query)`.

    Raises:
      InputError: a law without a mixed reading; arrays that do not fit together; negative counts; a query that names no source;
        probabilities outside [0, 1]; no point of positive weight.
    """
    base = get(law)
    try:
        mixed = MixedLaw(name=f"{base.name}_mixed", base=base)
    except ValueError as error:
        raise InputError(str(error)) from None
    counts, query, prob = np.asarray(counts, float), np.asarray(query), np.asarray(prob, float)
    if counts.ndim != 2 or query.shape != counts.shape[:1] or prob.shape != query.shape:
        raise InputError(
            f"counts has shape {counts.shape}, query {query.shape}, prob {prob.shape}; give [contexts, sources], "
            "[contexts] and [contexts]"
        )
    weight = np.ones(prob.shape) if weight is None else np.broadcast_to(np.asarray(weight, float), prob.shape)
    n_sources = counts.shape[1]
    checks = {
        "counts": (np.isfinite(counts) & (counts >= 0)).all(axis=1),
        "query": (query == np.round(query)) & (query >= 0) & (query < n_sources),
        "prob": (prob >= 0) & (prob <= 1),
        "weight": np.isfinite(weight) & (weight >= 0),
    }
    for name, good in checks.items():
        if not good.all():
            raise InputError(f"{name}: context {np.flatnonzero(~good)[0]} is out of range; check that entry")
    if not (weight > 0).any():
        raise InputError("no context of positive weight to fit; give at least one")
    one_hot = np.eye(n_sources)[query.astype(int)]
    shots = np.concatenate([counts, one_hot], axis=1).T[None, :, None]  # [1, 2 J, 1, N]
    result = execute.run(
        Problem(mixed, get_loss(loss), n_sources, background),
        shots,
        prob[None, None],
        weight[None, None],
        n_starts=n_starts,
        max_steps=max_steps,
        optimizer=DEFAULT_OPTIMIZER if optimizer is None else optimizer,
        seed=seed,
        dtype=np.dtype(np.float64),
    )
    return jax.tree.map(lambda a: a[0], result)
