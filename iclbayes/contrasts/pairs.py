"""Curves side by side: groups that differ in one column only, and what both have."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..curves import Curves
from ..errors import InputError


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
            f"pairs are values of {column!r}, which is not among the group columns ({', '.join(map(str, keys))})"
        )
    rest = [str(name) for name in keys if name != column]
    condition = list(keys.drop(columns=column).itertuples(index=False, name=None))
    found = []
    for before, after in pairs:
        for name in (before, after):
            if name not in set(keys[column].astype(str)):
                known = ", ".join(map(str, keys[column].drop_duplicates()))
                raise InputError(f"no {column} {name!r} in the curves; there are {known}")
        if before == after:
            raise InputError(f"{column} {before!r} is paired with itself; name two")
        label = keys[column].astype(str)
        places = {condition[i]: i for i in np.flatnonzero(label == before).tolist()}
        matched = [
            (places[condition[i]], i, (before, after))
            for i in np.flatnonzero(label == after).tolist()
            if condition[i] in places
        ]
        if not matched:
            raise InputError(f"{before!r} and {after!r} have no {' and '.join(rest) or 'curves'} in common")
        if any(not common_sources(curves, a, b) for a, b, _ in matched):
            raise InputError(f"{before!r} and {after!r} have no source in common; check the source column")
        found += matched
    return found


def only(curves: Curves, group: int, sources: Sequence) -> Curves:
    """One group with these of its sources, in their order."""
    one = curves.select(np.array([group]))
    at = [list(one.source).index(source) for source in sources]
    take = np.concatenate([np.arange(one.start[c], one.start[c + 1]) for c in at])
    return dataclasses.replace(
        one,
        group=np.zeros(len(at), int),
        source=one.source[at],
        start=np.r_[0, np.cumsum(np.diff(one.start)[at])],
        **one.points(take),
    )


def common_sources(curves: Curves, a: int, b: int) -> list:
    """Sources of group b that group a has too."""
    mine = set(curves.source[curves.group == a])
    return [source for source in curves.source[curves.group == b] if source in mine]
