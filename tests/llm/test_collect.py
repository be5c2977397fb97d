"""`collect` with the local back ends, against one forward pass for each shot count, and its files."""

import dataclasses
import inspect
import json
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
import torch
from flax import nnx
from llm_helpers import CHATML, INST, TURNS, load_model, one_pass_per_shot, rows, save_model, write_jsonl

from iclbayes import InputError, curves_from_frame, llm
from iclbayes.cli.collect import Collect
from iclbayes.cli.main import main
from iclbayes.ginc import WorldConfig, make_world
from iclbayes.icl import icl_curves, icl_prompts, score_model
from iclbayes.llm.backends import load_backend
from iclbayes.llm.backends.flax import FlaxBackend
from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.collection import average, prepare, probabilities, score_all
from iclbayes.llm.contexts import Context, make_contexts
from iclbayes.llm.data import load_task
from iclbayes.llm.journal import Journal
from iclbayes.llm.prompts import NONE, RIGHT, Prompt
from iclbayes.llm.templates import choose_template, plain_template
from iclbayes.models import GPT2, GPT2Config, export_gpt2
from iclbayes.reading import read_curves

MODELS = {"chatml": (CHATML, False), "inst": (INST, True), "turns": (TURNS, True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, (template, adds_bos) in MODELS.items():
        save_model(folder / name, template=template, adds_bos=adds_bos)
    write_jsonl(folder / "task.jsonl", rows(8))
    return folder


def settings(folder, out, **others):
    chosen = {
        "model": str(folder / "chatml"),
        "task": str(folder / "task.jsonl"),
        "out": out,
        "device": "cpu",
    }
    return chosen | others


def collect(folder, out, **others):
    return Collect(**settings(folder, out, **others))


def journal_rows(out):
    lines = out.with_suffix(".prompts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


@pytest.mark.parametrize("name, first_tokens", [*((name, None) for name in MODELS), ("turns", 1)])
def test_collect_equals_one_pass_for_each_shot_count(folder, tmp_path, name, first_tokens):
    out = tmp_path / "curves.csv"
    settings = {"model": str(folder / name), "shuffles": 3, "seed": 5, "contrast": True}
    settings["first_tokens"] = first_tokens
    curves = collect(folder, out, **settings).run()
    model, tokenizer = load_model(folder / name)
    contexts = make_contexts(load_task(str(folder / "task.jsonl"), contrast=True), 3, seed=5)
    scored = {(row["source"], row["shuffle"]): row["logprobs"] for row in journal_rows(out)}
    assert len(contexts) == len(scored) == 6
    expected = {}
    for context in contexts:
        wanted = one_pass_per_shot(model, tokenizer, context.shots, first_tokens)
        np.testing.assert_allclose(np.array(scored[context.source, context.shuffle])[:, 0], wanted, atol=1e-4)
        expected.setdefault(context.source, []).append(wanted)
    for source, logs in expected.items():
        rows_ = curves[curves["source"] == source]
        prob = np.exp(logs)
        np.testing.assert_allclose(rows_["prob"], prob.mean(0), rtol=2e-4)
        np.testing.assert_allclose(rows_["stderr"], prob.std(0, ddof=1) / np.sqrt(3), rtol=1e-3)
        assert rows_["n_test"].tolist() == [3] * 8 and rows_["shots"].tolist() == list(range(8))


def test_the_share_among_competing_answers_is_a_value_that_commands_take(folder, tmp_path):
    out = tmp_path / "curves.csv"
    curves = collect(folder, out, shuffles=3, others=True).run()
    model, tokenizer = load_model(folder / "chatml")
    share = []
    for context in make_contexts(load_task(str(folder / "task.jsonl")), 3, others=True):
        right = np.exp(one_pass_per_shot(model, tokenizer, context.shots))
        asked = [dataclasses.replace(shot, shown=shot.wrong[0]) for shot in context.shots]
        told = [(*context.shots[:i], shot) for i, shot in enumerate(asked)]
        wrong = np.exp([one_pass_per_shot(model, tokenizer, shots)[-1] for shots in told])
        share.append(right / (right + wrong))
    share = np.array(share)
    np.testing.assert_allclose(curves["prob_choice"], share.mean(0), rtol=1e-4)
    np.testing.assert_allclose(curves["stderr_choice"], share.std(0, ddof=1) / np.sqrt(3), rtol=1e-3)
    read = read_curves(out, value="prob_choice")
    np.testing.assert_allclose(read.prob, curves["prob_choice"])
    np.testing.assert_allclose(read.stderr, curves["stderr_choice"])
    assert np.isnan(read.n_correct).all()
    np.testing.assert_allclose(read_curves(out).prob, curves["prob"])
    assert (
        main(["fit", str(out), "--value", "prob_choice", "--law", "power", "--out", str(tmp_path / "f.csv")])
        == 0
    )


def test_files_say_what_they_are(folder, tmp_path):
    out = tmp_path / "curves.csv"
    curves = collect(folder, out, shuffles=2, max_shots=4, contrast=True).run()
    read = read_curves(out, group_by=["model", "task"], source="source")
    assert (read.n_groups, read.n_curves, len(read.shots)) == (1, 2, 10)
    np.testing.assert_allclose(read.prob, curves.sort_values(["source", "shots"])["prob"], rtol=1e-12)
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["template"]["kind"] == "chat" and about["seed"] == 0 and about["most_shots"] == 4
    assert {"iclbayes", "python", "transformers", "torch"} <= set(about["versions"])
    assert about["engine"]["dtype"] == "float32" and about["contexts"] == 4
    assert about["tokens"] > 100
    # The same command again scores nothing and writes the same file.
    first, journal = out.read_bytes(), out.with_suffix(".prompts.jsonl").read_bytes()
    collect(folder, out, shuffles=2, max_shots=4, contrast=True).run()
    assert out.read_bytes() == first and out.with_suffix(".prompts.jsonl").read_bytes() == journal
    with pytest.raises(InputError, match="another run \\(seed was 0, is 1\\)"):
        collect(folder, out, shuffles=2, max_shots=4, contrast=True, seed=1).run()


def test_call_from_a_notebook_needs_no_file(folder, tmp_path, monkeypatch):
    """`iclbayes.llm.collect` on a back end and examples at hand, against the command on the same in files."""
    written = Collect(**settings(folder, tmp_path / "curves.csv", shuffles=2, contrast=True, dtype="float32"))
    expected = written.run()
    kept = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    examples = load_task(str(folder / "task.jsonl"), contrast=True)
    curves, about = llm.collect(HFBackend(*load_model(folder / "chatml")), examples, name="tiny", shuffles=2)
    assert set(curves["model"]) == {"tiny"} and set(curves["task"]) == {"examples"}
    pd.testing.assert_frame_equal(curves.iloc[:, 2:], expected.iloc[:, 2:])
    assert about["engine"]["dtype"] == "float32" and about["contexts"] == 4 and about["most_shots"] == 7
    assert "examples" in about["files"] and json.loads(json.dumps(about)) == about
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    read = curves_from_frame(curves, group_by=["model", "task"], source="source")
    assert (read.n_groups, read.n_curves) == (1, 2)

    # By name it loads the model itself; with a journal the second call scores nothing.
    calls = []
    monkeypatch.setattr(
        HFBackend,
        "score",
        lambda self, prompts, score=HFBackend.score: calls.append(len(prompts)) or score(self, prompts),
    )
    for _ in range(2):
        named, _ = llm.collect(
            folder / "chatml", examples, shuffles=2, device="cpu", journal=tmp_path / "finished.jsonl"
        )
        assert set(named["model"]) == {"chatml"}
        pd.testing.assert_frame_equal(named.iloc[:, 2:], expected.iloc[:, 2:])
    assert calls == [4, 0]
    with pytest.raises(InputError, match="another run \\(files was"):
        llm.collect(
            folder / "chatml", examples[:-1], shuffles=2, device="cpu", journal=tmp_path / "finished.jsonl"
        )


def test_command_and_call_have_equal_defaults():
    command = {f.name: f.default for f in dataclasses.fields(Collect)}
    call = inspect.signature(llm.collect).parameters | inspect.signature(load_backend).parameters
    shared = sorted(command.keys() & call.keys() - {"model", "task", "tokenizer"})
    assert {"shuffles", "seed", "backend", "score", "template", "dtype", "timeout"} <= set(shared)
    assert [command[name] for name in shared] == [call[name].default for name in shared]


def test_spellings_add_up_and_accuracy_compares(folder):
    """Every spelling of right and wrong answers, against a pass of its own for each."""
    model, tokenizer = load_model(folder / "inst")
    data = write_jsonl(
        folder / "forms.jsonl",
        [row | {"answer_forms": [row["answer"].lower(), f"{row['answer']}!"]} for row in rows(5)],
    )
    [context] = make_contexts(load_task(str(data)), shuffles=1, others=True)
    backend = HFBackend(model, tokenizer)
    [prompts] = prepare([context], choose_template(tokenizer)[0], backend)
    scores = dict(backend.score(prompts))
    prob, other, rival = probabilities(prompts, [scores[i] for i in range(len(prompts))])
    for n in range(5):
        history, shot = context.shots[:n], context.shots[n]

        def alone(answer, history=history, shot=shot):
            last = type(shot)(shot.question, answer, (answer,))
            return np.exp(one_pass_per_shot(model, tokenizer, (*history, last))[-1])

        # "Yes!" is part of the event "Yes".
        np.testing.assert_allclose(prob[n], alone(shot.shown) + alone(shot.shown.lower()), rtol=1e-4)
        np.testing.assert_allclose(other[n], alone(shot.wrong[0]), rtol=1e-4)
    np.testing.assert_array_equal(other, rival)
    curves = average([context], [prompts], {p.key: scores[i] for i, p in enumerate(prompts)})
    assert curves["n_correct"].tolist() == (prob > rival).astype(int).tolist()


def test_plain_text_of_base_models(folder):
    model, tokenizer = load_model(folder / "inst")
    [context] = make_contexts(load_task(str(folder / "task.jsonl")), shuffles=1)
    backend = HFBackend(model, tokenizer)
    [[prompt]] = prepare([context], plain_template(), backend, add_bos=True)
    [(_, scores)] = backend.score([prompt])
    for n, shot in enumerate(context.shots):
        before = "".join(f"User: {s.question}\nAssistant: {s.shown}\n\n" for s in context.shots[:n])
        start = tokenizer(f"{before}User: {shot.question}\nAssistant:").input_ids
        whole = tokenizer(f"{before}User: {shot.question}\nAssistant: {shot.shown}").input_ids
        assert whole[: len(start)] == start and start[0] == tokenizer.bos_token_id
        with torch.inference_mode():
            table = torch.log_softmax(model(torch.tensor([whole])).logits[0].double(), -1)
        wanted = sum(table[i - 1, whole[i]].item() for i in range(len(start), len(whole)))
        assert abs(scores[n, 0] - wanted) < 1e-4


def test_batches_change_nothing_and_logits_are_kept_for_answers_alone(folder):
    model, tokenizer = load_model(folder / "chatml")
    contexts = make_contexts(load_task(str(folder / "task.jsonl")), shuffles=5)
    contexts += make_contexts(load_task(str(folder / "task.jsonl")), shuffles=2, max_shots=2)
    alone, together = HFBackend(model, tokenizer, batch_tokens=1), HFBackend(model, tokenizer)
    prompts = [p for built in prepare(contexts, choose_template(tokenizer)[0], together) for p in built]
    heads = []
    handle = model.lm_head.register_forward_hook(lambda module, given, output: heads.append(output.shape))
    one, many = dict(alone.score(prompts)), dict(together.score(prompts))
    handle.remove()
    assert len(heads) == 7 + 1
    reads = {int(p) for prompt in prompts for p in prompt.reads[0]}
    assert heads[-1] == (7, len(reads), len(tokenizer)) and len(reads) < len(prompts[0].ids) / 2
    for i in range(7):
        np.testing.assert_allclose(one[i], many[i], atol=1e-5)
    # A bound on the logits splits batches too.
    small = HFBackend(model, tokenizer, batch_logits=2 * len(reads) * len(tokenizer))
    heads.clear()
    handle = model.lm_head.register_forward_hook(lambda module, given, output: heads.append(output.shape))
    assert len(dict(small.score(prompts))) == 7
    handle.remove()
    assert len(heads) >= 3 and all(np.prod(shape) <= small.batch_logits for shape in heads)


def test_model_that_gives_all_logits_all_the_same(folder):
    model, tokenizer = load_model(folder / "chatml")
    prompts = prepare(
        make_contexts(load_task(str(folder / "task.jsonl")), 2),
        choose_template(tokenizer)[0],
        HFBackend(model, tokenizer),
    )
    prompts = [prompt for built in prompts for prompt in built]
    expected = dict(HFBackend(model, tokenizer).score(prompts))
    forward = model.forward
    model.forward = lambda logits_to_keep=0, **given: forward(**given)
    for i, scores in HFBackend(model, tokenizer).score(prompts):
        np.testing.assert_allclose(scores, expected[i], atol=1e-5)


def test_progress_shows_speed_and_time_left(folder, tmp_path, capsys):
    model, tokenizer = load_model(folder / "chatml")
    contexts = make_contexts(load_task(str(folder / "task.jsonl")), 3)
    backend = HFBackend(model, tokenizer, batch_tokens=1)
    built = prepare(contexts, choose_template(tokenizer)[0], backend)
    with Journal.open(tmp_path / "x.jsonl", {}) as journal:
        score_all(built, contexts, backend, journal, progress=True)
    shown = capsys.readouterr().err
    total = sum(len(prompt.ids) for [prompt] in built)
    assert "token/s" in shown and "100%" in shown and f"/{total}" in shown


def test_half_precision_and_unknown_precision(folder, tmp_path):
    wide = collect(folder, tmp_path / "wide.csv", shuffles=2).run()
    half = collect(folder, tmp_path / "half.csv", shuffles=2, dtype="bfloat16").run()
    assert json.loads((tmp_path / "half.json").read_text())["engine"]["dtype"] == "bfloat16"
    assert 0 < np.abs(np.log(half["prob"] / wide["prob"])).max() < 1
    with pytest.raises(InputError, match="unknown dtype 'float12'"):
        collect(folder, tmp_path / "x.csv", dtype="float12").run()


def test_code_that_comes_with_a_model_is_never_run(folder, tmp_path):
    bad = tmp_path / "bad"
    save_model(bad)
    config = json.loads((bad / "config.json").read_text())
    ours = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    config |= {"model_type": "strange", "auto_map": ours}
    (bad / "config.json").write_text(json.dumps(config))
    (bad / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(InputError, match="cannot load") as caught:
        collect(folder, tmp_path / "x.csv", model=str(bad)).run()
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_bad_input_is_one_line(folder, tmp_path):
    def refused(message, **settings):
        with pytest.raises(InputError, match=message) as caught:
            collect(folder, **({"out": tmp_path / "curves.csv"} | settings)).run()
        assert "\n" not in str(caught.value)

    refused("unknown task 'nonsense': known are psychopathy, .*creak, logiqa, harmbench", task="nonsense")
    (tmp_path / "bare.csv").write_text("q,a\n1,2\n")
    refused("bare.csv: missing column question, answer; it has q, a", task=str(tmp_path / "bare.csv"))
    refused("context window of 10 tokens is too small for one shot", context_window=10)
    refused("cannot load the tokenizer of", model=str(tmp_path / "nothing"))
    refused("needs the server's address", backend="openai")
    refused("--base-url is for --backend openai, not hf", base_url="http://x")
    refused("unknown back end 'other'", backend="other")
    refused("let --out end with .csv", out=tmp_path / "curves.parquet")
    refused("there is no folder", out=tmp_path / "none" / "curves.csv")
    refused("holds 2 shots, and 3 benign ones come first", benign_shots=3, **mixed(folder))
    assert not (tmp_path / "curves.csv").exists()


def mixed(folder):
    two = [row | {"source": "calm" if i % 2 else "wild"} for i, row in enumerate(rows(12))]
    path = write_jsonl(folder / "mixed.jsonl", two)
    return {"task": str(path), "benign_source": "calm", "context_window": 60, "shuffles": 1}


def test_mixed_contexts_count_the_shots_after_the_benign_ones(folder, tmp_path):
    settings = mixed(folder) | {"benign_shots": 3, "context_window": None}
    curves = collect(folder, tmp_path / "curves.csv", **settings).run()
    assert set(curves["source"]) == {"wild"} and curves["shots"].tolist() == list(range(6))
    assert set(curves["benign_shots"]) == {3}
    [row] = journal_rows(tmp_path / "curves.csv")
    model, tokenizer = load_model(folder / "chatml")
    [context] = make_contexts(load_task(settings["task"]), 1, benign_source="calm", benign_shots=3)
    wanted = one_pass_per_shot(model, tokenizer, context.shots)
    np.testing.assert_allclose(np.array(row["logprobs"])[:, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(curves["prob"], np.exp(wanted[3:]), rtol=2e-4)


@pytest.fixture(scope="module")
def trained():
    """A GPT-2 trained for a moment on prompts of a small synthetic world, so that its curve is its own."""
    import optax

    world = make_world(WorldConfig(hmms=2, entities=4, slots=4, symbols=12))
    model = GPT2(GPT2Config(vocab_size=14, context=48, n_layers=2, n_heads=2, width=32), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    [train] = icl_prompts(world, jax.random.key(1), ks=(3,), count=64, context=48)

    @nnx.jit
    def step(model, optimizer, tokens):
        def loss(model):
            logits = model(tokens[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return value

    losses = [float(step(model, optimizer, train.tokens)) for _ in range(60)]
    assert losses[-1] < losses[0] - 0.5
    return world, model


def as_prompts(prompts):
    """Prompts of the synthetic world for a back end: what is scored is the right answer, shown or not."""
    contexts, built = [], []
    for i, ids in enumerate(np.asarray(prompts.tokens)):
        positions, answers = np.asarray(prompts.positions[i]), np.asarray(prompts.answers[i])
        n = len(positions)
        swaps = np.stack([np.zeros(n, np.int32), answers.astype(np.int32)], 1)[:, None]
        roles = np.tile(np.array([NONE, RIGHT], np.int8), (n, 1))
        spans = np.stack([positions, positions + 1], 1).astype(np.int32)
        built.append([Prompt(ids.astype(np.int32), spans, swaps, np.arange(n, dtype=np.int32), roles)])
        contexts.append(Context(str(int(prompts.source[i])), i, ()))
    return contexts, built


def test_exported_gpt2_has_the_curve_that_we_measure_ourselves(trained, tmp_path):
    """Back ends (a), on the exported checkpoint, and (c) against `iclbayes.icl`."""
    from transformers import GPT2LMHeadModel

    world, model = trained
    prompts = icl_prompts(world, jax.random.key(2), ks=(3,), count=20, context=48)
    ours = icl_curves(score_model(model, prompts)).assign(source=lambda x: x["source"].astype(str))
    contexts, built = as_prompts(prompts[0])
    export_gpt2(model, tmp_path / "gpt2")
    exported = GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2").eval()
    for name, backend in (("hf", HFBackend(exported)), ("flax", FlaxBackend.load(tmp_path / "gpt2"))):
        with Journal.open(tmp_path / f"{name}.jsonl", {}) as journal:
            score_all(built, contexts, backend, journal)
            curves = average(contexts, built, journal.done)
        both = ours.merge(curves, on=["source", "shots"], suffixes=("", "_llm"))
        assert len(both) == len(ours) == 2 * 12
        np.testing.assert_allclose(both["prob_llm"], both["prob"], rtol=1e-4)
        np.testing.assert_allclose(both["stderr_llm"], both["stderr"], rtol=1e-3)


def test_flax_back_end_with_text(tmp_path, folder):
    """`collect --backend flax` on a folder with a tokenizer equals back end (a) on the same folder."""
    _, tokenizer = load_model(folder / "chatml")
    model = GPT2(
        GPT2Config(vocab_size=len(tokenizer), context=600, n_layers=1, n_heads=2, width=16), rngs=nnx.Rngs(3)
    )
    export_gpt2(model, tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    found = {
        backend: collect(
            folder, tmp_path / f"{backend}.csv", model=str(tmp_path / "gpt2"), backend=backend, shuffles=2
        ).run()
        for backend in ("hf", "flax")
    }
    np.testing.assert_allclose(found["flax"]["prob"], found["hf"]["prob"], rtol=1e-4)


def test_without_the_extra_the_core_runs_and_the_message_is_one_line():
    code = """
import sys
for name in ("transformers", "torch", "httpx"):
    sys.modules[name] = None
from iclbayes import InputError, read_curves
import iclbayes.cli.collect, iclbayes.cli.import_lm_eval
from iclbayes.llm import collect
from iclbayes.llm.backends import load_tokenizer
for backend in ("hf", "openai"):
    try:
        __import__("iclbayes.llm.backends." + backend)
    except InputError as error:
        print(error)
try:
    load_tokenizer("x")
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = "the package {} is not installed; run: pip install 'iclbayes[llm]'"
    assert done.stdout.splitlines() == [said.format(name) for name in ("torch", "httpx", "transformers")]


def test_curves_say_how_many_shots_fit_the_context(folder, tmp_path):
    cut = collect(folder, tmp_path / "cut.csv", context_window=60, shuffles=2).run()
    assert cut["shots"].max() < 7 and (cut["window"] == cut.groupby("source")["shots"].transform("max")).all()
    whole = collect(folder, tmp_path / "whole.csv", shuffles=2).run()
    assert whole["shots"].max() == 7 and (whole["window"] > 7).all()
