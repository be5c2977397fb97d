"""Rows of either kind: the same questions to both, answered as by the functions of that kind."""

import jax
import numpy as np
import pytest

from iclbayes import InputError, ginc

DOCUMENTS, EXAMPLES = ginc.Rows("documents", 3), ginc.Rows("examples", 1, (2, 4))


@pytest.fixture(scope="module")
def world():
    return ginc.make_world(ginc.WorldConfig.small(seed=1))


def test_rows_are_those_of_their_kind(world):
    key = jax.random.key(2)
    weights = (1.0, 2.0, 0.0, 1.0)
    blocks = ginc.sample_blocks(world, key, 5, 16, blocks=3, weights=weights)
    np.testing.assert_array_equal(
        ginc.sample_rows(world, key, 5, 16, DOCUMENTS, weights=weights).tokens, blocks.tokens
    )
    documents = ginc.cut_blocks(ginc.sample_documents(world, key, 5, 48, hmm=1), 16)
    found = ginc.sample_document_rows(world, key, 5, 16, DOCUMENTS, hmm=1)
    np.testing.assert_array_equal(found.tokens, documents.tokens)
    examples = ginc.sample_examples(world, key, 5, 16, (2, 4), hmm=1)
    for sample in (ginc.sample_rows, ginc.sample_document_rows):
        np.testing.assert_array_equal(sample(world, key, 5, 16, EXAMPLES, hmm=1).tokens, examples.tokens)


def test_each_kind_is_most_probable_under_its_own_learner(world):
    key = jax.random.key(3)
    rows = ginc.sample_rows(world, key, 64, 32, EXAMPLES).tokens
    own = ginc.rows_nll(world, rows, EXAMPLES)
    log_probs = ginc.example_log_probs(world, rows, (2, 4))
    np.testing.assert_allclose(own.rows, -np.mean(log_probs, axis=1), rtol=1e-5)
    np.testing.assert_allclose(own.mean, np.mean(own.rows), rtol=1e-6)
    assert float(own.mean) < float(ginc.rows_nll(world, rows, DOCUMENTS).mean)
    blocks = ginc.sample_rows(world, key, 64, 32, DOCUMENTS).tokens
    np.testing.assert_allclose(
        ginc.rows_nll(world, blocks, DOCUMENTS).rows, ginc.mixture_nll(world, blocks, blocks=3).rows
    )


def test_kinds_that_are_none_are_refused():
    cases = [
        ("choose documents or examples", {"kind": "poems"}),
        ("give 1", {"kind": "examples", "blocks": 2, "lengths": (3,)}),
        ("give 1", {"blocks": 0}),
        ("at least 1, each once", {"kind": "examples"}),
        ("leave them out", {"lengths": (3,)}),
    ]
    for message, values in cases:
        with pytest.raises(InputError, match=message):
            ginc.Rows(**values)
    assert ginc.rows_of("documents", 3, (2,)) == DOCUMENTS and ginc.rows_of("examples", 3, [2, 4]) == EXAMPLES
