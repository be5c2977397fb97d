"""Data sets, sources, flips and mixed contexts."""

import numpy as np
import pytest
from llm_helpers import rows, write_jsonl

from iclbayes import InputError
from iclbayes.llm.contexts import make_contexts
from iclbayes.llm.data import TASKS, Example, load_task


def persona(path, count=4):
    made = [
        {
            "question": f"Do you like number {i}?",
            "statement": "",
            "label_confidence": 0.9,
            "answer_matching_behavior": " Yes" if i % 2 else " No",
            "answer_not_matching_behavior": " No" if i % 2 else " Yes",
        }
        for i in range(count)
    ]
    return str(write_jsonl(path / "persona.jsonl", made))


def test_persona_questions_have_two_sources(tmp_path):
    for name in ("psychopathy", "machiavellianism", "narcissism", "persona/agreeableness"):
        examples = load_task(name, persona(tmp_path))
        assert [x.source for x in examples[:2]] == ["matching", "not_matching"]
        assert (examples[2].answer, examples[2].others) == ("Yes", ("No",))
        assert (examples[3].answer, examples[3].others) == ("No", ("Yes",))
        assert len(examples) == 8
    task = TASKS["narcissism"]
    assert (task.hub, task.file) == ("Anthropic/model-written-evals", "persona/narcissism.jsonl")


def test_creak(tmp_path):
    made = [{"sentence": "Snow is cold.", "label": "true"}, {"sentence": "Fire is wet. ", "label": "false"}]
    examples = load_task("creak", str(write_jsonl(tmp_path / "creak.json", made)))
    assert examples[1] == Example("Is this claim true or false? Fire is wet.", "false", (), ("true",))
    hidden = write_jsonl(tmp_path / "test.jsonl", [made[0] | {"label": "unknown"}])
    with pytest.raises(InputError, match="label 'unknown' is neither true nor false"):
        load_task("creak", str(hidden))


def test_logiqa(tmp_path):
    made = {
        "context": "All cats purr.",
        "query": "What purrs?",
        "options": ["Dogs", "Cats"],
        "correct_option": 1,
    }
    [example] = load_task("logiqa", str(write_jsonl(tmp_path / "logiqa.jsonl", [made])))
    assert example == Example("All cats purr.\nWhat purrs?\nA. Dogs\nB. Cats", "B", (), ("A",))
    with pytest.raises(InputError, match="correct_option 2 is not one of the 2"):
        load_task("logiqa", str(write_jsonl(tmp_path / "bad.jsonl", [made | {"correct_option": 2}])))


def test_harmbench_takes_the_answers_of_the_user(tmp_path):
    """Benign stand-ins for behaviours: what is asked for is to sing."""
    path = tmp_path / "behaviors.csv"
    path.write_text(
        "Behavior,ContextString,BehaviorID\n"
        '"Sing, please","The song: la","sing"\nHum,,hum\nWhistle,,whistle\n'
    )
    with pytest.raises(InputError, match="no answers are shipped; give your own file"):
        load_task("harmbench", str(path))
    answers = tmp_path / "answers.csv"
    answers.write_text("BehaviorID,answer\nhum,Sure: hmm\nsing,Sure: la la\n")
    examples = load_task("harmbench", str(path), str(answers))
    assert examples == [Example("The song: la\n\nSing, please", "Sure: la la"), Example("Hum", "Sure: hmm")]
    by_text = tmp_path / "text.csv"
    by_text.write_text("question,answer\nHum,Sure\n")
    assert load_task("harmbench", str(path), str(by_text)) == [Example("Hum", "Sure")]
    by_text.write_text("question,answer\nDance,Sure\n")
    with pytest.raises(InputError, match="none of its question values occurs in harmbench"):
        load_task("harmbench", str(path), str(by_text))


def test_files_of_rows(tmp_path):
    """Labels stay text in every format, and the optional columns may be missing."""
    csv = tmp_path / "rows.csv"
    csv.write_text(
        "question,answer,answer_other,answer_forms,source\nOne?,true,false,True|TRUE,a\nTwo?,1,,,b\n"
    )
    first, second = load_task(str(csv))
    assert first == Example("One?", "true", ("True", "TRUE"), ("false",), "a")
    assert (second.answer, second.source) == ("1", "b") and not any(second.others) and not any(second.forms)
    for answers in (["true", "false"], ["01", "2"], ["NA", "null"]):
        csv.write_text("question,answer\n" + "".join(f"Q?,{answer}\n" for answer in answers))
        assert [example.answer for example in load_task(str(csv))] == answers
    tsv = tmp_path / "rows.tsv"
    tsv.write_text("question\tanswer\nOne, two?\tNA\n")
    assert load_task(str(tsv)) == [Example("One, two?", "NA")]
    lines = write_jsonl(
        tmp_path / "rows.jsonl", [{"question": "Q?", "answer": "A", "answer_other": ["B", "C"]}]
    )
    assert load_task(str(lines)) == [Example("Q?", "A", (), ("B", "C"))]
    import pandas as pd

    pd.DataFrame({"question": ["Q?"], "answer": ["A"]}).to_parquet(tmp_path / "rows.parquet")
    assert load_task(str(tmp_path / "rows.parquet")) == [Example("Q?", "A")]


def test_bad_files_are_one_line(tmp_path):
    def refused(message, *args, **kwargs):
        with pytest.raises(InputError, match=message) as caught:
            load_task(*map(str, args), **kwargs)
        assert "\n" not in str(caught.value)

    refused("unknown task 'hellaswag': known are psychopathy", "hellaswag")
    refused("none.csv: no such file", tmp_path / "none.csv")
    refused("missing column answer; it has question", write_jsonl(tmp_path / "a.jsonl", [{"question": "Q"}]))
    (tmp_path / "bad.jsonl").write_text('{"question": "Q", "answer"\n')
    refused("bad.jsonl: line 1 is not whole JSON", tmp_path / "bad.jsonl")
    (tmp_path / "empty.csv").write_text("")
    refused("empty.csv: cannot be read as csv", tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text("question,answer\n")
    refused("header.csv: the file has no rows", tmp_path / "header.csv")
    blank = write_jsonl(tmp_path / "b.jsonl", [{"question": "Q", "answer": " "}])
    refused("example 0 has an empty question or answer", blank)
    alone = write_jsonl(tmp_path / "c.jsonl", [{"question": "Q", "answer": "A"}])
    refused("has no answer_other, so it has no second source", alone, contrast=True)
    refused("data and answers files are for named tasks", alone, data="x")
    (tmp_path / "x.txt").write_text("question,answer\n")
    refused("cannot read .txt", tmp_path / "x.txt")


def examples(count=400, source=""):
    return [Example(r["question"], r["answer"], (), (r["answer_other"],), source) for r in rows(count)]


def test_shuffles_are_permutations_with_the_seed():
    contexts = make_contexts(examples(30), shuffles=4, seed=3)
    assert [c.shuffle for c in contexts] == [0, 1, 2, 3]
    orders = [tuple(shot.question for shot in c.shots) for c in contexts]
    assert all(sorted(order) == sorted(orders[0]) for order in orders) and len(set(orders)) == 4
    assert make_contexts(examples(30), shuffles=4, seed=3) == contexts
    assert make_contexts(examples(30), shuffles=2, seed=3) == contexts[:2]
    assert make_contexts(examples(30), shuffles=4, seed=4) != contexts
    assert all(len(c.shots) == 6 for c in make_contexts(examples(30), shuffles=2, max_shots=5))


def test_sources_are_paired_shuffle_by_shuffle():
    both = [x for e in examples(10) for x in (e, Example(e.question, e.others[0], (), (e.answer,), "other"))]
    contexts = make_contexts(both, shuffles=3)
    assert [c.source for c in contexts] == [""] * 3 + ["other"] * 3
    for one, two in zip(contexts[:3], contexts[3:]):
        assert [s.question for s in one.shots] == [s.question for s in two.shots]


@pytest.mark.parametrize("flip", [0.0, 0.25, 1.0])
def test_labels_flip_with_the_given_probability(flip):
    data = examples()
    own = {e.question: e.answer for e in data}
    [noisy] = make_contexts(data, shuffles=1, flip=flip)
    [truth] = make_contexts(data, shuffles=1, flip=flip, score="true")
    flipped = [shot.shown != own[shot.question] for shot in noisy.shots]
    assert abs(np.mean(flipped) - flip) < 4 * np.sqrt(flip * (1 - flip) / len(data)) + 1e-9
    assert [s.shown for s in noisy.shots] == [s.shown for s in truth.shots]
    assert all(shot.right == (shot.shown,) for shot in noisy.shots)
    assert all(shot.right == (own[shot.question],) for shot in truth.shots)
    # The same examples are flipped first as the probability grows.
    [more] = make_contexts(data, shuffles=1, flip=min(1.0, flip + 0.3))
    assert all(shot.shown != own[shot.question] for f, shot in zip(flipped, more.shots) if f)


def test_benign_shots_come_first():
    data = examples(6, "calm") + examples(9, "wild")
    contexts = make_contexts(data, shuffles=2, max_shots=3, benign_source="calm", benign_shots=2)
    assert [(c.source, c.skip, len(c.shots)) for c in contexts] == [("wild", 2, 6)] * 2
    without = make_contexts(data[6:], shuffles=2, max_shots=3)
    for mixed, plain in zip(contexts, without):
        assert mixed.shots[2:] == plain.shots


def test_bad_settings_are_one_line():
    data = examples(5)

    def refused(message, given=data, **settings):
        with pytest.raises(InputError, match=message) as caught:
            make_contexts(given, **settings)
        assert "\n" not in str(caught.value)

    refused("at least 1", shuffles=0)
    refused("1.5 is not between 0 and 1", flip=1.5)
    refused("score is 'both'", score="both")
    refused("benign source 'calm' is not in the data; it has ''", benign_source="calm", benign_shots=1)
    refused("no source but the benign one", examples(5, "calm"), benign_source="calm", benign_shots=1)
    two = examples(2, "calm") + examples(2, "wild")
    refused("has 2 examples, fewer than 3", two, benign_source="calm", benign_shots=3)
    refused("label flips need a competing answer", [Example("Q?", "A")], flip=1.0)


LOGIQA = """
a
All apples in the bag are red. Some fruit in the bag is not red.
Which one follows?
A.Not all fruit in the bag are apples.
B. All fruit in the bag are apples.
C No fruit in the bag is an apple.
D.The bag is empty.

d
Rivers flow to the sea.
Which one is said?
A.One
B.Two
C.Three
d.Rivers flow.
"""


def test_logiqa_is_read_in_its_original_layout(tmp_path):
    path = tmp_path / "Eval.txt"
    path.write_text(LOGIQA.replace("\n", "\r\n"), newline="")
    first, second = load_task("logiqa", str(path))
    assert first.answer == "A" and first.others == ("B", "C", "D") and second.answer == "D"
    assert first.question.splitlines() == [
        "All apples in the bag are red. Some fruit in the bag is not red.",
        "Which one follows?",
        "A. Not all fruit in the bag are apples.",
        "B. All fruit in the bag are apples.",
        "C. C No fruit in the bag is an apple.",
        "D. The bag is empty.",
    ]
    assert second.question.endswith("D. Rivers flow.")
    path.write_text(LOGIQA.replace("Which one is said?\n", ""))
    with pytest.raises(InputError, match="block 2 is not 7 lines"):
        load_task("logiqa", str(path))


@pytest.mark.parametrize("name", ["none.txt", "./none", "/none/such", "a/b/c.parquet", "none.jsonl"])
def test_a_file_that_is_not_there_is_not_asked_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("iclbayes.llm.data._read_hub", lambda *a: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match=r"no such file|No such file"):
        load_task("logiqa", name)
