"""Lengths and the index that pads, against loops."""

import numpy as np
import pytest

from iclbayes.padding import WORTH, bucket_length, group_lengths, pad_index


@pytest.mark.parametrize("coarse", [False, True])
def test_lengths_are_the_first_rung_that_is_enough(coarse):
    rungs = (
        [8, 16, 32, 64, 128, 256, 512, 1024]
        if coarse
        else [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    )
    for n in range(rungs[-1] + 1):
        assert bucket_length(n, coarse=coarse) == next(r for r in rungs if r >= n)


def test_the_index_is_that_of_a_loop_over_curves():
    rng = np.random.default_rng(0)
    sizes = np.array([3, 0, 5, 1, 0, 4, 0])  # empty ones within and at the end
    start = np.r_[0, np.cumsum(sizes)]
    value = rng.uniform(size=start[-1])
    which = np.array([[2, 1, 6], [0, 3, 2]])
    points, real = pad_index(start, which, 8)
    assert points.shape == real.shape == (2, 3, 8)
    for place in np.ndindex(which.shape):
        own = value[start[which[place]] : start[which[place] + 1]]
        np.testing.assert_array_equal(real[place], np.arange(8) < len(own))
        np.testing.assert_array_equal(value[points[place]][real[place]], own)
        if len(own):
            np.testing.assert_array_equal(value[points[place]][~real[place]], own[0])
    assert ((points >= 0) & (points < len(value))).all()


def test_without_a_length_it_is_that_of_the_longest():
    start = np.array([0, 3, 4, 9])
    assert pad_index(start, np.array([0, 1]))[0].shape == (2, 3)
    assert pad_index(np.array([0, 0, 2]), np.array([0]))[0].shape == (1, 1)  # never without a place


def test_short_groups_join_longer_ones_while_that_is_cheap():
    longest = np.r_[np.full(10, 20), np.full(10, 90)]
    np.testing.assert_array_equal(group_lengths(longest, 3), np.full(20, 96))
    many = WORTH // (96 - 24) + 1  # one group more than is worth it
    lengths = group_lengths(np.r_[np.full(many, 20), 90], 1)
    np.testing.assert_array_equal(lengths, np.r_[np.full(many, 24), 96])
