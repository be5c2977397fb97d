"""Corpora: written, read back, made again from their metadata, and refused where they are none."""

import dataclasses
import json
import shutil

import datasets
import jax
import numpy as np
import pytest

from iclbayes import InputError, ginc

CONFIG = ginc.CorpusConfig(
    ginc.WorldConfig.small(seed=3), seed=5, documents=40, length=48, block=16, weights=(1, 1, 2, 0)
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> ginc.Corpus:
    return ginc.write_corpus(tmp_path_factory.mktemp("corpora") / "small", CONFIG, batch=16)


@pytest.fixture
def copy(corpus, tmp_path):
    """The corpus's folder, to be broken."""
    source = corpus.dataset.cache_files[0]["filename"].rsplit("/", 1)[0]
    return shutil.copytree(source, tmp_path / "copy")


def test_rows_are_blocks_of_the_worlds_documents(corpus):
    world = ginc.make_world(CONFIG.world)
    parts = [ginc.corpus_documents(world, CONFIG, first, 16) for first in (0, 16, 32)]
    documents = ginc.Documents(*(np.concatenate(column)[:40] for column in zip(*parts)))
    expected = ginc.cut_blocks(documents, 16)
    rows = corpus.rows(np.arange(120))
    np.testing.assert_array_equal(rows.tokens, expected.tokens)
    np.testing.assert_array_equal(rows.hmm, expected.hmm)
    assert rows.tokens.dtype == np.int32 and len(corpus) == 120
    # The sampler itself, one document at a time and with its own key.
    for i in (0, 17, 39):
        key = jax.random.fold_in(jax.random.key(5), i)
        alone = ginc.sample_documents(world, key, 1, 48, weights=CONFIG.weights)
        np.testing.assert_array_equal(alone.tokens[0], documents.tokens[i])
    assert set(documents.hmm) == {0, 1, 2}  # weight 0 on the last
    assert np.all(np.isfinite(ginc.mixture_nll(world, documents.tokens, blocks=1).rows))
    np.testing.assert_array_equal(corpus.rows([7, 3]).tokens, expected.tokens[[7, 3]])


def test_read_back_from_disk_alone(corpus, copy):
    again = ginc.read_corpus(copy)
    assert again.config == CONFIG
    np.testing.assert_array_equal(again.world().emission, ginc.make_world(CONFIG.world).emission)
    assert str(copy) in again.dataset.cache_files[0]["filename"]  # memory-mapped, not loaded
    np.testing.assert_array_equal(again.rows(np.arange(9)).tokens, corpus.rows(np.arange(9)).tokens)
    # Hugging Face reads it without us, parameters included.
    plain = datasets.load_from_disk(str(copy))
    described = json.loads(plain.info.description)
    assert described["world"] == dataclasses.asdict(CONFIG.world) and described["seed"] == 5
    assert plain[4]["document"] == 1 and plain[4]["block"] == 1 and len(plain[4]["tokens"]) == 16
    assert plain.features["tokens"].feature.dtype == "uint8"


def test_a_folder_that_is_no_corpus_is_refused(corpus, copy, tmp_path):
    def refused(folder, match):
        with pytest.raises(InputError, match=match) as caught:
            ginc.read_corpus(folder)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)

    refused(tmp_path / "nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no data set")
    datasets.Dataset.from_dict({"tokens": [[1, 2]]}).save_to_disk(str(tmp_path / "other"))
    refused(tmp_path / "other", "is no corpus")

    info = json.loads((copy / "dataset_info.json").read_text())

    def describe(**changes):
        described = {**json.loads(info["description"]), **changes}
        (copy / "dataset_info.json").write_text(json.dumps({**info, "description": json.dumps(described)}))

    describe(version=99)
    refused(copy, "99")
    describe(documents=41)
    refused(copy, "has 120 rows .* where 123 rows")
    describe(world={"slots": 1})
    refused(copy, "slots is 1")
    describe(surprise=1)
    refused(copy, "surprise")
    describe()
    assert ginc.read_corpus(copy).config == CONFIG
    arrow = next(copy.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:300])
    refused(copy, "cannot be read|has .* rows")


def test_writing_leaves_nothing_half_done(corpus, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="exists already"):
        ginc.write_corpus(tmp_path, CONFIG)
    with pytest.raises(InputError, match="cannot write there"):
        ginc.write_corpus(tmp_path / "no" / "parent", CONFIG)
    with pytest.raises(InputError, match="weights have shape"):
        ginc.write_corpus(tmp_path / "new", dataclasses.replace(CONFIG, weights=(1, 1)))
    with pytest.raises(InputError, match="choose a divisor"):
        dataclasses.replace(CONFIG, block=17)
    with pytest.raises(InputError, match="documents is 0"):
        dataclasses.replace(CONFIG, documents=0)
    monkeypatch.setattr(datasets.Dataset, "save_to_disk", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        ginc.write_corpus(tmp_path / "new", CONFIG, batch=16)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_made_of_examples_says_so_and_is_made_again_from_that(tmp_path):
    config = ginc.CorpusConfig(
        ginc.WorldConfig.small(seed=3),
        seed=5,
        documents=24,
        length=32,
        block=32,
        kind="examples",
        lengths=[2, 3],
    )
    corpus = ginc.write_corpus(tmp_path / "examples", config, batch=16)
    world = corpus.world()
    assert corpus.config == config and corpus.config.rows == ginc.Rows("examples", 1, (2, 3))
    described = json.loads(datasets.load_from_disk(str(tmp_path / "examples")).info.description)
    assert described["kind"] == "examples" and described["lengths"] == [2, 3]
    rows = corpus.rows(np.arange(24))
    for i in (0, 20):
        alone = ginc.sample_examples(world, jax.random.fold_in(jax.random.key(5), i), 1, 32, (2, 3))
        np.testing.assert_array_equal(rows.tokens[i], alone.tokens[0])
    nll = ginc.rows_nll(world, jax.numpy.asarray(rows.tokens), config.rows)
    assert np.isfinite(nll.mean) and nll.rows.shape == (24,)
    cases = {
        "is one row": {"length": 64},
        "at least 1, each once": {"lengths": ()},
        "choose documents or examples": {"kind": "poems"},
    }
    for message, change in cases.items():
        with pytest.raises(InputError, match=message):
            dataclasses.replace(config, **change)
