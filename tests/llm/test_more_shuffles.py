"""More shuffles or shots into the same files: exactly the missing prompts are scored, and the curves are those of one run."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from llm_helpers import make_tokenizer, rows

from iclbayes import InputError, llm
from iclbayes.llm import Example


class Counting:
    """A back end whose scores are made up from the prompt, and which keeps what it was asked."""

    in_pass, window = True, None

    def __init__(self):
        self.tokenizer, self.asked = make_tokenizer(), []

    def score(self, prompts):
        for i, prompt in enumerate(prompts):
            self.asked.append(prompt.key)
            seed = int(hashlib.sha256(prompt.ids.tobytes()).hexdigest()[:8], 16)
            values = np.random.default_rng(seed).uniform(-9, -3, prompt.roles.shape)
            yield i, np.where(prompt.roles >= 0, values, np.nan)

    def describe(self):
        return {"backend": "counting", "versions": {}}


def examples(count):
    return [
        Example(f"{source}: {row['question']}", row["answer"], (), ("neither of the two",), source)
        for source in "ab"
        for row in rows(count)
    ]


@pytest.fixture
def engine():
    return Counting()


def collected(engine, journal=None, count=12, **settings):
    return llm.collect(engine, examples(count), journal=journal, progress=False, **settings)[0]


@pytest.mark.parametrize("others", [False, True])
def test_two_hundred_shuffles_after_fifty_score_the_missing_ones(engine, tmp_path, others):
    settings = {"max_shots": 5, "others": others}
    once = collected(engine, shuffles=200, **settings)
    alone, engine.asked = engine.asked, []
    collected(engine, tmp_path / "j", shuffles=50, **settings)
    first, engine.asked = engine.asked, []
    more = collected(engine, tmp_path / "j", shuffles=200, **settings)
    assert len(set(alone)) == len(alone) and len(set(first)) == len(first)
    assert not set(first) & set(engine.asked)
    assert set(first) | set(engine.asked) == set(alone) and len(first) + len(engine.asked) == len(alone)
    if not others:
        assert (len(first), len(engine.asked)) == (50 * 2, 150 * 2)
    pd.testing.assert_frame_equal(more, once)
    assert (more["n_test"] == 200).all()
    # Fewer again: nothing is scored, and the curves are those of the first run.
    engine.asked = []
    pd.testing.assert_frame_equal(
        collected(engine, tmp_path / "j", shuffles=50, **settings), collected(engine, shuffles=50, **settings)
    )
    assert sorted(engine.asked) == sorted(first)  # by the second call alone, which has no journal


def test_more_shots_score_what_is_new(engine, tmp_path):
    settings = {"shuffles": 4, "others": True}
    collected(engine, tmp_path / "j", max_shots=3, **settings)
    first, engine.asked = set(engine.asked), []
    more = collected(engine, tmp_path / "j", max_shots=6, **settings)
    added, engine.asked = set(engine.asked), []
    once = collected(engine, max_shots=6, **settings)
    pd.testing.assert_frame_equal(more, once)
    assert added == set(engine.asked) - first and added < set(engine.asked)
    # Where the data hold no more shots, a larger number changes nothing.
    collected(engine, tmp_path / "j2", count=5, max_shots=4, **settings)
    engine.asked = []
    collected(engine, tmp_path / "j2", count=5, max_shots=40, **settings)
    collected(engine, tmp_path / "j2", count=5, **settings)
    assert engine.asked == []


def test_a_longer_context_adds_too_and_other_settings_are_refused(engine, tmp_path):
    collected(engine, tmp_path / "j", shuffles=2, context_window=150)
    engine.asked = []
    longer = collected(engine, tmp_path / "j", shuffles=2, context_window=300)
    assert len(engine.asked) == 4
    pd.testing.assert_frame_equal(longer, collected(engine, shuffles=2, context_window=300))
    for changed in ({"seed": 1}, {"flip": 0.5}, {"others": True}, {"first_tokens": 1}, {"template": "plain"}):
        with pytest.raises(InputError, match="holds the finished prompts of another run"):
            collected(engine, tmp_path / "j", shuffles=2, **changed)
