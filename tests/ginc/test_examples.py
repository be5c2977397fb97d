"""Rows made of examples: the sampler against the process written out in NumPy, the exact learner against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iclbayes import InputError, ginc

TINY = ginc.WorldConfig(seed=4, hmms=2, entities=2, slots=3, symbols=4, temperature=0.3, stay=0.6)
KS = (1, 2, 3)


@pytest.fixture(scope="module")
def world() -> ginc.World:
    return ginc.make_world(TINY)


def row_probabilities(world: ginc.World, length: int, ks, weights) -> dict[tuple[int, ...], float]:
    """P of every possible row, by running through all hypotheses and all paths of hidden states."""
    config = world.config
    emission, entity, slot = (
        np.asarray(x, float) for x in (world.emission, world.entity_transition, world.slot_transition)
    )
    rows: dict[tuple[int, ...], float] = {}

    def go_on(row, probability, place, e, s, hypothesis):
        if len(row) == length:
            rows[row] = rows.get(row, 0.0) + probability
            return
        z, start, k = hypothesis
        if place == k:
            go_on((*row, 0), probability, 0, None, None, hypothesis)
        elif place == 0:
            for e in range(config.entities):
                symbol = int(emission[e, start])
                go_on((*row, symbol), probability / config.entities, 1, e, start, hypothesis)
        else:
            for e_next, s_next in itertools.product(range(config.entities), range(config.slots)):
                p = entity[e, e_next] * slot[z, s, s_next]
                if p > 0:
                    symbol = int(emission[e_next, s_next])
                    go_on((*row, symbol), probability * p, place + 1, e_next, s_next, hypothesis)

    for z, start, k in itertools.product(range(config.hmms), range(1, config.slots), ks):
        go_on((), weights[z] / (config.slots - 1) / len(ks), 0, None, None, (z, start, k))
    return rows


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_the_exact_learner_equals_enumeration(world, weights):
    length = 6
    share = np.full(2, 0.5) if weights is None else np.array(weights) / np.sum(weights)
    rows = row_probabilities(world, length, KS, share)
    np.testing.assert_allclose(sum(rows.values()), 1, rtol=1e-6)
    prefix = {}
    for row, p in rows.items():
        for t in range(1, length + 1):
            prefix[row[:t]] = prefix.get(row[:t], 0.0) + p
    tokens = np.array(sorted(rows))
    expected = [
        [np.log(prefix[tuple(r[: t + 1])] / prefix[tuple(r[:t])]) for t in range(1, length)] for r in tokens
    ]
    found = ginc.example_log_probs(world, jnp.asarray(tokens), KS, weights=weights)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_predictions_at_prompts_equal_enumeration(world):
    prompts = ginc.sample_prompts(world, jax.random.key(0), 12, 2, 7)
    rows = row_probabilities(world, 5, KS, np.full(2, 0.5))
    prediction = ginc.exact_examples(world, prompts, KS, symbols=True)
    assert prediction.answer.shape == (12, 2)
    for b, n in itertools.product(range(12), range(2)):
        at = int(prompts.positions[b, n])
        seen = tuple(np.asarray(prompts.tokens[b, :at]).tolist())
        after = np.zeros(4)
        for row, p in rows.items():
            if row[:at] == seen:
                after[row[at]] += p
        after /= after.sum()
        np.testing.assert_allclose(np.exp(prediction.symbols[b, n]), after, atol=1e-5)
        np.testing.assert_allclose(
            np.exp(prediction.answer[b, n]), after[int(prompts.answers[b, n])], atol=1e-5
        )


def test_rows_have_the_probabilities_of_the_process(world):
    count, length = 40_000, 5
    drawn = np.asarray(
        ginc.sample_examples(world, jax.random.key(1), count, length, KS, weights=(1, 3)).tokens
    )
    rows = row_probabilities(world, length, KS, np.array([0.25, 0.75]))
    found, times = np.unique(drawn, axis=0, return_counts=True)
    observed = {tuple(row): n for row, n in zip(found.tolist(), times, strict=True)}
    assert set(observed) <= set(rows)
    expected = np.array([rows[row] for row in rows]) * count
    measured = np.array([observed.get(row, 0) for row in rows])
    chi2 = np.sum((measured - expected) ** 2 / expected)
    freedom = len(rows) - 1
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


def test_the_learner_of_prompts_is_that_of_rows_once_the_length_is_known():
    """One example length: nothing is left to find out, and both learners are the same."""
    world = ginc.make_world(ginc.WorldConfig.small(seed=2))
    prompts = ginc.sample_prompts(world, jax.random.key(3), 20, 4, 32)
    known, found = ginc.exact_prompt(world, prompts), ginc.exact_examples(world, prompts, (4,))
    np.testing.assert_allclose(found.answer, known.answer, atol=2e-4)
    # With other lengths in the list it has less to go on at first, and soon as much.
    unsure = ginc.exact_examples(world, prompts, (4, 2, 3))
    gap = np.mean(np.exp(known.answer) - np.exp(unsure.answer), axis=0)
    assert gap[0] > 0.05 and abs(gap[-1]) < 0.02


def test_a_row_is_one_task_one_slot_one_length():
    world = ginc.make_world(ginc.WorldConfig.small(seed=2))
    rows = ginc.sample_examples(world, jax.random.key(5), 64, 61, (4,), hmm=2)
    tokens = np.asarray(rows.tokens)
    assert tokens.shape == (64, 61) and (np.asarray(rows.hmm) == 2).all()
    assert (tokens[:, 4::5] == 0).all() and tokens.max() < world.config.symbols
    first = tokens[:, 0::5]  # the symbols of one slot, in as many entities
    emission = np.asarray(world.emission)
    for row in first:
        slots = [s for s in range(1, 5) if set(row) <= set(emission[:, s])]
        assert slots
    again = ginc.sample_examples(world, jax.random.key(5), 64, 61, (4,), hmm=2)
    np.testing.assert_array_equal(again.tokens, rows.tokens)
    # Rows of the task that wrote them are more probable under it than under another.
    own, other = (
        np.sum(ginc.example_log_probs(world, rows.tokens, (4,), weights=np.eye(4)[z]), axis=1) for z in (2, 1)
    )
    assert (own > other).all()


def test_padding_is_passed_over_and_what_cannot_be_is_said_to_be_so(world):
    rows = ginc.sample_examples(world, jax.random.key(6), 8, 12, KS).tokens
    whole = ginc.example_log_probs(world, rows, KS)
    cut = ginc.example_log_probs(world, rows.at[:, 9:].set(world.config.pad), KS)
    np.testing.assert_allclose(cut[:, :8], whole[:, :8], atol=1e-6)
    assert (np.asarray(cut[:, 8:]) == 0).all()
    impossible = jnp.zeros((1, 4), jnp.int32)  # a row never begins with the delimiter
    log_probs = np.asarray(
        ginc.example_log_probs(world, jnp.concatenate([impossible[:, :1] + 1, impossible], 1), (3,))
    )
    assert not np.isnan(log_probs).any()


def test_mistakes_are_named(world):
    key = jax.random.key(0)
    prompts = ginc.sample_prompts(world, key, 4, 2, 12)
    cases = {
        "give at least 2": lambda: ginc.sample_examples(world, key, 4, 1, KS),
        "each once": lambda: ginc.sample_examples(world, key, 4, 8, (2, 2)),
        "at least 1, each once": lambda: ginc.sample_examples(world, key, 4, 8, ()),
        "HMMs 0 to 1": lambda: ginc.sample_examples(world, key, 4, 8, KS, hmm=2),
        "weights have shape": lambda: ginc.example_log_probs(world, prompts.tokens, KS, weights=(1, 2, 3)),
        r"rows \[B, L\]": lambda: ginc.example_log_probs(world, prompts.tokens[0], KS),
        "prompts of length 2; rows made of examples have lengths 3, 5": lambda: ginc.exact_examples(
            world, prompts, (3, 5)
        ),
        "after BOS": lambda: ginc.exact_examples(
            world, ginc.sample_prompts(world, key, 4, 2, 12, bos=True), KS
        ),
    }
    for message, action in cases.items():
        with pytest.raises(InputError, match=message):
            action()
