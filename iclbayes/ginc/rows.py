"""What a pretraining row is: a block of a document, as published, or a document made of examples.

Everything that is done with rows goes through here, so that a stage takes their kind from the configuration: what a
model trains on, the entropy that its loss is measured against, the ideal pretrained model, fine-tuning data.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
from jax.typing import ArrayLike

from ..errors import InputError
from .exact import MixtureNLL, document_log_probs, nll_of_rows
from .examples import check_lengths, example_log_probs, sample_examples
from .sampling import Documents, cut_blocks, sample_blocks, sample_documents
from .world import World


@dataclasses.dataclass(frozen=True)
class Rows:
    """A kind of rows, hashable.

    Raises:
      InputError: an unknown kind, or example lengths that are missing, wrong, or given for documents.
    """

    kind: Literal["documents", "examples"] = "documents"
    blocks: int = 1  # documents: rows that a document is cut into; examples: 1, a document is a row
    lengths: tuple[int, ...] = ()  # examples: the example lengths that rows are drawn with

    def __post_init__(self):
        if self.kind not in ("documents", "examples"):
            raise InputError(f"rows: kind is {self.kind!r}; choose documents or examples")
        if self.blocks < 1 or (self.kind == "examples" and self.blocks != 1):
            raise InputError(f"rows: {self.blocks} blocks of a document of {self.kind}; give 1")
        if self.kind == "documents" and self.lengths:
            raise InputError("rows: documents have no example lengths; leave them out, or choose examples")
        object.__setattr__(self, "lengths", check_lengths(self.lengths) if self.kind == "examples" else ())


def sample_rows(
    world: World,
    key: jax.Array,
    count: int,
    length: int,
    rows: Rows,
    *,
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
) -> Documents:
    """Independent rows [count, length], the stream to train on. Arguments as in `sample_blocks` and `sample_examples`."""
    if rows.kind == "examples":
        return sample_examples(world, key, count, length, rows.lengths, weights=weights, hmm=hmm)
    return sample_blocks(world, key, count, length, blocks=rows.blocks, weights=weights, hmm=hmm)


def sample_document_rows(
    world: World,
    key: jax.Array,
    count: int,
    length: int,
    rows: Rows,
    *,
    weights: ArrayLike | None = None,
    hmm: ArrayLike | None = None,
) -> Documents:
    """The rows [count · blocks, length] of `count` whole documents, one document after the other."""
    if rows.kind == "examples":
        return sample_examples(world, key, count, length, rows.lengths, weights=weights, hmm=hmm)
    documents = sample_documents(world, key, count, rows.blocks * length, weights=weights, hmm=hmm)
    return cut_blocks(documents, length)


def rows_nll(world: World, tokens: jax.Array, rows: Rows, *, weights: ArrayLike | None = None) -> MixtureNLL:
    """Exact NLL of rows [B, L], nats a predicted token: the entropy bound of a model trained on such rows.

    Errors as in `document_log_probs` and `example_log_probs`.
    """
    if rows.kind == "examples":
        log_probs = example_log_probs(world, tokens, rows.lengths, weights=weights)
    else:
        log_probs = document_log_probs(world, tokens, blocks=rows.blocks, weights=weights)
    return nll_of_rows(world, tokens, log_probs)


def rows_of(kind: Literal["documents", "examples"], blocks: int, lengths: Sequence[int]) -> Rows:
    """Rows of a kind, given what either kind needs: `blocks` counts for documents, `lengths` for examples."""
    return Rows("documents", blocks) if kind == "documents" else Rows(kind, 1, tuple(lengths))
