"""Servers with the oddities of real ones: what is no log probability is refused by name, right numbers are taken however tokens
are written.

Each server answers from the same local model, by which its numbers are known.
"""

import numpy as np
import pytest
import torch
from llm_helpers import CHATML, INST, load_model, rows, save_model, write_jsonl
from llm_server import Server, serve

from iclbayes import InputError
from iclbayes.llm.backends.agreement import Alternative, Spellings, check_alternatives, check_places
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.backends.openai import OpenAIBackend
from iclbayes.llm.collection import prepare
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.data import load_task
from iclbayes.llm.templates import choose_template


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    save_model(folder / "chatml", template=CHATML)
    save_model(folder / "inst", template=INST, adds_bos=True)
    save_model(folder / "metaspace", kind="metaspace", template=CHATML)
    write_jsonl(folder / "task.jsonl", rows(5))
    return folder, {name: load_model(folder / name) for name in ("chatml", "inst", "metaspace")}


class Odd(Server):
    """A server that changes its own reply before it is sent."""

    def __init__(self, model, tokenizer, change=None, style="vllm", **options):
        super().__init__(model, tokenizer, style, **options)
        self.change = change or (lambda reply, server: None)

    def complete(self, body):
        status, reply = super().complete(body)
        if status == 200:
            self.change(reply["choices"][0], self)
        return status, reply


def every(choice, value):
    """Every log probability of the prompt is `value`."""
    for entry in choice.get("prompt_logprobs") or ():
        for told in (entry or {}).values():
            told["logprob"] = value
    logs = choice.get("logprobs")
    if logs and len(logs["tokens"]) > 1:
        logs["token_logprobs"] = [None, *[value] * (len(logs["tokens"]) - 1)]


def raw(i, tokenizer):
    return tokenizer.convert_ids_to_tokens(i)


def by_number(i, tokenizer):
    return f"token_id:{i}"


def scored(models, server, name="chatml"):
    folder, loaded = models
    model, tokenizer = loaded[name]
    contexts = make_contexts(load_task(str(folder / "task.jsonl")), shuffles=2)
    with serve(server) as url:
        remote = OpenAIBackend(f"{url}/v1", "tiny", tokenizer, window=900, retries=1, backoff=0.01)
        prompts = [p for built in prepare(contexts, choose_template(tokenizer)[0], remote) for p in built]
        found = dict(remote.score(prompts))
    expected = dict(HFBackend(model, tokenizer).score(prompts))
    assert found.keys() == expected.keys()
    for i in expected:
        np.testing.assert_allclose(found[i], expected[i], atol=1e-4)
    return remote


@pytest.mark.parametrize("value", [0.0, -1.5])
@pytest.mark.parametrize("style", ["vllm", "echo"])
def test_one_number_for_every_token_is_refused_by_name(models, style, value):
    server = Odd(*models[1]["chatml"], lambda choice, _: every(choice, value), style)
    with pytest.raises(
        InputError, match=f"returns {value:g} as the log probability of every token"
    ) as caught:
        scored(models, server)
    assert "\n" not in str(caught.value)


def test_a_text_that_ends_where_the_server_is_checked_is_checked_elsewhere(models):
    """llama-cpp-python has empty lists for a first token that ends the text, as behind an answer in a chat."""
    asked = []

    def change(choice, server):
        logs = choice["logprobs"]
        if len(logs["tokens"]) == 1:
            asked.append(1)
        if len(asked) == 1 or len(logs["tokens"]) > 1:
            for values in logs.values():
                values.pop()

    scored(models, Odd(*models[1]["chatml"], change, "echo"))
    assert len(asked) == 2


@pytest.mark.parametrize("how", [raw, by_number], ids=["raw", "number"])
@pytest.mark.parametrize("style", ["vllm", "decoded_token alone", "echo"])
@pytest.mark.parametrize("name", ["chatml", "metaspace"])
def test_tokens_written_in_another_way_are_the_same_tokens(models, name, style, how):
    def change(choice, server):
        for entry in choice.get("prompt_logprobs") or ():
            for token, told in (entry or {}).items():
                told["decoded_token"] = how(int(token), server.tokenizer)

    server = Odd(*models[1][name], change, "echo" if style == "echo" else "vllm")
    if style != "decoded_token alone":
        server.word = lambda token: how(token, server.tokenizer)
    scored(models, server, name)


def test_echoed_numbers_that_are_not_those_of_the_alternatives(models):
    def change(choice, server):
        logs = choice["logprobs"]
        if logs and len(logs["tokens"]) > 1:
            rng = np.random.default_rng(0)
            logs["token_logprobs"] = [None, *rng.uniform(-30, -20, len(logs["tokens"]) - 1).tolist()]

    with pytest.raises(InputError, match="not those among its own alternatives"):
        scored(models, Odd(*models[1]["chatml"], change, "echo"))


def test_a_cache_that_leaves_the_beginning_out_is_named(models):
    def change(choice, server):
        found = choice.get("prompt_logprobs")
        if found:
            half = len(found) // 2
            choice["prompt_logprobs"] = [*[None] * (1 + half), *found[1 + half :]]

    with pytest.raises(InputError, match=r"leaves out log probabilities .* switch the cache of prefixes off"):
        scored(models, Odd(*models[1]["chatml"], change))


class SGLang(Server):
    """`/generate` in the manner of SGLang; its completions echo nothing (`deaf`)."""

    shift = 0

    def __init__(self, model, tokenizer):
        super().__init__(model, tokenizer, "deaf")
        self.generated = []

    def answer(self, method, path, body, headers):
        if path != "/generate":
            return super().answer(method, path, body, headers)
        self.generated.append(body)
        ids, count = body["input_ids"], body["top_logprobs_num"]
        with torch.inference_mode():
            table = torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)

        def top(row):
            return [[v.item(), int(t), None] for v, t in zip(*row.topk(count))] if count else None

        values = [None, *(table[i, t].item() for i, t in enumerate(ids[1:]))]
        tops = [None, *(top(row) for row in table[:-1])]
        values, tops = values[: len(ids) - self.shift], tops[: len(ids) - self.shift]
        values, tops = [None] * self.shift + values, [None] * self.shift + tops
        new = int(table[-1].argmax())
        told = {
            "prompt_tokens": len(ids),
            "input_token_logprobs": [[v, t, None] for v, t in zip(values, ids)],
            "output_token_logprobs": [[table[-1, new].item(), new, None]],
        }
        if count:
            told |= {"input_top_logprobs": tops, "output_top_logprobs": [top(table[-1])]}
        return 200, {"text": self.tokenizer.decode([new]), "meta_info": told}


@pytest.mark.parametrize("name", ["chatml", "inst"])
def test_generate_of_sglang(models, name):
    server = SGLang(*models[1][name])
    scored(models, server, name)
    assert len(server.generated) == 2 + 2  # two to check, one for each prompt
    assert all(body["sampling_params"]["max_new_tokens"] == 1 for body in server.generated)


def test_generate_that_is_off_by_one_is_refused(models):
    server = SGLang(*models[1]["chatml"])
    server.shift = 1
    with pytest.raises(InputError, match=r"\(by /generate\) returns prompt log probabilities shifted by \+1"):
        scored(models, server)


def test_a_server_with_neither_names_what_can(models):
    with pytest.raises(InputError, match=r"as llama\.cpp's own server does\); use vLLM, SGLang or") as caught:
        scored(models, Server(*models[1]["chatml"], "deaf"))
    assert "\n" not in str(caught.value)


def test_what_a_text_can_stand_for(models):
    _, tokenizer = models[1]["chatml"]
    names = Spellings(tokenizer)
    [space_is] = tokenizer(" is", add_special_tokens=False).input_ids[:1]
    text = tokenizer.decode([space_is])
    written = tokenizer.convert_ids_to_tokens(space_is)
    assert written != text
    for other in (written, text, f"token_id:{space_is}"):
        assert space_is in names.ids(other) and names.plain(other) == text
        assert names.same(Alternative(text, -1.0), Alternative(other, -1.0))
    assert not names.same(Alternative("a", 0.0, 5), Alternative("a", 0.0, 6))
    assert not names.same(Alternative(text, 0.0), Alternative("token_id:0", 0.0))
    assert Spellings().ids("x") == set() and Spellings().plain("Ġx") == "Ġx"


def test_places_are_compared_by_what_is_known():
    expected = [Alternative("a", -1.0), Alternative("b", -2.0)]
    right = [[], expected[::-1], [Alternative("a", -3.0)]]
    check_places("it", expected, right, 1, Spellings())
    with pytest.raises(InputError, match="disagree"):
        check_places("it", expected, [[], [Alternative("c", -1.0)], []], 1, Spellings())
    with pytest.raises(InputError, match=r"shifted by -1 position:"):
        check_places("it", expected, [[], expected, [Alternative("c", -9.0)]], 2, Spellings())
    check_alternatives("it", ["a"], [-1.0], [expected])
    with pytest.raises(InputError, match="own alternatives"):
        check_alternatives("it", ["a", "b"], [-1.9, -5.0], [expected, expected])
