"""Draws on disk: a repeated command goes on from the laws that were finished, and never takes what is not its own."""

import numpy as np
import pytest

import iclbayes
from iclbayes.posterior import sample, sampler
from iclbayes.posterior.sampling import kept

SMALL = {"n_chains": 2, "n_draws": 50, "n_importance": 400}


@pytest.fixture
def curves():
    return counts()


def counts(more: int = 0) -> iclbayes.Curves:
    """Two curves of counts of 100; `more` right answers at the first point."""
    shots = np.array([0, 1, 2, 4, 8, 16, 32, 64])
    right = np.array([np.round(20 + 60 * (1 - np.exp(-shots / scale))) for scale in (4, 20)])
    right[0, 0] += more
    return iclbayes.Curves.from_arrays(shots, right / 100, n_test=np.full(right.shape, 100))


@pytest.fixture
def sampled(monkeypatch):
    """Names of the laws that were really sampled."""
    names = []
    infer = sampler.infer

    def counted(spec, *arguments):
        names.append(spec.law.name)
        return infer(spec, *arguments)

    monkeypatch.setattr(sampler, "infer", counted)
    return names


def test_a_repeated_call_takes_the_draws_from_disk(curves, sampled, tmp_path):
    first = sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    again = sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    assert sampled == ["logistic"]
    for name in first.params:
        np.testing.assert_array_equal(first.params[name], again.params[name])
    assert first.diagnostics().equals(again.diagnostics())
    assert first.forecast([8.0, 128.0]).equals(again.forecast([8.0, 128.0]))


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"fraction": 0.5}, {"likelihood": "normal"}, {"discrepancy": None}, {"n_draws": 60}, {"method": "laplace"}],
)  # fmt: skip
def test_another_question_is_sampled(curves, sampled, tmp_path, change):
    sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    sample(curves, "logistic", kept_in=tmp_path, **(SMALL | change))
    assert len(sampled) == 2


def test_other_data_and_other_sources_are_sampled(curves, sampled, tmp_path, monkeypatch):
    sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    sample(counts(1), "logistic", kept_in=tmp_path, **SMALL)
    monkeypatch.setattr(kept, "code_version", lambda: "another version")
    sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    assert len(sampled) == 3


@pytest.mark.parametrize("damage", [b"", b"not a file of arrays", None])
def test_a_damaged_file_is_passed_over_and_replaced(curves, sampled, tmp_path, damage):
    first = sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(flipped) if damage is None else damage)
    again = sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    assert len(sampled) == 2
    np.testing.assert_array_equal(first.params["L"], again.params["L"])
    assert len(path.read_bytes()) == len(whole)


def test_a_place_that_cannot_be_written_costs_nothing_but_time(curves, tmp_path):
    (tmp_path / "file").write_text("no folder")
    sample(curves, "logistic", kept_in=tmp_path / "file", **SMALL)


def test_the_oldest_files_go_where_all_would_be_too_many(tmp_path, monkeypatch, curves):
    sample(curves, "logistic", kept_in=tmp_path, **SMALL)
    (first,) = tmp_path.glob("*.npz")
    monkeypatch.setattr(kept, "MOST_BYTES", int(1.5 * first.stat().st_size))
    import os

    os.utime(first, (1, 1))
    sample(curves, "logistic", seed=1, kept_in=tmp_path, **SMALL)
    (left,) = tmp_path.glob("*.npz")
    assert left != first
