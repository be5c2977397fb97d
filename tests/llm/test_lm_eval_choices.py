"""`--value prob`: the probability of the right choice is never one that contradicts the harness's own accuracy."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval_files import anything, folder_of, run, shared
from scipy.special import softmax

from iclbayes import InputError
from iclbayes.cli.import_lm_eval import ImportLmEval
from iclbayes.llm.lm_eval import choice_probabilities, read_results

STAMP = "2026-01-01T00-00-00.000001"
TEXTS = ("red", "green", "blue", "grey")


def logs_and_right(seed=0, examples=12, choices=4):
    rng = np.random.default_rng(seed)
    return rng.normal(-3, 2, (examples, choices)).clip(max=-0.01), rng.integers(0, choices, examples)


def line(logs, target, acc, texts=None, contexts=None, doc=None, i=0, **more):
    """A line of a samples file as version 0.4.13 writes it."""
    texts = texts or [f" {text}" for text in TEXTS[: len(logs)]]
    contexts = contexts or ["Q: what?\nA:"] * len(logs)
    return {
        "doc_id": i,
        "doc": doc or {},
        "target": str(target),
        "arguments": {f"gen_args_{c}": {"arg_0": contexts[c], "arg_1": texts[c]} for c in range(len(logs))},
        "filtered_resps": [[str(log), "False"] for log in logs],
        "filter": "none",
        "acc": acc,
    } | more


def written(path, samples, value=None, n=None, **changes):
    value = np.mean([s["acc"] for s in samples]) if value is None else value
    folder_of(path, run(n=n or len(samples), value=value, **changes))
    lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples]
    (path / f"samples_quiz_{STAMP}.jsonl").write_text("".join(lines), encoding="utf-8")
    return path


NUMBERS = [" 1", " 2", " 3", " 4"]


@pytest.mark.parametrize(
    ("targets", "settings"),
    [
        (lambda r: r, {}),  # the place
        (lambda r: TEXTS[r], {}),  # the text
        (lambda r: r + 1, {}),  # the place from one
        (lambda r: r + 1, {"texts": NUMBERS}),  # the text, which is a number
        (lambda r: r, {"texts": NUMBERS}),  # the place, while the texts are numbers
        (lambda r: "ABCD"[r], {}),
        (lambda r: f"({'ABCD'[r]})", {}),
        (lambda r: "ABCD"[r], {"texts": [" A", " B", " C", " D"]}),
    ],
)
def test_the_right_choice_is_read_from_its_target(tmp_path, targets, settings):
    logs, right = logs_and_right()
    samples = [line(log, targets(r), float(log.argmax() == r), **settings) for log, r in zip(logs, right)]
    frame, about = read_results(written(tmp_path, samples), value="prob")
    expected = softmax(logs, axis=1)[np.arange(12), right]
    [row] = frame.to_dict("records")
    np.testing.assert_allclose(row["prob"], expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(row["stderr"], expected.std(ddof=1) / np.sqrt(12), rtol=1e-12)
    assert row["n_correct"] == sum(logs.argmax(1) == right) and about["skipped"] == []


@pytest.mark.parametrize(
    "document",
    [
        lambda r: {"answer": str(r + 1)},
        lambda r: {"label": int(r)},
        lambda r: {"answerKey": "ABCD"[r]},
        lambda r: {"gold": {"index": int(r)}},
        lambda r: {"answer": "unknown", "labels": [int(c == r) for c in range(4)]},
    ],
)
def test_equal_continuations_behind_different_contexts(tmp_path, document):
    logs, right = logs_and_right(1)
    same = {"texts": [" was too big."] * 4, "contexts": [f"the {thing}" for thing in TEXTS]}
    accuracy = (logs.argmax(1) == right).astype(float)
    samples = [
        line(log, "was too big.", acc, doc={"id": 3} | document(r), **same)
        for log, r, acc in zip(logs, right, accuracy)
    ]
    frame, _ = read_results(written(tmp_path, samples), value="prob")
    np.testing.assert_allclose(frame["prob"], softmax(logs, axis=1)[np.arange(12), right].mean(), rtol=1e-12)


def test_equal_continuations_that_nothing_tells_apart_are_refused(tmp_path):
    logs, right = logs_and_right(1)
    same = {"texts": [" was too big."] * 4, "contexts": [f"the {thing}" for thing in TEXTS]}
    docs = [{"answer": TEXTS[r]} for r in right]  # what is no place
    samples = [
        line(log, "was too big.", float(log.argmax() == r), doc=d, **same)
        for log, r, d in zip(logs, right, docs)
    ]
    with pytest.raises(
        InputError, match="no reading of its samples' right choice agrees with their accuracy"
    ):
        read_results(written(tmp_path, samples), value="prob")


def test_of_two_choices_the_judgement_tells_which_is_right(tmp_path):
    [row] = read_results(shared("lm_eval_04"), value="prob")[0].to_dict("records")
    np.testing.assert_allclose(row["prob"], 1 / (1 + np.exp(-4.6)), rtol=1e-12)
    assert row["accuracy"] == 1.0
    logs, right = logs_and_right(2, choices=2)
    same = {"texts": [" fell."] * 2, "contexts": ["the cup", "the bag"]}
    samples = [line(log, "fell.", float(log.argmax() == r), **same) for log, r in zip(logs, right)]
    frame, _ = read_results(written(tmp_path, samples), value="prob")
    np.testing.assert_allclose(frame["prob"], softmax(logs, axis=1)[np.arange(12), right].mean(), rtol=1e-12)


def test_several_right_choices_are_summed(tmp_path):
    [row] = read_results(shared("lm_eval_19_mc2"), value="prob")[0].to_dict("records")
    weights = np.exp([-1.1, -1.1, -1.1, -8.0])
    np.testing.assert_allclose(row["prob"], weights[:3].sum() / weights.sum(), rtol=1e-12)

    logs, _ = logs_and_right(3)
    labels = np.random.default_rng(4).integers(0, 2, (12, 4))
    labels[:, 2] = 1
    share = (softmax(logs, axis=1) * labels).sum(1)
    docs = [{"mc2_targets": {"labels": [int(x) for x in own]}} for own in labels]
    samples = [line(log, 0, float(p), doc=doc) for log, p, doc in zip(logs, share, docs)]
    frame, _ = read_results(written(tmp_path, samples), value="prob")
    np.testing.assert_allclose(frame["prob"], share.mean(), rtol=1e-12)
    assert "n_correct" not in frame
    for sample in samples:  # nothing says which, and they are not the first ones
        sample["doc"] = {}
    with pytest.raises(InputError, match="no reading of its samples' right choice"):
        read_results(written(tmp_path, samples), value="prob")


@pytest.mark.parametrize(
    "listed", [lambda r: [int(r), int(r + 1) % 4], lambda r: [TEXTS[r], TEXTS[(r + 1) % 4]]]
)
def test_a_list_of_right_choices_is_summed(listed):
    logs, right = logs_and_right(5)
    samples = [line(log, listed(r), float(log.argmax() in (r, (r + 1) % 4))) for log, r in zip(logs, right)]
    p = softmax(logs, axis=1)
    expected = p[np.arange(12), right] + p[np.arange(12), (right + 1) % 4]
    np.testing.assert_allclose(choice_probabilities(samples), expected, rtol=1e-12)


def test_equal_log_likelihoods_are_refused_and_a_few_ties_are_not(tmp_path):
    samples = [line([-1.5] * 4, c, float(c == 0)) for c in (0, 1, 2, 3, 0, 0)]
    with pytest.raises(InputError, match="log likelihoods of all choices are equal in 6 of 6 samples"):
        read_results(written(tmp_path, samples), value="prob")
    logs, right = logs_and_right(6)
    logs[3] = -2.0
    samples = [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)]
    np.testing.assert_allclose(choice_probabilities(samples)[3], 0.25)


def test_a_judgement_that_no_reading_explains_is_refused():
    logs, right = logs_and_right(7)
    samples = [line(log, r, float(log.argmax() != r)) for log, r in zip(logs, right)]
    with pytest.raises(
        InputError, match="no reading of its samples' right choice agrees with their accuracy"
    ):
        choice_probabilities(samples)
    # Never answered rightly: nothing tells a place from zero from a place from one.
    samples = [line([-1.0, -2.0, -3.0, -0.1], target, 0.0) for target in (1, 2)]
    with pytest.raises(InputError, match="can be read in two ways"):
        choice_probabilities(samples)


def test_a_single_continuation_is_judged_by_whether_it_was_the_most_probable_text():
    samples = [line([log], "word", float(greedy)) for log, greedy in ((-0.2, 1), (-2.0, 0))]
    samples[0]["filtered_resps"][0][1] = "True"
    np.testing.assert_allclose(choice_probabilities(samples), np.exp([-0.2, -2.0]))
    samples[0]["acc"] = 0.0
    with pytest.raises(InputError, match="not whether the answer was the most probable text"):
        choice_probabilities(samples)


def test_choices_without_their_context_are_left_out():
    logs, right = logs_and_right(8)
    alone = np.random.default_rng(9).normal(-2, 2, logs.shape).clip(max=-0.01)
    texts, contexts = [f" {text}" for text in TEXTS] * 2, ["Q:"] * 4 + [""] * 4
    samples = [
        line([*log, *bare], r, float(log.argmax() == r), texts, contexts)
        for log, bare, r in zip(logs, alone, right)
    ]
    expected = softmax(logs, axis=1)[np.arange(12), right]
    np.testing.assert_allclose(choice_probabilities(samples), expected, rtol=1e-12)


def test_tasks_judged_by_length_alone(tmp_path):
    logs, right = logs_and_right(10)
    lengths = np.array([len(text) for text in TEXTS])
    samples = [
        line(log, r, None, acc_norm=float((log / lengths).argmax() == r)) for log, r in zip(logs, right)
    ]
    for sample in samples:
        del sample["acc"]
    np.testing.assert_allclose(
        choice_probabilities(samples), softmax(logs, axis=1)[np.arange(12), right], rtol=1e-12
    )
    del samples[3]["acc_norm"]
    with pytest.raises(InputError, match="sample 3 does not say whether it was answered rightly"):
        choice_probabilities(samples)


@pytest.mark.parametrize(
    "broken",
    [
        *([[log, "False"]] * 2 for log in ("nan", "inf", "-inf", "0.5")),
        *(["1 apple", "2"], [], None, [[], []], 3),
    ],
)  # fmt: skip
def test_what_is_no_log_likelihood_is_refused(broken):
    sample = line([-1.0, -2.0], 0, 1.0)
    sample["filtered_resps"] = broken
    with pytest.raises(InputError, match="sample 0 has no log likelihood"):
        choice_probabilities([sample])


def test_some_choices_may_be_impossible():
    samples = [line([-1.0, -np.inf], 0, 1.0), line([-np.inf, -0.5], 0, 0.0)]
    np.testing.assert_allclose(choice_probabilities(samples), [1.0, 0.0])


def test_lines_end_where_json_lines_end(tmp_path):
    logs, right = logs_and_right(11)
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    samples = [line(log, r, float(log.argmax() == r), doc={"text": odd}) for log, r in zip(logs, right)]
    frame, about = read_results(written(tmp_path, samples), value="prob")
    np.testing.assert_allclose(frame["prob"], softmax(logs, axis=1)[np.arange(12), right].mean(), rtol=1e-12)
    assert frame["n_test"].tolist() == [12] and about["skipped"] == []


def test_samples_that_are_not_those_of_the_results_are_refused(tmp_path):
    logs, right = logs_and_right()
    samples = [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)]
    with pytest.raises(InputError, match="holds 12 samples, and the results beside it are of 30"):
        read_results(written(tmp_path, samples, n=30), value="prob")
    with pytest.raises(
        InputError, match=r"the mean acc of its samples is 0\.\d+, and the results beside it say 0.990"
    ):
        read_results(written(tmp_path, samples, value=0.99), value="prob")


def test_a_refused_task_is_named_and_the_others_are_read(tmp_path, capsys):
    logs, right = logs_and_right()
    written(tmp_path, [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)])
    other = "2026-01-01T00-00-05.000001"
    content = run(n=2, value=1.0, task="maths")
    (tmp_path / f"results_{other}.json").write_text(json.dumps(content))
    generated = {"doc_id": 0, "target": "7", "filtered_resps": ["7"], "filter": "none", "acc": 1.0}
    (tmp_path / f"samples_maths_{other}.jsonl").write_text((json.dumps(generated) + "\n") * 2)
    frame = ImportLmEval(tmp_path, tmp_path / "curves.csv", value="prob").run()
    assert frame["task"].tolist() == ["quiz"]
    assert (
        "samples_maths_2026-01-01T00-00-05.000001.jsonl: sample 0 has no log likelihood"
        in capsys.readouterr().err
    )


def test_samples_of_0_4_2_are_one_list_named_by_the_model(tmp_path):
    logs, right = logs_and_right()
    content = run(
        n=None, value=float(np.mean(logs.argmax(1) == right)), model_args="pretrained=lab/tiny,dtype=float"
    )
    del content["n-samples"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    samples = [
        {
            "doc_id": i,
            "doc": {},
            "target": int(r),
            "arguments": [["Q:", f" {text}"] for text in TEXTS],
            "filtered_resps": [[float(x), False] for x in log],
            "acc": float(log.argmax() == r),
        }
        for i, (log, r) in enumerate(zip(logs, right))
    ]
    (tmp_path / "pretrained__lab__tiny,dtype__float_quiz.jsonl").write_text(json.dumps(samples, indent=2))
    frame, _ = read_results(tmp_path, value="prob")
    np.testing.assert_allclose(frame["prob"], softmax(logs, axis=1)[np.arange(12), right].mean(), rtol=1e-12)
    assert frame["n_test"].tolist() == [12]


def test_samples_inside_the_results_are_read(tmp_path):
    logs, right = logs_and_right()
    samples = [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)]
    value = float(np.mean(logs.argmax(1) == right))
    folder_of(tmp_path, run(n=12, value=value, top={"samples": {"quiz": samples}}))
    frame, _ = read_results(tmp_path, value="prob")
    np.testing.assert_allclose(frame["prob"], softmax(logs, axis=1)[np.arange(12), right].mean(), rtol=1e-12)


def test_runs_of_one_task_tell_together_what_one_alone_cannot(tmp_path):
    never = [line([-1.0, -2.0, -3.0, -0.1], target, 0.0) for target in (1, 2)]
    logs, right = logs_and_right()
    for shots, samples in (
        (0, never),
        (5, [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)]),
    ):
        (tmp_path / str(shots)).mkdir()
        written(tmp_path / str(shots), samples, shots=shots)
    frame, about = read_results(tmp_path, value="prob")
    p = softmax([-1.0, -2.0, -3.0, -0.1])
    assert frame["shots"].tolist() == [0, 5] and about["skipped"] == []
    np.testing.assert_allclose(frame["prob"].iloc[0], (p[1] + p[2]) / 2, rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["target", "arguments", "filtered_resps", "acc", "doc", "acc_norm"]), anything
        ),
        max_size=3,
    )
)
def test_no_sample_is_a_traceback(broken):
    logs, right = logs_and_right()
    sound = [line(log, r, float(log.argmax() == r)) for log, r in zip(logs, right)]
    try:
        found = choice_probabilities([*sound, *(sound[0] | sample for sample in broken)])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert ((found >= 0) & (found <= 1)).all()


def test_probabilities_in_files_that_the_harness_wrote():
    """Of tasks that tell their right choices in every way it has, from `lm_eval/make_choices.py`."""
    folder = Path(__file__).parent / "lm_eval"
    spec = importlib.util.spec_from_file_location("make_choices", folder / "make_choices.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)

    def expected(name, doc):
        if name == "contexts":
            logs = [made.log_likelihood(f"The {thing}", " was too big.") for thing in doc["two"]]
            return softmax(logs)[doc["gold"] % 2]
        texts = made.NUMBERS if name.startswith("numbers") else made.CHOICES
        right = {
            "numbers_text": [made.NUMBERS.index(doc["number"])],
            "several": doc["golds"],
            "mc2": np.flatnonzero(doc["labels"]),
        }.get(name, [doc["gold"]])
        return softmax([made.log_likelihood(doc["q"], f" {text}") for text in texts])[right].sum()

    frame, about = read_results(folder / "choices", value="prob")
    assert set(frame["task"]) == set(made.TASKS) and about["skipped"] == [] and set(frame["n_test"]) == {16}
    for row in frame.itertuples():
        means = np.mean([expected(row.task, doc) for doc in made.documents()])
        np.testing.assert_allclose(row.prob, means, rtol=1e-12)
