"""The world's arrays against explicit Kronecker products, and the samplers against the arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iclbayes import InputError, ginc
from iclbayes.ginc import walks

SMALL = ginc.WorldConfig.small(seed=3)


@pytest.fixture(scope="module")
def world() -> ginc.World:
    return ginc.make_world(SMALL)


@pytest.fixture(scope="module")
def glass(world) -> ginc.World:
    """The same world with every hidden state emitting its own number, so that samples show their paths."""
    states = jnp.arange(SMALL.states, dtype=jnp.int32).reshape(SMALL.entities, SMALL.slots)
    return dataclasses.replace(world, emission=states)


def permutation_mixture(permutations, thresholds) -> np.ndarray:
    """Σ_i w_i Π_i with explicit permutation matrices."""
    weights = np.diff(np.append(0, np.append(np.asarray(thresholds[:-1], np.float64) / 2.0**32, 1)))
    return sum(w * np.eye(len(p))[np.asarray(p)] for w, p in zip(weights, permutations, strict=True))


def assert_frequencies(counts, probabilities):
    """Counts [..., n] of draws with these probabilities: within 5 standard errors, none where impossible."""
    total = counts.sum(-1, keepdims=True)
    spread = np.sqrt(total * probabilities * (1 - probabilities))
    assert np.all(np.abs(counts - total * probabilities) <= 5 * spread + 2)
    assert np.all(counts[probabilities == 0] == 0)


@pytest.mark.parametrize("config", [SMALL, ginc.WorldConfig.paper()], ids=["small", "paper"])
def test_transitions_are_kronecker_products_of_permutation_mixtures(config):
    world = ginc.make_world(config)
    entity = permutation_mixture(world.entity_permutations, world.entity_thresholds)
    np.testing.assert_array_equal(world.entity_permutations[-1], np.arange(config.entities))
    np.testing.assert_allclose(world.entity_transition, entity, atol=1e-6)
    assert np.all(np.diag(entity) >= 0.9 - 1e-6)
    full = np.asarray(world.transition())
    for z in range(config.hmms):
        slot = permutation_mixture(world.slot_permutations[z], world.slot_thresholds[z])
        np.testing.assert_allclose(full[z], np.kron(entity, slot), atol=1e-6)
    np.testing.assert_allclose(full.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(full.sum(-2), 1, atol=1e-5)  # permutations make it doubly stochastic
    np.testing.assert_allclose(world.start.sum(-1), 1, atol=1e-5)
    # softmax((u − ½) / 10) spans at most a factor e^0.1.
    span = world.start.max(-1) / world.start.min(-1)
    assert np.all((span > 1) & (span <= np.exp(0.1) + 1e-5))


def test_permutation_weights_have_the_temperature():
    thresholds = np.asarray(ginc.make_world(ginc.WorldConfig(hmms=60)).slot_thresholds, np.float64) / 2**32
    weights = np.diff(
        np.concatenate([np.zeros((60, 1)), thresholds[:, :-1], np.ones((60, 1))], axis=1), axis=1
    )
    u = np.log(weights) * 0.1  # uniform but for a constant of the row
    assert np.all(np.ptp(u, axis=1) < 1 + 1e-6)
    # The expected range of 10 uniforms is 9/11, its standard deviation 0.11.
    assert abs(np.ptp(u, axis=1).mean() - 9 / 11) < 4 * 0.11 / np.sqrt(60)


def test_emissions_and_emitters(world):
    table = np.asarray(world.emission)
    assert np.all(table[:, 0] == 0) and table[:, 1:].min() >= 1 and table[:, 1:].max() < SMALL.symbols
    for symbol in range(SMALL.symbols):
        listed = np.asarray(world.emitters[symbol])
        np.testing.assert_array_equal(listed[listed >= 0], np.flatnonzero(table.ravel() == symbol))
    every = np.asarray(ginc.make_world(ginc.WorldConfig(entities=200)).emission)[:, 1:]
    assert_frequencies(np.bincount(every.ravel(), minlength=50), np.append(0, np.full(49, 1 / 49)))
    assert (SMALL.pad, SMALL.bos, SMALL.vocab_size) == (24, 25, 26)


def test_one_seed_one_world(world):
    same, other = ginc.make_world(SMALL), ginc.make_world(ginc.WorldConfig.small(seed=4))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(world), jax.tree.leaves(same)))
    assert not np.array_equal(world.emission, other.emission)
    assert not np.array_equal(world.slot_transition, other.slot_transition)
    assert not np.array_equal(world.slot_transition[0], world.slot_transition[1])
    more = ginc.make_world(dataclasses.replace(SMALL, hmms=6))
    np.testing.assert_array_equal(more.emission, world.emission)
    np.testing.assert_array_equal(more.slot_transition[: SMALL.hmms], world.slot_transition)


def test_documents_follow_start_and_transitions(world, glass):
    documents = ginc.sample_documents(glass, jax.random.key(0), 4000, 24)
    tokens, hmm = np.asarray(documents.tokens), np.asarray(documents.hmm)
    assert tokens.shape == (4000, 24) and np.all(tokens[:, 0] == SMALL.bos)
    assert_frequencies(np.bincount(hmm, minlength=SMALL.hmms), np.full(SMALL.hmms, 1 / SMALL.hmms))
    n, full = SMALL.states, np.asarray(world.transition(), np.float64)
    for z in range(SMALL.hmms):
        paths = tokens[hmm == z, 1:]
        assert_frequencies(np.bincount(paths[:, 0], minlength=n), np.asarray(world.start[z], np.float64))
        counts = np.zeros((n, n))
        np.add.at(counts, (paths[:, :-1].ravel(), paths[:, 1:].ravel()), 1)
        assert_frequencies(counts, full[z])
        # Two steps: a move must not depend on the one before.
        counts = np.zeros((n, n))
        np.add.at(counts, (paths[:, 7], paths[:, 9]), 1)
        assert_frequencies(counts, full[z] @ full[z])


def test_weights_and_given_hmms(world):
    key = jax.random.key(1)
    weighted = ginc.sample_documents(world, key, 4000, 24, weights=[3, 1, 0, 0])
    assert_frequencies(np.bincount(weighted.hmm, minlength=4), np.array([0.75, 0.25, 0, 0]))
    given = ginc.sample_documents(world, key, 4000, 24, hmm=np.arange(4000) % 4)
    np.testing.assert_array_equal(given.hmm, np.arange(4000) % 4)
    again = ginc.sample_documents(world, key, 4000, 24, weights=[3, 1, 0, 0])
    np.testing.assert_array_equal(again.tokens, weighted.tokens)
    assert not np.array_equal(
        ginc.sample_documents(world, jax.random.key(2), 4000, 24).tokens, weighted.tokens
    )


def test_what_has_probability_0_is_never_drawn():
    extremes = jnp.array([0, 1, 2**31, 2**32 - 1], jnp.uint32)
    for scale in (1.0, 0.3, 7.0):
        drawn = walks.choose(extremes, scale * jnp.array([0.0, 0.4, 0.0, 0.6, 0.0]))
        np.testing.assert_array_equal(drawn, [1, 1, 3, 3])


def test_blocks_are_those_that_documents_are_cut_into(glass):
    blocks = np.asarray(ginc.sample_blocks(glass, jax.random.key(0), 6000, 8, blocks=3, hmm=0).tokens)
    documents = ginc.sample_documents(glass, jax.random.key(1), 4000, 24, hmm=0)
    cut = np.asarray(ginc.cut_blocks(documents, 8).tokens)
    assert cut.shape == (12000, 8)
    np.testing.assert_array_equal(cut[3:6].ravel(), documents.tokens[1])
    opens = blocks[:, 0] == SMALL.bos
    assert_frequencies(np.array([opens.sum(), (~opens).sum()]), np.array([1 / 3, 2 / 3]))
    for column in (0, 1, 7):
        ours = np.bincount(blocks[:, column], minlength=SMALL.vocab_size)
        theirs = np.bincount(cut[:, column], minlength=SMALL.vocab_size)
        pooled = (ours + theirs) / (ours + theirs).sum()
        np.testing.assert_array_less(np.abs(ours / 6000 - theirs / 12000), 5 * np.sqrt(pooled / 4000) + 1e-9)
    whole = ginc.sample_blocks(glass, jax.random.key(0), 6000, 8, blocks=1)
    assert np.all(np.asarray(whole.tokens[:, 0]) == SMALL.bos)


@pytest.mark.parametrize("bos", [False, True])
def test_prompts_have_the_structure_of_the_process(world, glass, bos):
    k, context, count = 3, 64, 1500
    prompts = ginc.sample_prompts(glass, jax.random.key(0), count, k, context, bos=bos)
    number = (context - bos) // (k + 1)
    assert prompts.positions.shape == (count, number) == (count, ginc.shots_per_prompt(k, context, bos))
    np.testing.assert_array_equal(prompts.shots, np.arange(number))
    tokens = np.asarray(prompts.tokens)
    assert tokens.shape == (count, context) and np.all(tokens[:, bos + number * (k + 1) :] == SMALL.pad)
    assert np.all(tokens[:, :bos] == SMALL.bos)
    examples = tokens[:, bos : bos + number * (k + 1)].reshape(count, number, k + 1)
    assert np.all(examples[..., k] == 0)  # the delimiter
    np.testing.assert_array_equal(
        np.take_along_axis(tokens, np.asarray(prompts.positions), axis=1), examples[..., k - 1]
    )

    entity, slot = np.divmod(examples[..., :k], SMALL.slots)
    source, start_slot = np.asarray(prompts.source), np.asarray(prompts.start_slot)
    assert np.all(slot[..., 0] == start_slot[:, None])
    assert_frequencies(np.bincount(start_slot, minlength=5), np.array([0, 1, 1, 1, 1]) / 4)
    assert_frequencies(np.bincount(entity[..., 0].ravel(), minlength=5), np.full(5, 0.2))
    pairs = np.bincount((entity[:, 0, 0] * 5 + entity[:, 1, 0]).ravel(), minlength=25)
    assert_frequencies(pairs, np.full(25, 0.04))  # fresh for every example
    full = np.asarray(world.transition(), np.float64)
    n = SMALL.states
    for z in range(SMALL.hmms):
        counts = np.zeros((n, n))
        here = examples[source == z]
        np.add.at(counts, (here[..., : k - 1].ravel(), here[..., 1:k].ravel()), 1)
        assert_frequencies(counts, full[z])
    # The answer is what the most probable transition emits, whatever was drawn.
    np.testing.assert_array_equal(prompts.answers, full.argmax(-1)[source[:, None], examples[..., k - 2]])
    assert np.mean(np.asarray(prompts.answers) != examples[..., k - 1]) > 0.05


def test_vmap_over_keys_is_a_loop(world):
    keys = jax.random.split(jax.random.key(5), 3)
    sample = lambda key: ginc.sample_prompts(world, key, 4, 3, 16)  # noqa: E731
    together, alone = jax.vmap(sample)(keys), [sample(key) for key in keys]
    for i, one in enumerate(alone):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(one)):
            np.testing.assert_array_equal(a[i], b)


def test_mistakes_are_named(world):
    key = jax.random.key(0)
    with pytest.raises(InputError, match="slots is 1; give an integer of at least 2"):
        ginc.WorldConfig(slots=1)
    with pytest.raises(InputError, match="temperature is 0"):
        ginc.WorldConfig(temperature=0)
    with pytest.raises(InputError, match="k is 1"):
        ginc.sample_prompts(world, key, 4, 1, 16)
    with pytest.raises(InputError, match="context of 3"):
        ginc.sample_prompts(world, key, 4, 3, 3)
    with pytest.raises(InputError, match="HMMs 0 to 3"):
        ginc.sample_documents(world, key, 4, 16, hmm=4)
    with pytest.raises(InputError, match=r"hmm has shape \(3,\)"):
        ginc.sample_documents(world, key, 4, 16, hmm=[0, 1, 2])
    with pytest.raises(InputError, match=r"weights have shape \(2,\)"):
        ginc.sample_documents(world, key, 4, 16, weights=[1, 1])
    with pytest.raises(InputError, match="not all of them 0"):
        ginc.sample_documents(world, key, 4, 16, weights=[1, -1, 0, 0])
    with pytest.raises(InputError, match="choose a divisor"):
        ginc.cut_blocks(ginc.Documents(jnp.zeros((2, 24), jnp.int32), jnp.zeros(2, jnp.int32)), 7)
