"""`fit`: one law to every group of curves at once; `Fits`: what came out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
import pandas as pd
from numpy.typing import ArrayLike, DTypeLike

from . import markup, memory
from .background import check_background
from .crossing import determined_crossing
from .curves import Curves, curve_columns
from .errors import InputError, check_fraction, check_whole
from .fit_blocks import (
    FitBlock,
    by_condition,
    condition_axis,
    left_open,
    parameter_columns,
    per_group,
    undetermined,
)
from .fitting import execute
from .fitting.losses import SIZE, PointLoss, get_loss
from .fitting.multistart import DEFAULT_OPTIMIZER
from .fitting.result import Status, mean, mean_stderr, of_all, params_stderr, reach
from .grouping import check_points, groups_to_fit
from .laws import Law, get, scales
from .laws.baselines import Baseline
from .metrics import missed_zero_shots, score
from .padding import pad_index

_DIAGNOSTICS = ("loss", "n_agreed", "steps", "status", "grad_norm", "condition")


@dataclasses.dataclass(frozen=True)
class Fits:
    """Fits of one law to all groups of a `Curves`. G groups, each with up to J sources; short groups are padded with NaN.

    Attributes:
      law: the law.
      curves: what was fitted, with the weights of the fit.
      blocks: results by shape, see `FitBlock`.
      dtype: precision of the fit.
    """

    law: Law
    curves: Curves
    blocks: tuple[FitBlock, ...]
    dtype: np.dtype

    def __repr__(self) -> str:
        done = int((self.status == Status.CONVERGED).sum())
        return f"Fits({self.law.name}: {done} of {len(self.status)} fits converged; {self.curves!r})"

    def _repr_html_(self) -> str:
        """For notebooks: parameters of the first curves with standard errors, and which the data do not determine."""
        few = min(self.curves.n_curves, markup.ROWS)
        table = self.to_frame(stderr=True).iloc[:few]
        keys = [str(name) for name in curve_columns(self.curves)]
        names = [str(n).removesuffix("_se") for n in table if str(n).endswith("_se") and n not in keys]
        opened = pd.DataFrame({name: left_open(table, name) for name in names}, table.index)
        rows = []
        for (_, row), (_, vague) in zip(table.iterrows(), opened.iterrows(), strict=True):
            parts = [
                "not determined"
                if vague[name]
                else f"{markup.number(row[name])} ± {markup.number(row[f'{name}_se'])}"
                for name in names
            ]
            rows.append([*(row[key] for key in keys), *parts, row["status"].replace("_", " ")])
        done = int((self.status == Status.CONVERGED).sum())
        title = f"{self.law.name}: {done:,} of {len(self.status):,} fits converged, median loss {np.nanmedian(self.loss):.3g}"
        return markup.shown(
            title, [*keys, *names, "ended"], rows, self.curves.n_curves, "± one standard error"
        )

    def _per_group(self, leaf: Callable[[FitBlock], ArrayLike], fill: float | str = np.nan) -> np.ndarray:
        return per_group(self.blocks, self.curves, leaf, fill)

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Constrained parameters by name: [G, …] for joint laws (prior [G, M], efficiency [G], gamma [G, J], …), [G, J] for
        baselines."""
        return {
            name: self._per_group(lambda b, n=name: condition_axis(b, b.result.params[n]))
            for name in self.law.param_names
        }

    @property
    def loss(self) -> np.ndarray:
        """Weighted mean loss [G] (baselines [G, J]); of a joint fit over conditions, that of all of them."""
        return self._per_group(lambda b: by_condition(b, b.result.loss))

    @property
    def status(self) -> np.ndarray:
        """`Status` of each group's fit [G], for baselines of each curve's [C], in the order of the curves."""
        out = np.zeros(self.curves.n_groups if self.law.joint else self.curves.n_curves, int)
        for block in self.blocks:
            index = block.groups if self.law.joint else block.curves
            out[index] = np.asarray(block.result.status)[:, None]
        return out

    @property
    def ends(self) -> dict[str, int]:
        """How the fits ended: lower-case `Status` → number of fits, those that occur."""
        found, counts = np.unique(self.status, return_counts=True)
        return {Status(s).name.lower(): int(n) for s, n in zip(found, counts, strict=True)}

    def diagnostics(self) -> pd.DataFrame:
        """A row per fit: group columns, source (baselines), loss, n_agreed, steps, status, grad_norm, condition."""
        rows = []
        for block in self.blocks:
            frame = self.curves.keys.iloc[block.groups[:, 0]].reset_index(drop=True)
            if not self.law.joint:
                frame["source"] = self.curves.source[block.curves[:, 0]]
            for name in _DIAGNOSTICS:
                frame[name] = np.asarray(getattr(block.result, name))
            frame["status"] = _names_of(frame["status"])
            rows.append(frame.assign(_order=block.curves[:, 0]))
        return pd.concat(rows).sort_values("_order").drop(columns="_order").reset_index(drop=True)

    def predict(self, shots: ArrayLike | Curves) -> np.ndarray:
        """Expected probability of the right answer.

        Args:
          shots: [n] ≥ 0 for every curve, inf for the limit; or a `Curves` with the same curves, whose own shots are used.

        Returns:
          [G, J, n] (NaN where a group has fewer sources), or [N] along the points of the given `Curves`; NaN for a curve of
          which no point was fitted.

        Raises:
          InputError: the given curves are not those that were fitted; shots below 0 or NaN.
        """
        return self._along(shots, mean)

    def predict_interval(
        self, shots: ArrayLike | Curves, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) between which the law's curve lies with probability `level`: normal in log odds, and so within [0, 1].

        The noise of a single observation is not in it. 0 and 1 where a fit has no spare points.

        Raises:
          InputError: as `predict`; a level outside (0, 1).
        """
        return scales.interval(self.predict(shots), self.predict_stderr(shots), "logit", level)

    def predict_stderr(self, shots: ArrayLike | Curves) -> np.ndarray:
        """Standard error of `predict` by the delta method, sqrt(∇p Σ ∇pᵀ); inf where a fit has no spare points."""
        return self._along(shots, mean_stderr)

    def _along(self, shots: ArrayLike | Curves, function: Callable[..., Any]) -> np.ndarray:
        if isinstance(shots, Curves):
            mine = self.curves
            same = shots.n_curves == mine.n_curves and shots.keys.equals(mine.keys)
            if not (same and (shots.group == mine.group).all() and (shots.source == mine.source).all()):
                raise InputError("the curves given are not those that were fitted, or stand in another order")
            out = np.full(len(shots.shots), np.nan)
            for block in self.blocks:
                at, real = pad_index(shots.start, block.curves)
                value = self._call(function, block, shots.shots[at])
                if not real.all():
                    at, value = at[real], value[real]
                out[at] = value
            empty = _count_positive(self.curves) == 0
            if empty.any():
                out[empty[shots.point_curve()]] = np.nan
            return out
        shots = np.asarray(shots, float)
        if shots.ndim != 1:
            raise InputError(f"shots has shape {shots.shape}: give one axis, or a Curves")
        if not (shots >= 0).all():
            raise InputError("a number of shots is negative or no number; infinitely many are told by inf")
        return self._on_grid(np.broadcast_to(shots, (self.curves.n_curves, len(shots))), function)

    def _on_grid(self, shots: np.ndarray, function: Callable[..., Any]) -> np.ndarray:
        """function(problem, result, shots) at shots [C, n] of each curve: [G, J, n]."""
        rank = self.curves.rank()
        out = np.full((self.curves.n_groups, rank.max() + 1, shots.shape[1]), np.nan)
        for block in self.blocks:
            value = self._call(function, block, shots[block.curves])
            out[self.curves.group[block.curves], rank[block.curves]] = value
        empty = _count_positive(self.curves) == 0
        out[self.curves.group[empty], rank[empty]] = np.nan
        return out

    def _call(self, function: Callable[..., Any], block: FitBlock, *arrays: np.ndarray) -> Any:
        return of_all(function, block.problem, block.result, *arrays, dtype=self.dtype)

    @property
    def stderr(self) -> dict[str, np.ndarray]:
        """Standard errors of `params`, same names and shapes, by the delta method from JᵀWJ at the minimum."""
        values = [self._call(params_stderr, b) for b in self.blocks]
        found = {}
        for name in self.law.param_names:
            by_block = {id(b): condition_axis(b, v[name]) for b, v in zip(self.blocks, values, strict=True)}
            found[name] = self._per_group(lambda b, table=by_block: table[id(b)])
        return found

    def interval(self, level: float = 0.9) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(low, high) of each of `params`, same names and shapes: normal in log odds or logarithms, mapped back.

        Raises:
          InputError: a level outside (0, 1).
        """
        return self._intervals(self.stderr, level)

    def _intervals(
        self, errors: dict[str, np.ndarray], level: float
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """`interval` from standard errors that are there already."""
        return {
            name: scales.interval(value, errors[name], scales.scale_of(name), level)
            for name, value in self.params.items()
        }

    def shots_to_reach(self, level: float) -> np.ndarray:
        """Smallest number of shots at which each curve is at `level`: [G, J]; 0 from the start, inf if never.

        By the fitted formula, whether the data determine it or not; `reach_table` says which.

        Raises:
          InputError: level outside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"level {level} is not a probability between 0 and 1")
        rank = self.curves.rank()
        out = np.full((self.curves.n_groups, rank.max() + 1), np.nan)
        for block in self.blocks:
            levels = np.full(len(block.curves), level)
            out[self.curves.group[block.curves], rank[block.curves]] = self._call(reach, block, levels)
        return out

    def reach_table(self, level: float) -> pd.DataFrame:
        """`shots_to_reach` where the data determine it, a row per curve.

        See `crossing.determined_crossing` for what that means.

        Returns:
          Group columns, source, law, level; shots, lo90, hi90 (of the normal interval of z; 0 from the start, inf for never), NaN
          where the data do not determine them; undetermined, whether that is so.

        Raises:
          InputError: level outside (0, 1).
        """
        at = (self.curves.group, self.curves.rank())
        table = self.to_frame(stderr=True)
        found = determined_crossing(
            self.shots_to_reach(level)[at],
            level,
            lambda shots: self._on_grid(shots, mean)[at],
            lambda shots: self._on_grid(shots, mean_stderr)[at],
            closed=~np.any([left_open(table, name) for name in self.law.param_names], axis=0),
        )
        return curve_columns(self.curves).assign(law=self.law.name, level=level, **found)

    def numerical_error(self) -> np.ndarray:
        """How far the law's own numerics put each curve off: largest |p − p of `law.finer`| from 0 to ten times the most shots.

        Returns:
          [G, J] in probability, NaN where a group has fewer sources; 0 for laws without such an error.
        """
        most = max(float(self.curves.shots.max(initial=1.0)), 1.0)
        shots = np.concatenate([[0.0], np.geomspace(0.5, 10 * most, 100)])
        coarse = self.predict(shots)
        if self.law.finer is None:
            return 0.0 * coarse[..., 0]
        blocks = tuple(
            dataclasses.replace(b, problem=dataclasses.replace(b.problem, law=self.law.finer))
            for b in self.blocks
        )
        fine = dataclasses.replace(self, law=self.law.finer, blocks=blocks).predict(shots)
        return np.abs(coarse - fine).max(axis=-1)

    def zero_shot_misses(self, far: float = 0.1) -> pd.DataFrame:
        """The curves whose fitted zero-shot point the fit misses by more than `far` and more than chance: `missed_zero_shots`.

        Too few tasks, or a law with one stage where the curve has two, are what it usually means.

        Returns:
          Group columns, source, observed, fitted.
        """
        missed = missed_zero_shots(self.curves, self.curves.weight > 0, self.predict(self.curves), far)
        memory.release(len(self.curves.shots))
        return missed

    def metrics(self, curves: Curves | None = None, where: np.ndarray | None = None) -> pd.DataFrame:
        """NRMSE and its kin per curve on `curves` (default: those fitted), on the points where the mask [N] is True.

        Columns: the group columns, source, nrmse, rmse, nrmse_nll, n_fit, n_eval. See `iclbayes.metrics.score`.
        """
        curves = self.curves if curves is None else curves
        table = score(curves, self.predict(curves), where)
        table.insert(list(table).index("n_eval"), "n_fit", _count_positive(self.curves))
        return table

    def not_identified(self) -> np.ndarray:
        """What the data do not determine: names of parameters, separated by spaces, [G] (laws fitted curve by curve [G, J]).

        A parameter is not determined if the standard error of its raw value (a logarithm, or log odds) is above
        `fit_blocks.UNDETERMINED`, or unknown since there are no more points than parameters. Where no single one is to blame but
        the condition number is above `fit_blocks.DEGENERATE`, the text is "combination". "" where all is determined.
        """
        return self._per_group(lambda block: by_condition(block, undetermined(block)), fill="")

    def by_curve(self, value: np.ndarray) -> np.ndarray:
        """What stands by group [G] (laws fitted curve by curve [G, J]), in the order of the curves [C]."""
        group = self.curves.group
        return value[group] if self.law.joint else value[group, self.curves.rank()]

    def to_frame(self, stderr: bool = False) -> pd.DataFrame:
        """One row per curve: group columns, source, law, its parameters, and the fit's diagnostics.

        Parameters that belong to a source stand in that source's row; a background's prior is `prior_background`, a second
        one's `prior_background_2`; the full matrix of the original law is `probs_0`, `probs_1`, … With `stderr`, each has
        columns `NAME_se` (standard error), `NAME_lo90` and `NAME_hi90` (`interval`). `identified` says whether the data determine
        all parameters, `not_identified` which ones they do not; see the method of that name.
        """
        frame = curve_columns(self.curves)
        taken = set(self.curves.keys) & {
            "law",
            "identified",
            "not_identified",
            *self.law.param_names,
            *_DIAGNOSTICS,
        }
        if taken:
            raise InputError(
                f"column {taken.pop()!r} has a meaning of its own in this table: rename it before grouping by it"
            )
        frame["law"] = self.law.name
        tables = [("", self.params)]
        if stderr:
            errors = self.stderr
            ends = self._intervals(errors, 0.9)
            tables += [("_se", errors)]
            tables += [
                (f"_{end}90", {k: v[i] for k, v in ends.items()}) for i, end in enumerate(("lo", "hi"))
            ]
        for suffix, table in tables:
            for name, value in table.items():
                for title, column in parameter_columns(self.curves, self.law.joint, name, value).items():
                    frame[title + suffix] = column
        for name in _DIAGNOSTICS:
            value = self._per_group(lambda b, n=name: by_condition(b, getattr(b.result, n)), fill=0)
            frame[name] = self.by_curve(value)
        frame["status"] = _names_of(frame["status"])
        frame["not_identified"] = self.by_curve(self.not_identified())
        frame["identified"] = frame["not_identified"] == ""
        return frame


def _names_of(status: ArrayLike) -> np.ndarray:
    """Lower-case names of `Status`, by their numbers."""
    found, at = np.unique(np.asarray(status), return_inverse=True)
    return np.array([Status(s).name.lower() for s in found], object)[at]


def _count_positive(curves: Curves) -> np.ndarray:
    return np.bincount(curves.point_curve(), curves.weight > 0, curves.n_curves).astype(int)


def fit(
    curves: Curves,
    law: str | Law = "bayesian_scoring",
    *,
    fraction: float | None = None,
    loss: str | PointLoss = "auto",
    background: int | None = None,
    shot_offset: float = 0.0,
    baseline_offset: float = 1.0,
    share: Sequence[str] = (),
    across: str | Sequence[str] = (),
    optimizer: optax.GradientTransformation | None = None,
    n_starts: int = 8,
    max_steps: int = 200,
    ridge: float | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float64,
    on_done: Callable[[int], None] = lambda n: None,
) -> Fits:
    """Fits one law to every group of curves at once.

    Minimises Σ w ℓ(p(n), p_observed) / Σ w per group (baselines: per curve) from `n_starts` first guesses and keeps the best.
    Curves of more than about 70 points: the starts run on 16 or 24 binned points, and the best of their ends are finished on all.

    Args:
      curves: from `iclbayes.read_curves` or `Curves.from_arrays`.
      law: a name (see `iclbayes.laws.LAWS`) or a law.
      fraction: fit only shots ≤ fraction × the curve's largest number of shots (the extrapolation protocol).
      loss: "squared" (probability), "squared_nll", "squared_log_nll", "huber", "binomial" (weights then count trials: `n_test`
        multiplies them where it is known), or a function, see `iclbayes.fitting.losses`. The default "auto" is "binomial" where
        all points are counts (`n_test` is known), else "squared".
      background: number of tasks that own no curve and absorb everything else (True is 1). Default: one for groups of a single
        curve, and for groups of several sources whose curves begin lower than a prior over the sources allows, see
        `iclbayes.background.background_tasks`. In the scoring laws two are the same as one; with two the original law has stages.
      shot_offset: added to shots in Bayesian laws; 1 meets the published code.
      baseline_offset: o in t = n + o of the laws that are fitted curve by curve; 0 meets the published code, where no curve has
        a point at 0 shots.
      share: names of parameters that the groups differing only in the columns `across` have in common, for example
        `share=("gamma", "beta"), across="amount"`: one γ, β for all amounts, prior and efficiency free per amount.
      across: columns of `curves.keys`.
      optimizer: any optax optimizer; default Levenberg–Marquardt. Pass the same object again to reuse its compilation.
      n_starts, max_steps, seed: number of starts, step limit of each (on binned points, and again on all), seed of the
        random ones.
      ridge: noise scale σ of the weak normal priors on the raw parameters, see `iclbayes.fitting.Problem`; 0 for none. The
        default is the law's own: 0, but 0.003 for laws that little data does not identify, and √2 times that for the binomial
        loss, which at p = 1/2 is twice the squared one.
      dtype: float64 (default) or float32; the user's own JAX settings are not changed.
      on_done: called with the number of fits after each finished chunk, for progress bars.

    Returns:
      `Fits`.

    Raises:
      InputError: an unknown law, loss or parameter; a number out of its range; a group with no point to fit; conditions that do
        not match.

    Two curves that follow a power law, −ln p = C (n + 1)^(−α) + E, give its parameters back:

    >>> shots = np.arange(32)
    >>> prob = np.exp(-np.array([[1.0], [2.0]]) * (shots + 1.0) ** -0.5 - 0.1)
    >>> fits = fit(Curves.from_arrays(shots, prob), "power")
    >>> fits
    Fits(power: 2 of 2 fits converged; Curves(2 groups by group; 2 curves, 64 points))
    >>> fits.params["C"].round(3).tolist(), fits.params["alpha"].round(3).tolist()
    ([[1.0], [2.0]], [[0.5], [0.5]])
    >>> fits.shots_to_reach(0.5).round(2).tolist()
    [[1.84], [10.37]]
    """
    law = get(law, shot_offset=shot_offset, baseline_offset=baseline_offset)
    if isinstance(law, Baseline) and law.shot_offset == 0 and (curves.shots[curves.weight > 0] == 0).any():
        raise InputError(
            f"baseline_offset 0 gives the law {law.name!r} no t at 0 shots; give 1, or leave those points out"
        )
    counts = np.isfinite(curves.n_test[curves.weight > 0])
    point_loss = get_loss(
        ("binomial" if counts.size and counts.all() else "squared") if loss == "auto" else loss
    )
    whole = {
        "n_starts": (n_starts, 1, 10**4),
        "max_steps": (max_steps, 1, 10**6),
        "seed": (seed, 0, 2**63 - 1),
    }
    for name, (value, least, most) in whole.items():
        check_whole(name, value, least, most)
    if background is not None:
        check_background(background)
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise InputError(f"dtype is {dtype}; give float32 or float64")
    if fraction is not None:
        check_fraction("fraction", fraction)
        curves = curves.with_weight(np.where(curves.within(fraction), curves.weight, 0.0))
    check_points(curves, fraction)
    across = (across,) if isinstance(across, str) else tuple(across)
    blocks = []
    for batch in groups_to_fit(
        curves,
        law,
        loss=point_loss,
        share=tuple(share),
        across=across,
        background=background,
        ridge=law.ridge * SIZE.get(point_loss, 1.0) ** 0.5 if ridge is None else float(ridge),
    ):
        memory.release(batch.points["prob"].size)  # of what it took to put the points side by side
        result = execute.run(
            batch.problem,
            **batch.points,
            n_starts=n_starts,
            max_steps=max_steps,
            optimizer=DEFAULT_OPTIMIZER if optimizer is None else optimizer,
            seed=seed,
            dtype=np.dtype(dtype),
            on_done=on_done,
        )
        blocks.append(FitBlock(batch.problem, batch.groups, batch.curves, result))
        del batch
    memory.release(len(curves.shots))
    return Fits(law=law, curves=curves, blocks=tuple(blocks), dtype=np.dtype(dtype))
