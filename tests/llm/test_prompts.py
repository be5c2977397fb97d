"""One prompt for all shots: spans on templates × tokenizers, windows, spellings, and what is refused."""

import numpy as np
import pytest
from llm_helpers import CHATML, INST, TURNS, make_tokenizer, rows

from iclbayes import InputError
from iclbayes.llm.contexts import Shot
from iclbayes.llm.prompts import NONE, RIGHT, WRONG, build_prompts
from iclbayes.llm.spans import mark, token_spans, unmark
from iclbayes.llm.templates import chat_template, choose_template, plain_template, render

# White space between turns, answers and marks of roles in the ways of real templates. `LAST` writes the last
# answer differently from those before it, as those of reasoning models do.
SPACED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} ASSISTANT:"
    "{% else %} {{ m['content'] }}{{ eos_token }}\n{% endif %}{% endfor %}"
)
LAST = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
)
TEMPLATES = {"chatml": CHATML, "inst": INST, "turns": TURNS, "spaced": SPACED, "last": LAST, "plain": None}
ANSWERS = ["Yes", "No", "Yes, indeed.", "é", "Paris, London", "green\nblue", "A", "[INST]"]


@pytest.fixture(scope="module")
def tokenizers():
    kinds = ("bytes", "trimmed", "metaspace")
    return {kind: make_tokenizer(kind, INST) for kind in kinds} | {"bos": make_tokenizer("bytes", INST, True)}


def shots(count=10, answers=ANSWERS):
    made = rows(count)
    return [
        Shot(r["question"], answers[i % len(answers)], (answers[i % len(answers)],))
        for i, r in enumerate(made)
    ]


@pytest.mark.parametrize("kind", ["bytes", "trimmed", "metaspace", "bos"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_spans_hold_the_answers_on_every_template_and_tokenizer(tokenizers, name, kind):
    tokenizer = tokenizers[kind]
    if TEMPLATES[name]:
        tokenizer.chat_template = TEMPLATES[name]
    template = chat_template(tokenizer) if TEMPLATES[name] else plain_template()
    given = shots()
    [prompt] = build_prompts(given, template, tokenizer, add_bos=TEMPLATES[name] is None)
    assert prompt.shots.tolist() == list(range(10))
    for shot, (first, stop), (a, b) in zip(given, prompt.spans, prompt.chars):
        assert prompt.text[a:b] == shot.shown
        assert tokenizer.decode(prompt.ids[first:stop]).strip() == shot.shown
    # The tokens are those of the conversation as the tokenizer alone would have it, up to the last answer.
    turns = [(shot.question, shot.shown) for shot in given]
    whole = tokenizer(template([*turns, turns[-1]]), add_special_tokens=False).input_ids
    lead = int(kind == "bos" and TEMPLATES[name] is None)
    assert prompt.ids[lead:].tolist() == whole[: len(prompt.ids) - lead]
    assert prompt.ids[:lead].tolist() == [tokenizer.bos_token_id] * lead
    assert prompt.spans[-1, 1] == len(prompt.ids)


class Counting:
    """A tokenizer that counts the characters it is given."""

    is_fast = True

    def __init__(self, tokenizer):
        self.tokenizer, self.characters = tokenizer, 0
        self.bos_token, self.bos_token_id = tokenizer.bos_token, tokenizer.bos_token_id

    def __call__(self, text, **options):
        self.characters += len(text)
        return self.tokenizer(text, **options)


def test_work_grows_with_the_prompt_and_not_with_its_square(tokenizers):
    """Characters tokenised, one spelling beside the shown one included: at most three times the text's."""
    for count in (50, 400):
        given = [Shot(s.question, s.shown, (s.shown,), ("Maybe",)) for s in shots(count, ["Yes", "No"])]
        counting = Counting(tokenizers["bytes"])
        prompt = build_prompts(given, plain_template(), counting)[0]
        assert len(prompt.spans) == count
        assert counting.characters < 3.5 * len(prompt.text)


def test_cut_at_the_last_whole_shot(tokenizers):
    tokenizer = tokenizers["bytes"]
    tokenizer.chat_template = CHATML
    template, given = chat_template(tokenizer), shots()
    [whole] = build_prompts(given, template, tokenizer)
    for n in (1, 4, 9):
        stop = int(whole.spans[n, 1])
        [fits] = build_prompts(given, template, tokenizer, window=stop)
        [short] = build_prompts(given, template, tokenizer, window=stop - 1)
        assert len(fits.spans) == n + 1 and len(fits.ids) == stop
        assert len(short.spans) == n and len(short.ids) == whole.spans[n - 1, 1]
    with pytest.raises(InputError, match="context window of 5 tokens is too small for one shot, which needs"):
        build_prompts(given, template, tokenizer, window=5)


def test_first_tokens_alone_are_scored(tokenizers):
    tokenizer = tokenizers["bytes"]
    tokenizer.chat_template = CHATML
    [whole] = build_prompts(shots(), chat_template(tokenizer), tokenizer)
    [first] = build_prompts(shots(), chat_template(tokenizer), tokenizer, first_tokens=2)
    assert (whole.spans[:, 1] - whole.spans[:, 0]).max() > 2
    np.testing.assert_array_equal(first.ids[: first.spans[-1, 1]], whole.ids[: first.spans[-1, 1]])
    np.testing.assert_array_equal(first.spans[:, 0], whole.spans[:, 0])
    np.testing.assert_array_equal(first.spans[:, 1], np.minimum(whole.spans[:, 1], whole.spans[:, 0] + 2))
    for (a, b), (first_token, stop) in zip(first.chars, first.spans):
        assert (
            first.text[a:b] == tokenizer.decode(first.ids[first_token:stop]).strip()
            or "é" in first.text[a : b + 1]
        )
    with pytest.raises(InputError, match="first_tokens is 0"):
        build_prompts(shots(), chat_template(tokenizer), tokenizer, first_tokens=0)


def test_spellings_share_the_pass_or_get_a_prompt_of_their_own(tokenizers):
    """`Yes` and `No` are single tokens, read in one pass; `yes` is two and takes a prompt."""
    tokenizer = tokenizers["bytes"]
    tokenizer.chat_template = INST
    given = [Shot("One?", "Yes", ("Yes", "yes"), ("No",)), Shot("Two?", "No", ("No",), ("Yes",))]
    template = chat_template(tokenizer)
    main, *rest = build_prompts(given, template, tokenizer)
    ids = {word: tokenizer(" " + word, add_special_tokens=False).input_ids for word in ("Yes", "No", "yes")}
    assert len(ids["Yes"]) == len(ids["No"]) == 1 < len(ids["yes"])
    assert main.swaps[:, 0].tolist() == [[0, ids["No"][0]], [0, ids["Yes"][0]]]
    assert main.roles.tolist() == [[RIGHT, WRONG], [RIGHT, WRONG]]
    [other] = rest
    assert other.ids[other.spans[0, 0] :].tolist() == ids["yes"] and other.roles.tolist() == [[RIGHT]]
    np.testing.assert_array_equal(other.ids[: other.spans[0, 0]], main.ids[: main.spans[0, 0]])
    # A back end that reads no other tokens gets a prompt for each spelling.
    apart = build_prompts(given, template, tokenizer, in_pass=False)
    assert len(apart) == 4 and apart[0].swaps.shape == (2, 0, 2)
    assert len({prompt.key for prompt in [main, other, *apart]}) == 5  # `yes` is the same prompt both times


def test_answer_that_begins_another_is_one_event(tokenizers):
    """`Yes, indeed` happens only where `Yes` has, so its probability is not added."""
    tokenizer = tokenizers["bytes"]
    tokenizer.chat_template = CHATML
    prompts = build_prompts(
        [Shot("One?", "Yes", ("Yes", "Yes, indeed"))], chat_template(tokenizer), tokenizer
    )
    assert len(prompts) == 1 and prompts[0].roles.tolist() == [[RIGHT]]
    # The longer one is shown: what is shown is scored as part of the shorter one.
    [main] = build_prompts(
        [Shot("One?", "Yes, indeed", ("Yes, indeed", "Yes"))], chat_template(tokenizer), tokenizer
    )
    assert main.roles.tolist() == [[NONE, RIGHT]]
    with pytest.raises(InputError, match="cannot be told apart"):
        build_prompts([Shot("One?", "Yes", ("Yes",), ("Yes, indeed",))], chat_template(tokenizer), tokenizer)
    with pytest.raises(InputError, match="both right and wrong"):
        build_prompts([Shot("One?", "Yes", ("Yes", "No"), ("No",))], chat_template(tokenizer), tokenizer)


def test_answer_that_tokenises_across_its_boundary_is_named():
    glued = make_tokenizer("glued")
    with pytest.raises(
        InputError, match=r"answer 0 'Yes' tokenises across its boundary: the token .*Yes"
    ) as caught:
        build_prompts(shots(answers=["Yes"]), plain_template(), glued)
    assert "\n" not in str(caught.value)


def test_spans_by_overlap():
    np.testing.assert_array_equal(
        token_spans("ab cd", [(0, 2), (2, 5)], [(3, 5)]), [[1, 2]]
    )  # keeps the space
    np.testing.assert_array_equal(token_spans("ab cd", [(0, 2), (3, 5)], [(3, 5)]), [[1, 2]])  # trims it
    np.testing.assert_array_equal(
        token_spans("xé", [(0, 1), (1, 2), (1, 2)], [(1, 2)]), [[1, 3]]
    )  # two bytes
    with pytest.raises(InputError, match="across its boundary"):
        token_spans("ab cd", [(0, 2), (2, 5)], [(3, 4)])
    with pytest.raises(InputError, match="no token of its own"):
        token_spans("ab", [(0, 1)], [(1, 2)])


@pytest.mark.parametrize(
    "template, message",
    [
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "writes 'YES' where"),
        ("{% for m in messages %}{{ m['content'] | e }}{% endfor %}", "writes 'A&amp;B' where"),
        ("{% for m in messages %}{{ m['content'][:3] }}{% endfor %}", "does not contain the answer"),
        ("{% for m in messages[-2:] %}{{ m['content'] }}{% endfor %}", "does not contain the answer"),
        (
            "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "first turn differently",
        ),
        ("{{ raise_exception('roles must alternate') }}", "refuses the conversation: roles must alternate"),
    ],
)
def test_templates_that_change_answers_are_named_with_the_reason(tokenizers, template, message):
    tokenizer = tokenizers["bytes"]
    tokenizer.chat_template = template
    turns = [("One?", "Yes"), ("Two?", "A&B"), ("Three?", "No")]
    with pytest.raises(InputError, match=message) as caught:
        render(turns, chat_template(tokenizer), "the chat template of M")
    assert "\n" not in str(caught.value)


def test_marks_and_their_places():
    text, spans = unmark(f"x {mark(' ab ')}-{mark('c')}")
    assert text == "x  ab -c" and spans == [(3, 5), (7, 8)]
    for bad in ("\ue000a", "\ue001", "\ue000\ue000a\ue001\ue001"):
        with pytest.raises(ValueError):
            unmark(bad)
    with pytest.raises(InputError, match="U\\+E000"):
        render([("a \ue000", "b")], plain_template())


def test_choice_of_the_template(tokenizers):
    tokenizer = make_tokenizer("bytes", CHATML)
    assert choose_template(tokenizer)[1]["kind"] == "chat"
    text = choose_template(tokenizer, "auto", "Be brief.")[0]([("Q?", "A")])
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert choose_template(tokenizer, "plain", "Be brief.")[0]([("Q?", "A")]) == (
        "Be brief.\n\nUser: Q?\nAssistant: A\n\n"
    )
    tokenizer.chat_template = None
    assert choose_template(tokenizer)[1]["kind"] == "plain"
    with pytest.raises(InputError, match="has no chat template"):
        choose_template(tokenizer, "chat")
    with pytest.raises(InputError, match="unknown template 'other'"):
        choose_template(tokenizer, "other")
