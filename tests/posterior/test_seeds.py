"""Seeds: streams by purpose that neither collide nor depend on the order in which they are asked for."""

import itertools

import numpy as np

from iclbayes.posterior.seeds import PURPOSES, stream, unit_keys


def numbers(seed):
    return tuple(np.random.default_rng(seed).integers(0, 2**63, 4))


def test_no_two_streams_of_any_seeds_purposes_and_parts_are_alike():
    streams = [stream(seed, purpose) for seed in range(40) for purpose in PURPOSES]
    streams += [stream(s, p, part) for s, p, part in itertools.product(range(40), PURPOSES, range(40))]
    streams += [
        stream(stream(s, "sampling", a), "chains", b) for s, a, b in itertools.product(range(5), repeat=3)
    ]
    assert len({numbers(s) for s in streams}) == len(streams)


def test_a_stream_is_the_child_that_numpy_spawns():
    root = np.random.SeedSequence(7)
    children = root.spawn(len(PURPOSES))
    for purpose, child in zip(PURPOSES, children, strict=True):
        assert numbers(stream(7, purpose)) == numbers(child)
        assert numbers(stream(root, purpose, 1)) == numbers(child.spawn(2)[1])


def test_keys_of_units_differ_and_do_not_depend_on_how_many_units_there_are():
    seed = stream(0, "chains")
    keys = unit_keys(seed, 1000)
    assert keys.shape == (1000, 2) and len(np.unique(keys, axis=0)) == 1000
    np.testing.assert_array_equal(unit_keys(seed, 10), keys[:10])
