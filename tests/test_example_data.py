"""The example curves that ship with the package: what they claim to be, and the files that are written from them."""

import json

import numpy as np
import pandas as pd
import pytest
from make_examples import SIMULATED, simulate

import iclbayes
from iclbayes import examples
from iclbayes.errors import InputError
from iclbayes.llm.lm_eval import read_results


@pytest.mark.parametrize("name", list(SIMULATED))
def test_the_shipped_counts_are_those_that_the_script_draws(name):
    seed = (20_410, list(SIMULATED).index(name))
    fresh = simulate(SIMULATED[name], np.random.default_rng(seed))
    curves = examples.example_curves(name)
    np.testing.assert_array_equal(curves.n_correct, fresh["n_correct"])
    np.testing.assert_array_equal(curves.shots, fresh["shots"])
    assert examples.example_truth(name) == SIMULATED[name]


@pytest.mark.parametrize("name", list(SIMULATED))
def test_the_counts_scatter_around_the_stated_truth_as_binomial_counts_do(name):
    truth, curves = examples.example_truth(name), examples.example_curves(name)
    expected = []
    for group in truth["groups"]:  # the mean of the scoring law over speeds, by brute force
        k = group["efficiency"] * np.exp(group.get("spread", 0.0) * np.linspace(-6, 6, 2001))
        mass = np.exp(-0.5 * np.linspace(-6, 6, 2001) ** 2)
        rate = k[:, None] * np.array(truth["shots"]) * np.log(group["gamma"] / group["beta"])
        share = 1 / (1 + np.exp(-rate) * (1 - group["prior"]) / group["prior"])
        expected.append(group["beta"] + (group["gamma"] - group["beta"]) * (mass @ share / mass.sum()))
    p = np.concatenate(expected)
    z = (curves.prob - p) / np.sqrt(p * (1 - p) / curves.n_test)
    assert 0.6 < np.mean(z**2) < 1.5 and np.abs(z).max() < 3.5


def test_measured_curves_are_of_models_and_of_exact_learners_on_every_source():
    curves = examples.example_curves("synthetic")
    assert set(curves.keys["learner"]) >= {"gpt2", "exact_prompt"}
    assert (np.bincount(curves.group) == len(set(curves.source))).all()
    assert (curves.stderr > 0).all()
    with pytest.raises(InputError, match="measured, not simulated"):
        examples.example_truth("synthetic")


def test_written_files_read_back_as_the_same_curves(tmp_path):
    written = examples.write_examples(tmp_path / "new" / "folder")
    assert all(path.is_file() for path in written)
    for name in ("unsafe_answers", "synthetic"):
        group_by, source = examples.GROUPS[name]
        path = tmp_path / "new" / "folder" / f"{name}.csv"
        again = iclbayes.read_curves(path, group_by=group_by, source=source)
        pd.testing.assert_frame_equal(again.to_frame(), examples.example_curves(name).to_frame())
    truth = json.loads((tmp_path / "new" / "folder" / "unsafe_answers.json").read_text())
    assert truth == examples.example_truth("unsafe_answers")


def test_the_harness_results_import_as_the_curves_that_they_were_made_of(tmp_path):
    examples.write_examples(tmp_path)
    frame, about = read_results(tmp_path / "lm_eval")
    assert about["skipped"] == [] and about["runs"] == frame["shots"].nunique()
    expected = examples.example_curves("lm_eval").to_frame().sort_values(["task", "shots"])
    np.testing.assert_array_equal(frame["n_correct"], expected["n_correct"])
    np.testing.assert_array_equal(frame["task"], expected["task"])
    p = expected["prob"].to_numpy()
    np.testing.assert_allclose(frame["stderr"], np.sqrt(p * (1 - p) / (expected["n_test"] - 1)))


def test_mistakes_are_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match="unknown example curves 'x': choose one of unsafe_answers"):
        examples.example_curves("x")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        examples.write_examples(tmp_path / "file" / "folder")
