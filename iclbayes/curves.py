"""`Curves`: many ICL curves of different lengths, grouped, as flat arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from . import markup
from .errors import InputError
from .padding import group_lengths, pad_index

POINT_FIELDS = ("shots", "prob", "weight", "stderr", "n_correct", "n_test")


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Groups of equal numbers of curves, which are padded to one length. See `Curves.buckets`.

    Attributes:
      groups: [G] indices of these groups in `Curves.keys`.
      curves: [G, J] indices of their curves.
      length: n to which the points of each curve are padded (`Curves.padded`).
    """

    groups: np.ndarray
    curves: np.ndarray
    length: int


@dataclasses.dataclass(frozen=True)
class Curves:
    """ICL curves, one per (group, source), as flat arrays: curve c owns the points `start[c]:start[c+1]`.

    Attributes:
      keys: data frame [G], one row per group, its columns the columns grouped by.
      group: [C] group of each curve, ascending.
      source: [C] label of each curve's source.
      start: [C + 1] offsets into the point arrays.
      shots: [N] examples before the query; from a file, ascending within a curve and without repeats.
      prob: [N] mean probability of the right answer, in [0, 1].
      weight: [N] weight of each point in a fit, ≥ 0. Only ratios count; one that the precision of the fit cannot tell from 0
        beside the largest of its fit (2e-308 of it, 1e-38 in single precision) is 0.
      stderr: [N] standard error of `prob`, NaN where unknown.
      n_correct, n_test: [N] counts, NaN where unknown.
      window: [C] shots that fit the model's context, inf where unknown (the default): no forecast goes beyond.
    """

    keys: pd.DataFrame
    group: np.ndarray
    source: np.ndarray
    start: np.ndarray
    shots: np.ndarray
    prob: np.ndarray
    weight: np.ndarray
    stderr: np.ndarray
    n_correct: np.ndarray
    n_test: np.ndarray
    window: np.ndarray = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        if self.window is None:
            object.__setattr__(self, "window", np.full(len(self.group), np.inf))

    @property
    def n_groups(self) -> int:
        return len(self.keys)

    @property
    def n_curves(self) -> int:
        return len(self.group)

    def __len__(self) -> int:
        return self.n_groups

    def __repr__(self) -> str:
        def count(n: int, what: str) -> str:
            return f"{n} {what}" if n == 1 else f"{n} {what}s"

        by = ", ".join(map(str, self.keys.columns))
        groups = f"{count(self.n_groups, 'group')} by {by}; " if by else ""
        return f"Curves({groups}{count(self.n_curves, 'curve')}, {count(len(self.shots), 'point')})"

    def _repr_html_(self) -> str:
        """For notebooks: the first curves, how many points each has, over which shots, and from what to what it goes."""
        rows = []
        columns = curve_columns(self).iloc[: markup.ROWS]
        for c, (_, values) in enumerate(columns.iterrows()):
            mine = slice(self.start[c], self.start[c + 1])
            shots, prob = self.shots[mine], self.prob[mine]
            said = ["–"] * 3
            if len(shots):
                first, last = prob[shots.argmin()], prob[shots.argmax()]
                said = [f"{shots.min():g} to {shots.max():,g}", markup.number(first), markup.number(last)]
            rows.append([*values, len(shots), *said])
        heads = [*map(str, columns), "points", "shots", "probability at fewest", "at most shots"]
        return markup.shown(repr(self), heads, rows, self.n_curves)

    @classmethod
    def from_arrays(
        cls,
        shots: ArrayLike,
        prob: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        n_test: ArrayLike | None = None,
        source: Sequence | None = None,
    ) -> "Curves":
        """Curves from dense arrays.

        Args:
          shots: [n], or [G, J, n], or [G, n] (one curve per group).
          prob: [G, J, n] or [G, n].
          weight: like `prob`, default 1; points of weight 0 are dropped.
          n_test: like `prob`, test examples behind each point (default, and where it is NaN: unknown).
          source: J labels, default 0 … J − 1.

        Raises:
          InputError: shapes that do not fit; values that mean nothing, such as a negative or endless weight.

        >>> Curves.from_arrays([0, 1, 2], [[0.2, 0.4, 0.5], [0.3, 0.3, 0.6]], weight=[[1, 1, 0], [1, 1, 1]])
        Curves(2 groups by group; 2 curves, 5 points)
        """
        prob = np.asarray(prob, np.float64)
        single = prob.ndim == 2
        prob = prob[:, None] if single else prob
        if prob.ndim != 3:
            raise InputError(
                f"prob has shape {prob.shape}: give [groups, sources, points] or [groups, points]"
            )

        def full(values: ArrayLike) -> np.ndarray:
            array = np.asarray(values, np.float64)
            array = array[..., None, :] if single and array.ndim > 1 else array
            return np.broadcast_to(array, prob.shape)

        try:
            shots = full(shots)
            weight = full(1.0 if weight is None else weight)
            tests = full(np.nan if n_test is None else n_test)
        except ValueError:
            raise InputError(
                f"shots, weight or n_test do not broadcast to the shape of prob, {prob.shape}"
            ) from None
        n_groups, n_curves, n_points = prob.shape
        if prob.size == 0:
            raise InputError(f"prob has shape {prob.shape}: there is no point in it")
        check_weights(weight)
        used = weight > 0
        keep = used.reshape(n_groups * n_curves, n_points)
        if not (np.isfinite(shots[used]).all() and (shots[used] >= 0).all()):
            raise InputError("shots are not all numbers ≥ 0 where the weight is positive; drop those points")
        if not ((prob[used] >= 0) & (prob[used] <= 1)).all():
            raise InputError(
                "prob is not between 0 and 1 everywhere that the weight is positive; drop those points"
            )
        known = tests[used & ~np.isnan(tests)]
        if not ((known > 0) & np.isfinite(known) & (known == np.round(known))).all():
            raise InputError("n_test is not a whole number above 0 everywhere; where it is unknown, give NaN")
        counts = keep.sum(1)
        mask = keep.reshape(-1)
        labels = np.asarray(list(range(n_curves)) if source is None else list(source))
        if len(labels) != n_curves:
            raise InputError(f"source has {len(labels)} labels for {n_curves} sources")
        flat = [a.reshape(-1)[mask] for a in (shots, prob, weight, tests)]
        return cls(
            keys=pd.DataFrame({"group": np.arange(n_groups)}),
            group=np.repeat(np.arange(n_groups), n_curves),
            source=np.tile(labels, n_groups),
            start=np.concatenate([[0], np.cumsum(counts)]),
            shots=flat[0],
            prob=flat[1],
            weight=flat[2],
            stderr=np.full(len(flat[0]), np.nan),
            n_correct=np.where(np.isnan(flat[3]), np.nan, np.round(flat[1] * np.nan_to_num(flat[3]))),
            n_test=flat[3],
        )

    def points(self, where: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """What every point has, by `POINT_FIELDS`: of all points, or of those under an index or a mask."""
        return {name: getattr(self, name)[where] for name in POINT_FIELDS}

    def point_curve(self) -> np.ndarray:
        """[N] the curve of each point."""
        return np.repeat(np.arange(self.n_curves), np.diff(self.start))

    def rank(self) -> np.ndarray:
        """[C] the place of each curve in its group: 0, 1, …"""
        return np.arange(self.n_curves) - np.searchsorted(self.group, self.group)

    def max_shots(self) -> np.ndarray:
        """[C] the largest number of shots in each curve."""
        sizes = np.diff(self.start)
        largest = np.zeros(self.n_curves)
        full = sizes > 0
        if full.any():
            largest[full] = np.maximum.reduceat(self.shots, self.start[:-1][full])
        return largest

    def within(self, fraction: float) -> np.ndarray:
        """[N] True for the points to fit at a fraction: shots ≤ fraction × the curve's largest number of shots."""
        limit = fraction * self.max_shots() * (1 + 1e-12)
        return self.shots <= limit[self.point_curve()]

    def with_weight(self, weight: np.ndarray) -> "Curves":
        """The same curves with other weights [N].

        Raises:
          InputError: another number of weights, or one that is negative, endless or no number.
        """
        weight = np.asarray(weight, np.float64)
        if weight.shape != self.shots.shape:
            raise InputError(f"weight has shape {weight.shape}; there are {len(self.shots)} points")
        return dataclasses.replace(self, weight=check_weights(weight))

    def select(self, groups: np.ndarray) -> "Curves":
        """The groups with these indices (or under this mask), in ascending order."""
        chosen = np.zeros(self.n_groups, bool)
        chosen[groups] = True
        curve = chosen[self.group]
        point = curve[self.point_curve()]
        renumber = np.cumsum(chosen) - 1
        return Curves(
            keys=self.keys[chosen].reset_index(drop=True),
            group=renumber[self.group[curve]],
            source=self.source[curve],
            start=np.concatenate([[0], np.cumsum(np.diff(self.start)[curve])]),
            window=self.window[curve],
            **self.points(point),
        )

    def regroup(self, by: Sequence[str]) -> "tuple[Curves, np.ndarray, np.ndarray]":
        """Groups merged over all columns but `by`; curves keep their order within them.

        Returns:
          The curves in their new groups; [G] the new group of each old one; [C] the old index of each new curve.
        """
        if not list(by):
            code = np.zeros(self.n_groups, int)
        else:
            code = self.keys.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
        keys = self.keys.assign(_code=code).drop_duplicates("_code").sort_values("_code")
        keys = keys[list(by)].reset_index(drop=True)
        new = code[self.group]
        order = np.argsort(new, kind="stable")
        sizes = np.diff(self.start)[order]
        start = np.concatenate([[0], np.cumsum(sizes)])
        take = np.repeat(self.start[:-1][order] - start[:-1], sizes) + np.arange(len(self.shots))
        merged = Curves(
            keys=keys,
            group=new[order],
            source=self.source[order],
            start=start,
            window=self.window[order],
            **self.points(take),
        )
        return merged, code, order

    def repeat(self, copies: int) -> "Curves":
        """The same groups `copies` times, one block of groups after the other; keys repeat."""
        tile = lambda a: np.tile(a, copies)  # noqa: E731
        shift = np.repeat(np.arange(copies), self.n_curves) * self.n_groups
        offsets = (np.arange(copies)[:, None] * len(self.shots) + self.start[:-1]).reshape(-1)
        return Curves(
            keys=pd.concat([self.keys] * copies, ignore_index=True),
            group=tile(self.group) + shift,
            source=tile(self.source),
            start=np.append(offsets, copies * len(self.shots)),
            window=tile(self.window),
            **{name: tile(value) for name, value in self.points().items()},
        )

    def to_frame(self) -> pd.DataFrame:
        """Long format: the group columns, source and `POINT_FIELDS`; one row per point."""
        curve = self.point_curve()
        frame = self.keys.iloc[self.group[curve]].reset_index(drop=True)
        return frame.assign(source=self.source[curve], **self.points())

    def buckets(self) -> list[Bucket]:
        """Groups by number of curves and padded length, so that few shapes serve many data sets.

        Lengths are padded up to those of `iclbayes.padding`.
        """
        sizes = np.diff(self.start)
        group_start = np.searchsorted(self.group, np.arange(self.n_groups + 1))
        n_curves = np.diff(group_start)
        longest = np.zeros(self.n_groups, int)
        np.maximum.at(longest, self.group, sizes)
        found = []
        for j in np.unique(n_curves):
            alike = np.flatnonzero(n_curves == j)
            lengths = group_lengths(longest[alike], j)
            for length in np.unique(lengths):
                groups = alike[lengths == length]
                curves = group_start[groups][:, None] + np.arange(j)
                found.append(Bucket(groups, curves, int(length)))
        return found

    def padded(
        self, which: np.ndarray, length: int, names: Sequence[str] = ("shots", "prob", "weight")
    ) -> dict[str, np.ndarray]:
        """What the points of these curves [...] have, padded to one length: [..., n] by name (of `POINT_FIELDS`).

        A padding point has weight 0, and in the rest what some point has.
        """
        points, real = pad_index(self.start, which, length)
        found = {name: getattr(self, name)[points] for name in names}
        if "weight" in found:
            found["weight"] = np.where(real, found["weight"], 0.0)
        return found


def curve_columns(curves: Curves) -> pd.DataFrame:
    """A row per curve: its group's columns and its source (unless the groups are by source already)."""
    frame = curves.keys.iloc[curves.group].reset_index(drop=True)
    return frame if "source" in frame else frame.assign(source=curves.source)


def curve_labels(curves: Curves) -> list[str]:
    """A name for each curve: the values of its group columns, and its source where a group has more than one."""
    table = curve_columns(curves)
    names = list(curves.keys.columns)
    if "source" not in names and (curves.n_curves > curves.n_groups or not names):
        names.append("source")
    if curves.n_curves == 1 and names == ["source"]:
        return ["the curve"]
    return table[names].astype(str).agg(" ".join, axis=1).tolist()


def concatenate(parts: Sequence[Curves], keys: pd.DataFrame) -> Curves:
    """Curves one after the other, with `keys` for all their groups; groups with equal keys stay apart (see `regroup`)."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("source", "window", *POINT_FIELDS)
    }
    sizes = np.concatenate([np.diff(part.start) for part in parts])
    before = np.cumsum([0] + [part.n_groups for part in parts])
    group = np.concatenate([part.group + n for part, n in zip(parts, before, strict=False)])
    return Curves(keys=keys.reset_index(drop=True), group=group, start=np.r_[0, np.cumsum(sizes)], **arrays)


def check_weights(weight: np.ndarray) -> np.ndarray:
    """The weights, if all are finite and none is negative.

    Raises:
      InputError: else.
    """
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise InputError("a weight is negative, endless or no number; 0 leaves a point out")
    return weight
