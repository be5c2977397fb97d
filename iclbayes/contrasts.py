"""Base against instruct, before against after: which parameters of a Bayesian law moved, with uncertainty.

Everything here works on draws of the parameters: those of a `Posterior`, or, with `NormalDraws`, those of the normal
approximation around a point fit, whose covariance is the fit's (JᵀWJ)⁻¹ σ̂² on the raw (unconstrained) parameters.

A point fit's covariance is that of a linear law, and badly short where the points hardly tell two parameters apart. For point
fits, whether a parameter moved is therefore judged by `sharing_tests`: what the fit loses when both sides have it in common.

Shifts are on unconstrained scales, ln for the efficiency K and the spread s, logit for ρ, γ and β, so that a shift of 0.3 is a
factor of 1.35 of K or of odds wherever it happens.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import stats

from .curves import Curves
from .files import InputError
from .fits import Fits, fit
from .fitting import execute
from .laws import Law, Scoring, bayesian_scoring, get, task_weights

PARAMETERS = ("prior", "efficiency", "spread", "gamma", "beta")
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
_LIMIT = 50.0  # raw parameters beyond this are 0, 1 or infinity to double precision anyway


class Draws(Protocol):
    """What the functions below need; `NormalDraws` and `iclbayes.posterior.Posterior` have it. C chains of D draws, S = C D."""

    law: Law
    curves: Curves

    @property
    def params(self) -> dict[str, np.ndarray]:
        """[C, D, G, …] draws of the constrained parameters."""

    def task_weights(self, shots) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""

    def shots_to_reach(self, level: float) -> np.ndarray:
        """[S, G, J] draws of the shots to a level; inf for never."""


@dataclasses.dataclass(frozen=True)
class NormalDraws:
    """Draws of a joint law's parameters around its point fits, raw ~ N(raw̑, Σ), as one chain of `n_draws`.

    Attributes:
      fits: of a Bayesian law.
      n_draws, seed: how many, and of which random numbers. Fits without spare points have no covariance: NaN.
    """

    fits: Fits
    n_draws: int = 4000
    seed: int = 0

    @property
    def law(self) -> Law:
        return self.fits.law

    @property
    def curves(self) -> Curves:
        return self.fits.curves

    @cached_property
    def _raw(self) -> list[dict[str, np.ndarray]]:
        """Raw parameters [B, S, C, …] of every block."""
        rng = np.random.default_rng(self.seed)
        found = []
        for block in self.fits.blocks:
            result = block.result
            with execute.precision(self.fits.dtype):
                centre = np.asarray(block.problem.ravel(result.raw))
            covariance = np.asarray(result.covariance)
            known = np.isfinite(covariance).all((1, 2))
            values, vectors = np.linalg.eigh(np.where(known[:, None, None], covariance, 0.0))
            root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
            normal = rng.standard_normal((len(centre), self.n_draws, centre.shape[1]))
            theta = np.clip(
                centre[:, None] + np.einsum("bpq,bsq->bsp", root, normal), -_LIMIT, _LIMIT
            )  # exp overflows far out, where nothing changes any more
            theta[~known] = np.nan
            with execute.precision(self.fits.dtype):
                split = jax.vmap(jax.vmap(lambda t, p=block.problem: p.split(p.unravel(t))))
                found.append(jax.device_get(split(jnp.asarray(theta))))
        return found

    def _map(self, function: Callable[[dict], object]):
        """function(constrained parameters of one group) for every draw and group: leaves [S, G, …], NaN where shorter."""
        law, pieces = self.law, []
        for raw in self._raw:
            with execute.precision(self.fits.dtype):
                program = jax.jit(jax.vmap(jax.vmap(jax.vmap(lambda r: function(law.constrain(r))))))
                pieces.append(jax.device_get(program(raw)))
        leaves = zip(*(jax.tree.leaves(piece) for piece in pieces), strict=True)
        return jax.tree.unflatten(jax.tree.structure(pieces[0]), [self._assemble(leaf) for leaf in leaves])

    def _assemble(self, pieces) -> np.ndarray:
        tail = (
            tuple(int(n) for n in np.max([p.shape[3:] for p in pieces], axis=0)) if pieces[0].ndim > 3 else ()
        )
        out = np.full((self.n_draws, self.curves.n_groups, *tail), np.nan)
        for block, piece in zip(self.fits.blocks, pieces, strict=True):
            for b, c in np.ndindex(block.groups.shape):
                part = tuple(slice(n) for n in piece.shape[3:])
                out[(slice(None), block.groups[b, c], *part)] = piece[b, :, c]
        return out

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """[1, S, G, …] draws of the constrained parameters."""
        return {name: value[None] for name, value in self._map(dict).items()}

    def task_weights(self, shots) -> np.ndarray:
        """[S, G, J, M, n] draws of w_jm(n)."""
        at = np.asarray(shots, float)
        return self._map(lambda params: task_weights(self.law, params, at))

    def shots_to_reach(self, level: float) -> np.ndarray:
        """[S, G, J] draws of the shots at which a curve is at `level`; 0 from the start, inf for never."""
        reach = self._map(lambda params: self.law.shots_to_reach(params, jnp.asarray(level)))
        return np.where(np.isnan(self.params["efficiency"][0])[..., None], np.nan, reach)


def _rank(curves: Curves) -> np.ndarray:
    return np.arange(curves.n_curves) - np.searchsorted(curves.group, curves.group)


def _keys(curves: Curves) -> pd.DataFrame:
    """Group columns and source, a row per curve."""
    return curves.keys.iloc[curves.group].reset_index(drop=True).assign(source=curves.source)


def source_params(one: Draws) -> dict[str, np.ndarray]:
    """Draws [S, G] of what a group has once, [S, G, J] of what each source has, by name.

    Raises:
      InputError: a law without prior, efficiency, gamma and beta.
    """
    missing = {"prior", "efficiency", "gamma", "beta"} - set(one.law.param_names)
    if missing:
        raise InputError(
            f"the law {one.law.name} has no {', '.join(sorted(missing))} to contrast; "
            "take bayesian_scoring, bayesian_heterogeneous, bayesian_sampling or their _log readings"
        )
    n_sources = int(_rank(one.curves).max()) + 1
    found = {}
    for name in PARAMETERS:
        if name in one.law.param_names:
            value = one.params[name]
            value = value.reshape(-1, *value.shape[2:])
            found[name] = value[..., :n_sources] if value.ndim > 2 else value
    return found


def parameter_table(one: Draws) -> pd.DataFrame:
    """A row per curve and parameter (efficiency and spread once per group, source ""): median, lo90, hi90."""
    keys, rank = _keys(one.curves), _rank(one.curves)
    tables = []
    for name, value in source_params(one).items():
        if value.ndim == 2:
            frame, draws = one.curves.keys.assign(source=""), value
        else:
            frame, draws = keys, value[:, one.curves.group, rank]
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        tables.append(frame.assign(parameter=name, median=middle, lo90=low, hi90=high))
    return pd.concat(tables, ignore_index=True)


def posterior_table(one: Draws, shots) -> pd.DataFrame:
    """Weight of each curve's own task after n shots from it, w_jj(n).

    Returns:
      Group columns, source, shots, median, lo50, hi50, lo90, hi90; a row per curve and number of shots.
    """
    shots = np.asarray(shots, float)
    curves, rank = one.curves, _rank(one.curves)
    own = one.task_weights(shots)[:, curves.group, rank, rank]  # [S, curves, n]
    keys = _keys(curves)
    frame = keys.iloc[np.repeat(np.arange(len(keys)), len(shots))].reset_index(drop=True)
    frame = frame.assign(shots=np.tile(shots, len(keys)))
    names = {"median": 0.5, "lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}
    for name, value in zip(names, np.quantile(own, list(names.values()), axis=0), strict=True):
        frame[name] = value.reshape(-1)
    return frame


def reach_table(one: Draws, level: float, *, horizon: float | None = None) -> pd.DataFrame:
    """Shots at which each curve is at `level`.

    Args:
      one: draws.
      level: a probability.
      horizon: more shots than this count as never; default: 100 × the curves' largest number.

    Returns:
      Group columns, source, level, q05 … q95 (inf for never), p_never; a row per curve. NaN where a fit has no covariance.
    """
    horizon = 100 * float(one.curves.shots.max()) if horizon is None else horizon
    draws = one.shots_to_reach(level)[:, one.curves.group, _rank(one.curves)]
    draws = np.where(draws > horizon, np.inf, draws)
    frame = _keys(one.curves).assign(level=level)
    known = ~np.isnan(draws).any(0)
    safe = np.where(known, draws, 0.0)
    for name, q in QUANTILES.items():
        frame[name] = np.where(known, np.quantile(safe, q, axis=0, method="inverted_cdf"), np.nan)
    return frame.assign(p_never=np.where(known, np.isinf(safe).mean(0), np.nan))


def paired_groups(
    curves: Curves, pairs: Sequence[tuple[str, str]], column: str = "model"
) -> list[tuple[int, int, tuple[str, str]]]:
    """Groups (before, after, names) that differ only in `column`, for every pair of its values.

    Raises:
      InputError: no such column or value, or two values that share no other condition.
    """
    keys = curves.keys
    if column not in keys:
        raise InputError(
            f"pairs are values of {column!r}, which is not among the group columns ({', '.join(keys)})"
        )
    rest = [name for name in keys if name != column]
    found = []
    for before, after in pairs:
        for name in (before, after):
            if name not in set(keys[column].astype(str)):
                known = ", ".join(map(str, keys[column].drop_duplicates()))
                raise InputError(f"no {column} {name!r} in the curves; there are {known}")
        if before == after:
            raise InputError(f"{column} {before!r} is paired with itself; name two")
        label = keys[column].astype(str)
        places = {tuple(keys.loc[i, rest]): i for i in np.flatnonzero(label == before)}
        matched = [
            (places[tuple(keys.loc[i, rest])], int(i), (before, after))
            for i in np.flatnonzero(label == after)
            if tuple(keys.loc[i, rest]) in places
        ]
        if not matched:
            raise InputError(f"{before!r} and {after!r} have no {' and '.join(rest) or 'curves'} in common")
        if any(not _common_sources(curves, a, b) for a, b, _ in matched):
            raise InputError(f"{before!r} and {after!r} have no source in common; check the source column")
        found += matched
    return found


def concatenate(parts: Sequence[Curves], keys: pd.DataFrame) -> Curves:
    """Curves one after the other, with `keys` for all their groups; groups with equal keys stay apart (see `regroup`)."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("source", "shots", "prob", "weight", "stderr", "n_correct", "n_test")
    }
    sizes = np.concatenate([np.diff(part.start) for part in parts])
    before = np.cumsum([0] + [part.n_groups for part in parts])
    group = np.concatenate([part.group + n for part, n in zip(parts, before, strict=False)])
    return Curves(keys=keys.reset_index(drop=True), group=group, start=np.r_[0, np.cumsum(sizes)], **arrays)


def _only(curves: Curves, group: int, sources: Sequence) -> Curves:
    """One group with these of its sources, in their order."""
    one = curves.select(np.array([group]))
    at = [list(one.source).index(source) for source in sources]
    take = np.concatenate([np.arange(one.start[c], one.start[c + 1]) for c in at])
    names = ("shots", "prob", "weight", "stderr", "n_correct", "n_test")
    return dataclasses.replace(
        one,
        group=np.zeros(len(at), int),
        source=one.source[at],
        start=np.r_[0, np.cumsum(np.diff(one.start)[at])],
        **{name: getattr(one, name)[take] for name in names},
    )


def _common_sources(curves: Curves, a: int, b: int) -> list:
    """Sources of group b that group a has too."""
    mine = set(curves.source[curves.group == a])
    return [source for source in curves.source[curves.group == b] if source in mine]


@dataclasses.dataclass(frozen=True)
class _BetaAlone(Law):
    """The scoring law or its heterogeneous kin with β as a raw parameter of its own, so that it can be shared without γ.

    Raw: beta = logit β, gamma = logit((γ − β)/(1 − β)); the others as in `base`.
    """

    base: Law = bayesian_scoring

    param_names = property(lambda self: self.base.param_names)
    per_source = property(lambda self: self.base.per_source)
    ridge = property(lambda self: self.base.ridge)
    needs: ClassVar[dict] = {}

    @property
    def ridge_at(self):
        return {name: at for name, at in self.base.ridge_at.items() if name not in ("gamma", "beta")}

    def _raw(self, raw):
        """Raw parameters of `base`."""
        rise = jax.nn.log_sigmoid(raw["gamma"])
        log_gamma = jnp.logaddexp(jax.nn.log_sigmoid(raw["beta"]), jax.nn.log_sigmoid(-raw["beta"]) + rise)
        log_rest = jax.nn.log_sigmoid(-raw["beta"]) + jax.nn.log_sigmoid(-raw["gamma"])  # ln(1 − γ)
        return raw | {"gamma": log_gamma - log_rest, "beta": raw["beta"] - rise}

    def raw_shapes(self, n_curves, background):
        return self.base.raw_shapes(n_curves, background)

    def constrain(self, raw):
        return self.base.constrain(self._raw(raw))

    def local(self, raw):
        return self.base.local(self._raw(raw))

    def point_and_jacobian(self, q, x):
        return self.base.point_and_jacobian(q, x)

    def guess(self, x, y, w, n_starts, key, background):
        raw = self.base.guess(x, y, w, n_starts, key, background)
        log_beta = jax.nn.log_sigmoid(raw["gamma"]) + jax.nn.log_sigmoid(raw["beta"])
        gamma = raw["gamma"] + jax.nn.log_sigmoid(-raw["beta"])
        return raw | {"gamma": gamma, "beta": log_beta - jnp.log1p(-jnp.exp(log_beta))}


def sharing_tests(
    curves: Curves, law: str | Law, pairs: Sequence[tuple[str, str]], *, column: str = "model", **options
) -> pd.DataFrame:
    """For every pair and condition: how much worse is the law if before and after have one parameter in common?

    F = (ΔSSE / ΔP) / (SSE_free / (N − P_free)), of least-squares fits to both sides at once. Fitting again what the shared
    parameter leaves free, it sees trade-offs between parameters that a standard error does not.

    Args:
      curves, pairs, column: as for `contrast`.
      law: the scoring or the heterogeneous law, or one of their log readings.
      **options: of `iclbayes.fit`.

    Returns:
      A row per pair, condition and parameter: pair (number), parameter, f, p_value. Points of one prompt are correlated, so
      p_value is somewhat too small for curves from few prompts. NaN without spare points.
    """
    law = get(law)
    if not isinstance(law, Scoring):
        raise InputError(
            f"point fits of the law {law.name} cannot be contrasted; take posteriors, or bayesian_scoring"
        )
    parts, rows = [], []
    for number, (a, b, _) in enumerate(paired_groups(curves, pairs, column)):
        common = _common_sources(curves, a, b)
        for role, group in enumerate((a, b)):
            parts.append(_only(curves, group, common))
            rows.append((number, role))
    both = concatenate(parts, pd.DataFrame(rows, columns=["pair", "role"]))
    n_pairs = len(rows) // 2

    alone = _BetaAlone(f"{law.name}_beta", law.log_shots, law.shot_offset, base=law)

    def judged(name):
        share = {"share": (name,), "across": "role"} if name else {}
        fits = fit(both, alone if name == "beta" else law, **share, **options)
        weight = both.weight > 0
        pair = both.keys["pair"].to_numpy()[both.group[both.point_curve()]][weight]
        residual = (fits.predict(both) - both.prob)[weight]
        n_params = np.zeros(n_pairs)
        for block in fits.blocks:
            np.add.at(n_params, both.keys["pair"].to_numpy()[block.groups[:, 0]], block.problem.size)
        return np.bincount(pair, residual**2, n_pairs), n_params, np.bincount(pair, minlength=n_pairs)

    names = [name for name in PARAMETERS if name in law.param_names]
    with ThreadPoolExecutor(min(execute.cores(), len(names) + 1)) as pool:  # compilation runs on one core
        (free, n_free, n_points), *shared = pool.map(judged, ["", *names])
    tables = []
    for name, (sse, n_params, _) in zip(names, shared, strict=True):
        spare, gained = n_points - n_free, n_free - n_params
        with np.errstate(divide="ignore", invalid="ignore"):
            f = np.maximum(sse - free, 0.0) / gained / (free / spare)
            known = (spare > 0) & (gained > 0) & np.isfinite(f)
            p = np.where(known, stats.f.sf(f, np.maximum(gained, 1), np.maximum(spare, 1)), np.nan)
        tables.append(pd.DataFrame({"pair": np.arange(n_pairs), "parameter": name, "f": f, "p_value": p}))
    return pd.concat(tables, ignore_index=True)


def contrast(
    one: Draws,
    pairs: Sequence[tuple[str, str]],
    *,
    column: str = "model",
    tests: pd.DataFrame | None = None,
    tolerance: float = 0.3,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Which parameters moved from the first to the second of each pair.

    Args:
      one: draws.
      pairs: (before, after), values of `column` (base and instruct models); compared under every other condition both have.
      tests: from `sharing_tests`; their p-values then decide what moved, instead of the draws.
      tolerance: shifts (of ln or logit) up to this count as none.
      alpha: chance of calling anything moved in a pair where nothing did (Holm's correction over its parameters).

    Returns:
      A row per pair, condition, parameter and source ("" for the group's own), with these columns behind their names.
      value_before, value_after: medians on the natural scale;
      shift, shift_sd, lo90, hi90: median, standard deviation and 90 % interval on the unconstrained scale;
      p_value: two-sided, corrected; with `tests` that of all sources together;
      moved: "same" where the interval lies within ± tolerance; "up" or "down" where it does not, nor does it hold 0, and
        p_value < alpha; "unclear" where none of these.

    Raises:
      InputError: as `source_params` and `paired_groups`; no source in common.
    """
    curves = one.curves
    params = source_params(one)
    labels = [list(curves.source[curves.group == g]) for g in range(curves.n_groups)]
    rest = [name for name in curves.keys if name != column]
    tables = []
    for number, (a, b, (before, after)) in enumerate(paired_groups(curves, pairs, column)):
        common = [(s, labels[a].index(s), labels[b].index(s)) for s in _common_sources(curves, a, b)]
        rows = []
        for name, value in params.items():
            scale = np.log if name in ("efficiency", "spread") else _logit
            once = value.ndim == 2
            for source, i, j in [("", None, None)] if once else common:
                x, y = (value[:, a], value[:, b]) if once else (value[:, a, i], value[:, b, j])
                shift = scale(y) - scale(x)
                low, middle, high = np.quantile(shift, [0.05, 0.5, 0.95])
                tail = min((shift > 0).sum(), (shift < 0).sum())
                p = np.nan if np.isnan(shift).any() else min(1.0, 2 * (tail + 1) / (len(shift) + 1))
                rows.append(
                    {
                        **{n: curves.keys.loc[b, n] for n in rest},
                        "before": before, "after": after, "parameter": name, "source": source,
                        "value_before": np.median(x), "value_after": np.median(y),
                        "shift": middle, "shift_sd": shift.std(), "lo90": low, "hi90": high, "p_value": p,
                    }
                )  # fmt: skip
        table = pd.DataFrame(rows)
        if tests is None:
            table["p_value"] = holm(table["p_value"].to_numpy())
        else:
            mine = tests[tests["pair"] == number]
            corrected = dict(zip(mine["parameter"], holm(mine["p_value"].to_numpy()), strict=True))
            table["p_value"] = table["parameter"].map(corrected)
        table["moved"] = _verdicts(table, tolerance, alpha)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _verdicts(table: pd.DataFrame, tolerance: float, alpha: float) -> np.ndarray:
    significant = table["p_value"] < alpha
    apart = (table["lo90"] > 0) | (table["hi90"] < 0)
    near = (table["lo90"] > -tolerance) & (table["hi90"] < tolerance)
    sign = np.where(table["shift"] > 0, "up", "down")
    return np.where(near, "same", np.where(significant & apart, sign, "unclear"))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down method; NaN stays NaN and does not count."""
    p = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return out


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-300, 1 - 1e-16)
    return np.log(p) - np.log1p(-p)
