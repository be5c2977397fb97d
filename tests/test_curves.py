"""Curves as arrays: padding, selecting, regrouping, from dense arrays and back."""

import numpy as np
import pandas as pd
import pytest

import iclbayes
from iclbayes.errors import InputError
from iclbayes.padding import bucket_length


def frame(**columns):
    base = {"model": ["a", "a", "a", "b"], "shots": [0, 1, 2, 0], "prob": [0.2, 0.4, 0.6, 0.5]}
    return pd.DataFrame(base | columns)


def test_buckets_pad_with_weight_zero_and_cover_every_curve():
    rng = np.random.default_rng(0)
    rows = []
    for group in range(7):
        for source in range(1 + group % 2):
            for shots in range(int(rng.integers(1, 40))):
                rows.append((group, source, shots, rng.uniform()))
    table = pd.DataFrame(rows, columns=["g", "s", "shots", "prob"])
    curves = iclbayes.curves_from_frame(table, group_by=["g"], source="s")
    seen = []
    for bucket in curves.buckets():
        points = curves.padded(bucket.curves, bucket.length)
        real = points["weight"] > 0
        assert points["shots"].shape == (*bucket.curves.shape, bucket.length)
        assert bucket.length == bucket_length(bucket.length)
        np.testing.assert_array_equal(real.sum(-1), np.diff(curves.start)[bucket.curves])
        for curve, mine, prob in zip(
            *(a.reshape(-1, *a.shape[2:]) for a in (bucket.curves, real, points["prob"]))
        ):
            np.testing.assert_array_equal(
                prob[mine], curves.prob[curves.start[curve] : curves.start[curve + 1]]
            )
        seen.extend(bucket.curves.reshape(-1))
    assert sorted(seen) == list(range(curves.n_curves))
    assert len({(b.curves.shape[1], b.length) for b in curves.buckets()}) <= 2  # short groups share a bucket


def test_select_regroup_repeat_and_within_keep_points_together():
    table = pd.concat([frame(k=1), frame(k=2, prob=[0.1, 0.2, 0.3, 0.4])])
    curves = iclbayes.curves_from_frame(table, group_by=["model", "k"])
    chosen = curves.select(curves.keys["k"].to_numpy() == 2)
    np.testing.assert_array_equal(chosen.prob, [0.1, 0.2, 0.3, 0.4])
    merged, new, order = curves.regroup(["k"])
    assert merged.n_groups == 2 and len(new) == 4
    np.testing.assert_array_equal(merged.group, new[curves.group[order]])
    for now, before in enumerate(order):  # each curve has kept its points
        np.testing.assert_array_equal(
            merged.prob[merged.start[now] : merged.start[now + 1]],
            curves.prob[curves.start[before] : curves.start[before + 1]],
        )
    np.testing.assert_array_equal(merged.prob, [0.2, 0.4, 0.6, 0.5, 0.1, 0.2, 0.3, 0.4])
    twice = chosen.repeat(2)
    np.testing.assert_array_equal(twice.prob, np.tile(chosen.prob, 2))
    np.testing.assert_array_equal(twice.group, [0, 1, 2, 3])
    np.testing.assert_array_equal(chosen.within(0.5), [True, True, False, True])


def test_from_arrays_round_trip_and_errors():
    rng = np.random.default_rng(1)
    prob = rng.uniform(size=(3, 2, 5))
    weight = np.ones_like(prob)
    weight[1, 0, 3:] = 0
    curves = iclbayes.Curves.from_arrays(np.arange(5), prob, weight)
    assert len(curves.shots) == 28
    again = iclbayes.curves_from_frame(
        curves.to_frame().drop(columns="weight"), group_by=["group"], source="source"
    )
    np.testing.assert_allclose(again.prob, curves.prob)
    with pytest.raises(InputError, match="do not broadcast"):
        iclbayes.Curves.from_arrays(np.arange(4), prob)
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        iclbayes.Curves.from_arrays(np.arange(5), prob[0, 0])
