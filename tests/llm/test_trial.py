"""How long scoring will take, from a short trial before it starts."""

import re

import pytest
from test_more_shuffles import Counting, collected, examples

from iclbayes import llm
from iclbayes.llm import collection


class Slow(Counting):
    """A back end that takes a second for a thousand tokens, by its own clock, and works on three prompts at a time."""

    concurrency = 3

    def __init__(self):
        super().__init__()
        self.now, self.calls = 0.0, []

    def score(self, prompts):
        self.calls.append(len(prompts))
        for i, scores in super().score(prompts):
            self.now += len(prompts[i].ids) / 1000
            yield i, scores


@pytest.fixture
def engine(monkeypatch):
    engine = Slow()
    monkeypatch.setattr(collection.time, "perf_counter", lambda: engine.now)
    return engine


def test_a_trial_tells_the_time_and_scores_nothing_twice(engine, capsys):
    curves = llm.collect(engine, examples(12), shuffles=50, max_shots=5)[0]
    told = capsys.readouterr().err
    assert engine.calls == [3, 97] and len(set(engine.asked)) == 100
    total = int(re.search(r"100 prompts with ([\d,]+) tokens", told)[1].replace(",", ""))
    seconds, rate = re.search(
        r"about (\d+) s, at ([\d,]+) tokens/s as in a trial of 3 prompts", told
    ).groups()
    assert rate == "1,000"
    assert float(seconds) == pytest.approx(0.97 * total / 1000, abs=1)
    assert curves.equals(collected(Counting(), shuffles=50, max_shots=5))


def test_where_a_trial_would_be_much_of_the_work_there_is_none(engine, capsys):
    llm.collect(engine, examples(12), shuffles=10, max_shots=5)
    assert engine.calls == [20] and "trial" not in capsys.readouterr().err
