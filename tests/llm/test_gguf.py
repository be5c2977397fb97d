"""Models as GGUF files: a tiny one written here against the model that it was made of, and real ones where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from llm_helpers import CHATML, one_pass_per_shot, rows, save_model, write_gguf, write_jsonl

from iclbayes import InputError, llm
from iclbayes.llm.backends import load_tokenizer
from iclbayes.llm.backends.gguf import source
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.data import load_task

REAL = os.environ.get("ICLBAYES_GGUF_MODELS", "")
MODELS = sorted(Path(REAL).glob("*.gguf")) if REAL else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    save_model(folder / "model", template=CHATML)
    (folder / "file").mkdir()
    write_gguf(folder / "model", folder / "file" / "tiny.gguf", add_bos=False)
    write_jsonl(folder / "task.jsonl", rows(6))
    return folder


def test_curves_of_a_gguf_file_are_those_of_the_model_it_was_made_of(folder):
    task = load_task(str(folder / "task.jsonl"))
    options = {"shuffles": 2, "device": "cpu", "others": True}
    expected, _ = llm.collect(str(folder / "model"), task, **options)
    for name in ("file/tiny.gguf", "file"):  # the file, or the folder that holds it
        curves, about = llm.collect(str(folder / name), task, **options)
        for column in ("prob", "stderr", "prob_other", "prob_choice", "stderr_choice"):
            np.testing.assert_allclose(curves[column], expected[column], rtol=1e-4, err_msg=column)
        assert about["template"]["kind"] == "chat"
    assert set(llm.collect(str(folder / "file" / "tiny.gguf"), task, **options)[0]["model"]) == {"tiny"}


def test_what_cannot_be_read_is_one_line(folder, tmp_path, monkeypatch):
    def refused(name, message):
        for load in (source, load_tokenizer, HFBackend.load):
            with pytest.raises(InputError, match=message) as found:
                load(str(name))
            assert "\n" not in str(found.value) and len(str(found.value)) < 400

    refused(tmp_path / "none.gguf", "No such file")
    (tmp_path / "text.gguf").write_text("no model")
    refused(tmp_path / "text.gguf", "is no GGUF file")
    (tmp_path / "model.bin").write_bytes(b"GGUF")
    refused(tmp_path / "model.bin", "is a file; give a hub name, a folder, or a GGUF file")
    whole = (folder / "file" / "tiny.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:2000])
    with pytest.raises(InputError, match=r"cannot load the tokenizer of .*cut\.gguf") as found:
        load_tokenizer(str(tmp_path / "cut.gguf"))
    assert "\n" not in str(found.value)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / name).write_bytes(whole)
    refused(tmp_path / "two", "holds 2 GGUF files; name one")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"need the package gguf; run: pip install 'iclbayes\[llm\]'"):
        source(str(folder / "file" / "tiny.gguf"))


@pytest.mark.skipif(not MODELS, reason="ICLBAYES_GGUF_MODELS names no folder with GGUF files of real models")
@pytest.mark.parametrize("path", MODELS, ids=[path.stem for path in MODELS])
def test_a_real_model_equals_a_plain_loop(path, tmp_path):
    write_jsonl(tmp_path / "task.jsonl", rows(6))
    task = load_task(str(tmp_path / "task.jsonl"))
    backend = HFBackend.load(str(path), device="cpu", dtype="float32")
    [context] = make_contexts(task, shuffles=1)
    if backend.tokenizer.chat_template is None:
        pytest.skip("the plain loop renders chat templates; this model has none")
    curves, _ = llm.collect(backend, task, shuffles=1)
    expected = one_pass_per_shot(backend.model, backend.tokenizer, context.shots)
    np.testing.assert_allclose(np.log(curves["prob"]), expected, atol=1e-4)
