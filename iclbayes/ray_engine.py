"""Fits and posteriors of many files on a Ray cluster, or on the cores of this machine through Ray.

Files whose groups stand whole in one file are partitions as they are; where a group has rows in several files, rows are first
brought together by group. A partition goes to a worker, which holds one at a time; a worker that dies is replaced and its
partition done again. The results come back in the order of the partitions and are written here, each file renamed into place.
"""

import functools
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError
from .files import atomic_path
from .locks import locked
from .partitions import buckets, fit_partition, posterior_partition
from .runtime import use_cache
from .stream import bound_together, common_schema, in_schema

if TYPE_CHECKING:
    import pyarrow as pa

BUCKET, ERROR = "__bucket", "__error"  # columns of ours on the way
PER_CORE = 4  # partitions for each core of the cluster, where rows are brought together: enough to even out their lengths

Partition = Callable[..., "pa.Table"]


def fit_with_ray(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    laws: Sequence[str] = ("bayesian_scoring",),
    **options: Any,
) -> list[Path]:
    """`partitions.fit_partition` of many Parquet files of curves.

    Args:
      files: paths or glob patterns of Parquet files, which every worker can read.
      out: folder for the results, part-00000.parquet and so on, with one schema; made if missing. Parts of an earlier call are
        replaced once all new ones are there.
      laws, options: of `fit_partition`; also `cores`, see `run`.

    Returns:
      The files written.

    Raises:
      InputError: no file, another process at work on `out`, a file there that this package did not write, or any error of
        `fit_partition`.
    """
    return run(fit_partition, files, out, laws=tuple(laws), **options)


def posterior_with_ray(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    laws: Sequence[str] | None = None,
    **options: Any,
) -> list[Path]:
    """`partitions.posterior_partition` of many Parquet files of curves; arguments and errors as of `fit_with_ray`."""
    return run(posterior_partition, files, out, laws=None if laws is None else tuple(laws), **options)


def run(
    function: Partition,
    files: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    group_by: Sequence[str],
    source: str | None = None,
    cores: int = 1,
    **options: Any,
) -> list[Path]:
    """A function of partitions over many files, by Ray Data's `map_batches`.

    Args:
      function: as `fit_partition`: (table, group_by=, source=, name=, **options) → table.
      files, out: see `fit_with_ray`.
      group_by, source: columns.
      cores: that one partition is worked on with; JAX in the worker uses so many.
      options: of `function`.
    """
    together = bound_together(group_by, options.get("across", ()))
    if not together:
        raise InputError(
            "all groups share parameters or none is named, so there is nothing to part; fit the files whole"
        )
    ray = _ray()
    paths = find(files)
    folder = _folder(Path(out), paths)
    with locked(folder.parent / f".{folder.name}.lock", folder):
        _start(ray)
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        remote = {"num_cpus": cores, "runtime_env": {"env_vars": {"NPROC": str(cores)}}}
        work = _Work(function, {"group_by": tuple(group_by), "source": source, **options})
        if whole_files(paths, together):
            rows = [{"path": str(path)} for path in paths]
            found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                work.of_files, batch_size=1, batch_format="pyarrow", **remote
            )
        else:
            n = max(len(paths), PER_CORE * int(ray.cluster_resources().get("CPU", 1)))
            found = (
                ray.data.read_parquet([str(path) for path in paths])
                .map_batches(_numbered, fn_kwargs={"group_by": together, "n": n}, batch_format="pyarrow")
                .groupby(BUCKET, num_partitions=n)
                .map_groups(work.of_rows, batch_format="pyarrow", **remote)
            )
        return _write(found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0), folder)


def find(files: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Path]:
    """Absolute paths of files and glob patterns, sorted within a pattern. Raises InputError where one names nothing."""
    wanted = [files] if isinstance(files, str | os.PathLike) else list(files)
    found: list[Path] = []
    for name in map(str, wanted):
        here = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        if not here:
            raise InputError(
                f"{name}: no such file; give Parquet files of curves or a pattern such as 'curves/*.parquet'"
            )
        found += [Path(path).resolve() for path in here]
    if not found:
        raise InputError("no file of curves is given; name at least one")
    for path in found:
        if path.suffix.lower() not in (".parquet", ".pq") or path.is_dir():
            raise InputError(
                f"{path}: partitions are Parquet files; convert it, or read it without an engine"
            )
    return list(dict.fromkeys(found))


def whole_files(paths: Sequence[Path], group_by: Sequence[str]) -> bool:
    """Whether no group has rows in two of the files. Reads their columns of labels alone.

    Raises:
      InputError: a file that cannot be read, or has no such column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen = np.zeros(0, np.uint64)
    for path in paths:
        try:
            missing = [name for name in group_by if name not in pq.read_schema(path).names]
            if missing:
                raise InputError(
                    f"{path}: no column {missing[0]!r}; it has {', '.join(pq.read_schema(path).names)}"
                )
            labels = (
                pq.read_table(path, columns=list(group_by)).to_pandas(ignore_metadata=True).drop_duplicates()
            )
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        here = np.unique(pd.util.hash_pandas_object(labels, index=False).to_numpy())
        if np.isin(here, seen).any():
            return False
        seen = np.union1d(seen, here)
    return True


class _Work:
    """The function of a partition with its options, as Ray sends it to the workers."""

    def __init__(self, function: Partition, options: dict[str, Any]):
        self.function, self.options = function, options

    def of_files(self, batch: "pa.Table") -> "pa.Table":
        import pyarrow.parquet as pq

        (path,) = batch["path"].to_pylist()
        return self._of(pq.read_table(path), name=path)

    def of_rows(self, batch: "pa.Table") -> "pa.Table":
        return self._of(batch.drop_columns(BUCKET))

    def _of(self, rows: "pa.Table", **name: str) -> "pa.Table":
        import pyarrow as pa

        _keep_programs()
        try:
            return self.function(rows, **name, **self.options)
        except InputError as error:  # Ray would send back its text and a stack
            return pa.table({ERROR: [str(error)]})


@functools.cache
def _keep_programs() -> None:
    """A worker is a process of ours: it finds the programs that another one has compiled on its machine."""
    use_cache()


def _numbered(batch: "pa.Table", group_by: Sequence[str], n: int) -> "pa.Table":
    import pyarrow as pa

    return batch.append_column(BUCKET, pa.array(buckets(batch, group_by, n)))


def _write(tables: Iterator["pa.Table"], folder: Path) -> list[Path]:
    """Writes every table to a part beside the folder's, then gives all one schema and their names."""
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    staged: list[Path] = []
    try:
        for table in tables:
            if ERROR in table.column_names:
                raise InputError(table[ERROR][0].as_py())
            staged.append(folder / f".new-{len(staged):05d}.parquet")
            pq.write_table(table, staged[-1])
        schema = common_schema(staged)
        parts = []
        for number, path in enumerate(staged):
            parts.append(folder / f"part-{number:05d}.parquet")
            with atomic_path(parts[-1]) as temporary:
                pq.write_table(in_schema(pq.read_table(path), schema), temporary)
        for path in set(folder.glob("part-[0-9]*.parquet")) - set(parts):
            path.unlink()
        return parts
    finally:
        for path in staged:
            path.unlink(missing_ok=True)


def _folder(out: Path, inputs: Sequence[Path]) -> Path:
    """The folder of the results. Raises InputError for a file, no place, or a folder that holds what is not ours."""
    if out.exists() and not out.is_dir():
        raise InputError(
            f"{out}: is a file; with an engine, results are a folder of Parquet files: name a folder"
        )
    if not out.exists() and not out.resolve().parent.is_dir():
        raise InputError(
            f"{out}: there is no folder {out.resolve().parent}; make it first or choose another place"
        )
    others = (
        [
            p.name
            for p in out.iterdir()
            if not p.match("part-[0-9]*.parquet") and not p.match(".new-*.parquet")
        ]
        if out.exists()
        else []
    )
    if others:
        raise InputError(
            f"{out}: holds {sorted(others)[0]}, which is no part of a result; choose another folder"
        )
    if any(path.parent == out.resolve() for path in inputs):
        raise InputError(f"{out}: holds the curves themselves; write to another folder")
    return out


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("Ray is not installed; pip install 'iclbayes[ray]'") from None
    return ray


def _start(ray: Any) -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one on this machine; one that runs already is used."""
    if ray.is_initialized():
        return
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init()
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address="local", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"Ray at {os.environ.get('RAY_ADDRESS', 'this machine')} does not answer: {reason}"
        ) from None
