"""`iclbayes.llm.read_inspect` on logs that inspect_ai itself writes with its mock model."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from iclbayes import InputError, read_curves
from iclbayes.cli.main import main
from iclbayes.llm import read_inspect

WRITE = Path(__file__).parent / "inspect_ai_logs" / "write.py"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The folders of logs that `write.py` writes."""
    if importlib.util.find_spec("inspect_ai") is None:
        pytest.skip("inspect_ai is not installed here (pip install 'iclbayes[inspect]')")
    folder = tmp_path_factory.mktemp("inspect")
    quiet = os.environ | {"INSPECT_DISPLAY": "none"}
    done = subprocess.run(
        [sys.executable, str(WRITE), str(folder)], capture_output=True, text=True, env=quiet, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("form", ["eval", "json"])
def test_a_sweep_over_a_task_argument(logs, form):
    frame, about = read_inspect(logs / form)
    assert frame["shots"].tolist() == [0, 2, 8] and frame["n_correct"].tolist() == [3, 6, 9]
    assert frame["n_test"].tolist() == [10] * 3 and frame["accuracy"].tolist() == [0.3, 0.6, 0.9]
    answers = [np.arange(10) < right for right in (3, 6, 9)]
    np.testing.assert_allclose(
        frame["stderr"], [np.std(a, ddof=1) / np.sqrt(10) for a in answers], rtol=1e-12
    )
    assert set(frame["model"]) == {"mockllm/model"} and set(frame["task"]) == {"quiz"}
    assert about["curves_by"] == ["model", "task"] and about["runs"] == 3 and about["skipped"] == []


def test_accuracies_are_those_of_the_samples_in_the_log(logs):
    frame, _ = read_inspect(logs / "json")
    for path in (logs / "json").glob("*.json"):
        log = json.loads(path.read_text())
        right = [sample["scores"]["match"]["value"] == "C" for sample in log["samples"]]
        [row] = frame[frame["shots"] == log["eval"]["task_args"]["num_fewshot"]].to_dict("records")
        assert (row["n_correct"], row["n_test"]) == (sum(right), len(right))


def test_what_names_the_shots_can_be_an_argument_or_metadata(logs):
    for folder, name in (("argument", "k"), ("metadata", "examples")):
        assert read_inspect(logs / folder, name)[0]["shots"].tolist() == [0, 4]
    with pytest.raises(
        InputError, match=r"no run says how many shots it had; .*\(--shots-from\); the runs have .*k"
    ):
        read_inspect(logs / "argument")
    with pytest.raises(
        InputError, match=r"no run has an argument or metadata depth .*; the runs have .*examples"
    ):
        read_inspect(logs / "metadata", "depth")


def test_samples_can_say_their_shots_themselves(logs):
    frame, _ = read_inspect(logs / "samples", "shown")
    assert frame["shots"].tolist() == [0, 2]
    assert frame["n_correct"].tolist() == [4, 2] and frame["n_test"].tolist() == [4, 6]
    np.testing.assert_allclose(frame["stderr"], [0.0, np.std([1, 1, 0, 0, 0, 0], ddof=1) / np.sqrt(6)])


def test_arguments_that_vary_are_columns(logs, tmp_path):
    frame, about = read_inspect(logs / "varying")
    assert about["curves_by"] == ["model", "task", "style", "temperature"] and about["skipped"] == []
    assert len(frame) == 8 and (frame.groupby(about["curves_by"])["shots"].nunique() == 2).all()
    assert set(frame["temperature"]) == {"none", "0.5"} and set(frame["style"]) == {"plain", "chat"}
    frame.to_csv(tmp_path / "curves.csv", index=False)
    assert read_curves(tmp_path / "curves.csv", group_by=about["curves_by"]).n_groups == 4


def test_seeds_are_replicates_and_of_equal_runs_the_larger_counts(logs):
    frame, about = read_inspect(logs / "seeds")
    assert frame["fewshot_seed"].tolist() == [1, 2] and frame["n_correct"].tolist() == [4, 8]
    [note] = about["skipped"]
    assert note.startswith("a smaller run of quiz after 2 shots") and note.endswith("has 10 samples, not 3")


def test_partial_credit_epochs_and_scorers(logs):
    [row] = read_inspect(logs / "credit")[0].to_dict("records")
    assert row["metric"] == "half/mean" and row["prob"] == 0.2 and "n_correct" not in row
    [row] = read_inspect(logs / "credit", scorer="match")[0].to_dict("records")
    assert row["metric"] == "match/accuracy" and (row["n_correct"], row["n_test"]) == (4, 10)
    with pytest.raises(InputError, match="has no scorer exact; it has half, match"):
        read_inspect(logs / "credit", scorer="exact")
    with pytest.raises(InputError, match="half has no f1 that is a share between 0 and 1"):
        read_inspect(logs / "credit", metric="f1")


def test_runs_that_did_not_finish_and_files_that_are_no_logs_are_named(logs):
    (logs / "broken" / "notes.json").write_text('{"a": 1}')
    (logs / "broken" / "torn.eval").write_text("PK")
    frame, about = read_inspect(logs / "broken")
    assert frame["shots"].tolist() == [0] and len(about["skipped"]) == 3
    assert sum("status cancelled" in note for note in about["skipped"]) == 1
    assert sum("cannot be read as a log of inspect_ai" in note for note in about["skipped"]) == 2
    with pytest.raises(InputError, match="holds no finished log of inspect_ai"):
        read_inspect(logs / "broken" / "torn.eval")
    with pytest.raises(InputError, match="no such file or folder"):
        read_inspect(logs / "none")


def test_the_command_writes_curves_that_are_read(logs, tmp_path, capsys):
    out = tmp_path / "curves.csv"
    assert main(["import-inspect", str(logs / "argument"), "--shots-from", "k", "--out", str(out)]) == 0
    assert "(1 curve, one for each model, task)" in capsys.readouterr().out
    curves = read_curves(out, group_by=["model", "task"])
    assert curves.shots.tolist() == [0, 4] and curves.n_correct.tolist() == [5, 5]
    assert main(["import-inspect", str(logs / "argument"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "name the argument or metadata that does (--shots-from)" in error


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(InputError, match=r"needs the package inspect_ai; pip install 'iclbayes\[inspect\]'"):
        read_inspect(tmp_path)
