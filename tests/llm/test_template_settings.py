"""Arguments of chat templates, the day that they write, and answers scored behind another prefix than the generation prompt."""

import datetime
import json

import pytest
from llm_helpers import CHATML, INST, TURNS, make_tokenizer, rows, save_model, write_jsonl

from iclbayes import InputError
from iclbayes.cli.main import main
from iclbayes.llm.template_settings import read_arguments
from iclbayes.llm.templates import choose_template

# In the manner of models that reason: thinking is left out by an empty block, which stands in the generation prompt alone.
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# In the manner of models that are told the day.
DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ 'Today: ' + date_string + '\n' }}" + CHATML
)


def test_arguments_are_values_as_in_json_or_text():
    words = ["a=false", "b=3", "c=0.5", "d=null", "e=two words", "f=a=b", 'g="3"', "h="]
    expected = {"a": False, "b": 3, "c": 0.5, "d": None, "e": "two words", "f": "a=b", "g": "3", "h": ""}
    assert read_arguments(words) == expected
    for wrong, said in (
        (["a"], "write NAME=VALUE"),
        (["a b=1"], "write NAME=VALUE"),
        (["a=1", "a=2"], "twice"),
    ):
        with pytest.raises(InputError, match=said):
            read_arguments(wrong)


def test_arguments_reach_the_template_and_unknown_ones_are_refused():
    tokenizer = make_tokenizer(template=DATED)
    render, about = choose_template(tokenizer, arguments={"date_string": "26 Jul 2024"})
    assert render([("Q?", "A")]).startswith("Today: 26 Jul 2024\n<|im_start|>user\nQ?")
    assert about["arguments"] == {"date_string": "26 Jul 2024"} and about["date"] is None
    for name, said in (
        ("date_strin", "does not read it; did you mean date_string"),
        ("colour", "does not read it; leave it out"),
        ("add_generation_prompt", "is set here"),
        ("strftime_now", "is set here"),
    ):
        with pytest.raises(InputError, match=f"--template-arg {name}: .*{said}"):
            choose_template(tokenizer, arguments={name: "x"})
    for given in ({"arguments": {"date_string": "x"}}, {"date": "2026-01-01"}):
        with pytest.raises(InputError, match="is for chat templates, and the plain one is used"):
            choose_template(tokenizer, "plain", **given)


def test_the_day_is_one_day():
    tokenizer = make_tokenizer(template=DATED)
    render, about = choose_template(tokenizer, date="2025-02-03")
    assert render([("Q?", "A")]).startswith("Today: 03 Feb 2025\n") and about["date"] == "2025-02-03"
    assert choose_template(tokenizer)[1]["date"] == datetime.date.today().isoformat()
    clocked = make_tokenizer(template='  {% if true %}{{ strftime_now( "%H:%M %A" ) }}{% endif %}' + CHATML)
    assert choose_template(clocked, date="2025-02-03")[0]([("Q?", "A")]).startswith(
        "00:00 Monday<|im_start|>"
    )
    worked_out = make_tokenizer(template="{% set form = '%Y' %}{{ strftime_now(form) }}" + CHATML)
    assert choose_template(worked_out)[1]["date"] == datetime.date.today().isoformat()
    with pytest.raises(InputError, match="works out what it asks of the clock"):
        choose_template(worked_out, date="2025-02-03")
    with pytest.raises(InputError, match=r"--date '3\.2\.25' is no day; write YYYY-MM-DD"):
        choose_template(tokenizer, date="3.2.25")
    with pytest.raises(InputError, match="writes no date"):
        choose_template(make_tokenizer(template=CHATML), date="2025-02-03")


def test_another_prefix_than_the_generation_prompt_is_found():
    tokenizer = make_tokenizer(template=THINKS)
    assert "scored_behind" not in choose_template(tokenizer)[1]
    about = choose_template(tokenizer, arguments={"enable_thinking": False}, system="Be brief.")[1]
    begun = "<|im_end|>\n<|im_start|>assistant\n"
    assert about["scored_behind"] == begun
    assert about["generation_prompt"] == begun + "<think>\n\n</think>\n\n"
    for template in (CHATML, INST, TURNS):  # equal, or without a generation prompt at all
        assert "scored_behind" not in choose_template(make_tokenizer(template=template))[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    for name, template in (("thinks", THINKS), ("dated", DATED)):
        save_model(folder / name, template=template)
    write_jsonl(folder / "task.jsonl", rows(5))
    return folder


def collect(folder, model, out, *more):
    words = ["--model", folder / model, "--task", folder / "task.jsonl", "--out", out, "--shuffles", 2]
    return main(["collect", *map(str, words), "--device", "cpu", *more])


def test_collect_warns_of_the_prefix_and_keeps_the_head(folder, tmp_path, capfd):
    out = tmp_path / "c.csv"
    assert collect(folder, "thinks", out) == 0
    assert "warning" not in capfd.readouterr().err
    assert collect(folder, "thinks", tmp_path / "d.csv", "--template-arg", "enable_thinking=false") == 0
    [line] = [text for text in capfd.readouterr().err.splitlines() if "warning" in text]
    assert "answers are scored behind" in line and "<think>" in line
    about = json.loads((tmp_path / "d.json").read_text())
    assert about["template"]["arguments"] == {"enable_thinking": False}
    assert "generation_prompt" in about["template"] and about["date"] is None
    head = about["head"]
    assert head.startswith("<|im_start|>user\nItem ") and head.endswith(("assistant\nYes", "assistant\nNo"))


def test_a_day_that_changed_is_named_and_can_be_given(folder, tmp_path, capfd):
    out = tmp_path / "c.csv"
    assert collect(folder, "dated", out, "--date", "2025-02-03") == 0
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["date"] == "2025-02-03" and about["head"].startswith("Today: 03 Feb 2025\n")
    before = out.with_suffix(".prompts.jsonl").read_bytes()
    capfd.readouterr()
    assert collect(folder, "dated", out) == 2
    error = capfd.readouterr().err
    today = datetime.date.today().isoformat()
    assert (
        f"say that it is 2025-02-03, and the chat template writes {today} now; add --date 2025-02-03" in error
    )
    assert error.count("\n") == 1
    assert collect(folder, "dated", out, "--date", "2025-02-03") == 0
    assert out.with_suffix(".prompts.jsonl").read_bytes() == before  # nothing was scored again
