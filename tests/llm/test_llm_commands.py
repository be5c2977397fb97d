"""`iclbayes collect` and `iclbayes import-lm-eval` as they are typed."""

from pathlib import Path

import pytest
from llm_helpers import rows, save_model, write_jsonl

from iclbayes import read_curves
from iclbayes.cli.main import main

SWEEP = Path(__file__).parent / "lm_eval" / "sweep"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    save_model(folder / "model")
    write_jsonl(folder / "task.jsonl", rows(8))
    (folder / "bare.csv").write_text("text\nhello\n")
    return folder


def arguments(folder, out, **settings):
    chosen = {"model": folder / "model", "task": folder / "task.jsonl", "shuffles": 2, "max_shots": 3}
    chosen |= {"out": out, "backend": "hf", "device": "cpu"} | settings
    return ["collect", *(str(x) for k, v in chosen.items() for x in (f"--{k.replace('_', '-')}", v))]


def test_collect_writes_curves_that_fit_reads(folder, tmp_path, capsys):
    assert main(arguments(folder, tmp_path / "curves.csv")) == 0
    assert f"curves: {tmp_path / 'curves.csv'}" in capsys.readouterr().out
    curves = read_curves(tmp_path / "curves.csv", group_by=["model", "task"], source="source")
    assert curves.shots.tolist() == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curves.csv",
        "curves.json",
        "curves.prompts.jsonl",
    ]


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"task": "hellaswag"}, "unknown task 'hellaswag': known are psychopathy"),
        ({"task": "bare.csv"}, "missing column question, answer; it has text"),
        ({"context_window": 9}, "too small for one shot"),
        ({"template": "plain", "system": "\ue000"}, "use --template"),
        (
            {"backend": "openai", "base_url": "http://127.0.0.1:9/v1"},
            "no server answers at http://127.0.0.1:9/v1",
        ),
        ({"model": "nothing/here"}, "cannot load the tokenizer of"),
    ],
)
def test_mistakes_are_one_line_and_status_2(folder, tmp_path, capfd, settings, said):
    if settings.get("task") == "bare.csv":
        settings = {"task": folder / "bare.csv"}
    if settings.get("model"):
        settings = {"model": folder / "nothing"}
    assert main(arguments(folder, tmp_path / "curves.csv", **settings)) == 2
    error = capfd.readouterr().err
    assert error.startswith("iclbayes: error: ") and error.count("\n") == 1 and said in error
    assert not (tmp_path / "curves.csv").exists()


def test_import_lm_eval(tmp_path, capsys):
    out = tmp_path / "curves.csv"
    assert main(["import-lm-eval", str(SWEEP), "--out", str(out)]) == 0
    assert "2 curves" in capsys.readouterr().out
    assert read_curves(out, group_by=["model", "task"]).shots.tolist() == [0, 1, 2, 4] * 2
    assert main(["import-lm-eval", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err
