"""Competing answers that share what stands before them, against scoring every one by itself; how many tokens that takes."""

import numpy as np
import pytest
import torch
from llm_helpers import CHATML, INST, load_model, make_tokenizer, rows, save_model

from iclbayes.llm import Example
from iclbayes.llm.backends.families import families
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.collection import costs_of, factor_of, prepare, score_all
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.journal import Journal
from iclbayes.llm.prompts import Prompt
from iclbayes.llm.templates import choose_template

COLOURS = (
    "apple and stone",
    "river, quiet",
    "yellow garden window",
    "Paris London green",
    "seven lemon bridge",
)


def examples(count=8):
    """Answers of several tokens that part from each other before their last one, some of which begin alike."""
    return [
        Example(
            row["question"],
            COLOURS[i % 5],
            (COLOURS[i % 5].replace(" ", "-"),),
            (*(c for c in COLOURS if c != COLOURS[i % 5]), "river, stone"),
        )
        for i, row in enumerate(rows(count))
    ]


def built_for(backend, shuffles=2, **options):
    contexts = make_contexts(examples(), shuffles, others=True, **options)
    chosen, about = choose_template(backend.tokenizer)
    return contexts, prepare(contexts, chosen, backend, add_bos=about["kind"] == "plain")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    return load_model(save_model(folder / "m", template=INST, adds_bos=True))


def other_models():
    """Tiny models of families that keep what stands before in other ways, each with a tokenizer of its own size."""
    import transformers as t

    tokenizer = make_tokenizer(template=CHATML)
    n = len(tokenizer)
    common = {"vocab_size": n, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = common | {"intermediate_size": 64, "max_position_embeddings": 1024, "initializer_range": 0.3}
    kinds = {
        "gpt2": t.GPT2Config(
            vocab_size=n, n_positions=1024, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
        ),
        "neox": t.GPTNeoXConfig(**wide),
        "qwen2": t.Qwen2Config(**wide, num_key_value_heads=2),
        "sliding": t.MistralConfig(**wide, num_key_value_heads=2, sliding_window=12),
        "gemma3": t.Gemma3TextConfig(
            **wide,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=12,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "all sliding": t.Gemma3TextConfig(**wide, num_key_value_heads=2, head_dim=8, sliding_window=12),
        "alibi": t.BloomConfig(vocab_size=n, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3),
        "opt": t.OPTConfig(
            **common, ffn_dim=64, max_position_embeddings=1024, word_embed_proj_dim=32, init_std=0.3
        ),
    }
    for name, config in kinds.items():
        torch.manual_seed(0)
        yield name, t.AutoModelForCausalLM.from_config(config).eval(), tokenizer


def passes(model, action):
    """What `action` returns, and how many tokens the model read meanwhile."""
    read = []
    handle = model.register_forward_pre_hook(
        lambda module, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        return action(), sum(read)
    finally:
        handle.remove()


@pytest.mark.parametrize("batch", [1, 16_384])
def test_shared_equals_alone(llama, batch):
    shared, alone = (HFBackend(*llama, batch_tokens=batch, share=share) for share in (True, False))
    _, built = built_for(shared)
    prompts = [prompt for prompts in built for prompt in prompts]
    found, used = passes(llama[0], lambda: dict(shared.score(prompts)))
    wanted, plain = passes(llama[0], lambda: dict(alone.score(prompts)))
    assert shared._share and used < plain / 4
    assert sorted(found) == sorted(wanted) == list(range(len(prompts)))
    for i in wanted:
        np.testing.assert_allclose(found[i], wanted[i], atol=1e-4)


def test_the_factor_of_tokens_stays_below_three_and_is_what_the_plan_says(llama):
    backend, alone = HFBackend(*llama, batch_tokens=1), HFBackend(*llama, share=False)
    _, built = built_for(backend, shuffles=3)
    prompts = [prompt for prompts in built for prompt in prompts]
    contexts_alone = sum(len(prompts[0].ids) for prompts in built)
    list(backend.score(prompts[:9]))  # the trial
    _, used = passes(llama[0], lambda: list(backend.score(prompts)))
    assert used == sum(backend.cost(prompts))
    assert used / contexts_alone == factor_of(built, backend) < 3
    assert factor_of(built, alone) > 10 and sum(alone.cost(prompts)) == sum(len(p.ids) for p in prompts)
    assert costs_of(object(), prompts) == [len(prompt.ids) for prompt in prompts]


def test_the_plan_says_the_factor_where_nothing_is_shared(llama, capsys):
    for share, said in ((True, False), (False, True)):
        backend = HFBackend(*llama, share=share)
        contexts, built = built_for(backend, shuffles=1)
        score_all(built, contexts, backend, Journal())
        error = capsys.readouterr().err
        assert (
            "times the tokens of the contexts alone (this model allows no sharing); --first" in error
        ) == said
        left = sum(backend.cost([prompt for prompts in built for prompt in prompts]))
        assert f"prompts with {left:,} tokens to score" in error


def test_answers_alone_find_each_other_when_a_run_goes_on(llama):
    backend, alone = HFBackend(*llama), HFBackend(*llama, share=False)
    _, built = built_for(backend)
    rest = [prompt for prompts in built for prompt in prompts[1:]][::-1]
    found, wanted = dict(backend.score(rest)), dict(alone.score(rest))
    for i in wanted:
        np.testing.assert_allclose(found[i], wanted[i], atol=1e-4)
    assert len(families(rest)) < len(rest) / 8


def test_other_models_give_what_they_give_alone():
    shares = {}
    for name, model, tokenizer in other_models():
        backend, alone = HFBackend(model, tokenizer), HFBackend(model, tokenizer, share=False)
        _, built = built_for(backend, shuffles=1)
        prompts = [prompt for prompts in built for prompt in prompts]
        found, wanted = dict(backend.score(prompts)), dict(alone.score(prompts))
        for i in wanted:
            np.testing.assert_allclose(found[i], wanted[i], atol=1e-4, err_msg=name)
        shares[name] = backend._share
    assert shares["gpt2"] and shares["neox"] and shares["qwen2"] and shares["sliding"] and shares["gemma3"]


def test_a_model_that_agrees_with_itself_badly_is_asked_plainly(llama, monkeypatch):
    backend = HFBackend(*llama)
    _, built = built_for(backend, shuffles=1)
    real = HFBackend._branches
    monkeypatch.setattr(HFBackend, "_branches", lambda self, *given: real(self, *given) * 1.5)
    found = dict(backend.score(built[0]))
    wanted = dict(HFBackend(*llama, share=False).score(built[0]))
    for i in wanted:
        np.testing.assert_allclose(found[i], wanted[i], atol=1e-5)


def test_memory_that_runs_out_falls_back(llama, monkeypatch):
    backend = HFBackend(*llama)
    _, built = built_for(backend, shuffles=3)
    prompts = [prompt for prompts in built for prompt in prompts]
    wanted = dict(HFBackend(*llama, share=False).score(prompts))
    real = HFBackend._branches

    def small(self, batch, *given):
        if self._tried and len(self._seen) > 1:
            raise torch.OutOfMemoryError
        self._seen.append(len(batch))
        return real(self, batch, *given)

    backend._seen = []
    monkeypatch.setattr(HFBackend, "_branches", small)
    found = dict(backend.score(prompts))
    assert sorted(found) == sorted(wanted)
    for i in wanted:
        np.testing.assert_allclose(found[i], wanted[i], atol=1e-4)


def test_an_answer_longer_than_the_whole_context_is_no_context_of_its_own():
    whole = Prompt.plain([1, 2, 3, 4], [(1, 2), (3, 4)])
    [family] = families([Prompt.plain([1, 2, 3, 7, 8, 9], [(3, 6)]), whole])
    assert family.members == [1, 0] and family.tokens == [7, 8]


def test_trees_of_small_prompts():
    whole = Prompt.plain([1, 2, 3, 4, 5, 6], [(1, 2), (3, 4), (5, 6)])
    answers = [
        Prompt.plain([1, 2, 3, 7, 8, 9], [(3, 6)]),
        Prompt.plain([1, 2, 3, 7, 8, 10], [(3, 6)]),
        Prompt.plain([1, 2, 3, 4, 9], [(3, 5)]),
        Prompt.plain([1, 7, 5], [(1, 3)]),
    ]
    [family] = families([*answers, whole])
    assert family.members[0] == 4 and sorted(family.members) == [0, 1, 2, 3, 4]
    places = {m: p.tolist() for m, p in zip(family.members, family.places)}
    tree = [*zip(family.tokens, family.positions, family.anchors, family.above)]
    assert sorted(tree) == sorted([(7, 3, 3, -1), (8, 4, 3, tree.index((7, 3, 3, -1))), (7, 1, 1, -1)])
    seven, eight, other = (tree.index(x) for x in sorted(tree, key=lambda x: (-x[2], x[1])))
    assert (
        places[0] == places[1] == [2, -1 - seven, -1 - eight]
    )  # the two differ in a token that no pass reads
    assert places[2] == [2, 3] and places[3] == [0, -1 - other]
    seen = family.sees(6, 4)
    assert seen[seven].tolist() == [1, 1, 1, 0, 0, 0, *(n == seven for n in range(4))]
    assert seen[eight].tolist() == [1, 1, 1, 0, 0, 0, *(n in (seven, eight) for n in range(4))]
    assert seen[3].tolist() == [1] + [0] * 9  # padding
    assert len(families([whole, *answers], most=1)) > 1
    assert [
        f.members for f in families([Prompt.plain([1, 2], [(1, 2)]), Prompt.plain([3, 2], [(1, 2)])])
    ] == [[0], [1]]
