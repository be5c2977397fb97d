"""Fitting files that are larger than memory: chunk by chunk, flat memory, and on from where it stopped.

The rows of one group must stand together in the file. Finished chunks lie in the folder `OUT.parts`, each renamed into place
when complete, together with a note of what was asked; the same command continues after them, and the end joins them to OUT. The
note marks the folder as ours: another folder of that name is left alone. Notes and chunks are read with their digests.
"""

import contextlib
import dataclasses
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import csv_text, memory
from .chunks import chunks, count_rows, types_of_labels
from .digests import file_digest, read_sealed, write_sealed
from .errors import CurvesWarning, InputError, check_whole
from .files import atomic_path, is_csv
from .fits import fit
from .locks import locked
from .reading import curves_from_frame

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "iclbayes parts"  # marks a folder of parts as ours
REQUEST = "request.json"
CHUNK_ROWS = 250_000  # memory then stays level at a few hundred MB, most of it JAX


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a streamed fit tells while it runs: rows read and fits done so far, rows of the file (None if unknown)."""

    rows: int
    fits: int
    total_rows: int | None


def fit_stream(
    path: str | os.PathLike,
    out: str | os.PathLike,
    laws: Sequence[str] = ("bayesian_scoring",),
    *,
    group_by: str | Sequence[str],
    source: str | None = None,
    value: str | None = None,
    shots: str = "shots",
    window: float | None = None,
    chunk_rows: int = CHUNK_ROWS,
    stderr: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> dict[str, dict[str, int]]:
    """Fits every group of a file of curves without reading it whole.

    Args:
      path: `.csv`, `.csv.gz` or `.parquet`, see `iclbayes.read_curves`; rows of a group stand together.
      out: `.csv` or `.parquet`; gets the rows of `Fits.to_frame`, law by law within each chunk.
      laws: names of laws.
      group_by, source, value, shots, window: as in `read_curves`.
      chunk_rows: rows that are fitted at a time, up to half as many more at the end; about three times as many are in memory (a
        group is never split, so a group larger than this is read whole).
      stderr: add columns of standard errors.
      on_progress: called after each chunk.
      **options: of `iclbayes.fit`. With `share` and `across`, the rows of all groups that share parameters stand together. An
        optimizer or a loss of one's own is known by its name alone to a command that continues.

    Returns:
      law → how its fits ended, lower-case `Status` → number of fits.

    Raises:
      InputError: no column to group by; a group whose rows do not stand together; parts left by another command; or any
        error of `read_curves` or `fit`. What was finished stays, and the same command continues from it.
    """
    path, out = Path(path), Path(out)
    check_whole("chunk_rows", chunk_rows, 1, 2**62)
    group_by = (group_by,) if isinstance(group_by, str) else tuple(group_by)
    if not group_by:
        raise InputError(f"{path}: a file read in chunks needs columns to group by; name them")
    if not (is_csv(path) or path.suffix == ".parquet"):
        raise InputError(f"{path}: only .csv, .csv.gz and .parquet files can be read in chunks")
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out}: only .csv and .parquet files can be written in chunks")
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; give the path of a CSV or Parquet file of curves")
    together = bound_together(group_by, options.get("across", ()))
    if not together:
        raise InputError(
            f"{path}: all groups share parameters, so nothing can be fitted in chunks; read the file whole"
        )
    parts = out.with_name(out.name + ".parts")
    request = {
        "format": FORMAT,
        "file": str(path.resolve()),
        "size": path.stat().st_size,
        "modified": path.stat().st_mtime_ns,
        "laws": list(laws),
        "group_by": list(group_by),
        "source": source,
        "value": value,
        "shots": shots,
        "window": window,
        "chunk_rows": chunk_rows,
        "stderr": stderr,
        "options": {name: _without_addresses(value) for name, value in sorted(options.items())},
    }
    labels = [*group_by, *([source] if source else [])]
    request["labels"] = types_of_labels(path, labels, chunk_rows, shots)
    with locked(out.with_name(f".{out.name}.lock"), out):
        done = _fit_chunks(path, out, parts, request, laws, group_by, source, together, options, on_progress)
    ends = {law: Counter() for law in laws}
    for note in done:
        for law, counts in zip(laws, note.get("ends", ()), strict=False):
            ends[law].update(counts)
    return {law: dict(counts) for law, counts in ends.items()}


def _fit_chunks(
    path: Path,
    out: Path,
    parts: Path,
    request: dict[str, Any],
    laws: Sequence[str],
    group_by: tuple[str, ...],
    source: str | None,
    together: list[str],
    options: dict[str, Any],
    on_progress: Callable[[Progress], None],
) -> list[dict]:
    """Fits what is not done, joins the parts to `out` and removes them; returns the notes of the chunks."""
    types, chunk_rows = request["labels"], request["chunk_rows"]
    done = _open_parts(parts, request)
    rows = sum(d["rows"] for d in done)
    fitted = sum(d["fits"] for d in done)
    seen = np.unique(np.concatenate([np.zeros(0, np.uint64), *(d.pop("groups") for d in done)]))
    total = count_rows(path)
    try:
        for frame in chunks(path, types, together, chunk_rows, skip=rows, shots=request["shots"]):
            keys = _fingerprints(frame, together)
            _check_together(seen, keys, frame, path, rows)
            keys = np.sort(keys)
            seen = np.insert(seen, np.searchsorted(seen, keys), keys)  # stays sorted
            with warnings.catch_warnings():
                if rows > 0:  # the first chunk has told
                    warnings.simplefilter("ignore", CurvesWarning)
                curves = curves_from_frame(
                    frame,
                    group_by=group_by,
                    source=source,
                    value=request["value"],
                    shots=request["shots"],
                    window=request["window"],
                    name=str(path),
                    first_row=rows + 2,
                )
            fits = [fit(curves, law, **options) for law in laws]
            tables = [f.to_frame(stderr=request["stderr"]) for f in fits]
            number = len(done)
            with atomic_path(parts / f"{number:06d}.parquet") as temporary:
                pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)
            note = {"rows": len(frame), "fits": curves.n_groups * len(laws), "groups": keys.tolist()}
            note["ends"] = [f.ends for f in fits]
            note["parquet"] = file_digest(parts / f"{number:06d}.parquet")
            write_sealed(note, parts / f"{number:06d}.json", indent=None)
            done.append({name: note[name] for name in ("rows", "fits", "ends")})
            rows, fitted = rows + len(frame), fitted + note["fits"]
            memory.release()
            on_progress(Progress(rows, fitted, total))
    except InputError:
        if not done:  # nothing worth keeping: leave no trace
            _remove_parts(parts)
        raise
    if not done:
        raise InputError(f"{path}: no rows after the header; it needs at least one")
    _join([parts / f"{i:06d}.parquet" for i in range(len(done))], out)
    _remove_parts(parts)
    return done


def _without_addresses(value: object) -> str:
    """Text of an option that is the same in another process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _open_parts(parts: Path, request: dict) -> list[dict]:
    """Notes of the chunks that are done; makes the folder for a new request.

    Raises:
      InputError: a folder that is not ours, or was left by another command.
    """
    try:
        parts.mkdir(exist_ok=True)
        note = parts / REQUEST
        if not note.exists():
            if any(not name.name.startswith(".request-") for name in parts.iterdir()):
                raise InputError(
                    f"{parts}: holds files that this package did not write; move them away or choose another --out"
                )
            try:
                write_sealed(request, note)
            except InputError:
                with contextlib.suppress(OSError):
                    parts.rmdir()
                raise
            return []
        before = read_sealed(note)
    except OSError as error:
        raise InputError(f"{parts}: cannot write there: {error.strerror}; choose another place") from None
    if before.get("format") != FORMAT:
        raise InputError(
            f"{parts}: is no folder of parts of this package; move it away or choose another --out"
        )
    changed = [name for name in request if before.get(name) != request[name]]
    if changed and not (parts / "000000.json").exists():  # nothing was done yet
        write_sealed(request, note)
        return []
    if changed:
        raise InputError(
            f"{parts}: was left by another command ({changed[0]} was {before.get(changed[0])}, is {request[changed[0]]}); "
            "repeat that one to continue it, or remove the folder"
        )
    done: list[dict] = []
    while (parts / f"{len(done):06d}.json").exists():
        found = _read_part(parts, len(done))
        if found is None:
            warnings.warn(
                f"{parts}: part {len(done)} is damaged, so fitting goes on from the end of the one before",
                CurvesWarning,
                stacklevel=3,
            )
            break
        done.append(found)
    return done


def _read_part(parts: Path, number: int) -> dict | None:
    """The note of a chunk that is done; None if it or the chunk is damaged."""
    try:
        note = read_sealed(parts / f"{number:06d}.json")
        if note["parquet"] != file_digest(parts / f"{number:06d}.parquet"):
            return None
        return note | {"groups": np.array(note["groups"], np.uint64)}
    except (OSError, InputError, KeyError, TypeError, OverflowError):
        return None


def _remove_parts(parts: Path) -> None:
    """Removes what we wrote into the folder, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in parts.iterdir():
            if re.fullmatch(r"\d{6,}\.(json|parquet)|\.\d{6,}-.*|\.request-.*", path.name):
                path.unlink()
        (parts / REQUEST).unlink(missing_ok=True)  # last, for it is what marks the folder
        parts.rmdir()


def _fingerprints(frame: pd.DataFrame, group_by: list[str]) -> np.ndarray:
    """64-bit hash of each group, in order of appearance (runs of equal rows count once)."""
    hashes = pd.util.hash_pandas_object(frame[group_by], index=False).to_numpy()
    starts = np.r_[True, hashes[1:] != hashes[:-1]]
    return hashes[starts]


def _check_together(seen: np.ndarray, keys: np.ndarray, frame: pd.DataFrame, path: Path, rows: int) -> None:
    place = np.searchsorted(seen, keys)  # np.isin would sort all that was seen, at every chunk
    before = len(seen) > 0 and (seen[np.minimum(place, len(seen) - 1)] == keys).any()
    if len(np.unique(keys)) < len(keys) or before:
        raise InputError(
            f"{path}: the rows of a group do not stand together (between rows {rows + 2} and {rows + 1 + len(frame)}); "
            "sort the file by the columns it is grouped by"
        )


def _join(parts: list[Path], out: Path) -> None:
    """Joins the parts to one file, a part at a time."""
    import pyarrow.parquet as pq

    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            columns = list(dict.fromkeys(name for part in parts for name in pq.read_schema(part).names))
            for i, part in enumerate(parts):
                frame = pd.read_parquet(part).reindex(columns=columns)  # chunks may differ in their columns
                csv_text.write(frame, temporary, mode="w" if i == 0 else "a", header=i == 0)
            return
        schema = common_schema(parts)
        with pq.ParquetWriter(temporary, schema) as writer:
            for part in parts:
                writer.write_table(in_schema(pq.read_table(part), schema))


def common_schema(parts: Sequence[Path]) -> "pa.Schema":
    """The columns of all these Parquet files, each of a type that holds its values in every one of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(part).remove_metadata() for part in parts]
    return pa.unify_schemas(schemas, promote_options="permissive")


def in_schema(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """A table with the columns of a schema, null where it has none of that name."""
    import pyarrow as pa

    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def bound_together(group_by: Sequence[str], across: str | Sequence[str]) -> list[str]:
    """The columns whose values tell apart what can be fitted by itself: groups, or all those that share parameters."""
    return [c for c in group_by if c not in ((across,) if isinstance(across, str) else across)]
