"""Choosing and averaging laws: PSIS-LOO, leave-future-out, stacking weights, law-averaged forecasts.

Stacking (Yao, Vehtari, Simpson, Gelman 2018, arXiv 1704.02030) takes the weights w on the simplex that maximise
Σ_i ln Σ_k w_k p(y_i | held out, law k). The held-out densities come from PSIS-LOO, which asks how well a law fills gaps, or from
leave-future-out, which fits the first part of the fitted shots and scores the rest, as a forecast is scored.
"""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..contrasts.draws import horizons
from ..contrasts.tables import reach_quantiles
from ..curves import Curves, curve_columns
from ..errors import InputError
from ..laws import Law, get
from .predictive import Along, along, frame_of
from .result import Posterior
from .sampler import PosteriorWarning, sample
from .sampling import psis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What is averaged where no law is named: two stages, a mixture of speeds, and one stage in log shots. None is the best for every
# curve (`experiments/forecast_coverage.py`).
STACK = ("staged", "bayesian_heterogeneous_exact", "logistic")
# The posteriors that weights come from: as many again as are asked for, of half the points, and only their densities count, so
# importance sampling where it can be trusted.
WEIGHED_BY: Mapping[str, Any] = {"method": "auto", "max_k_hat": psis.GOOD}


@dataclasses.dataclass(frozen=True)
class Stack:
    """Posteriors of several laws for the same curves, and the mixture of their predictions.

    Attributes:
      posteriors: one for each of K laws.
      weights: [K] shares of the laws in the mixture, adding up to 1.
      most: draws of the mixture.
    """

    posteriors: tuple[Posterior, ...]
    weights: np.ndarray
    most: int = 2000

    def draws(self, shots: ArrayLike | Curves, *, most: int | None = None, **options: Any) -> np.ndarray:
        """Draws of the expected probability, or of the next observation, from the mixture of laws.

        Args:
          shots: as `Posterior.draws` takes them.
          most: draws; default: those of the stack.
          options: of `Posterior.draws` (observation, n_test, seed).

        Returns:
          [S, G, J, n] or [S, N], as there.
        """
        n = most or self.most
        return self._mixed(
            [lambda one=one: one.draws(shots, most=n, **options) for one in self.posteriors], n
        )

    def forecast(self, shots: ArrayLike | Curves) -> pd.DataFrame:
        """As `Posterior.forecast`, for the law-averaged prediction; its column `law` says "stacked"."""
        return self._forecast(
            shots, [lambda one=one: along(one, shots, most=self.most) for one in self.posteriors]
        )

    def forecasts(self, shots: ArrayLike | Curves) -> list[pd.DataFrame]:
        """The forecast of each law, then that of the mixture, all from the same draws; of a single law its own alone."""
        found = [along(one, shots, most=self.most) for one in self.posteriors]
        tables = [
            frame_of(one.curves, shots, draws).assign(law=one.law.name)
            for one, draws in zip(self.posteriors, found, strict=True)
        ]
        if len(tables) == 1:
            return tables
        return [*tables, self._forecast(shots, [lambda draws=draws: draws for draws in found])]

    def _forecast(self, shots: ArrayLike | Curves, parts: Sequence[Callable[[], Along]]) -> pd.DataFrame:
        kinds = [functools.cache(part) for part in parts]  # each law is asked once
        mixed = Along(
            *(self._mixed([lambda part=part, i=i: part()[i] for part in kinds], self.most) for i in range(3))
        )
        return frame_of(self.posteriors[0].curves, shots, mixed).assign(law="stacked")

    def shots_to_reach(self, level: float, *, horizon: float | None = None) -> np.ndarray:
        """Draws [S, G, J] of the shots at which each curve is at `level`, from the mixture; see `Posterior.shots_to_reach`."""
        return self._mixed(
            [lambda one=one: one.shots_to_reach(level, horizon=horizon) for one in self.posteriors], self.most
        )

    def reach_table(self, level: float, *, horizon: float | None = None) -> pd.DataFrame:
        """As `Posterior.reach_table`, for the mixture; its column `law` says "stacked"."""
        return self._reached(self.shots_to_reach(level, horizon=horizon), level, horizon, "stacked")

    def reach_tables(self, level: float, *, horizon: float | None = None) -> list[pd.DataFrame]:
        """`Posterior.reach_table` of each law, then that of the mixture, from the same draws; of a single law its own alone."""
        found = [one.shots_to_reach(level, horizon=horizon) for one in self.posteriors]
        names = [one.law.name for one in self.posteriors]
        if len(found) > 1:
            found.append(self._mixed([lambda draws=draws: draws for draws in found], self.most))
            names.append("stacked")
        return [self._reached(draws, level, horizon, name) for draws, name in zip(found, names, strict=True)]

    def _reached(self, draws: np.ndarray, level: float, horizon: float | None, law: str) -> pd.DataFrame:
        curves = self.posteriors[0].curves
        return reach_quantiles(curves, draws, level, horizons(curves, horizon)).assign(law=law)

    def plot_weights(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the share of each law in the mixture, in `ax` if it is given."""
        from ..plots import plot_stacking

        names = [one.law.name for one in self.posteriors]
        return plot_stacking(dict(zip(names, map(float, self.weights), strict=True)), ax=ax)

    def _mixed(self, parts: Sequence[Callable[[], np.ndarray]], most: int) -> np.ndarray:
        """Draws of every law in proportion to its weight, evenly thinned; laws of no draw are not asked."""
        counts = np.floor(np.asarray(self.weights) * most + 0.5).astype(int)
        found = []
        for part, n in zip(parts, counts, strict=True):
            if n > 0:
                values = part()
                found.append(values[np.linspace(0, len(values) - 1, n).astype(int)])
        return np.concatenate(found)


@contextlib.contextmanager
def silently(step: str) -> Iterator[Callable[[int], None]]:
    """The default of `stack`'s `watch`: tells nothing."""
    del step
    yield lambda n: None


def stack(
    curves: Curves,
    laws: Sequence[str | Law] = STACK,
    *,
    fraction: float | None = None,
    keep: float = 0.5,
    weighed_by: Mapping[str, Any] = WEIGHED_BY,
    watch: Callable[[str], contextlib.AbstractContextManager[Callable[[int], None]]] = silently,
    **options: Any,
) -> Stack:
    """Samples every law and weighs them by how well each forecasts the last part of the fitted shots from the first.

    Args:
      curves: as `sample` takes them.
      laws: names or laws; a single one has weight 1.
      fraction: fit only shots ≤ fraction × the curve's largest number, as in `sample`.
      keep: of each curve's fitted points, the share that is fitted for the weights; the rest is scored.
      weighed_by: options of the posteriors that the weights come from, over `options`.
      watch: called with the name of each law before it is sampled, and with "stacking" before the weights; returns a context
        manager around that step, whose value is called with numbers of finished units (a progress bar, a place for warnings).
      options: of `sample`, for all laws.

    Returns:
      `Stack`.

    Raises:
      InputError: no law; what `sample` and `leave_future_out` refuse.

    Warns:
      PosteriorWarning: as `sample` and `forecast_weights`.
    """
    if not laws:
        raise InputError("stack: no law is given; name at least one")
    posteriors = []
    for law in laws:
        with watch(get(law).name) as on_done:
            posteriors.append(sample(curves, law, fraction=fraction, on_done=on_done, **options))
    weights = np.ones(1)
    if len(posteriors) > 1:
        with watch("stacking"):
            weights = forecast_weights(
                curves, laws, fraction=fraction, keep=keep, **(options | dict(weighed_by))
            )
    return Stack(tuple(posteriors), weights)


def loo(one: Posterior) -> pd.DataFrame:
    """PSIS-LOO of every used point: group columns, source, shots, elpd (ln density with the point left out), k_hat."""
    points = np.flatnonzero(one.used)
    log_likelihood = one.log_likelihood()[..., points].reshape(-1, len(points)).T
    weights, k_hat = psis.smooth(-log_likelihood)
    elpd = np.logaddexp.reduce(weights + log_likelihood, axis=1)
    return _points(one.curves, points).assign(elpd=elpd, k_hat=k_hat)


def leave_future_out(
    curves: Curves,
    laws: Sequence[str | Law],
    *,
    fraction: float | None = None,
    keep: float = 0.5,
    **options: Any,
) -> pd.DataFrame:
    """Log scores of the last part of the fitted shots, by posteriors of the part before.

    Args:
      fraction: as in `sample`; only shots within it are fitted or scored.
      keep: of each curve's fitted points, the share (at least 1 point) that is fitted; the rest is scored. Curves of a single
        point are not scored.
      options: of `sample`.

    Returns:
      Group columns, source, shots, and a column of elpd per law.
    """
    early, held = _early_and_late(curves, fraction, keep)
    if len(held) == 0:
        raise InputError(
            "leave-future-out: no curve has two points to fit; give more shots or a larger fraction"
        )
    table = _points(curves, held)
    taken = [name for name in (get(law).name for law in laws) if name in table]
    if taken:
        raise InputError(f"column {taken[0]!r} is the name of a law: rename it before grouping by it")
    for law in laws:
        fitted = sample(curves.with_weight(early.astype(float)), law, **options)
        table[fitted.law.name] = fitted.log_score(curves)[held]
    return table


def _early_and_late(curves: Curves, fraction: float | None, keep: float) -> tuple[np.ndarray, np.ndarray]:
    """(mask [N] of the fitted points of fewest shots, the share `keep` of each curve; indices of its other fitted points)."""
    used = (curves.weight > 0) & (curves.within(fraction) if fraction is not None else True)
    curve = curves.point_curve()
    order = np.lexsort((curves.shots, ~used, curve))  # each curve's used points first, by shots
    rank = np.empty(len(used), int)
    rank[order] = np.arange(len(used)) - curves.start[curve[order]]
    count = np.bincount(curve, used, curves.n_curves)
    early = used & (rank < np.maximum(1, np.floor(keep * count))[curve])
    return early, np.flatnonzero(used & ~early)


def forecast_weights(
    curves: Curves,
    laws: Sequence[str | Law],
    *,
    fraction: float | None = None,
    keep: float = 0.5,
    **options: Any,
) -> np.ndarray:
    """Stacking weights [K] of laws by `leave_future_out`; equal ones, with a warning, where no curve has a point to leave out."""
    if len(_early_and_late(curves, fraction, keep)[1]) == 0:
        warnings.warn(
            "no curve has a fitted point to leave out, so nothing tells which law forecasts best: all weigh the same",
            PosteriorWarning,
            stacklevel=2,
        )
        return np.full(len(laws), 1 / len(laws))
    scores = leave_future_out(curves, laws, fraction=fraction, keep=keep, **options)
    return stacking_weights(scores[[get(law).name for law in laws]].to_numpy())


def stacking_weights(elpd: np.ndarray, prior: float = 1.0, steps: int = 500) -> np.ndarray:
    """Weights [K] on the simplex that maximise Σ_i ln Σ_k w_k exp(elpd_ik) + prior Σ_k ln w_k.

    Args:
      elpd: [points, K] held-out log densities.
      prior: strength of the pull to equal weights, in points per law (a Dirichlet prior of 1 + prior); 0 for plain stacking.
    """
    density = np.exp(elpd - elpd.max(1, keepdims=True))
    weights = np.full(elpd.shape[1], 1 / elpd.shape[1])
    for _ in range(steps):  # expectation–maximisation: monotone, and the problem is concave
        share = weights * density
        share = share / share.sum(1, keepdims=True)
        weights = share.sum(0) + prior
        weights = weights / weights.sum()
    return weights


def _points(curves: Curves, points: np.ndarray) -> pd.DataFrame:
    curve = curves.point_curve()[points]
    return curve_columns(curves).iloc[curve].reset_index(drop=True).assign(shots=curves.shots[points])
