"""Shapes of results of lm-evaluation-harness that other people's projects keep: read, or refused for the true reason."""

import json
import math

import numpy as np
import pytest
from lm_eval_files import folder_of, run
from scipy.special import softmax

from iclbayes import InputError, read_curves
from iclbayes.cli.import_lm_eval import ImportLmEval
from iclbayes.llm.lm_eval import choice_probabilities, read_results

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:126509be\nsize 800\n"


def old(shots: object = 0, value=0.5, stderr: object = 0.05, task="quiz", **top):
    """A results file of version 0.3.0, which says neither when it was written nor of how many examples it is."""
    config = {"model": "gpt2", "model_args": "pretrained=lab/tiny", "num_fewshot": shots, "limit": None}
    found = {task: {"acc": value, "acc_stderr": stderr}}
    return {"results": found, "versions": {task: 0}, "config": config} | top


def written(folder, **contents):
    for name, content in contents.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return folder


def skipped(folder):
    return read_results(folder)[1]["skipped"]


def test_shots_listed_in_the_order_of_the_tasks(tmp_path):
    """Stability AI's version takes shots for each task; its results stand in the order in which requests were run."""
    several = {
        "results": {name: {"acc": 0.5, "acc_stderr": 0.05} for name in ("copa", "wino", "squad", "maths")},
        "versions": {"copa": 1.1, "squad": 1.1, "maths": 1.0, "wino": 1.0},
    }
    frame, _ = read_results(written(tmp_path, a=old([3, 2, 5, 0], **several)))
    assert dict(zip(frame["task"], frame["shots"])) == {"copa": 3, "squad": 2, "maths": 5, "wino": 0}
    with pytest.raises(InputError, match="no task says how many shots it had"):
        read_results(written(tmp_path, a=old([3, 2, 5], **several)))


def test_settings_that_another_version_adds_tell_runs_apart(tmp_path):
    """How the model was quantized, say; what the harness itself says in `config` does not tell runs apart."""
    bits = {"bnb": run(5, 100, 0.6, quantization_module="bnb", bit_width="int4"), "base": run(0, 100, 0.7)}
    bits |= {"quanto": run(0, 100, 0.5, quantization_module="quanto", bit_width="int4", batch_size=8)}
    frame, about = read_results(written(tmp_path, **bits))
    assert (
        about["curves_by"] == ["model", "task", "bit_width", "quantization_module"] and about["skipped"] == []
    )
    assert dict(zip(frame["quantization_module"], frame["accuracy"])) == {
        "bnb": 0.6,
        "none": 0.7,
        "quanto": 0.5,
    }
    harmless = {
        "batch_sizes": [8],
        "no_cache": True,
        "write_out": True,
        "model_num_parameters": 8,
        "output_path": "x",
        "start_time": "12:05",
        "run_id": "a7",
        "log_dir": "/logs",
        "hostname": "node 3",
    }
    (tmp_path / "sweep").mkdir()
    _, about = read_results(written(tmp_path / "sweep", a=run(0), b=run(5, **harmless)))
    assert about["curves_by"] == ["model", "task"]
    (tmp_path / "trained").mkdir()
    steps = written(tmp_path / "trained", a=run(0, update_steps=100), b=run(0, update_steps=200))
    _, about = read_results(steps)
    assert about["curves_by"] == ["model", "task", "update_steps"]


def test_a_standard_error_of_nothing_is_unknown(tmp_path):
    """What a share of 0 or 1 gets for one; a posterior refuses a point that is known without error."""
    folder = written(tmp_path, a=old(0, 0.0, 0.0), b=old(4, 0.3, 0.01), c=old(8, 1.0, "0.0"))
    ImportLmEval(folder, tmp_path / "curves.csv").run()
    curves = read_curves(tmp_path / "curves.csv", group_by=["model", "task"])
    assert curves.prob.tolist() == [0.0, 0.3, 1.0]
    np.testing.assert_array_equal(curves.stderr, [math.nan, 0.01, math.nan])


@pytest.mark.parametrize(
    ("results", "holds"),
    [
        ({"acc": 0.7293, "f1": 0.9406}, "acc, f1"),
        ({}, "nothing"),
        ([{"name": "x", "score": 0.3}], "a list of 1"),
    ],
)
def test_a_file_whose_results_hold_no_task_is_named(tmp_path, results, holds):
    written(tmp_path, summary={"results": results, "mode": "several turns"})
    said = f"summary.json: its results hold no task with metrics, groups apart (they hold {holds})"
    with pytest.raises(InputError) as error:
        read_results(tmp_path)
    assert str(error.value).endswith(said)
    [note] = skipped(written(tmp_path, sound=run()))
    assert note.endswith(said)


def test_what_a_task_without_a_share_has(tmp_path):
    merged = {"arc": {"2022-07-05-16-57-22": {"acc": 0.4}}}
    scores = {"gen": {"bleu": 0.27, "bleu_stderr": 0.002}}
    notes = skipped(written(tmp_path, a=old(results=merged), b=old(results=scores), c=run()))
    assert (
        "arc has no metric that is a share of right answers (it has no number, only sections: 2022-07-05"
        in notes[0]
    )
    assert "gen has no metric that is a share of right answers (bleu 0.27)" in notes[1]


def test_a_score_above_1_shows_that_its_task_has_percentages(tmp_path):
    weak = old(0, results={"squad": {"exact_match": 0.5, "f1": 2.6}})
    notes = skipped(written(tmp_path, weak=weak, quiz=run()))
    assert len(notes) == 1 and "task squad has percentages (f1 2.6), and a curve needs shares" in notes[0]
    weaker = old(0, results={"squad": {"exact_match": 0.2, "f1": 0.7}})
    notes = skipped(written(tmp_path, another=weaker))
    assert (
        "another.json: task squad may have percentages, as " in notes[0]
        and "weak.json has (f1 2.6)" in notes[0]
    )
    sure = old(0, results={"sure": {"acc": 1.0000000000000002, "acc_norm": 1.0}})
    frame, _ = read_results(written(tmp_path, sure=sure), metric="acc_norm")
    assert frame["task"].tolist() == ["sure"]


def test_pointers_of_git_lfs_are_called_so(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: is a pointer of Git LFS, .* \(git lfs pull\)"):
        read_results(written(tmp_path, a=LFS))
    folder_of(tmp_path, run(n=2))
    (tmp_path / "samples_quiz_2026-01-01T00-00-00.000001.jsonl").write_text(LFS)
    assert len(skipped(tmp_path)) == 1
    with pytest.raises(InputError, match=r"samples_quiz_.*jsonl: is a pointer of Git LFS"):
        read_results(tmp_path, value="prob")


@pytest.mark.parametrize("name", ["pretrained=lab__tiny", "pretrained__lab__tiny"])
def test_samples_named_as_before_0_4_0(tmp_path, name):
    logs = [[-15.5, -15.8], [-17.3, -17.2]]
    samples = [
        {
            "doc": {"answer": str(r)},
            "arguments": ["Q:", " one"],
            "filtered_resps": [[x, False] for x in log],
            "acc": acc,
        }
        for log, r, acc in zip(logs, (2, 1), (0.0, 0.0))
    ]
    content = run(n=2, value=0.0, model_args="pretrained=lab/tiny")
    written(tmp_path, w={key: content[key] for key in ("results", "configs", "config")})
    (tmp_path / f"{name}_quiz.jsonl").write_text("\n".join(map(json.dumps, samples)))
    frame, _ = read_results(tmp_path, value="prob")
    right = softmax(logs, axis=1)[[0, 1], [1, 0]]
    np.testing.assert_allclose(frame["prob"], right.mean(), rtol=1e-12)


def test_samples_that_cannot_be_read_are_the_reason_whatever_else_was_left_out(tmp_path):
    folder_of(tmp_path, run(n=2), run(n=2, date=2.0))
    (tmp_path / "samples_quiz_2026-01-01T00-00-01.000001.jsonl").write_text('{"acc": 1.0}\n')
    with pytest.raises(InputError, match=r"samples_quiz_.*: sample 0 has no log likelihood of each choice"):
        read_results(tmp_path, value="prob")


def test_log_likelihoods_above_nothing_are_named():
    made_up = [{"filtered_resps": [[-0.8, False], [0.8, True]], "target": "1", "acc": 1.0}]
    with pytest.raises(
        InputError, match=r"sample 0 has no log likelihood of each choice \(0\.8 is above 0\)"
    ):
        choice_probabilities(made_up)


@pytest.mark.parametrize(
    ("one", "other", "end"),
    [
        (old(5), old(5), "comes later by name"),
        (old(5, 0.50), old(5, 0.55), "its acc is 0.55, not 0.5"),
        (old(5, 0.5), old(5, 0.8), "further apart than chance allows: if these are of different models, import them apart"),
        (old(5, 0.50, None), old(5, 0.80), "its acc is 0.8, not 0.5"),
        (old(5, experts={"pruned": 1, "time": 3}), old(5, experts={"pruned": 2, "time": 4}), "later by name; its experts.pruned"
         " is 2, not 1: if these are of different models, import them apart"),
        (old(5, wall_seconds=1, speed=0.5, tokenizer_pad_token="x"), old(5, wall_seconds=2), "comes later by name"),
        (run(5, n=900, value=0.5), run(5, n=1000, value=0.9), "has 1000 samples, not 900"),
    ],
)  # fmt: skip
def test_values_of_equal_runs_that_differ_are_told(tmp_path, one, other, end):
    [note] = skipped(written(tmp_path, a=one, b=other))
    assert note.endswith(end)


def test_far_values_of_equal_runs_are_not_lost_among_many(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.json").write_text(json.dumps(old(5, 0.5, task="calm")))
    notes = skipped(written(tmp_path, x=old(5, 0.2), y=old(5, 0.8)))
    assert notes[0].startswith("7 runs equal to another with more samples, or newer; the first: ")
    assert notes[1].endswith("import them apart") and len(notes) == 2


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (old(5, 0.4), "quiz after 5 shots (lab/tiny) does not say how many examples it had"),
        (
            run(task="essay", found={"micro_f1,none": 0.2857}),
            "essay after 2 shots (lab/tiny) has micro_f1,none, which is no count of right answers",
        ),
    ],
)
def test_counts_that_are_left_out_for_want_of_others_are_told(tmp_path, without, why):
    frame, about = read_results(written(tmp_path, a=run(), b=without))
    assert "n_correct" not in frame and len(frame) == 2
    [note] = about["skipped"]
    assert note.startswith("counts (n_correct, n_test) of 1 of 2 points") and why in note
    assert skipped(written(tmp_path, b=run(4))) == []
