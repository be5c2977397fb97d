"""Answers that are sentences, on base models whose vocabulary makes one token of a full stop and the line ends behind it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from llm_helpers import make_llama
from llm_server import Server, serve

from iclbayes import InputError
from iclbayes.cli.main import main
from iclbayes.errors import CurvesWarning
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.backends.openai import OpenAIBackend
from iclbayes.llm.contexts import Shot
from iclbayes.llm.prompts import build_prompts
from iclbayes.llm.templates import plain_template

SHARED = Path(__file__).parents[3] / "shared" / "cases" / "collect"
# How current base models split text: punctuation takes the line ends behind it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ANSWERS = ["It is in Paris.", "Is it in Rome?", 'They say "in Paris!"', "Rome", "It is in Rome..."]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), bytes_])
    made.decoder = decoders.ByteLevel()
    texts = [f"User: Where is it?\nAssistant: {answer}\n\n" for answer in ANSWERS] * 50
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")


@pytest.fixture(scope="module")
def model(tokenizer):
    return make_llama(tokenizer)


def shots(others=()):
    return [
        Shot(f"Where is number {i}?", answer, (answer,), tuple(others)) for i, answer in enumerate(ANSWERS)
    ]


def alone(model, tokenizer, asked, n, answer):
    """ln p of an answer without its closing punctuation behind n shots, in a pass of its own."""
    before = "".join(f"User: {s.question}\nAssistant: {s.shown}\n\n" for s in asked[:n])
    start = tokenizer(f"{before}User: {asked[n].question}\nAssistant:", add_special_tokens=False).input_ids
    end = tokenizer(" " + answer.rstrip('.?!"'), add_special_tokens=False).input_ids
    with torch.inference_mode():
        table = torch.log_softmax(model(torch.tensor([start + end])).logits[0].double(), -1)
    return sum(table[len(start) + k - 1, token].item() for k, token in enumerate(end))


def test_sentences_are_scored_up_to_the_token_that_crosses(model, tokenizer):
    asked = shots(["It is in London."])
    asked = [s if s.shown != "Rome" else Shot(s.question, "Rome", ("Rome",), ("London.",)) for s in asked]
    with pytest.warns(CurvesWarning, match=r"such as '\.\\n\\n', are scored up to that token"):
        prompts = build_prompts(asked, plain_template(), tokenizer)
    scores = dict(HFBackend(model, tokenizer).score(prompts))
    whole = np.array([alone(model, tokenizer, asked, n, s.shown) for n, s in enumerate(asked)])
    np.testing.assert_allclose(scores[0][:, 0], whole, atol=1e-4)
    found = {(int(p.shots[0]), round(float(scores[i][0, 0]), 3)) for i, p in enumerate(prompts) if i}
    found |= {(n, round(float(x), 3)) for n in range(5) for x in scores[0][n, 1:] if not np.isnan(x)}
    wanted = {(n, round(alone(model, tokenizer, asked, n, s.wrong[0]), 3)) for n, s in enumerate(asked)}
    assert found == wanted
    assert prompts[0].text.endswith("Assistant: It is in Rome")
    assert tokenizer(prompts[0].text, add_special_tokens=False).input_ids == prompts[0].ids.tolist()


@pytest.mark.parametrize("style", ["vllm", "echo"])
def test_servers_agree(model, tokenizer, style):
    with pytest.warns(CurvesWarning):
        prompts = build_prompts(shots(["It is in London."]), plain_template(), tokenizer, in_pass=False)
    wanted = dict(HFBackend(model, tokenizer).score(prompts))
    with serve(Server(model, tokenizer, style)) as url:
        remote = OpenAIBackend(f"{url}/v1", "tiny", tokenizer, window=900, retries=1)
        found = dict(remote.score(prompts))
    assert found.keys() == wanted.keys() and len(wanted) > 3
    for i in wanted:
        np.testing.assert_allclose(found[i], wanted[i], atol=1e-4)


def test_first_tokens_count_from_the_beginning(model, tokenizer):
    with pytest.warns(CurvesWarning):
        [whole] = build_prompts(shots(), plain_template(), tokenizer)
        [first] = build_prompts(shots(), plain_template(), tokenizer, first_tokens=2)
    lengths = np.diff(whole.spans)[:, 0]
    assert (lengths > 2).any()
    np.testing.assert_array_equal(np.diff(first.spans)[:, 0], np.minimum(lengths, 2))


def test_what_is_left_must_tell_answers_apart(tokenizer):
    same = [Shot("Where?", "It is in Paris.", ("It is in Paris.",), ("It is in Paris?",))] * 2
    with pytest.raises(InputError, match="start with the same tokens and cannot be told apart"):
        build_prompts(same, plain_template(), tokenizer)
    with pytest.raises(InputError, match=r"answer 0 '\.' tokenises across its boundary"):
        build_prompts([Shot("Where?", ".", (".",))] * 2, plain_template(), tokenizer)


def test_the_shared_case(tmp_path, capfd):
    if not (SHARED / "sentences.csv").exists():
        pytest.skip("the folder of shared cases has no collect/sentences.csv here")
    subprocess.run([sys.executable, SHARED / "mk2.py"], cwd=tmp_path, check=True, capture_output=True)
    for n, more in enumerate(([], ["--first-tokens", "2"])):
        words = [
            "--model",
            tmp_path / "dotnl",
            "--task",
            SHARED / "sentences.csv",
            "--out",
            tmp_path / f"{n}.csv",
        ]
        assert main(["collect", *map(str, words), "--shuffles", "2", "--device", "cpu", *more]) == 0
        assert "scored up to that token" in capfd.readouterr().err
