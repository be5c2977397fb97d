"""Importing results that lm-evaluation-harness 0.4.13 really wrote (`lm_eval`), and older layouts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from iclbayes import InputError, read_curves
from iclbayes.cli.import_lm_eval import ImportLmEval
from iclbayes.llm.lm_eval import read_results

SWEEP = Path(__file__).parent / "lm_eval" / "sweep"
SHOTS = (0, 1, 2, 4)


def harness(shots):
    """The results of one run, as it wrote them."""
    [path] = (SWEEP / str(shots)).rglob("results_*.json")
    return json.loads(path.read_text())


def samples(shots):
    [path] = (SWEEP / str(shots)).rglob("samples_sizes_*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("metric", [None, "acc", "acc_norm", "acc_norm,none"])
def test_accuracies_errors_and_counts_are_those_of_the_harness(tmp_path, metric):
    out = tmp_path / "curves.csv"
    ImportLmEval(SWEEP, out, metric=metric).run()
    written = pd.read_csv(out, float_precision="round_trip")
    assert len(written) == 8 and set(written["model"]) == {"model"}
    name = (metric or "acc").split(",")[0]
    for row in written.itertuples():
        run = harness(int(row.shots))
        found = run["results"][row.task]
        assert row.accuracy == row.n_correct / row.n_test == found[f"{name},none"]
        assert row.stderr == found[f"{name}_stderr,none"]
        assert row.n_test == run["n-samples"][row.task]["effective"]
        if row.task == "sizes":
            assert row.n_correct == sum(sample[name] for sample in samples(int(row.shots)))
    read = read_curves(out, group_by=["model", "task"])
    assert read.n_groups == 2 and read.prob.tolist() == written["accuracy"].tolist()
    assert read.n_correct.tolist() == written["n_correct"].tolist()
    np.testing.assert_allclose(read.stderr, written["stderr"], rtol=1e-14)
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["harness"] == ["0.4.13"] and about["runs"] == 4 and about["skipped"] == []


def test_probabilities_of_the_right_choice_from_samples(tmp_path, capsys):
    out = tmp_path / "curves.csv"
    ImportLmEval(SWEEP, out, value="prob").run()
    assert capsys.readouterr().err.count("no samples beside its results") == 4  # `colours` has none
    read = read_curves(out, group_by=["task"]).to_frame()
    assert read["task"].unique().tolist() == ["sizes"]
    for row in read.itertuples():
        logs = [[float(answer[0]) for answer in s["filtered_resps"]] for s in samples(int(row.shots))]
        right = [s["doc"]["label"] for s in samples(int(row.shots))]
        prob = softmax(np.array(logs), axis=1)[np.arange(24), right]
        np.testing.assert_allclose(row.prob, prob.mean(), rtol=1e-12)
        np.testing.assert_allclose(row.stderr, prob.std(ddof=1) / np.sqrt(24), rtol=1e-12)


def copied(tmp_path, change=lambda run: run):
    """A copy of the sweep in which every run is changed."""
    folder = tmp_path / "sweep"
    shutil.copytree(SWEEP, folder)
    for path in folder.rglob("results_*.json"):
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return folder


def test_groups_are_left_out(tmp_path):
    def grouped(run):
        run["results"]["both"] = {"acc,none": 0.9, "acc_stderr,none": "N/A", "alias": "both"}
        run["groups"] = {"both": run["results"]["both"]}
        run["group_subtasks"] = {"both": ["colours", "sizes"]}
        run["results"]["sizes"]["acc_stderr,none"] = "N/A"
        return run

    frame, _ = read_results(copied(tmp_path, grouped))
    assert set(frame["task"]) == {"colours", "sizes"}
    assert frame.loc[frame["task"] == "sizes", "stderr"].isna().all()
    assert frame.loc[frame["task"] == "colours", "stderr"].notna().all()


def test_newest_of_equal_runs_counts(tmp_path):
    folder = copied(tmp_path)
    later = harness(2)
    later["date"] += 1000
    later["results"]["sizes"]["acc,none"] = 0.25
    (folder / "again").mkdir()
    (folder / "again" / "res_2026-12-01T00-00-00.000000.json").write_text(json.dumps(later))
    frame, about = read_results(folder)
    sizes = frame[frame["task"] == "sizes"].set_index("shots")
    assert sizes.loc[2, "accuracy"] == 0.25 and sizes.loc[2, "n_correct"] == 6 and len(sizes) == 4
    assert sum("an older run of sizes after 2 shots" in reason for reason in about["skipped"]) == 1


def test_layout_of_0_4_2_counts_its_samples(tmp_path):
    def older(run):
        del run["n-samples"]
        for found in run["results"].values():
            del found["sample_len"]
        return run

    frame, _ = read_results(copied(tmp_path, older), metric="acc")
    assert "n_test" not in frame and frame["prob"].tolist()[:3] == [
        0.375,
        1 / 3,
        0.375,
    ]  # `colours` is unknown
    for path in (tmp_path / "sweep").rglob("results_*.json"):
        run = json.loads(path.read_text())
        del run["results"]["colours"]
        path.write_text(json.dumps(run))
    frame, _ = read_results(tmp_path / "sweep")
    assert frame["n_test"].tolist() == [24] * 4 and frame["n_correct"].tolist() == [12, 12, 12, 10]


def test_layout_of_0_3_0(tmp_path):
    for shots in (0, 5):
        run = {
            "results": {"boolq": {"acc": 0.5 + shots / 100, "acc_stderr": 0.01}},
            "versions": {"boolq": 1},
            "config": {
                "model": "gpt2",
                "model_args": "pretrained=tiny/gpt2,dtype=float",
                "num_fewshot": shots,
            },
        }
        (tmp_path / f"run{shots}.json").write_text(json.dumps(run))
    frame, _ = read_results(tmp_path)
    assert frame["model"].tolist() == ["tiny/gpt2"] * 2 and frame["shots"].tolist() == [0, 5]
    assert frame["prob"].tolist() == [0.5, 0.55] and frame["stderr"].tolist() == [0.01, 0.01]


def test_filters_and_scores_that_are_no_counts(tmp_path):
    def generated(run):
        run["results"] = {
            "maths": {
                "exact_match,strict-match": 0.25,
                "exact_match_stderr,strict-match": 0.09,
                "exact_match,flexible-extract": 0.5,
                "f1,none": 0.123,
                "perplexity,none": 17.0,
            }
        }
        run["n-shot"], run["n-samples"] = {"maths": run["n-shot"]["sizes"]}, {"maths": {"effective": 24}}
        return run

    folder = copied(tmp_path, generated)
    assert read_results(folder)[0]["metric"].unique().tolist() == ["exact_match,strict-match"]
    flexible, _ = read_results(folder, "exact_match,flexible-extract")
    assert flexible["n_correct"].tolist() == [12] * 4 and flexible["stderr"].isna().all()
    mean, _ = read_results(folder, "f1")
    assert mean["prob"].tolist() == [0.123] * 4 and "n_correct" not in mean
    with pytest.raises(InputError, match="perplexity,none of maths is 17, and a curve needs values between"):
        read_results(folder, "perplexity")


def test_bad_input_is_one_line(tmp_path):
    def refused(message, folder, **settings):
        with pytest.raises(InputError, match=message) as caught:
            ImportLmEval(folder, tmp_path / "curves.csv", **settings).run()
        assert "\n" not in str(caught.value) and not (tmp_path / "curves.csv").exists()

    refused("no such folder", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("holds no results of lm-evaluation-harness", empty)
    (empty / "results_torn.json").write_text('{"results": {')
    refused("holds no results .* unreadable: .*results_torn.json", empty)
    refused("no task has the metric f1; known are acc,none, acc_norm,none", SWEEP, metric="f1")
    bare = copied(tmp_path)
    for path in bare.rglob("samples_*"):
        path.unlink()
    refused("run lm_eval with --log_samples", bare, value="prob")
    (tmp_path / "again").mkdir()
    again = copied(tmp_path / "again")
    for path in again.rglob("samples_*"):
        path.write_text('{"doc_id": 0, "target": "0", "filtered_resps": ["some text", "more"]}\n')
    refused("sample 0 has no log likelihood", again, value="prob")
    for path in again.rglob("samples_*"):
        path.write_text('{"doc_id": 0, "tar')
    refused("line 1 is not whole JSON", again, value="prob")
