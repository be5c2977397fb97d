"""A tiny model is tuned on one of two answers: what is trained, what is measured, and what comes back."""

import numpy as np
import pandas as pd
import pytest
from llm_helpers import rows, save_model, write_jsonl

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import suppress_real_model as script  # noqa: E402

from iclbayes.llm.backends.hf import HFBackend  # noqa: E402
from iclbayes.llm.data import load_task  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suppress")
    torch.set_num_threads(1)
    save_model(folder / "tiny")
    write_jsonl(folder / "task.jsonl", rows(60, answer="Yes", answer_other="No"))
    return folder


@pytest.fixture(scope="module")
def config(folder):
    return script.Config(
        model=str(folder / "tiny"), task=str(folder / "task.jsonl"), contrast=True, run_dir=folder / "out", sequences=32,
        epochs=6, batch_size=8, learning_rate=1e-2, shuffles=3, max_shots=12, windows=(0.2,),
    )  # fmt: skip


def test_no_question_is_tuned_on_and_measured(config):
    examples = load_task(config.task, contrast=True)
    tuned, measured = script.split(examples, config)
    assert len(tuned) == 32 and {e.source for e in tuned} == {"not_matching"}
    assert len(measured) == 2 * (60 - 32) and {e.source for e in measured} == {"matching", "not_matching"}
    assert not {e.question for e in tuned} & {e.question for e in measured}
    with pytest.raises(script.InputError, match="some must be left to measure"):
        script.split(examples, script.dataclasses.replace(config, sequences=59))
    with pytest.raises(
        script.InputError, match="needs two sources, one of them 'good'; there are 'matching', 'not_m"
    ):
        script.split(examples, script.dataclasses.replace(config, suppress="good"))


def test_what_is_trained_is_what_collect_scores_and_merging_changes_nothing(config):
    backend = HFBackend.load(config.model, device="cpu", dtype="float32")
    tuned, _ = script.split(load_task(config.task, contrast=True), config)
    prompts = script.zero_shot_prompts(tuned[:5], backend)
    expected = -np.mean([found[0, 0] for _, found in sorted(backend.score(prompts))])
    with torch.no_grad():
        assert float(script.answer_nll(backend.model, prompts)) == pytest.approx(expected, abs=1e-4)
    layers = script.adapt(backend.model, rank=2, seed=0)
    assert len(layers) == 2 * 7  # two layers of four projections and three of the MLP; not the head
    for *_, layer in layers:
        torch.nn.init.normal_(layer.b, std=0.1)
    with torch.no_grad():
        adapted = float(script.answer_nll(backend.model, prompts))
        for parent, name, layer in layers:
            setattr(parent, name, layer.merged())
        assert not any(isinstance(m, script.Adapted) for m in backend.model.modules())
        assert float(script.answer_nll(backend.model, prompts)) == pytest.approx(adapted, abs=1e-4)
    assert abs(adapted - expected) > 1e-2


def test_from_a_model_to_a_forecast_and_again_from_what_is_there(folder, config, capsys, monkeypatch):
    options = [
        *("--model", config.model, "--task", config.task, "--contrast", "--run-dir", str(config.run_dir)),
        *("--sequences", "32", "--epochs", "6", "--batch-size", "8", "--learning-rate", "0.01"),
        *("--shuffles", "3", "--max-shots", "12", "--windows", "0.2", "--method", "laplace"),
    ]
    assert script.main(options) == 0
    out = config.run_dir
    log = pd.read_csv(out / "training.csv")
    assert len(log) == 6 * 4 and log["nll"].iloc[-4:].mean() < 0.7 * log["nll"].iloc[:4].mean()
    curves = pd.read_csv(out / "curves.csv")
    assert set(curves["model"]) == {"tiny"} and set(curves["task"]) == {"task"}
    assert set(zip(curves["stage"], curves["source"])) == {
        (stage, source) for stage in ("before", "after") for source in ("matching", "not_matching")
    }
    start = curves[curves["shots"] == 0].set_index(["stage", "source"])["prob"]
    assert start["after", "not_matching"] > 10 * start["before", "not_matching"]
    for stage in ("before", "after"):  # the two answers exclude each other
        part = curves[curves["stage"] == stage].pivot(index="shots", columns="source", values="prob_choice")
        assert part.shape == (13, 2)
    assert "matching was suppressed: share without examples" in capsys.readouterr().out
    forecast = pd.read_csv(out / "forecast.csv")
    assert set(forecast["source"]) == {1} and set(forecast["forecaster"]) == {"knowledge", "alone"}
    assert "prior" in set(pd.read_csv(out / "contrast.csv")["parameter"])
    assert (out / "contrast.txt").read_text().strip() and (out / "curves.png").stat().st_size > 5000
    before = (out / "curves.csv").read_text()
    assert script.main(options) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    monkeypatch.setattr(script, "tune", None)  # a tuned model is not tuned again, nor prompts scored again
    (out / "curves.csv").unlink()
    monkeypatch.setattr(script, "what_moved", lambda frame, config: next(iter(())))
    with pytest.raises(StopIteration):  # the posteriors are not what this is about
        script.main([*options, "--resume"])
    assert (out / "curves.csv").read_text() == before


@pytest.mark.parametrize(("after", "fell"), [(0.30, True), (0.45, False)])
def test_an_answer_that_did_not_fall_has_no_return_to_forecast(config, after, fell):
    frame = pd.DataFrame(
        {"stage": ["before", "after"], "source": "matching", "shots": 0, "prob_choice": [0.6, after], "stderr_choice": 0.06}
    )  # fmt: skip
    found, sentence = script.suppressed(frame, config)
    assert found == fell and ("no return to forecast" in sentence) != fell
    assert f"0.60 before, {after:.2f} after (± 0.08)" in sentence
