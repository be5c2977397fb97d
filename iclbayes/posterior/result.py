"""`Posterior`: draws of every group, and what can be asked of them."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ..curves import Curves
from ..files import InputError
from ..laws import Law, task_weights
from . import batching
from .block import Block
from .models import Data, probability, shift, split_sites, unravel

LEVELS = {"lo50": 0.25, "hi50": 0.75, "lo90": 0.05, "hi90": 0.95}


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Posteriors of one law for all groups of a `Curves`: G groups with up to J sources; C chains of D draws each.

    Attributes:
      law, curves: what was inferred, from which curves.
      used: [N] mask of the points that were used.
      blocks: draws by shape.
      seed: random numbers of the answers start from here, so that an answer does not change when asked again.
    """

    law: Law
    curves: Curves
    used: np.ndarray
    blocks: tuple[Block, ...]
    seed: int = 0

    def __repr__(self) -> str:
        table = self.diagnostics()
        c, d = self.blocks[0].theta.shape[1:3]
        good = int(table["ok"].sum())
        return f"Posterior({self.law.name}: {good} of {len(table)} posteriors with good diagnostics, {c} × {d} draws)"

    @property
    def _rank(self) -> np.ndarray:
        group = self.curves.group
        return np.arange(self.curves.n_curves) - np.searchsorted(group, group)

    # --- parameters -----------------------------------------------------------------------------------------------------

    def _assemble(self, pieces: list[np.ndarray], curvewise: bool) -> np.ndarray:
        """Pieces [U, C, D, G, …] of the blocks → [C, D, groups, …], NaN where a group has fewer sources."""
        tail = tuple(np.max([p.shape[4:] for p in pieces], axis=0)) if pieces[0].ndim > 4 else ()
        tail = tuple(int(t) for t in tail)
        chains, draws = pieces[0].shape[1:3]
        if curvewise:  # a curve per unit: its axis takes the place of the source axis of length 1
            n_sources = int(self._rank.max()) + 1
            out = np.full((chains, draws, self.curves.n_groups, n_sources, *tail[1:]), np.nan)
        else:
            out = np.full((chains, draws, self.curves.n_groups, *tail), np.nan)
        for block, piece in zip(self.blocks, pieces, strict=True):
            for u in range(len(piece)):
                for g, group in enumerate(block.layout.groups[u]):
                    value = piece[u, :, :, g]
                    if curvewise:
                        rank = self._rank[block.layout.curves[u, g, 0]]
                        out[:, :, group, rank] = value[:, :, 0] if value.ndim > 2 else value
                    else:
                        out[(slice(None), slice(None), group, *(slice(s) for s in value.shape[2:]))] = value
        return out

    def _map(self, name: str, function: Callable, *arrays) -> list:
        """function(spec, sites of one draw, data, *unit arrays) for every draw of every unit; leaves [U, C, D, …]."""
        out = []
        for b, block in enumerate(self.blocks):
            spec = block.spec

            def per_unit(theta, data, *rest, spec=spec):
                def one(vector):
                    return function(spec, unravel(spec, vector, data.shots.shape[0]), data, *rest)

                return jax.vmap(jax.vmap(one))(theta)

            inputs = (block.theta, block.layout.data, *(a[b] for a in arrays))
            out.append(
                batching.over_units(
                    (name, spec), per_unit, inputs, min(16, batching.chunk_size(len(block.theta)))
                )
            )
        return out

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Draws of the constrained parameters by name: [C, D, G, …] for joint laws, [C, D, G, J] for the others; also those
        of the noise and of the discrepancy (`overdispersion`, `noise`, `discrepancy`)."""
        found = self._map("params", _constrained)
        return {name: self._assemble([f[name] for f in found], not self.law.joint) for name in found[0]}

    def summary(self) -> pd.DataFrame:
        """A row per group, source and parameter: mean, sd, median, lo90, hi90 of the draws."""
        rows = []
        for name, value in self.params.items():
            flat = value.reshape(-1, *value.shape[2:])
            for at in np.ndindex(*value.shape[2:]):
                draws = flat[(slice(None), *at)]
                if np.isnan(draws).all():
                    continue
                key = self.curves.keys.iloc[at[0]].to_dict()
                low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
                stats = {"mean": draws.mean(), "sd": draws.std(), "median": middle, "lo90": low, "hi90": high}
                rows.append({**key, "parameter": name, "index": ",".join(map(str, at[1:])), **stats})
        return pd.DataFrame(rows)

    def diagnostics(self) -> pd.DataFrame:
        """A row per posterior: group columns (and source for laws fitted curve by curve), then `Block.checks`."""
        tables = []
        for block in self.blocks:
            first = block.layout.groups[:, 0]
            keys = self.curves.keys.iloc[first].reset_index(drop=True)
            if block.spec.hierarchy:
                keys = keys.iloc[:, :0]
            elif not self.law.joint:
                keys["source"] = self.curves.source[block.layout.curves[:, 0, 0]]
            tables.append(
                pd.concat([keys, block.checks()], axis=1).assign(_order=block.layout.curves[:, 0, 0])
            )
        return pd.concat(tables).sort_values("_order").drop(columns="_order").reset_index(drop=True)

    # --- along curves ---------------------------------------------------------------------------------------------------

    def draws(
        self, shots, *, observation: bool = False, n_test=None, most: int = 1000, seed: int | None = None
    ):
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
          InputError: other curves than those of this posterior.
        """
        seed = self.seed if seed is None else seed
        own = isinstance(shots, Curves)
        total = int(np.prod(self.blocks[0].theta.shape[1:3]))
        take = np.linspace(0, total - 1, min(most, total)).astype(int)
        if own:
            out = np.full((len(take), len(shots.shots)), np.nan)
        else:
            shots = np.asarray(shots, float)
            if shots.ndim != 1 or not (shots >= 0).all():
                raise InputError("shots must be one axis of numbers ≥ 0, or a Curves")
            out = np.full((len(take), self.curves.n_groups, int(self._rank.max()) + 1, len(shots)), np.nan)
        rng = np.random.default_rng(seed)
        for number, block in enumerate(self.blocks):
            target = self._targets(block, shots, n_test)
            value, noise = self._probabilities(block, take, target["shots"], seed + 31 * number)
            if observation:
                trials, error = (
                    np.broadcast_to(target[k][:, None], value.shape) for k in ("n_test", "stderr")
                )
                value = block.spec.likelihood.sample(rng, value, noise, trials, error)
            value = np.moveaxis(value, 1, 0)
            if own:
                out[:, target["where"][target["real"]]] = value[:, target["real"]]
            else:
                index = block.layout.curves
                out[:, self.curves.group[index], self._rank[index]] = value
        return out

    def log_score(self, curves: Curves, *, most: int = 1000, seed: int | None = None) -> np.ndarray:
        """ln of the predictive density (mass, for counts) of each point [N] of a `Curves` with the same curves."""
        seed = self.seed if seed is None else seed
        total = int(np.prod(self.blocks[0].theta.shape[1:3]))
        take = np.linspace(0, total - 1, min(most, total)).astype(int)
        value = self._log_density(curves, take, seed)
        return np.logaddexp.reduce(value, axis=0) - np.log(len(take))

    def log_likelihood(self) -> np.ndarray:
        """ln of the density of each point at each draw, [C, D, N] (also of the points that were not used)."""
        chains, draws = self.blocks[0].theta.shape[1:3]
        value = self._log_density(self.curves, np.arange(chains * draws), self.seed)
        return value.reshape(chains, draws, -1)

    def _log_density(self, curves, take, seed):
        out = np.full((len(take), len(curves.shots)), np.nan)
        for number, block in enumerate(self.blocks):
            target = self._targets(block, curves, None)
            likelihood = block.spec.likelihood
            p, noise = self._probabilities(block, take, target["shots"], seed + 31 * number)
            where, real = target["where"], target["real"]
            y = curves.n_correct[where] if likelihood.counts else curves.prob[where]
            y = np.where(real, np.nan_to_num(y), 0.5 if not likelihood.counts else 0.0)[:, None]
            with jax.enable_x64(True):
                trials, error = jnp.asarray(target["n_test"][:, None]), jnp.asarray(target["stderr"][:, None])
                noise = {name: jnp.asarray(v) for name, v in noise.items()}
                trials, error = jnp.broadcast_to(trials, p.shape), jnp.broadcast_to(error, p.shape)
                value = np.asarray(likelihood.log_prob(jnp.asarray(p), noise, trials, error, jnp.asarray(y)))
            out[:, where[real]] = np.moveaxis(value, 1, 0)[:, real]
        return out

    def _targets(self, block, shots, n_test):
        """Where to predict: point index, shots, real, n_test, stderr, each [U, G, J, n]."""
        index = block.layout.curves
        if isinstance(shots, Curves) and shots.n_curves != self.curves.n_curves:
            raise InputError(
                f"this posterior is of {self.curves.n_curves} curves, the ones given are {shots.n_curves}"
            )
        data = block.layout.data
        if isinstance(shots, Curves):
            sizes = np.diff(shots.start)
            length = max(int(sizes[index].max()), 1)
            where = np.minimum(shots.start[:-1][index][..., None] + np.arange(length), len(shots.shots) - 1)
            real = np.arange(length) < sizes[index][..., None]
            at, trials, error = shots.shots[where], shots.n_test[where], shots.stderr[where]
        else:
            at = np.broadcast_to(shots, (*index.shape, len(shots)))
            where, real = np.zeros(at.shape, int), np.ones(at.shape, bool)
            trials = error = np.full(at.shape, np.nan)
        seen = np.where(data.mask, data.n_test, np.nan)
        seen_error = np.where(data.mask & (data.stderr > 0), data.stderr, np.nan)
        trials = np.where(np.isnan(trials), _median(seen), trials)
        error = np.where(np.isnan(error), _median(seen_error), error)
        if n_test is not None:
            trials = np.full(at.shape, float(n_test))
        trials, error = np.broadcast_to(np.nan_to_num(trials, nan=1.0), at.shape), np.nan_to_num(error)
        return {
            "where": where,
            "shots": at,
            "real": real,
            "n_test": trials,
            "stderr": np.broadcast_to(error, at.shape),
        }

    def _probabilities(self, block, take, at, seed):
        """Draws of p [U, S, G, J, n], with the walk outside the fitted range, and of the noise parameters [U, S, G, 1, 1]."""
        spec = block.spec
        flat = block.theta.reshape(len(block.theta), -1, block.theta.shape[-1])[:, take]

        def per_unit(key, theta, data, at):
            n_groups = data.shots.shape[0]
            blank = jnp.zeros(at.shape, at.dtype)
            there = data._replace(shots=at, n_test=blank, stderr=blank, obs=blank, mask=blank > 0)
            keys = jax.random.split(jax.random.wrap_key_data(key), len(theta))

            def one(key, theta):
                return _probability_beyond(
                    spec, split_sites(spec, unravel(spec, theta, n_groups), data), there, key
                )

            return jax.vmap(one)(keys, theta)

        inputs = (batching.keys(seed, len(flat), 3), flat, block.layout.data, at)
        p, noise = batching.over_units(
            ("along", spec, len(take)), per_unit, inputs, min(16, batching.chunk_size(len(block.theta)))
        )
        return p, {name: value[..., None, None] for name, value in noise.items()}

    def forecast(self, shots=None, *, n_test=None, most: int = 1000) -> pd.DataFrame:
        """Predictive distribution of the next observation (its noise included), a row per group, source and shots.

        Args:
          shots: [n] or a `Curves`; default: 60 points from 0 to the curves' largest number of shots, even in ln(1 + n).
          n_test: test examples behind the observation; default: the curve's own.

        Returns:
          Group columns, source, shots, mean, median, lo50, hi50, lo90, hi90, law.
        """
        if shots is None:
            top = self.curves.max_shots().max()
            shots = np.unique(np.round(np.expm1(np.linspace(0.0, np.log1p(top), 60))))
        values = self.draws(shots, observation=True, n_test=n_test, most=most)
        return frame_of(self.curves, shots, values).assign(law=self.law.name)

    # --- answers --------------------------------------------------------------------------------------------------------

    def shots_to_reach(self, level: float, *, horizon: float | None = None, grid: int = 300) -> np.ndarray:
        """Draws of the smallest number of shots at which each curve's expected probability is at `level`: [S, G, J].

        0 from the start, inf for never. Without discrepancy the law's own formula; with it, the first passage of law and walk
        on a grid even in ln(1 + n), and "never" means not before `horizon` shots (default: 100 × the curves' largest number).

        Raises:
          InputError: level outside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"level {level} is not a probability between 0 and 1")
        if self.blocks[0].spec.discrepancy is None:
            found = [
                piece.reshape(len(piece), *piece.shape[1:])
                for piece in self._map(
                    f"reach {level}", lambda spec, sites, data: _reach(spec, sites, data, level)
                )
            ]
            value = self._assemble(found, not self.law.joint)
            return value.reshape(-1, *value.shape[2:])
        horizon = 100 * float(self.curves.max_shots().max()) if horizon is None else horizon
        z = np.linspace(0.0, np.log1p(horizon), grid)
        p = self.draws(np.expm1(z), most=4000)
        above = p >= level
        first = above.argmax(-1)
        before = np.take_along_axis(p, np.maximum(first - 1, 0)[..., None], -1)[..., 0]
        here = np.take_along_axis(p, first[..., None], -1)[..., 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(here > before, (level - before) / (here - before), 1.0)
        crossing = np.expm1(z[np.maximum(first - 1, 0)] + share * (z[1] - z[0]))
        value = np.where(above.any(-1), np.where(first == 0, 0.0, crossing), np.inf)
        return np.where(np.isnan(p[..., 0]), np.nan, value)

    def reach_table(self, level: float, **options) -> pd.DataFrame:
        """Quantiles of `shots_to_reach`, a row per curve: group columns, source, level, q05, q25, q50, q75, q95, p_never."""
        draws = self.shots_to_reach(level, **options)[:, self.curves.group, self._rank]
        frame = self.curves.keys.iloc[self.curves.group].reset_index(drop=True)
        frame = frame.assign(source=self.curves.source, level=level)
        for q in (5, 25, 50, 75, 95):
            frame[f"q{q:02d}"] = np.quantile(draws, q / 100, axis=0, method="inverted_cdf")
        return frame.assign(p_never=np.isinf(draws).mean(0), law=self.law.name)

    def task_weights(self, shots) -> np.ndarray:
        """Draws of the weights w_jm(n) of a Bayesian law, [S, G, J, M, n]. Raises InputError for laws without tasks."""
        if "prior" not in self.law.param_names:
            raise InputError(f"the law {self.law.name} has no tasks, so no posterior over tasks")
        shots = np.asarray(shots, float)

        def weights(spec, sites, data, at):
            raw, _ = split_sites(spec, sites, data)
            return jax.vmap(lambda r: task_weights(spec.law, spec.law.constrain(r), at))(raw)

        grids = [np.broadcast_to(shots, (len(b.theta), len(shots))) for b in self.blocks]
        value = self._assemble(self._map("weights", weights, grids), False)
        return value.reshape(-1, *value.shape[2:])

    def contrast(self, a, b, *, shots=None, level: float | None = None) -> pd.DataFrame:
        """How group `a` differs from group `b`: draws of a − b of every parameter, or of p at `shots`, or of shots to `level`.

        Args:
          a, b: index of a group, or a dict of group columns that names exactly one (base and chat, before and after).

        Returns:
          A row per quantity and source: quantity, source, (shots,) mean, median, lo50, hi50, lo90, hi90, p_positive (of a − b
          > 0). For `level` the difference is of ln(1 + n), with never counted as infinitely many.

        Raises:
          InputError: a group that is not there or not the only one.
        """
        a, b = self._group(a), self._group(b)
        rows = []

        def add(quantity, source, x, y, **more):
            with np.errstate(invalid="ignore"):
                difference = x - y
            difference = np.where(np.isnan(difference), 0.0, difference)  # never against never: no difference
            rows.append(dict(quantity=quantity, source=source, **more, **_stats(difference)))

        labels = self.curves.source[self.curves.group == a]
        if level is not None:
            reach = np.log1p(self.shots_to_reach(level))
            for j, label in enumerate(labels):
                add("ln(1 + shots to reach)", label, reach[:, a, j], reach[:, b, j], level=level)
        elif shots is not None:
            p = self.draws(shots, most=4000)
            for j, label in enumerate(labels):
                for i, n in enumerate(np.asarray(shots, float)):
                    add("probability", label, p[:, a, j, i], p[:, b, j, i], shots=n)
        else:
            for name, value in self.params.items():
                flat = value.reshape(-1, *value.shape[2:])
                for at in np.ndindex(*flat.shape[2:]):
                    x, y = flat[(slice(None), a, *at)], flat[(slice(None), b, *at)]
                    if not np.isnan(x).all():
                        label = labels[at[0]] if at and at[0] < len(labels) else ""
                        add(name, label, x, y, index=",".join(map(str, at)))
        return pd.DataFrame(rows)

    def _group(self, which) -> int:
        if not isinstance(which, dict):
            if not 0 <= int(which) < self.curves.n_groups:
                raise InputError(f"group {which} is not one of 0 to {self.curves.n_groups - 1}")
            return int(which)
        keys = self.curves.keys
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


def frame_of(curves: Curves, shots, values: np.ndarray) -> pd.DataFrame:
    """Group columns, source, shots, mean, median, lo50, hi50, lo90, hi90 of draws as `Posterior.draws` returns them."""
    if isinstance(shots, Curves):
        curve, at, flat = (
            curves.point_curve() if shots is curves else shots.point_curve(),
            shots.shots,
            values,
        )
    else:
        shots = np.asarray(shots, float)
        rank = np.arange(curves.n_curves) - np.searchsorted(curves.group, curves.group)
        curve = np.repeat(np.arange(curves.n_curves), len(shots))
        at = np.tile(shots, curves.n_curves)
        flat = values[:, curves.group, rank].reshape(len(values), -1)
    frame = curves.keys.iloc[curves.group[curve]].reset_index(drop=True)
    frame = frame.assign(source=curves.source[curve], shots=at, mean=flat.mean(0), median=np.median(flat, 0))
    for name, level in LEVELS.items():
        frame[name] = np.quantile(flat, level, axis=0)
    return frame


def _median(values):
    """Median over the last axis, ignoring NaN, kept as an axis; NaN where there is none."""
    some = ~np.isnan(values).all(-1, keepdims=True)
    safe = np.where(some, values, 0.0)
    return np.where(some, np.nanmedian(safe, -1, keepdims=True), np.nan)


def _constrained(spec, sites, data):
    raw, extra = split_sites(spec, sites, data)
    values = dict(jax.vmap(spec.law.constrain)(raw))
    named = {k.removeprefix("raw_"): jnp.exp(v) for k, v in extra.items() if k.startswith("raw_")}
    if not spec.law.joint:
        named = {k: v[:, None] for k, v in named.items()}
    return values | named


def _probability_beyond(spec, parts, data: Data, key):
    raw, extra = parts
    p = probability(spec, raw, extra, data)
    if spec.discrepancy:
        sigma = jnp.exp(extra["raw_discrepancy"])
        p = shift(p, spec.discrepancy.outside(key, sigma, data.first, data.last, data.shots))
    return p, {name: jnp.exp(extra[f"raw_{name}"]) for name, _, _ in spec.likelihood.noise}


def _reach(spec, sites, data, level):
    raw, _ = split_sites(spec, sites, data)
    n_curves = data.shots.shape[1]

    def one(raw):
        return jnp.broadcast_to(
            spec.law.shots_to_reach(spec.law.constrain(raw), jnp.asarray(level)), (n_curves,)
        )

    return jax.vmap(one)(raw)
