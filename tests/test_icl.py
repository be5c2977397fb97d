"""ICL curves against full logits in NumPy, against SciPy's averages, and against the exact learners."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats
from flax import nnx

from iclbayes import InputError, ginc, icl
from iclbayes.models import GPT2, GPT2Config

CONFIG = ginc.WorldConfig.small(seed=3)
SIZES = GPT2Config(vocab_size=CONFIG.vocab_size, context=48, n_layers=2, n_heads=2, width=16)
KS = (3, 10)
COUNT = 102  # the first sources get one prompt more
forward = nnx.jit(lambda model, tokens: model(tokens))


def make_model(config=SIZES, seed=0) -> GPT2:
    """Random weights, embeddings scaled up so that predictions are far from uniform."""
    model = GPT2(config, rngs=nnx.Rngs(seed))
    model.token_embedding[...] = model.token_embedding[...] * 40
    return model


@pytest.fixture(scope="module")
def world() -> ginc.World:
    return ginc.make_world(CONFIG)


@pytest.fixture(scope="module")
def prompts(world):
    return icl.icl_prompts(world, jax.random.key(0), ks=KS, count=COUNT, context=48)


@pytest.fixture(scope="module")
def model() -> GPT2:
    return make_model()


def from_full_logits(model, one):
    """ln P(answer) and whether it is the argmax, [B, N], from all logits of all tokens."""
    logits = np.asarray(forward(model, one.tokens), np.float64)
    assert np.ptp(scipy.special.softmax(logits, -1)) > 0.2  # far from uniform, or the test sees nothing
    log_prob, correct = np.zeros(one.positions.shape), np.zeros(one.positions.shape, bool)
    for b, n in np.ndindex(*one.positions.shape):
        before = logits[b, one.positions[b, n] - 1]
        log_prob[b, n] = scipy.special.log_softmax(before)[one.answers[b, n]]
        correct[b, n] = before.argmax() == one.answers[b, n]
    return log_prob, correct


@pytest.mark.parametrize("batch", [40, 300])
def test_scores_are_those_of_full_logits(model, prompts, batch):
    scores = icl.score_model(model, prompts, batch=batch)
    assert [one.k for one in scores] == list(KS)
    for one, drawn in zip(scores, prompts):
        log_prob, correct = from_full_logits(model, drawn)
        np.testing.assert_allclose(one.log_prob, log_prob, atol=2e-5)
        np.testing.assert_array_equal(one.correct, correct)
        assert 0 < one.correct.mean() < 1
        np.testing.assert_array_equal(one.source, drawn.source)


@pytest.mark.smoke
def test_curves_are_averages_over_the_prompts_of_a_source(model, prompts):
    scores = icl.score_model(model, prompts, batch=40)
    frame = icl.icl_curves(scores, learner="gpt2", layers=2)
    assert list(frame.columns) == [
        *("learner", "layers", "source", "k", "shots", "prob", "stderr", "accuracy", "nll", "n")
    ]
    assert len(frame) == 4 * (48 // 4 + 48 // 11)
    assert (frame["learner"] == "gpt2").all() and (frame["layers"] == 2).all()
    assert frame.groupby(["k", "source"])["n"].first().to_list() == [26, 26, 25, 25] * 2
    for row in frame.itertuples():
        one = scores[KS.index(row.k)]
        probs = np.exp(one.log_prob[one.source == row.source, row.shots].astype(np.float64))
        np.testing.assert_allclose(row.prob, probs.mean())
        np.testing.assert_allclose(row.stderr, scipy.stats.sem(probs))
        np.testing.assert_allclose(row.nll, -np.log(probs.mean()))
        assert row.accuracy == one.correct[one.source == row.source, row.shots].mean()


def test_measuring_during_training_does_not_compile_again(model, prompts):
    icl.score_model(model, prompts, batch=40)
    compiled = icl.score_rows._cache_size()
    other = make_model(seed=1)
    first, second = (icl.score_model(m, prompts, batch=40) for m in (model, other))
    assert np.abs(first[0].log_prob - second[0].log_prob).max() > 0.1  # the new weights are used
    third = icl.score_model(nnx.split(other), prompts, batch=40)
    np.testing.assert_array_equal(second[0].log_prob, third[0].log_prob)
    assert icl.score_rows._cache_size() == compiled


def test_prompts_longer_than_the_context_lose_whole_examples(world, prompts):
    short = make_model(dataclasses.replace(SIZES, context=30))
    scores = icl.score_model(short, prompts, batch=40)
    for one, drawn in zip(scores, prompts):
        number = 30 // (drawn.k + 1)
        assert one.log_prob.shape == (COUNT, number)
        kept = dataclasses.replace(
            drawn,
            tokens=drawn.tokens[:, :30],
            positions=drawn.positions[:, :number],
            answers=drawn.answers[:, :number],
        )
        np.testing.assert_allclose(one.log_prob, from_full_logits(short, kept)[0], atol=2e-5)
    long = prompts[0]
    long = dataclasses.replace(
        long, tokens=np.insert(long.tokens, 0, CONFIG.bos, axis=1), positions=long.positions + 1, bos=True
    )
    cut = icl.cut_prompts(long, 32)
    assert cut.positions.shape == (COUNT, 7) and cut.tokens.shape == (
        COUNT,
        32,
    )  # BOS leaves room for one less
    assert cut.positions.max() < 32
    assert icl.cut_prompts(cut, 40) is cut


def test_prompts_share_sources_evenly_and_by_k(world, prompts):
    for one in prompts:
        np.testing.assert_array_equal(one.source, np.arange(COUNT) % 4)
    alone = icl.icl_prompts(world, jax.random.key(0), ks=[10], count=COUNT, context=48)[0]
    np.testing.assert_array_equal(alone.tokens, prompts[1].tokens)
    again = icl.icl_prompts(world, jax.random.key(1), ks=[10], count=COUNT, context=48)[0]
    assert not np.array_equal(again.tokens, alone.tokens)


def test_exact_learners_learn_in_context(world, prompts):
    drawn, curves = prompts[:1], {}
    for learner, function, options, rise in (
        ("exact_prompt", ginc.exact_prompt, {}, 0.15),
        # Fresh starts look odd to it; with jumps it recovers from them.
        ("exact_pretraining", ginc.exact_pretraining, {"restart": 1e-2}, 0.05),
    ):
        scores = icl.score_exact(world, drawn, learner, batch=40, **options)
        whole = function(world, drawn[0], symbols=True, **options)
        np.testing.assert_allclose(scores[0].log_prob, whole.answer, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(
            scores[0].correct, np.asarray(whole.symbols).argmax(-1) == drawn[0].answers
        )
        curves[learner] = icl.icl_curves(scores).groupby("shots")[["prob", "accuracy"]].mean()
        assert curves[learner]["prob"].iloc[-1] > curves[learner]["prob"].iloc[0] + rise
        assert curves[learner]["accuracy"].iloc[-1] > 0.7
    assert (curves["exact_prompt"]["prob"] - curves["exact_pretraining"]["prob"]).iloc[1:].min() > 0
    # An option reaches the learner: with nearly all prior weight on source 0, the others begin lower.
    skewed = icl.icl_curves(icl.score_exact(world, drawn, batch=40, weights=[0.97, 0.01, 0.01, 0.01]))
    even = icl.icl_curves(icl.score_exact(world, drawn, batch=40))
    change = (skewed["prob"] - even["prob"])[even["shots"] == 0].to_numpy()
    assert change[0] > 0 and change[1:].mean() < 0


def test_the_benchmark_measures_the_same_curves_in_every_row(capsys):
    path = Path(__file__).resolve().parent.parent / "experiments" / "bench_icl.py"
    spec = importlib.util.spec_from_file_location("bench_icl", path)
    bench = importlib.util.module_from_spec(spec)
    sys.modules["bench_icl"] = bench  # dataclasses look themselves up there
    spec.loader.exec_module(bench)
    tiny = bench.Settings(
        ks=(3,), count=9, context=16, layers=1, heads=1, width=8, batch=4, repeats=1, eager_prompts=0
    )
    seconds = bench.main(tiny)  # raises where the rows differ
    assert list(seconds) == ["iclbayes", "batch loop", "prompt loop"]
    assert min(seconds.values()) > 0 and "4 curves" in capsys.readouterr().out


def test_no_prompts_of_a_source_and_single_prompts():
    one = icl.PromptScores(
        3, np.array([2, 0, 0]), np.log(np.array([[0.5], [0.1], [0.3]], np.float32)), np.ones((3, 1), bool)
    )
    frame = icl.icl_curves([one])
    assert frame["source"].to_list() == [0, 2] and frame["n"].to_list() == [2, 1]
    np.testing.assert_allclose(frame["prob"], [0.2, 0.5], rtol=1e-6)
    np.testing.assert_allclose(frame["stderr"], [0.1, np.nan], rtol=1e-6)


def test_mistakes_are_named(world, model, prompts):
    key = jax.random.key(0)
    with pytest.raises(InputError, match="each once"):
        icl.icl_prompts(world, key, ks=(3, 3), count=8, context=16)
    with pytest.raises(InputError, match="at least 8"):
        icl.icl_prompts(world, key, ks=(3,), count=7, context=16)
    with pytest.raises(InputError, match="context of 3 holds no example"):
        icl.icl_prompts(world, key, ks=(3,), count=8, context=3)
    with pytest.raises(InputError, match="'bayes' is unknown; choose exact_prompt, exact_pretraining"):
        icl.score_exact(world, prompts, "bayes")
    with pytest.raises(InputError, match="batch is 0"):
        icl.score_model(model, prompts, batch=0)
    with pytest.raises(InputError, match="give a model of this world"):
        icl.score_model(make_model(dataclasses.replace(SIZES, vocab_size=5)), prompts)
    other = icl.cut_prompts(prompts[0], 16)
    with pytest.raises(InputError, match=r"rows of \[16, 48\] tokens"):
        icl.score_model(model, [*prompts, other])
