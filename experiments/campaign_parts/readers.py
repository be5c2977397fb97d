"""Fuzzing of everything that reads a file: whatever is in it, it is read, or refused as a mistake of the user (`InputError`).

A file is a good one with pieces damaged, moved and repeated, or JSON of any shape under the names that the reader looks for, or
bytes of any kind.
"""

import contextlib
import io
import json
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from iclbayes import curves_from_frame, read_curves
from iclbayes.digests import read_sealed
from iclbayes.errors import InputError
from iclbayes.llm.data import load_task
from iclbayes.llm.journal import Journal
from iclbayes.llm.lm_eval import read_results, read_samples
from iclbayes.posterior import read_priors
from iclbayes.tables import read_table

CSV = (
    b"model,source,shots,prob,weight,n_correct,n_test\na,x,0,0.1,1,1,10\na,x,1,0.2,1,2,10\nb,y,4,0.5,2,5,10\n"
)
RESULT = {
    "results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.01, "alias": "arc"}},
    "n-shot": {"arc": 5},
    "configs": {"arc": {"num_fewshot": 5, "task": "arc", "metadata": {"version": 1}}},
    "n-samples": {"arc": {"original": 100, "effective": 100}},
    "config": {"model": "hf", "model_args": "pretrained=gpt2", "limit": None},
    "model_name": "gpt2",
    "date": 1700000000.0,
}
SAMPLE = {
    "doc_id": 0,
    "target": "1",
    "filter": "none",
    "acc": 1.0,
    "filtered_resps": [["-1.5", "True"], ["-2", "False"]],
}
FINISHED = {"key": "k", "source": "s", "logprobs": [[-0.5, None, "-inf"]]}
CONFIG = {"preset": "quick", "world": {"seed": 1}, "layers": [1, 2]}
PRIOR = {
    "kind": "iclbayes priors",
    "version": 1,
    "laws": {"logistic": {"x0": {"raw": "ln", "mean": 0.4, "sd": 0.9, "learned": 0.5}}},
    "learned_from": {"groups": 3},
}
TASK = {"question": "Q?", "answer": "A", "answer_other": ["B"], "answer_forms": "a|b", "source": "s"}


def _parquet() -> bytes:
    out = io.BytesIO()
    pd.read_csv(io.BytesIO(CSV)).to_parquet(out, index=False)
    return out.getvalue()


def _lines(*records: dict) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


class Reader(NamedTuple):
    """A function that reads a file of a name, a good file, and a good JSON record where it reads JSON."""

    name: str
    read: Callable[[Path], object]
    good: bytes
    record: dict | None = None


def _read_frame(path: Path) -> object:
    frame = read_table(path)
    return curves_from_frame(frame, group_by=[name for name in ("model",) if name in frame])


def _open_journal(path: Path) -> object:
    with Journal.open(path, {"model": "m"}) as journal:
        return dict(journal.done)


RUN = {"run": {"model": "m"}}
READERS = {
    "CSV": Reader("c.csv", _read_frame, CSV),
    "CSV, with counts and sources": Reader(
        "d.csv", lambda path: read_curves(path, group_by="model", source="source", value="n_correct"), CSV
    ),
    "Parquet": Reader("c.parquet", _read_frame, _parquet()),
    "JSON lines": Reader(
        "c.jsonl", _read_frame, _lines({"shots": 1, "prob": 0.5}), {"shots": 1, "prob": 0.5}
    ),
    "lm-eval JSON": Reader("results_1.json", read_results, _lines(RESULT), RESULT),
    "lm-eval samples": Reader("samples.jsonl", read_samples, _lines(SAMPLE, SAMPLE), SAMPLE),
    "journal": Reader("j.jsonl", _open_journal, _lines(RUN, FINISHED), FINISHED),
    "config": Reader("config.json", read_sealed, _lines(CONFIG), CONFIG),
    "priors": Reader("prior.json", read_priors, _lines(PRIOR), PRIOR),
    "task, JSON lines": Reader("t.jsonl", lambda path: load_task(str(path)), _lines(TASK), TASK),
    "task, CSV": Reader(
        "t.csv", lambda path: load_task(str(path)), b"question,answer,answer_forms\nq,a,a|b\n"
    ),
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 1e308, "1"])
)
PIECES = (
    b'"',
    b",",
    b"\n",
    b"\x00",
    b"\xff",
    b"{",
    b"[",
    b"1e999",
    b"9" * 400,
    b"nan",
    b"-",
    b"\r",
    b"null",
    b"[" * 10_000,
)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file with pieces taken out, repeated, and put in."""
    place = st.integers(0, len(good))
    change = st.tuples(place, place, st.sampled_from((b"", *PIECES)) | st.binary(max_size=8))

    def changed(changes: list[tuple[int, int, bytes]]) -> bytes:
        content = good
        for start, stop, piece in changes:
            content = content[:start] + piece + content[min(stop, start + 40) :]
        return content

    return st.lists(change, min_size=1, max_size=4).map(changed)


def other_json(record: dict) -> st.SearchStrategy[bytes]:
    """JSON of any shape, under the names of a good record at every depth."""
    names = st.sampled_from(sorted(_names(record))) | st.text(max_size=4)
    value = st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=8,
    )
    grafted = st.dictionaries(st.sampled_from(sorted(record)), value, max_size=3).map(
        lambda more: record | more
    )
    records = st.lists(grafted | value, min_size=1, max_size=3)
    return records.map(lambda found: "\n".join(map(json.dumps, found)).encode()) | value.map(
        lambda found: json.dumps(found).encode()
    )


def _names(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_names, value.values()))
    return set()


def fuzz(name: str, examples: int, start: int | None = None) -> None:
    """Gives a reader so many files; raises what it raises, with the file that made it, unless that is an `InputError`.

    Args:
      name: of `READERS`.
      examples: files.
      start: seed of the random files; None: the same files at each call.
    """
    reader = READERS[name]
    contents = damaged(reader.good) | st.binary(max_size=200)
    if reader.record is not None:
        contents = other_json(reader.record) | contents
    with _folder() as folder:
        path = folder / reader.name

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=start is None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(contents)
        def check(content: bytes) -> None:
            _check(reader, path, content)

        if start is not None:
            check = seed(start)(check)
        check()


def storm(name: str, count: int, start: int) -> str | None:
    """`fuzz` many times faster, with damage drawn by a plain generator: no search, no shrinking. What failed first, or None.

    Args:
      name: of `READERS`.
      count: files.
      start: seed.
    """
    reader, rng = READERS[name], random.Random(start)
    with _folder() as folder:
        path = folder / reader.name
        for _ in range(count):
            content = drawn(rng, reader)
            try:
                _check(reader, path, content)
            except Exception as error:
                return f"{type(error).__name__}: {error}, of {content!r}"
    return None


def drawn(rng: random.Random, reader: Reader) -> bytes:
    """A file as `fuzz` makes them: the good one damaged, JSON of any shape, or noise."""
    kind = rng.random()
    if kind < 0.05:
        return rng.randbytes(rng.randint(0, 200))
    if reader.record is None or kind < 0.5:
        content = reader.good
        for _ in range(rng.randint(1, 4)):
            start, stop = rng.randint(0, len(reader.good)), rng.randint(0, len(reader.good))
            piece = rng.choice((b"", rng.randbytes(rng.randint(1, 8)), rng.choice(PIECES)))
            content = content[:start] + piece + content[min(stop, start + 40) :]
        return content
    names = sorted(_names(reader.record))
    found = []
    for _ in range(rng.randint(1, 3)):
        keys = rng.sample(sorted(reader.record), rng.randint(0, min(3, len(reader.record))))
        grafted = reader.record | {key: _drawn_json(rng, names, 3) for key in keys}
        found.append(grafted if rng.random() < 0.8 else _drawn_json(rng, names, 3))
    return "\n".join(map(json.dumps, found)).encode()


def _drawn_json(rng: random.Random, names: list[str], depth: int) -> object:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return rng.choice(
            (
                *(None, True, False, 0, 1, -1, 10**400, 1e308, "1", "", float("nan"), float("inf"), 5e-324),
                *(
                    rng.randint(-(2**70), 2**70),
                    rng.gauss(0, 10),
                    rng.random(),
                    chr(rng.randint(0, 0xD7FF)) * 3,
                ),
            )
        )
    inner = [_drawn_json(rng, names, depth - 1) for _ in range(rng.randint(0, 3))]
    if kind < 0.7:
        return inner
    return {rng.choice(names) if rng.random() < 0.8 else str(value)[:4]: value for value in inner}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder in memory where there is one."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def _check(reader: Reader, path: Path, content: bytes) -> None:
    """Raises what a reader raises of a file that is no `InputError` in one line."""
    path.write_bytes(content)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            reader.read(path)
        except InputError as error:
            assert "\n" not in str(error), f"several lines: {error}"
