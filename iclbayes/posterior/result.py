"""`Posterior`: draws of every group, and what can be asked of them."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .. import markup
from ..contrasts.tables import reach_table
from ..curves import Curves
from ..deprecation import deprecated
from . import arviz, identification, predictive, quantities, summaries
from .answers import diagnostics_sentence
from .draws import PosteriorDraws

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True, repr=False)
class Posterior(PosteriorDraws):
    """Posteriors of one law for all groups of a `Curves`: G groups with up to J sources; C chains of D draws, S = C D in all.

    Attributes:
      law, curves: what was inferred, from which curves.
      used: [N] mask of the points that were used.
      blocks: the draws of the units of each bucket.
      seed: random numbers of the answers start from here, so that an answer does not change when asked again.
      params: draws of the constrained parameters by name, [C, D, G, …].
    """

    def __repr__(self) -> str:
        table = self.diagnostics()
        c, d = self.n_draws
        good = int(table["ok"].sum())
        return f"Posterior({self.law.name}: {good} of {len(table)} posteriors with good diagnostics, {c} × {d} draws)"

    def _repr_html_(self) -> str:
        """For notebooks: whether the draws can be trusted, and the 90 % intervals of the first curves' parameters, the
        law's before the noise's."""
        table = self.summary()
        keys = [str(name) for name in self.curves.keys]
        rank = {name: place for place, name in enumerate(self.law.param_names)}
        place = table["parameter"].map(rank).fillna(len(rank)).to_numpy()
        group = table.groupby(keys, sort=False, dropna=False).ngroup() if keys else np.zeros(len(table))
        few = table.iloc[np.lexsort((place, group, place == len(rank)))[: markup.ROWS]]
        rows = [
            [
                *(row[key] for key in keys),
                f"{row['parameter']} {row['index']}".strip(),
                markup.number(row["median"]),
                f"{markup.number(row['lo90'])} to {markup.number(row['hi90'])}",
            ]
            for _, row in few.iterrows()
        ]
        title = diagnostics_sentence(self.law.name, self.diagnostics())
        return markup.shown(title, [*keys, "parameter", "median", "90 % interval"], rows, len(table))

    # --- along curves ------------------------------------------------------------------------------------------------

    def draws(
        self,
        shots: ArrayLike | Curves,
        *,
        observation: bool = False,
        n_test: float | None = None,
        most: int = 1000,
        seed: int | None = None,
    ) -> np.ndarray:
        """Draws of the expected probability, or of the next observation, with the discrepancy where there is one.

        Args:
          shots: [n], the same for every curve; or a `Curves` with the same curves, whose own shots (and n_test, stderr) count.
          observation: draw observations (as probabilities), their noise included.
          n_test: test examples behind an observation; default: the curve's own (median), or those of the given `Curves`.
          most: draws at most (evenly thinned).
          seed: of the walk and the noise; default: the posterior's.

        Returns:
          [S, G, J, n] (NaN where a group has fewer sources), or [S, N] along the points of the given `Curves`.

        Raises:
          InputError: other curves than those of this posterior; shots that are not one axis of numbers ≥ 0.
        """
        return predictive.draws(self, shots, observation=observation, n_test=n_test, most=most, seed=seed)

    def forecast(
        self, shots: ArrayLike | Curves | None = None, *, n_test: float | None = None, most: int = 1000
    ) -> pd.DataFrame:
        """Predictive distribution of the next observation (its noise included), a row per group, source and shots.

        It ends at each curve's context window (`Curves.window`), where one is known.

        Args:
          shots: [n] or a `Curves`; default: 60 points from 0 to the curves' largest number of shots, even in ln(1 + n).
          n_test: test examples behind the observation; default: the curve's own.
          most: draws at most.

        Returns:
          Group columns, source, shots; mean, median, lo50, hi50, lo90, hi90 of the next observation; the same with latent_
          before them of the expected probability itself; observed, what was measured at these shots (NaN elsewhere);
          prior_dominated, whether the standard deviation of the expected probability is still above half of what the prior alone
          gives it, so that the forecast is more the prior's than the data's; law.

        Raises:
          InputError: as `draws`.
        """
        return predictive.forecast(self, shots, n_test=n_test, most=most)

    def log_score(self, curves: Curves, *, most: int = 1000, seed: int | None = None) -> np.ndarray:
        """ln of the predictive density (mass, for counts) of every point of some curves, mean over draws of the density.

        Args:
          curves: with the same curves as this posterior, N points, observed or not seen before.
          most: draws at most.
          seed: of the walk outside the fitted shots; default: the posterior's.

        Returns:
          [N], nats.

        Raises:
          InputError: other curves than those of this posterior.
        """
        return predictive.log_score(self, curves, most=most, seed=seed)

    def log_likelihood(self) -> np.ndarray:
        """ln of the density (mass, for counts) of each point at each draw, [C, D, N]; also of the points that were not used."""
        return predictive.log_likelihood(self)

    # --- quantities --------------------------------------------------------------------------------------------------

    def shots_to_reach(self, level: float, *, horizon: float | None = None, grid: int = 160) -> np.ndarray:
        """Draws of the smallest number of shots at which each curve's expected probability is at `level`.

        Without discrepancy the law's own formula; with it, the first passage of law and walk on a grid even in ln(1 + n).

        Args:
          level: a probability in (0, 1).
          horizon: more shots than this count as never; default: 100 × the curves' largest number, at least 100. So do more shots
            than fit a curve's context window (`Curves.window`).
          grid: points of the grid from 0 to `horizon`.

        Returns:
          [S, G, J]: 0 from the start, inf for not within `horizon` shots; NaN where a group has fewer sources.

        Raises:
          InputError: level outside (0, 1).
        """
        return quantities.shots_to_reach(self, level, horizon=horizon, grid=grid)

    def reach_table(self, level: float, *, horizon: float | None = None) -> pd.DataFrame:
        """Quantiles of `shots_to_reach`, a row per curve.

        Args:
          level, horizon: as there.

        Returns:
          Group columns, source, level, q05, q25, q50, q75, q95 (shots; inf for never), p_never (share of the draws that are not
          at the level within `horizon` shots), horizon, law.

        Raises:
          InputError: level outside (0, 1).
        """
        return reach_table(self, level, horizon=horizon)

    def zero_shot_misses(self, far: float = 0.1) -> pd.DataFrame:
        """The curves whose measured zero-shot point the posterior misses: the median of the expected probability is off by more
        than `far`, and by more than chance, see `iclbayes.metrics.missed_zero_shots`. Too few tasks, or a law of one stage where
        the curve has two, are what it usually means.

        Returns:
          Group columns, source, observed, fitted (the median).
        """
        return quantities.zero_shot_misses(self, far)

    def undetermined(self) -> dict[str, np.ndarray]:
        """By parameter, whether the data leave it open: [G], or [G, J] of what each source has; of a Bayesian law.

        A parameter is open if, on the scale ln K or logit, its 90 % interval is wider than ln 100 or its standard deviation above
        half of the prior's, for then the prior says more than the data.

        Raises:
          InputError: a law without prior, efficiency, gamma and beta.
        """
        return identification.undetermined(self)

    def task_weights(self, shots: ArrayLike) -> np.ndarray:
        """Draws of the posterior over tasks after n shots from source j, w_jm(n) ∝ ρ_m P[j, m]^(K n), of a Bayesian law.

        Args:
          shots: [n].

        Returns:
          [S, G, J, M, n], summing to 1 over the M tasks: those of the group's sources, then the background's where there is one.

        Raises:
          InputError: a law without tasks.
        """
        return quantities.task_weights(self, shots)

    def plot_task_weights(
        self,
        shots: ArrayLike | None = None,
        *,
        group: int | dict[str, Any] = 0,
        source: Any = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Draws the posterior over tasks by shots of one curve: median and 90 % band, a colour for each task.

        Args:
          shots: [n]; default: 0 to the curve's largest number of shots, closely.
          group: its index, or a dict of group columns that names exactly one.
          source: whose examples the context holds; default: the group's first.
          ax: where to draw, instead of in a figure of its own.

        Raises:
          InputError: a law without tasks; a group or source that is not there.
        """
        return quantities.plot_task_weights(self, shots, group=group, source=source, ax=ax)

    def difference(
        self,
        a: int | dict[str, Any],
        b: int | dict[str, Any],
        *,
        shots: ArrayLike | None = None,
        level: float | None = None,
    ) -> pd.DataFrame:
        """How far group `a` is from group `b`: draws of a − b of every parameter, or of p at `shots`, or of the shots to `level`.

        Which parameters moved between models, on scales without ends and corrected for their number, is another question:
        `iclbayes.contrasts.contrast`.

        Args:
          a, b: index of a group, or a dict of group columns that names exactly one (base and chat, before and after).
          shots: [n] at which to compare expected probabilities.
          level: compare the shots at which curves are at this probability.

        Returns:
          A row per quantity and source: quantity, source, (shots,) mean, median, lo50, hi50, lo90, hi90, p_positive (of a − b
          > 0). For `level` the difference is of ln(1 + n), with never counted as infinitely many.

        Raises:
          InputError: a group that is not there or not the only one; level outside (0, 1).
        """
        return quantities.difference(self, a, b, shots=shots, level=level)

    @deprecated("Posterior.difference")
    def contrast(self, *args: Any, **options: Any) -> pd.DataFrame:
        """The former name of `difference`."""
        return self.difference(*args, **options)

    # --- the posterior as a whole --------------------------------------------------------------------------------------

    def summary(self) -> pd.DataFrame:
        """Moments and quantiles of every parameter.

        Returns:
          A row per group and entry of a parameter (`index`: number of the source or task, or none): group columns, parameter,
          index, mean, sd, median, lo90, hi90 of the draws.
        """
        return summaries.summary(self)

    def diagnostics(self) -> pd.DataFrame:
        """Whether the draws can be trusted.

        Returns:
          A row per posterior, in the order of the curves: group columns (and source for laws fitted curve by curve), method,
          k_hat (importance sampling; NaN without), r_hat, ess_bulk, ess_tail, e_bfmi (chains, the worst of all parameters; NaN
          without), divergences, n_points, n_params, ok, problem (what is not, in words).
        """
        return summaries.diagnostics(self)

    def to_arviz(self, log_likelihood: bool = True) -> Any:
        """The draws for ArviZ: `az.plot_trace`, `az.summary`, `az.loo`, `az.compare` …

        Args:
          log_likelihood: with the density of every used point at every draw, which `az.loo` needs.

        Returns:
          `arviz.InferenceData` with ArviZ 0, `xarray.DataTree` with ArviZ 1. Its groups:
            posterior: the parameters; dims chain, draw, group, then source and task where a parameter has them. Groups are in the
              order of the curves' table, labelled by their columns ("model=a, task=b"). Sources have their labels if the groups
              have the same ones, else numbers, with `source_label` [group, source] beside them. Tasks are labelled by their
              sources, the task of no source "background". NaN where a group has fewer.
            sample_stats: diverging, n_steps (leapfrog steps), and energy and k_hat where there are any; by group, for laws fitted
              curve by curve also by source, for a hierarchy neither.
            observed_data, log_likelihood: the used points, dim point, with point_group, point_source, point_shots.
        """
        return arviz.to_arviz(self, log_likelihood)
