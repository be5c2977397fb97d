"""A law that misses what was measured without examples says so, in every command that takes laws."""

import numpy as np
import pandas as pd
import pytest

from iclbayes import Curves, posterior
from iclbayes.cli.main import main

SHOTS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])
TWO_STAGES = 0.02 + 0.45 * (SHOTS > 0) + 0.4 * (1 - np.exp(-SHOTS / 60))


@pytest.fixture
def curves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"shots": SHOTS, "prob": TWO_STAGES, "stderr": 0.01})
    table.to_csv("curves.csv", index=False)


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--law", "bayesian_scoring"],
        ["compare", "--law", "bayesian_scoring"],
        [
            "posterior",
            "--law",
            "bayesian_scoring",
            "--method",
            "laplace",
            "--no-discrepancy",
            "--likelihood",
            "normal",
        ],
    ],
)
def test_the_miss_is_named_with_its_size(curves, capsys, words):
    assert main([words[0], "curves.csv", *words[1:]]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "zero-shot point" in line]
    assert (
        len(lines) == 1 and "bayesian_scoring misses the zero-shot point of 1 of 1 curves by far" in lines[0]
    )
    assert "measured 0.02 at worst" in lines[0]


@pytest.mark.filterwarnings("ignore::iclbayes.posterior.PosteriorWarning")
def test_a_posterior_that_holds_the_point_says_nothing():
    prob = 0.1 + 0.6 / (1 + np.exp(2 - 0.5 * SHOTS))
    one = posterior.sample(
        Curves.from_arrays(SHOTS, prob[None]), "bayesian_scoring", method="laplace", discrepancy=None
    )
    assert one.zero_shot_misses().empty
    assert list(one.zero_shot_misses()) == ["group", "source", "observed", "fitted"]
