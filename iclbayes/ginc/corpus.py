"""Corpora on disk: documents of a world, or documents made of examples, as a Hugging Face `datasets.Dataset`
(Arrow, memory-mapped).

A row is one block of a document, with the columns `tokens` (a list of fixed length), `document`, `block` (its
place in the document) and `hmm`. The data set's description is JSON text with all that made it, so that the
world, and any document, can be made again from the folder alone: document i depends on the seed and on i, not
on how many others there are.
"""

import dataclasses
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import numpy as np
from jax.typing import ArrayLike

from ..errors import InputError
from .rows import Rows, sample_document_rows
from .sampling import Documents
from .walks import mixture_logits
from .world import World, WorldConfig, make_world

if TYPE_CHECKING:
    import datasets

FORMAT = "iclbayes GINC corpus"
VERSION = 1
COLUMNS = ["tokens", "document", "block", "hmm"]


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """All that determines a corpus."""

    world: WorldConfig
    seed: int = 0  # of the documents, not of the world
    documents: int = 1000
    length: int = 10240  # tokens in a document, BOS included
    block: int = 1024  # tokens in a row; divides length
    weights: tuple[float, ...] | None = None  # mixture weights over HMMs; uniform where None
    kind: Literal["documents", "examples"] = "documents"  # see `Rows`; a document made of examples is one row
    lengths: tuple[int, ...] = ()  # examples: their lengths

    def __post_init__(self):
        for name, least in (("seed", 0), ("documents", 1), ("length", 2), ("block", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"corpus: {name} is {value!r}; give an integer of at least {least}")
        if self.length % self.block:
            raise InputError(
                f"corpus: documents of {self.length} tokens do not divide into blocks of {self.block}; "
                "choose a divisor"
            )
        if self.kind == "examples" and self.length != self.block:
            raise InputError(
                f"corpus: a document made of examples is one row; give length {self.length} and block {self.block} "
                "the same value"
            )
        object.__setattr__(self, "lengths", self.rows.lengths)
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(map(float, self.weights)))

    @property
    def rows(self) -> Rows:
        """The kind of its rows."""
        return Rows(self.kind, self.length // self.block, tuple(self.lengths))


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus that was read.

    Attributes:
      dataset: its rows, memory-mapped.
      config: what it was made from.
    """

    dataset: "datasets.Dataset"
    config: CorpusConfig

    def __len__(self) -> int:
        """Number of rows: documents · length / block."""
        return len(self.dataset)

    def world(self) -> World:
        """The world that wrote it."""
        return make_world(self.config.world)

    def rows(self, index: ArrayLike) -> Documents:
        """The rows of the given numbers [B]: tokens [B, block] int32 and the HMM [B] of each, on the host."""
        picked = self.dataset.with_format("numpy")[np.asarray(index)]
        return Documents(picked["tokens"].astype(np.int32), picked["hmm"].astype(np.int32))


def corpus_documents(world: World, config: CorpusConfig, first: int, count: int) -> Documents:
    """Documents `first` … `first` + `count` − 1 of a corpus, tokens [count, length]."""
    weights = None if config.weights is None else np.array(config.weights)
    mixture_logits(world, weights)  # checks them
    numbers = np.arange(first, first + count)
    return _documents(world, jax.random.key(config.seed), numbers, weights, config.block, config.rows)


@functools.partial(jax.jit, static_argnames=("block", "rows"))
def _documents(world, key, numbers, weights, block, rows):
    def one(number):
        return sample_document_rows(world, jax.random.fold_in(key, number), 1, block, rows, weights=weights)

    tokens, hmm = jax.vmap(one)(numbers)
    return Documents(tokens.reshape(len(numbers), -1), hmm[:, 0])


def write_corpus(folder: str | os.PathLike, config: CorpusConfig, *, batch: int = 64) -> Corpus:
    """Draws a corpus and writes it into a new folder, which appears when it is complete.

    Args:
      folder: to be made; `datasets.load_from_disk` reads it as well.
      config: the corpus.
      batch: documents drawn at once; changes nothing in the corpus.

    Returns:
      The corpus, read back.

    Raises:
      InputError: the folder exists, or cannot be made.
    """
    import datasets
    import pyarrow as pa

    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists already; give the corpus a new folder, or remove this one")
    world = make_world(config.world)
    smallest = np.min_scalar_type(config.world.vocab_size - 1)
    tokens = pa.list_(pa.from_numpy_dtype(smallest), config.block)
    schema = pa.schema(list(zip(COLUMNS, [tokens, pa.int32(), pa.int32(), pa.int32()])))
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise InputError(f"{folder}: cannot write there: {error.strerror}; choose another place") from None
    try:
        with (
            pa.OSFile(str(temporary / "rows.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, schema) as writer,
        ):
            for first in range(0, config.documents, batch):
                writer.write_batch(_record_batch(world, config, schema, first, batch))
        info = datasets.DatasetInfo(description=_describe(config), dataset_name="ginc")
        dataset = datasets.Dataset.from_file(str(temporary / "rows.arrow"), info=info)
        dataset.save_to_disk(str(temporary / "corpus"))
        del dataset
        (temporary / "corpus").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_corpus(folder)


def _record_batch(world, config, schema, first, batch):
    import pyarrow as pa

    documents = jax.device_get(corpus_documents(world, config, first, batch))  # always the same shape
    documents = Documents(*(part[: config.documents - first] for part in documents))
    count, per_document = len(documents.hmm), config.length // config.block
    tokens = documents.tokens.reshape(-1).astype(schema.field("tokens").type.value_type.to_pandas_dtype())
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(tokens), config.block),
        pa.array(np.repeat(np.arange(first, first + count, dtype=np.int32), per_document)),
        pa.array(np.tile(np.arange(per_document, dtype=np.int32), count)),
        pa.array(np.repeat(documents.hmm, per_document)),
    ]
    return pa.record_batch(columns, schema=schema)


def _describe(config: CorpusConfig) -> str:
    return json.dumps({"format": FORMAT, "version": VERSION, **dataclasses.asdict(config)})


def read_corpus(folder: str | os.PathLike) -> Corpus:
    """Opens a corpus that `write_corpus` wrote. Rows are read from disk when they are asked for.

    Raises:
      InputError: the folder does not exist, is no such corpus, or is not whole.
    """
    import datasets

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that write_corpus made")
    no_corpus = f"{folder}: is no corpus of a GINC world"
    if not (folder / "dataset_info.json").is_file() or not (folder / "state.json").is_file():
        raise InputError(f"{no_corpus}: it holds no data set; give a folder that write_corpus made")
    try:
        dataset = datasets.Dataset.load_from_disk(str(folder))
    except Exception as error:  # whatever `datasets`, Arrow or JSON find wrong with the files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{folder}: the data set cannot be read: {reason}; write it again") from None
    try:
        described = json.loads(dataset.info.description)
        found = described.pop("format"), described.pop("version")
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InputError(
            f"{no_corpus}: its description is not ours; give a folder that write_corpus made"
        ) from None
    if found != (FORMAT, VERSION):
        raise InputError(
            f"{no_corpus} that this version reads: found {found[0]!r} {found[1]!r}, "
            f"expected {FORMAT!r} {VERSION}; write it again"
        )
    try:
        config = CorpusConfig(**{**described, "world": WorldConfig(**described["world"])})
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{folder}: wrong parameters in its description: {error}; write it again") from None
    expected, columns = config.documents * config.length // config.block, dataset.column_names
    if len(dataset) != expected or columns != COLUMNS:
        raise InputError(
            f"{folder}: has {len(dataset)} rows of {', '.join(columns)} where {expected} rows of "
            f"{', '.join(COLUMNS)} were written; write it again"
        )
    return Corpus(dataset, config)
