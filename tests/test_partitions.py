"""Curves in partitions: the same results as in one process, whatever the partitioning."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import iclbayes
from iclbayes import partitions
from iclbayes.errors import InputError

BY = ("model", "task")


def rows(groups: int = 6, seed: int = 0) -> pd.DataFrame:
    """Groups of two sources at nine numbers of shots."""
    rng = np.random.default_rng(seed)
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128])
    frames = []
    for g in range(groups):
        for source in (0, 1):
            prob = rng.uniform(0.5, 0.9) * (1 - np.exp(-(shots + 1) / rng.uniform(3, 30)))
            noisy = np.clip(prob + 0.01 * rng.standard_normal(len(shots)), 0.001, 0.999)
            frames.append(
                pd.DataFrame(
                    {"model": f"m{g % 3}", "task": g // 3, "source": source, "shots": shots, "prob": noisy}
                )
            )
    return pd.concat(frames, ignore_index=True)


def whole(frame: pd.DataFrame, law: str) -> pd.DataFrame:
    curves = iclbayes.curves_from_frame(frame, group_by=BY, source="source")
    return iclbayes.fit(curves, law).to_frame()


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal rows in any order. Condition numbers are left out: of 1e12 ones few digits are left."""
    keys = [*BY, "source"]
    found, expected = (
        t.drop(columns="condition").sort_values(keys, ignore_index=True) for t in (found, expected)
    )
    pd.testing.assert_frame_equal(found[list(expected)], expected, rtol=1e-6, check_dtype=False)


@pytest.mark.parametrize("law", ["logistic", "bayesian_scoring"])
def test_partitions_of_groups_give_the_fits_of_one_process(law):
    frame = rows()
    numbers = partitions.buckets(pa.Table.from_pandas(frame), BY, 3)
    assert len(set(numbers)) > 1
    parts = [
        partitions.fit_partition(
            pa.Table.from_pandas(frame[numbers == n]), (law,), group_by=BY, source="source"
        ).to_pandas()
        for n in np.unique(numbers)
    ]
    same(pd.concat(parts), whole(frame, law))


def test_a_bucket_holds_whole_groups_and_depends_on_the_labels_alone():
    frame = rows()
    numbers = partitions.buckets(pa.Table.from_pandas(frame), BY, 4)
    assert ((numbers >= 0) & (numbers < 4)).all()
    assert frame.assign(n=numbers).groupby(list(BY))["n"].nunique().eq(1).all()
    backwards = frame.iloc[::-1]
    again = partitions.buckets(pa.Table.from_pandas(backwards), BY, 4)
    np.testing.assert_array_equal(again[::-1], numbers)


def test_posteriors_of_a_partition_are_those_of_its_curves():
    frame = rows(groups=2)
    table = pa.Table.from_pandas(frame)
    options = {"group_by": BY, "source": "source", "seed": 3}
    found = partitions.posterior_partition(table, ("logistic",), shots=(256,), **options).to_pandas()
    from iclbayes.posterior import stack

    curves = iclbayes.curves_from_frame(frame, group_by=BY, source="source")
    expected = stack(curves, ("logistic",), seed=3).forecasts(np.union1d(curves.shots, [256.0]))[0]
    pd.testing.assert_frame_equal(found.drop(columns="table"), expected, check_dtype=False)
    both = partitions.posterior_partition(table, ("logistic",), level=0.5, **options).to_pandas()
    assert both["table"].value_counts().to_dict() == {"forecast": 4 * 9, "shots_to_reach": 4}


def test_what_cannot_be_done_in_partitions_is_refused():
    table = pa.Table.from_pandas(rows(groups=1))
    with pytest.raises(InputError, match="need columns to group by"):
        partitions.fit_partition(table, group_by=())
    with pytest.raises(InputError, match="hierarchy 'gamma' needs all groups together"):
        partitions.posterior_partition(table, ("logistic",), group_by=BY, hierarchy=("gamma",))


def test_an_empty_partition_gives_no_row():
    empty = pa.Table.from_pandas(rows(groups=1)).slice(0, 0)
    for function in (partitions.fit_partition, partitions.posterior_partition):
        found = function(empty, ("logistic",), group_by=BY, source="source")
        assert (found.num_rows, found.column_names) == (0, list(BY))
