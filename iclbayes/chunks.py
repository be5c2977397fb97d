"""Reading a file of curves in chunks that end where a group ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import InputError
from .files import is_csv
from .tables import csv_options, kind_of, with_index


def chunks(
    path: Path,
    types: dict[str, str | None],
    together: list[str],
    chunk_rows: int,
    skip: int,
    shots: str = "shots",
) -> Iterator[pd.DataFrame]:
    """Data frames of about `chunk_rows` rows that end where a group ends, after the first `skip` rows.

    Where groups are shorter than that, the last is of half to three halves of it: a short one would be a shape of its own, whose
    program takes more memory and time to compile than the rows are worth. (Half of a chunk may still be one, if it is too few
    curves for the engine's largest shape.)
    """
    held: list[pd.DataFrame] = []
    ready: pd.DataFrame | None = None  # yielded once what follows it is known to be long enough
    try:
        for frame in _batches(path, chunk_rows, skip, types, shots):
            missing = [c for c in types if c not in frame]
            if missing:
                raise InputError(
                    f"{path}: no column {missing[0]!r}; it has {', '.join(map(str, frame.columns))}"
                )
            held.append(frame)
            rows = sum(map(len, held))
            if ready is not None and rows >= (chunk_rows + 1) // 2:
                yield ready
                ready = None
            if rows < chunk_rows:
                continue
            whole = pd.concat(held, ignore_index=True)
            last = (whole[together] != whole[together].iloc[-1]).any(axis=1).to_numpy()
            if not last.any():
                held = [whole]
                continue
            cut = int(np.flatnonzero(last)[-1]) + 1
            ready = whole.iloc[:cut].reset_index(drop=True)
            held = [whole.iloc[cut:].reset_index(drop=True)]  # a copy, which does not keep the whole
            del whole, last
    except InputError:  # what was read before the mistake is fitted, and kept
        if ready is not None:
            yield ready
        raise
    parts = [frame for frame in (ready, *held) if frame is not None and len(frame)]
    if parts:
        yield pd.concat(parts, ignore_index=True)


def _batches(
    path: Path, size: int, skip: int, types: dict[str, str | None], shots: str
) -> Iterator[pd.DataFrame]:
    """Data frames of at most `size` rows, after the first `skip`. Raises InputError where the file cannot be read."""
    left = skip
    try:
        for frame in _read(path, size, types, shots):
            if left >= len(frame):
                left -= len(frame)
                continue
            yield frame.iloc[left:]
            left = 0
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: the file is empty; it needs a header and at least one row") from None
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are ValueErrors
        if isinstance(error, InputError):
            raise
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be read as {path.suffix}: {reason}") from None


def types_of_labels(path: Path, labels: list[str], size: int, shots: str = "shots") -> dict[str, str | None]:
    """Types of the label columns of a CSV file, as a reader of the whole file would find them; None: as they come.

    Guessed from each chunk by itself, the type of a label could change on the way. One chunk with text settles it; only to know
    that labels are numbers throughout, the file has to be read to its end.
    """
    types: dict[str, str | None] = dict.fromkeys(labels)
    if not is_csv(path):
        return types
    try:
        options = csv_options(path, shots)
        header = pd.read_csv(path, **options, nrows=0).columns
        seen = {name: set() for name in labels if name in header}
        with pd.read_csv(path, **options, chunksize=size, usecols=list(seen), dtype=str) as reader:
            for frame in reader:
                for name, kinds in seen.items():
                    kinds.add(kind_of(frame[name].dropna().unique()))
                    if frame[name].isna().any():
                        kinds.add("float64")
                if all(_joined(kinds) == "str" for kinds in seen.values()):
                    break
    except (ValueError, OSError):
        return types  # who reads the rows says what is wrong
    return types | {name: _joined(kinds) for name, kinds in seen.items() if kinds}


def _joined(kinds: set[str]) -> str:
    """The type of a column whose chunks have these."""
    if len(kinds) == 1 and kinds <= {"int64", "uint64", "float64", "bool"}:
        return next(iter(kinds))
    return "float64" if kinds <= {"int64", "float64"} else "str"


def _read(path: Path, size: int, types: dict[str, str | None], shots: str) -> Iterator[pd.DataFrame]:
    if is_csv(path):
        known = {name: kind for name, kind in types.items() if kind}
        with pd.read_csv(path, **csv_options(path, shots), chunksize=size, dtype=known) as reader:
            yield from reader
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(
        path, pre_buffer=False
    ) as file:  # buffered, what was read stays until the file is closed
        for batch in file.iter_batches(batch_size=min(size, 131_072)):
            yield with_index(batch.to_pandas())


def uncompressed_bytes(path: Path) -> int:
    """Bytes of a file once it is unpacked: of gzip by the length at its end (modulo 4 GiB), of Parquet by its footer.

    Of other files, and where neither can be read, those on the disk.
    """
    size = path.stat().st_size
    try:
        if path.suffix == ".gz" and size > 18:  # the least that gzip writes
            with path.open("rb") as file:
                file.seek(-4, os.SEEK_END)
                unpacked = int.from_bytes(file.read(), "little")
            return max(size, unpacked)
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            about = pq.read_metadata(path)
            return max(size, sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)))
    except Exception:
        return size  # the reader says what is wrong
    return size


def count_rows(path: Path) -> int | None:
    if path.suffix != ".parquet":
        return None
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path).num_rows
    except Exception:
        return None  # the reader says what is wrong
