"""The exact learners against sums over all hidden paths, and their calibration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from iclbayes import InputError, ginc

TINY = ginc.WorldConfig(seed=1, hmms=2, entities=2, slots=3, symbols=4)
SMALL = ginc.WorldConfig.small(seed=3)


@pytest.fixture(scope="module")
def tiny() -> ginc.World:
    return ginc.make_world(TINY)


@pytest.fixture(scope="module")
def small() -> ginc.World:
    return ginc.make_world(SMALL)


def path_probability(first, transition, emission, observed) -> float:
    """P(observed symbols), summed over every hidden path. first [n], transition [n, n], emission [n]."""
    paths = np.array(list(itertools.product(range(len(first)), repeat=len(observed))))
    weight = first[paths[:, 0]] * np.prod(transition[paths[:, :-1], paths[:, 1:]], axis=1)
    return weight[np.all(emission[paths] == observed, axis=1)].sum()


def numpy_world(world, restart=0.0):
    transition = np.stack(
        [np.kron(world.entity_transition, slot) for slot in np.asarray(world.slot_transition)]
    )
    transition = (1 - restart) * transition.astype(np.float64) + restart / world.config.states
    return transition, np.asarray(world.emission).ravel(), np.asarray(world.start, np.float64)


def dense_filter(world, row, first, weights, restart=0.0):
    """Naive forward filter of one row: ln P of each token after the first, every state kept."""
    transition, emission, start = numpy_world(world, restart)
    out = []
    if row[0] == world.config.bos:
        total, alpha, rest = 1.0, weights[:, None] * start, row[1:]
    else:
        alpha = weights[:, None] * first * (emission == row[0])
        total, rest = alpha.sum(), row[1:]
        alpha = np.einsum("zi,zij->zj", alpha, transition)
    for token in rest:
        alpha = alpha * (emission == token)
        out.append(np.log(alpha.sum() / total))
        total = alpha.sum()
        alpha = np.einsum("zi,zij->zj", alpha / total, transition)
        total = 1.0
    return np.array(out)


@pytest.mark.smoke
@pytest.mark.parametrize("bos", [False, True])
def test_prompt_learner_sums_over_all_paths(tiny, bos):
    k, number = 3, 4
    weights = np.array([0.3, 0.7])
    prompts = ginc.sample_prompts(tiny, jax.random.key(0), 3, k, 16 + bos, bos=bos)
    ours = ginc.exact_prompt(tiny, prompts, weights=weights, symbols=True)
    transition, emission, _ = numpy_world(tiny)
    tokens = np.asarray(prompts.tokens)[:, bos:]

    def example(z, slot, observed):
        first = np.zeros(TINY.states)
        first[slot :: TINY.slots] = 1 / TINY.entities
        return path_probability(first, transition[z], emission, observed)

    for b in range(3):
        examples = tokens[b].reshape(number, k + 1)[:, :k]
        for n in range(number):
            joint = np.zeros(TINY.symbols)
            for z, slot in itertools.product(range(2), (1, 2)):
                before = weights[z] * np.prod([example(z, slot, seen) for seen in examples[:n]])
                if before:
                    joint += [before * example(z, slot, [*examples[n, :-1], a]) for a in range(TINY.symbols)]
            with np.errstate(divide="ignore"):
                expected = np.log(joint / joint.sum())
            np.testing.assert_allclose(ours.symbols[b, n], expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(
                ours.answer[b, n], expected[prompts.answers[b, n]], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("bos", [False, True])
def test_pretraining_learner_sums_over_all_paths(tiny, bos):
    k, restart, weights = 2, 1e-3, np.array([0.3, 0.7])
    prompts = ginc.sample_prompts(tiny, jax.random.key(0), 3, k, 6 + bos, bos=bos)
    ours = ginc.exact_pretraining(tiny, prompts, weights=weights, blocks=1, restart=restart, symbols=True)
    transition, emission, start = numpy_world(tiny, restart)
    for b, n in itertools.product(range(3), range(2)):
        prefix = np.asarray(prompts.tokens)[b, bos : prompts.positions[b, n]]
        joint = sum(
            weights[z]
            * np.array([path_probability(start[z], transition[z], emission, [*prefix, a]) for a in range(4)])
            for z in range(2)
        )
        expected = np.log(joint / joint.sum())
        np.testing.assert_allclose(ours.symbols[b, n], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.answer[b, n], expected[prompts.answers[b, n]], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def rows(small):
    """Rows of 32 tokens, cut from documents of three; one shape for all tests, whatever the weights."""
    return lambda weights: (
        ginc.sample_blocks(small, jax.random.key(3), 256, 32, blocks=3, weights=weights).tokens
    )


def test_documents_against_a_dense_filter(small, rows):
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    drawn = rows(weights)
    tokens = np.asarray(drawn)[:12]
    assert {True, False} == set(tokens[:, 0] == SMALL.bos)
    transition, _, start = numpy_world(small)
    power = np.linalg.matrix_power
    first = np.mean([[start[z] @ power(transition[z], j * 32 - 1) for z in range(4)] for j in (1, 2)], axis=0)
    ours = ginc.document_log_probs(small, drawn, blocks=3, weights=weights)[:12]
    expected = np.stack([dense_filter(small, row, first, weights) for row in tokens])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-4)
    nll = ginc.mixture_nll(small, drawn, blocks=3, weights=weights).rows[:12]
    np.testing.assert_allclose(nll, -expected.mean(1), rtol=1e-4)

    padded = np.array(drawn)
    padded[:, 20:] = SMALL.pad
    nll = ginc.mixture_nll(small, jnp.asarray(padded), blocks=3, weights=weights).rows[:12]
    np.testing.assert_allclose(nll, -expected[:, :19].mean(1), rtol=1e-4)


def test_float64_is_kept(tiny):
    with jax.enable_x64(True):
        world = ginc.make_world(TINY, dtype=jnp.float64)
        row = ginc.sample_documents(tiny, jax.random.key(0), 2, 40).tokens
        ours = ginc.document_log_probs(world, row, blocks=1)
        assert ours.dtype == jnp.float64
        for i in range(2):
            expected = dense_filter(world, np.asarray(row[i]), None, np.array([0.5, 0.5]))
            np.testing.assert_allclose(ours[i], expected, rtol=1e-10)


def test_prior_on_one_hmm_is_that_hmm(small, rows):
    tokens = rows([0, 0, 1, 0])
    alone = ginc.document_log_probs(small, tokens, blocks=3, weights=[0, 0, 1, 0])
    mixed = ginc.document_log_probs(small, tokens, blocks=3)
    # P_mixture(row) ≥ weight · P_hmm(row), up to the evidence of an unconditional first symbol.
    gap = np.asarray(alone.sum(1) - mixed.sum(1))
    assert np.all(gap < np.log(4) + 0.5) and gap.mean() > 0
    impossible = ginc.document_log_probs(small, tokens, blocks=3, weights=[1, 0, 0, 0])
    assert not np.any(np.isnan(impossible))
    assert np.mean(impossible.sum(1)) < np.mean(alone.sum(1))


@pytest.fixture(scope="module")
def many(small):
    return ginc.sample_prompts(small, jax.random.key(7), 400, 3, 48)


def at_positions(prompts) -> np.ndarray:
    return np.take_along_axis(np.asarray(prompts.tokens), np.asarray(prompts.positions), axis=1)


def test_predictions_are_distributions(small, many):
    for learner in (ginc.exact_prompt, ginc.exact_pretraining):
        prediction = learner(small, many, symbols=True)
        np.testing.assert_allclose(np.exp(prediction.symbols).sum(-1), 1, atol=1e-4)
        picked = np.take_along_axis(
            np.asarray(prediction.symbols), np.asarray(many.answers)[..., None], axis=-1
        )
        np.testing.assert_allclose(prediction.answer, picked[..., 0], rtol=1e-3, atol=1e-4)
    assert ginc.exact_prompt(small, many).symbols is None


def test_prompt_learner_is_calibrated_and_best(small, many):
    drawn = jnp.asarray(at_positions(many))
    realised = dataclasses.replace(many, answers=drawn)
    best = ginc.exact_prompt(small, realised, symbols=True)
    # Symbols occur as often as it says: for each symbol the surplus is a martingale difference over prompts.
    predicted = np.exp(best.symbols)
    surplus = (np.asarray(drawn)[..., None] == np.arange(SMALL.symbols)) - predicted
    z = surplus.sum((0, 1)) / np.sqrt((predicted * (1 - predicted)).sum((0, 1)) + 1e-9)
    assert np.abs(z).max() < 4.5
    # … and no other learner gives the sampled tokens a higher mean log probability.
    others = {
        "pretraining": ginc.exact_pretraining(small, realised, symbols=True).answer,
        "skewed prior": ginc.exact_prompt(
            small, realised, weights=[0.97, 0.01, 0.01, 0.01], symbols=True
        ).answer,
        "uniform": jnp.full(drawn.shape, -jnp.log(SMALL.symbols)),
    }
    for name, other in others.items():
        assert np.mean(best.answer - other) > 0, name
    # It learns in context: at the last shots it is surer of the right answer than at the first.
    curve = np.exp(ginc.exact_prompt(small, many, symbols=True).answer).mean(0)
    assert curve[-1] > curve[0] + 0.1


def test_mixture_nll_bounds_wrong_mixtures(small, rows):
    weights = np.array([0.7, 0.1, 0.1, 0.1])
    tokens = rows(weights)
    right = ginc.mixture_nll(small, tokens, blocks=3, weights=weights)
    np.testing.assert_allclose(right.mean, np.mean(right.rows), rtol=1e-6)
    np.testing.assert_allclose(right.stderr, scipy.stats.sem(right.rows), rtol=1e-5)
    for wrong in ([0.1, 0.7, 0.1, 0.1], [0.97, 0.01, 0.01, 0.01], None):
        assert np.mean(ginc.mixture_nll(small, tokens, blocks=3, weights=wrong).rows - right.rows) > 0


def test_smaller_restart_tends_to_a_limit(small, many):
    curves = [
        np.exp(ginc.exact_pretraining(small, many, restart=r).answer).mean() for r in (1e-2, 1e-6, 1e-8)
    ]
    assert np.all(np.isfinite(curves))
    assert abs(curves[2] - curves[1]) < abs(curves[1] - curves[0])


def test_batch_is_a_loop(small, many):
    whole = ginc.exact_prompt(small, many).answer
    one = jax.vmap(
        lambda tokens, positions, answers: ginc.exact_prompt(
            small,
            dataclasses.replace(many, tokens=tokens[None], positions=positions[None], answers=answers[None]),
        ).answer[0]
    )(many.tokens, many.positions, many.answers)
    np.testing.assert_allclose(one, whole, rtol=1e-4, atol=1e-4)


def test_mistakes_are_named(small, many):
    with pytest.raises(InputError, match="restart is 0"):
        ginc.exact_pretraining(small, many, restart=0)
    with pytest.raises(InputError, match="give rows"):
        ginc.document_log_probs(small, jnp.zeros(5, jnp.int32))
    with pytest.raises(InputError, match="weights have shape"):
        ginc.exact_prompt(small, many, weights=[1, 1])
