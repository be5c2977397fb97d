"""Curves in partitions, table in and table out: what an engine for many machines calls.

A partition is a `pyarrow.Table` of rows of curves that holds its groups whole. The functions here know nothing of the engine;
`ray_engine` hands them to Ray, and docs/quickstart/cluster.md shows Dask and Spark. Rows of a group that lie in several
partitions would be fitted as several groups, so partition by the groups first: `buckets` numbers them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .curves import Curves
from .errors import InputError
from .fits import fit
from .reading import curves_from_frame

if TYPE_CHECKING:
    import pyarrow as pa

NONE: Mapping[str, Any] = MappingProxyType({})


def fit_partition(
    table: "pa.Table",
    laws: Sequence[str] = ("bayesian_scoring",),
    *,
    group_by: Sequence[str],
    source: str | None = None,
    stderr: bool = False,
    columns: Mapping[str, Any] = NONE,
    name: str = "a partition",
    **options: Any,
) -> "pa.Table":
    """Fits laws to every group of a partition.

    Args:
      table: rows of curves, see `iclbayes.read_curves`; groups are whole in it.
      laws: names of laws.
      group_by, source: as in `read_curves`.
      stderr: add columns of standard errors.
      columns: what else tells how to read the rows: value, shots, window of `read_curves`.
      name: what messages call the partition.
      **options: of `iclbayes.fit`.

    Returns:
      The rows of `Fits.to_frame`, law by law. The same rows as a fit of all groups in one process, to rounding. Of an empty
      partition, which some engines make, no row, with the group columns alone.

    Raises:
      InputError: no column to group by, or any error of `read_curves` or `fit`.
    """
    if group_by and not len(table):
        return table.select(list(group_by))
    curves = _curves(table, group_by, source, columns, name)
    tables = [fit(curves, law, **options).to_frame(stderr=stderr) for law in laws]
    return _as_table(pd.concat(tables, ignore_index=True))


def posterior_partition(
    table: "pa.Table",
    laws: Sequence[str] | None = None,
    *,
    group_by: Sequence[str],
    source: str | None = None,
    shots: Sequence[float] = (),
    level: float | None = None,
    columns: Mapping[str, Any] = NONE,
    name: str = "a partition",
    **options: Any,
) -> "pa.Table":
    """Posteriors of laws for every group of a partition, and what they say of the shots ahead.

    Args:
      table, group_by, source, columns, name: as in `fit_partition`.
      laws: names; default: those of `posterior.STACK`. Several are also averaged, weighted by how they forecast the curves of
        this partition, so the average is the partition's own.
      shots: numbers of shots to forecast besides those that the partition holds.
      level: also give the shots until the probability is there.
      **options: of `posterior.stack`.

    Returns:
      The rows of `Stack.forecasts`, and with `level` below them those of `Stack.reach_tables`, told apart by the column `table`:
      forecast or shots_to_reach. With several laws the average's have law "stacked".
      Random numbers go by a group's place in its partition: another partitioning gives the same answers up to their draws.

    Raises:
      InputError: as `fit_partition`, and any error of `posterior.stack`.
    """
    from .posterior import STACK, stack

    if options.get("hierarchy"):
        raise InputError(
            f"{name}: hierarchy {options['hierarchy'][0]!r} needs all groups together; sample them in one process"
        )
    if group_by and not len(table):
        return table.select(list(group_by))
    curves = _curves(table, group_by, source, columns, name)
    stacked = stack(curves, laws or STACK, **options)
    at = np.union1d(curves.shots, np.asarray(shots, float))
    tables = [one.assign(table="forecast") for one in stacked.forecasts(at)]
    if level is not None:
        tables += [one.assign(table="shots_to_reach") for one in stacked.reach_tables(level)]
    return _as_table(pd.concat(tables, ignore_index=True))


def buckets(table: "pa.Table", group_by: Sequence[str], n: int) -> np.ndarray:
    """int64[rows]: a number below `n` for each row, the same for all rows of a group, on every machine.

    Labels of one column have to be of one type in all partitions: 7 and "7" are different labels.
    """
    labels = table.select(list(group_by)).to_pandas(ignore_metadata=True)
    return (pd.util.hash_pandas_object(labels, index=False).to_numpy() % np.uint64(n)).astype(np.int64)


def _curves(
    table: "pa.Table", group_by: Sequence[str], source: str | None, columns: Mapping[str, Any], name: str
) -> Curves:
    if not group_by:
        raise InputError(f"{name}: curves in partitions need columns to group by; name them")
    frame = table.to_pandas(ignore_metadata=True)
    return curves_from_frame(frame, group_by=tuple(group_by), source=source, name=name, **columns)


def _as_table(frame: pd.DataFrame) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
