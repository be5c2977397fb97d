"""Results of fits, which lie in blocks of equal shape, in arrays by group or curve."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .curves import Curves
from .fitting.problem import Problem
from .fitting.result import FitResult
from .laws import scales

# Raw parameters are logarithms and log odds. A standard error of 1.5 leaves a factor of 12 either way within 90 %: that is not to
# know a shot count, and from log odds of 0 anything from 8 to 92 %.
UNDETERMINED = 1.5
NOT_DETERMINED = "not determined by these data"  # what stands in the place of such a number
DEGENERATE = 1e8  # condition number of the scaled JᵀWJ from which on its inverse has few digits left


@dataclasses.dataclass(frozen=True)
class FitBlock:
    """Fits of equal shape: B of them, each to C conditions of J curves.

    Attributes:
      problem: what was fitted.
      groups: [B, C] group of each condition (for a baseline: of the curve).
      curves: [B, C J] the curves fitted.
      result: `FitResult` of NumPy arrays with leading axis [B].
    """

    problem: Problem
    groups: np.ndarray
    curves: np.ndarray
    result: FitResult


def per_group(
    blocks: Sequence[FitBlock],
    curves: Curves,
    leaf: Callable[[FitBlock], ArrayLike],
    fill: float | str = np.nan,
) -> np.ndarray:
    """A quantity of every block, stacked by group; what a shorter group does not have is `fill`.

    Args:
      blocks: of one law, all groups of `curves` in them.
      leaf: takes a block and returns [B, C, …] (see `FitBlock`).

    Returns:
      [G, …]; for a law fitted curve by curve [G, J, …].
    """
    pieces = [(block, np.asarray(leaf(block))) for block in blocks]
    tail = tuple(max(sizes) for sizes in zip(*(piece.shape[2:] for _, piece in pieces), strict=True))
    if blocks[0].problem.law.joint:
        out = np.full((curves.n_groups, *tail), fill, pieces[0][1].dtype)
        for block, piece in pieces:
            part = tuple(slice(s) for s in piece.shape[2:])
            out[(block.groups, *part)] = piece
        return out
    rank = curves.rank()
    out = np.full((curves.n_groups, rank.max() + 1, *tail), fill, pieces[0][1].dtype)
    for block, piece in pieces:
        out[block.groups[:, 0], rank[block.curves[:, 0]]] = piece[:, 0]
    return out


def by_condition(block: FitBlock, value: ArrayLike) -> np.ndarray:
    """A quantity [B, …] that a fit has once, [B, C, …]."""
    value = np.asarray(value)
    return np.broadcast_to(value[:, None], (*block.groups.shape, *value.shape[1:]))


def condition_axis(block: FitBlock, value: ArrayLike) -> np.ndarray:
    """A parameter of the results, [B, …] or [B, C, …], as [B, C, …] whatever C is."""
    value = np.asarray(value)
    if block.problem.n_conditions == 1:
        value = value[:, None]
    # A curve-wise law is fitted as a group of one curve: drop that axis.
    return value if block.problem.law.joint else value[..., 0]


def parameter_columns(curves: Curves, joint: bool, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """A parameter in columns of a table with a row per curve: title → [C].

    What a group has once stands in each of its rows, what a source has in its own. A background's prior and beta are
    `NAME_background`, a second one's `NAME_background_2`; the rows of a matrix are `NAME_0`, `NAME_1`, …

    Args:
      curves: C curves in G groups of up to J sources.
      joint: whether the law is fitted to a group's curves together.
      value: [G], [G, J] or [G, J, M], or [G, M] where tasks stand behind the group's own; [G, J] if not joint.
    """
    group, rank = curves.group, curves.rank()
    if value.ndim == 1:
        return {name: value[group]}
    if value.ndim == 3:
        return {f"{name}_{m}": value[group, rank, m] for m in range(value.shape[2])}
    columns = {name: value[group, rank]}
    if joint and name in ("prior", "beta"):
        sizes = np.bincount(group)[group]
        columns |= {f"{name}_{title}": behind for title, behind in _backgrounds(value[group], sizes)}
    return columns


def _backgrounds(value: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (title, values [curves]) of the tasks behind a group's own in value [curves, M]: background, background_2, …"""
    for k in range(value.shape[1]):
        at = sizes + k
        behind = value[np.arange(len(value)), np.minimum(at, value.shape[1] - 1)]
        behind = np.where(at < value.shape[1], behind, np.nan)
        if np.isfinite(behind).any():
            yield f"background_{k + 1}" if k else "background", behind


def left_open(fits: pd.DataFrame, parameter: str) -> np.ndarray:
    """[rows] whether the data do not determine a parameter, alone or in a combination, by the column `not_identified` of a table
    of fits; False everywhere in a table without that column. The parameter is any column that has one: `efficiency`, `prior`,
    `prior_background`, `probs_0`.

    `not_identified` is of a whole group. Of what each source has for itself (probabilities), where the table has standard errors,
    a source whose own is small enough is not left open by another source of its group (the columns before `source` tell groups
    apart).
    """
    if "not_identified" not in fits:
        return np.zeros(len(fits), bool)
    named = fits["not_identified"].fillna("").astype(str).str.split()
    alone = np.array([any(is_of(parameter, name) for name in names) for names in named], bool)
    together = np.array(["combination" in names for names in named], bool)
    if any(is_of(parameter, name) for name in scales.PROBABILITIES) and f"{parameter}_se" in fits:
        own = scales.spread(fits[parameter], fits[f"{parameter}_se"], "logit")
        alone &= ~(own <= UNDETERMINED) | ~_several_sources(fits)
    return alone | together


def _several_sources(fits: pd.DataFrame) -> np.ndarray:
    """[rows] whether the group of each row has more than one source: else nothing but itself can leave it open."""
    if "source" not in fits:
        return np.ones(len(fits), bool)
    groups = list(fits.columns[: list(fits.columns).index("source")])
    sources = fits.groupby(groups, dropna=False)["source"] if groups else fits["source"]
    return np.broadcast_to(sources.transform("nunique") > 1 if groups else sources.nunique() > 1, len(fits))


def is_of(column: str, parameter: str) -> bool:
    """Whether a column of `parameter_columns` is this parameter's."""
    return column == parameter or bool(
        re.fullmatch(rf"{re.escape(parameter)}_(background(_\d+)?|\d+)", column)
    )


def undetermined(block: FitBlock) -> np.ndarray:
    """[B] names of the parameters that the data of each fit do not determine."""
    result = block.result
    with np.errstate(over="ignore"):  # larger than any bound
        spread = np.linalg.norm(np.asarray(result.factor, np.float64), axis=2)
    names = sorted(result.raw)  # the order of the factor's rows
    sizes = [int(np.prod(np.shape(result.raw[name])[1:])) for name in names]
    columns = np.split(spread, np.cumsum(sizes)[:-1], axis=1)
    unknown = np.stack([~(column <= UNDETERMINED).all(1) for column in columns], 1)
    kinds, at = np.unique(unknown, axis=0, return_inverse=True)  # few, of however many fits
    texts = [" ".join(name for name, flag in zip(names, row, strict=True) if flag) for row in kinds]
    text = np.array(texts, object)[at.reshape(-1)]
    return np.where((text == "") & ~(np.asarray(result.condition) <= DEGENERATE), "combination", text)
