"""How groups of curves become fits: which curves are fitted together, and which conditions share parameters."""

from collections.abc import Callable, Iterator

import numpy as np

from .curves import Curves
from .errors import InputError
from .fitting.losses import PointLoss
from .fitting.problem import Problem
from .laws import Law


def check_points(curves: Curves, fraction: float | None = None) -> None:
    """Raises InputError if a group has no point of positive weight; `fraction` is what the message says was asked for."""
    count = np.bincount(curves.group[curves.point_curve()], curves.weight > 0, curves.n_groups)
    empty = np.flatnonzero(count == 0)
    if len(empty):
        key = ", ".join(f"{c}={v}" for c, v in curves.keys.iloc[empty[0]].items()) or "the only group"
        asked = f" at fraction {fraction:g}" if fraction is not None else ""
        more = f" (and {len(empty) - 1} more groups)" if len(empty) > 1 else ""
        raise InputError(
            f"group {key}: no point to fit{asked}{more}; give it more shots or a larger fraction"
        )


def layout(
    curves: Curves, law: Law, share: tuple[str, ...], across: tuple[str, ...]
) -> Iterator[
    tuple[Callable[[PointLoss, bool | None, float], Problem], np.ndarray, np.ndarray, dict[str, np.ndarray]]
]:
    """Yields (problem factory, groups [B, C], curves [B, C J], arrays [B, C J, n]) for every shape of fit."""

    def arrays(bucket, shape):
        fields = ("shots", "prob", "weight", "n_test")
        return {f: getattr(bucket, f).reshape(*shape, bucket.shots.shape[-1]) for f in fields}

    if not share and not across:
        for b in curves.buckets():
            n_groups, n_curves = b.curves.shape
            if law.joint:
                yield _factory(law, n_curves), b.groups[:, None], b.curves, arrays(b, b.curves.shape)
            else:
                groups = np.repeat(b.groups, n_curves)[:, None]
                yield _factory(law, 1), groups, b.curves.reshape(-1, 1), arrays(b, (n_groups * n_curves, 1))
        return
    if not law.joint:
        raise InputError(f"the law {law.name!r} is fitted curve by curve and cannot share parameters")
    unknown = [name for name in share if name not in law.param_names]
    if unknown or not share:
        raise InputError(
            f"share names {unknown or 'no parameter'}; the law {law.name!r} has {', '.join(law.param_names)}"
        )
    for name in share:
        missing = [other for other in law.needs.get(name, ()) if other not in share]
        if missing:
            raise InputError(
                f"sharing {name!r} needs sharing {missing[0]!r} too: it is fitted as a ratio to it"
            )
    absent = [c for c in across if c not in curves.keys]
    if absent or not across:
        raise InputError(
            f"across names {absent or 'no column'}; the curves are grouped by {', '.join(map(str, curves.keys.columns))}"
        )
    rest = [c for c in curves.keys.columns if c not in across]
    merged, family = curves.regroup(rest)
    per_group = np.bincount(curves.group, minlength=curves.n_groups)
    conditions = np.bincount(family, minlength=merged.n_groups)
    old_curves = _curve_order(curves, family)
    for b in merged.buckets():
        for c in np.unique(conditions[b.groups]):
            rows = np.flatnonzero(conditions[b.groups] == c)
            members = np.stack([np.flatnonzero(family == g) for g in b.groups[rows]])  # [B, C]
            if len(np.unique(per_group[members])) != 1:
                raise InputError(
                    "conditions that share parameters must have the same sources; some have more than others"
                )
            n_curves = int(per_group[members[0, 0]])
            chosen = old_curves[b.curves[rows]]
            labels = curves.source[chosen].reshape(len(rows), c, n_curves)
            if not (labels == labels[:, :1]).all():
                raise InputError(
                    "conditions that share parameters must have the same sources in the same order"
                )
            picked = {f: getattr(b, f)[rows] for f in ("shots", "prob", "weight", "n_test")}
            yield _factory(law, n_curves, int(c), tuple(share)), members, chosen, picked


def _curve_order(curves: Curves, family: np.ndarray) -> np.ndarray:
    """Old index of each curve of `Curves.regroup`."""
    return np.argsort(family[curves.group], kind="stable")


def _factory(law: Law, n_curves: int, n_conditions: int = 1, shared: tuple[str, ...] = ()):
    def problem(loss, background, ridge):
        extra = law.joint and ((n_curves == 1) if background is None else background)
        return Problem(law, loss, n_curves, bool(extra), n_conditions, shared, ridge)

    return problem
