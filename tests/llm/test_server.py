"""Back end (b) against servers on loopback, recorded replies of vLLM, faults, kills and keys."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from llm_helpers import CHATML, INST, load_model, rows, save_model, write_jsonl
from llm_server import Proxy, Server, serve

from iclbayes import InputError
from iclbayes.cli.collect import Collect
from iclbayes.llm.backends.client import Refused, Torn
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.backends.openai import OpenAIBackend
from iclbayes.llm.backends.replies import EchoForm, TokenForm
from iclbayes.llm.collection import prepare
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.data import load_task
from iclbayes.llm.journal import Journal
from iclbayes.llm.prompts import Prompt
from iclbayes.llm.templates import choose_template

DATA = Path(__file__).parent / "vllm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chat model without a beginning-of-text token, one with, and a data set."""
    folder = tmp_path_factory.mktemp("served")
    save_model(folder / "chatml", template=CHATML)
    save_model(folder / "inst", template=INST, adds_bos=True)
    write_jsonl(folder / "task.jsonl", rows(6))
    forms = [row | {"answer_forms": [row["answer"].lower(), f"It is {row['answer']}"]} for row in rows(3)]
    write_jsonl(folder / "forms.jsonl", forms)
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return {name: load_model(folder / name) for name in ("chatml", "inst")}


def command(folder, url, out, **settings):
    chosen = {"model": "tiny", "task": str(folder / "task.jsonl"), "out": out, "backend": "openai"}
    chosen |= {"base_url": f"{url}/v1", "tokenizer": str(folder / "chatml"), "shuffles": 4}
    return Collect(**(chosen | settings))


def journal_rows(out):
    lines = out.with_suffix(".prompts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


@pytest.mark.parametrize("template", ["chat", "plain"])
@pytest.mark.parametrize("style", ["vllm", "echo"])
@pytest.mark.parametrize("name", ["chatml", "inst"])
def test_server_agrees_with_local_model(folder, models, name, style, template):
    model, tokenizer = models[name]
    contexts = make_contexts(load_task(str(folder / "forms.jsonl")), shuffles=1, others=True)
    chosen, _ = choose_template(tokenizer, template)
    local = HFBackend(model, tokenizer)
    with serve(Server(model, tokenizer, style)) as url:
        remote = OpenAIBackend(f"{url}/v1", "tiny", tokenizer, window=900, retries=1)
        built = prepare(contexts, chosen, remote, add_bos=template == "plain")
        assert len(built[0]) > 1  # spellings that need requests of their own
        found = dict(remote.score(built[0]))
    expected = dict(local.score(built[0]))
    assert found.keys() == expected.keys()
    for i in expected:
        np.testing.assert_allclose(found[i], expected[i], atol=1e-4)


@pytest.mark.parametrize(
    "style, message", [("shifted", "shifted by"), ("deaf", "cannot return prompt log prob")]
)
def test_self_check_names_servers_that_cannot_be_used(folder, models, tmp_path, style, message):
    server = Server(*models["chatml"], style)
    with serve(server) as url, pytest.raises(InputError, match=message) as caught:
        command(folder, url, tmp_path / "curves.csv").run()
    assert "\n" not in str(caught.value)
    # Two requests with text, and none for the data.
    assert sum(count for prompt, count in server.asked.items() if prompt.startswith('"')) == 2
    assert not (tmp_path / "curves.csv").exists()


def test_requests_are_what_vllm_takes():
    prompt = Prompt.plain([5, 6, 7], [(1, 2), (2, 3)])
    body = TokenForm().request("m", prompt)
    assert body == {
        "model": "m",
        "prompt": [5, 6, 7],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,
    }
    json.dumps(body)


def test_recorded_prompt_logprobs_of_vllm():
    recorded = json.loads((DATA / "prompt_logprobs.json").read_text())
    prompt = Prompt.plain(recorded["ids"], [(1, 2)])
    read = TokenForm().reader(prompt)
    choice = {"index": 0, "text": " Paris", "prompt_logprobs": recorded["prompt_logprobs"]}
    assert read({"choices": [choice]}).item() == -3.679518699645996
    with pytest.raises(Torn, match="for every token"):
        read({"choices": [choice | {"prompt_logprobs": recorded["prompt_logprobs"][:1]}]})
    with pytest.raises(Torn, match="lack a token"):
        TokenForm().reader(Prompt.plain([128000, 792], [(1, 2)]))({"choices": [choice]})


def echoed_prompt(text, answers, lengths):
    chars = [(text.index(answer), text.index(answer) + len(answer)) for answer in answers]
    starts = np.cumsum([1, *lengths])
    spans = np.stack([starts[:-1], starts[1:]], 1)
    plain = Prompt.plain(np.arange(20), spans)
    return Prompt(
        plain.ids, plain.spans, plain.swaps, plain.shots, plain.roles, text, np.array(chars, np.int32)
    )


def test_recorded_echo_of_vllm():
    recorded = json.loads((DATA / "echo.json").read_text())
    prompt = echoed_prompt(recorded["prompt"], ["step", "boiling water"], [1, 2])
    assert EchoForm().request("m", prompt)["prompt"] == recorded["prompt"]
    found = EchoForm().reader(prompt)(recorded["reply"])
    np.testing.assert_allclose(found[:, 0], [-8.818763732910156, -13.55989933013916 - 2.0115487575531006])
    # Another split of the answer than our tokenizer's is a wrong tokenizer, not a number.
    with pytest.raises(Refused, match="give the server's tokenizer"):
        EchoForm().reader(echoed_prompt(recorded["prompt"], ["boiling water"], [3]))(recorded["reply"])
    with pytest.raises(Refused, match="give the server's tokenizer"):
        EchoForm().reader(echoed_prompt(recorded["prompt"], ["ling water"], [2]))(recorded["reply"])
    with pytest.raises(Torn, match="does not echo"):
        EchoForm().reader(echoed_prompt("Another text: step", ["step"], [1]))(recorded["reply"])


def test_echoed_tokens_that_are_empty_find_their_places():
    """llama.cpp echoes special tokens, and the bytes of a letter that is two tokens, as empty texts."""
    text = "Q: a<|im_end|><|end|>né b\n"
    tokens = ["Q", ":", " a", "", "", "n", "", "", " b", "\n", "x"]
    values = [None, *(-0.5 * i for i in range(1, 11))]
    said = {"tokens": tokens, "token_logprobs": values, "text_offset": [0] * 11}
    reply = {"choices": [{"text": text + "x", "logprobs": said}]}
    form = EchoForm(special=["<|im_end|>", "<|end|>"])
    found = form.reader(echoed_prompt(text, ["a", "né", "b"], [1, 3, 1]))(reply)
    np.testing.assert_allclose(found[:, 0], [-1.0, -2.5 - 3.0 - 3.5, -4.0])
    for wrong in (["Q", ":", " c", *tokens[3:]], [*tokens[:8], " c", "\n", "x"], [*tokens[:-3], "", "", ""]):
        said["tokens"] = wrong
        with pytest.raises(Torn, match=r"join to the prompt|before the prompt does"):
            form.reader(echoed_prompt(text, ["a", "né", "b"], [1, 3, 1]))(reply)


def test_echoed_tokens_without_those_that_begin_a_text_find_their_places():
    """llama-cpp-python leaves out every token that is its model's first; in many chat templates each turn begins with it."""
    text = "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\n Yes<|im_end|>\n<|im_start|>user\n So?"
    tokens = [
        "user",
        "\n",
        "Is",
        " it",
        "?",
        "",
        "\n",
        "ass",
        "istant",
        "\n",
        " Yes",
        "",
        "\n",
        "user",
        "\n",
        " So",
        "?",
        "x",
    ]
    values = [None, *(-0.5 * i for i in range(1, len(tokens)))]
    said = {"tokens": tokens, "token_logprobs": values}
    reply = {"choices": [{"text": text + "x", "logprobs": said}]}
    form = EchoForm(special=["<|im_start|>", "<|im_end|>"])
    found = form.reader(echoed_prompt(text, [" Yes", " So?"], [1, 2]))(reply)
    np.testing.assert_allclose(found[:, 0], [-5.0, -7.5 - 8.0])
    twice = "<|im_start|><|im_start|>" + text + "<|im_start|>"  # the text may end with one, too
    more = {"choices": [{"text": twice + "x", "logprobs": {"tokens": tokens, "token_logprobs": values}}]}
    again = form.reader(echoed_prompt(twice, [" Yes", " So?"], [1, 2]))(more)
    np.testing.assert_allclose(again, found)
    said["tokens"] = [*tokens[:7], "arr", *tokens[8:]]
    with pytest.raises(Torn, match="join to the prompt"):
        form.reader(echoed_prompt(text, [" Yes"], [1]))(reply)


def test_faults_lose_nothing_and_score_nothing_twice(folder, models, tmp_path):
    server = Server(*models["chatml"])
    settings = {"shuffles": 12, "concurrency": 4, "timeout": 2.0}
    with serve(server) as url:
        straight = command(folder, url, tmp_path / "straight.csv", **settings).run()
        proxy = Proxy(url, patience=2.0)
        with serve(proxy) as faulty:
            bumpy = command(folder, faulty, tmp_path / "bumpy.csv", **settings).run()
    for fault in ("drop", "429", "500", "truncated", "half", "slow"):
        assert proxy.met[fault] > 0, fault
    assert bumpy.equals(straight)
    keys = [row["key"] for row in journal_rows(tmp_path / "bumpy.csv")]
    assert len(keys) == len(set(keys)) == 12
    assert set(keys) == {row["key"] for row in journal_rows(tmp_path / "straight.csv")}


def test_concurrency_is_used_and_bounded(folder, models, tmp_path):
    server = Server(*models["chatml"], delay=0.05)
    with serve(server) as url:
        command(folder, url, tmp_path / "curves.csv", shuffles=9, concurrency=3).run()
    assert 1 < server.most <= 3


def test_killed_run_goes_on(folder, models, tmp_path):
    """SIGKILL, a torn last line, and the same command again: nothing lost, nothing scored twice."""
    out = tmp_path / "curves.csv"
    journal = out.with_suffix(".prompts.jsonl")
    server = Server(*models["chatml"], delay=0.3)
    with serve(server) as url:
        settings = {"shuffles": 10, "concurrency": 1}
        wanted = command(folder, url, out, **settings)
        code = (
            "import sys; from pathlib import PosixPath; from iclbayes.cli.collect import Collect;"
            "eval(sys.argv[1]).run()"
        )
        process = subprocess.Popen([sys.executable, "-c", code, repr(wanted)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(1200):
                if journal.exists() and journal.read_bytes().count(b"\n") >= 4:
                    break
                assert process.poll() is None, "ended before it was killed"
                time.sleep(0.05)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        finished = journal.read_bytes()
        finished = finished[: finished.rfind(b"\n") + 1]
        assert 4 <= finished.count(b"\n") < 11 and not out.exists()
        journal.write_bytes(finished + b'{"key": "torn')
        server.delay = 0.0
        server.asked.clear()
        curves = wanted.run()
        assert journal.read_bytes().startswith(finished)
        keys = [row["key"] for row in journal_rows(out)]
        assert len(keys) == len(set(keys)) == 10
        # What was finished is not asked for again; two requests are the self-check's.
        assert sum(server.asked.values()) == 10 - (finished.count(b"\n") - 1) + 2
        assert curves.equals(command(folder, url, tmp_path / "whole.csv", **settings).run())
    assert not list(tmp_path.glob(".*"))


def test_refused_prompt_keeps_the_finished_ones(folder, models, tmp_path):
    out = tmp_path / "curves.csv"
    model, tokenizer = models["chatml"]
    server = Server(model, tokenizer)
    server.refuse = lambda body: sum(server.asked.values()) > 5  # after the self-check and three prompts
    with serve(server) as url:
        wanted = command(folder, url, out, shuffles=6, concurrency=1)
        with pytest.raises(InputError, match="not welcome"):
            wanted.run()
        assert len(journal_rows(out)) == 3
        server.refuse = lambda body: False
        server.asked.clear()
        wanted.run()
        assert sum(server.asked.values()) == 3 + 2
    assert len(journal_rows(out)) == 6


def test_key_is_sent_and_never_kept(folder, models, tmp_path, monkeypatch, capfd):
    secret = "sk-very-secret-0123456789"
    server = Server(*models["chatml"], key=secret, refuse=lambda body: False)
    with serve(server) as url:
        monkeypatch.setenv("MY_KEY", secret)
        command(folder, url, tmp_path / "curves.csv", key_variable="MY_KEY").run()
        monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
        with pytest.raises(InputError, match=r"status 401.*\$MY_KEY") as caught:
            command(folder, url, tmp_path / "other.csv", key_variable="MY_KEY").run()
        monkeypatch.setenv("MY_KEY", secret)
        server.refuse, server.says = lambda body: True, f"we log Bearer {secret} here"
        with pytest.raises(InputError) as echoed:
            command(folder, url, tmp_path / "third.csv", key_variable="MY_KEY").run()
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(InputError, match=r"no key in \$MY_KEY"):
            command(folder, url, tmp_path / "other.csv", key_variable="MY_KEY").run()
    said = "".join(capfd.readouterr()) + str(caught.value) + str(echoed.value)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "<key>" in str(echoed.value)
    for text in (said, written):
        assert secret not in text and "sk-wrong" not in text


def test_no_server_is_one_line(folder, tmp_path):
    with pytest.raises(InputError, match=r"no server answers at http://127\.0\.0\.1:9/v1") as caught:
        command(folder, "http://127.0.0.1:9", tmp_path / "curves.csv").run()
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is not an address"):
        command(folder, "nonsense", tmp_path / "curves.csv").run()


def test_works_inside_a_running_event_loop(folder, models):
    """As in a notebook."""
    model, tokenizer = models["chatml"]
    prompts = prepare(
        make_contexts(load_task(str(folder / "task.jsonl")), shuffles=1),
        choose_template(tokenizer)[0],
        HFBackend(model, tokenizer),
    )[0]

    async def cell():
        return dict(OpenAIBackend(f"{url}/v1", "tiny", tokenizer).score(prompts))

    with serve(Server(model, tokenizer)) as url:
        assert set(asyncio.run(cell())) == {0}


def test_two_runs_do_not_share_a_journal(tmp_path):
    path = tmp_path / "x.prompts.jsonl"
    with (
        Journal.open(path, {"seed": 0}),
        pytest.raises(InputError, match="another process is collecting"),
        Journal.open(path, {"seed": 0}),
    ):
        pass
    with pytest.raises(InputError, match="seed was 0, is 1"), Journal.open(path, {"seed": 1}):
        pass
    (tmp_path / "y.prompts.jsonl").write_text("something else\n")
    with (
        pytest.raises(InputError, match="is not a file of finished prompts"),
        Journal.open(tmp_path / "y.prompts.jsonl", {}),
    ):
        pass


def test_journal_keeps_every_number(tmp_path):
    path = tmp_path / "x.prompts.jsonl"
    scores = np.array([[-0.1, np.nan], [-np.inf, -1e-300]])
    with Journal.open(path, {}) as journal:
        journal.add("a", scores, source="s")
    with Journal.open(path, {}) as journal:
        np.testing.assert_array_equal(journal.done["a"], scores)
