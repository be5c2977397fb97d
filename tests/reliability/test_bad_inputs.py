"""Every mistake gets one line: a sample of the campaign's table, those that once ended otherwise among it."""

import os
import pickle
import sys

import pytest
from campaign_parts import answers, bad_inputs

from iclbayes import InputError, runs
from iclbayes.console import guarded, warn
from iclbayes.errors import check_whole
from iclbayes.llm.data import load_task

TABLE = list(bad_inputs.cases())
KNOWN = (  # each of these was a traceback, several lines, a late refusal, or accepted in silence
    *(
        "the file a name of 300 letters",
        "the file 'digits.csv'",
        "the file 'deep.jsonl'",
        "the file 'loop.csv'",
    ),
    *(
        "the file '\\x1b[31m.csv'",
        "the file 'wide.csv'",
        "the file 'control.csv'",
        "the task task_types.jsonl",
    ),
    *(
        "fit: --chunk-rows '0'",
        "fit: --background '1000000000'",
        "fit: --background '-1'",
        "contrast: --tolerance 'inf'",
    ),
    *(
        "posterior: --draws '1000000000000'",
        "posterior: --chains 'a number of 22 digits'",
        "contrast: --out ''",
    ),
    *(
        "fit: --out 'loop.csv'",
        "report: --out 'a name of 300",
        "the folder 'nnnn",
        "import-lm-eval: 'nnnn",
        "import-inspect: 'logs_deep",
    ),
    *(
        "--laws 'nix'",
        "--fractions 1.5",
        "--ks 1000",
        "--prompts 0",
        "--suppress 0",
        "--favoured 99",
        "--eval-rows 0",
    ),
    *("synthetic.py: --layers", "--seeds 1180591620717411303424", "--weights 1 2", "--nix", "--preset nix"),
    *(
        "synthetic.py: --world.hmms 0",
        "synthetic.py: --run-dir 'good.csv'",
        "config.json, deep",
        "config.json, sealed",
    ),
)
SAMPLE = [case for i, case in enumerate(TABLE) if i % 8 == 0 or any(known in case.what for known in KNOWN)]


def test_the_table_has_what_it_is_known_for():
    assert len(TABLE) > 400
    assert not [known for known in KNOWN if not any(known in case.what for case in TABLE)]


def test_every_mistake_gets_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bad_inputs.write_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    failed = {}
    for case in [*SAMPLE, *bad_inputs.of_scripts()]:
        fault = answers.fault_of(answers.run_here(case.main, case.arguments, tmp_path))
        left = sorted(set(tmp_path.rglob("*")) - set(before))
        if fault or left:
            failed[case.what] = fault or f"left behind: {left}"
    assert not failed


def test_a_run_that_did_not_begin_makes_room_for_the_corrected_one(tmp_path):
    run = tmp_path / "run"
    runs.open_run(run, {"laws": ["nix"]}, resume=False)
    runs.open_run(run, {"laws": ["power"]}, resume=False)
    assert runs.read_config(run / runs.CONFIG_FILE)["laws"] == ["power"]
    (run / "models").mkdir()
    with pytest.raises(InputError, match="already holds a run"):
        runs.open_run(run, {"laws": ["logistic"]}, resume=False)


@pytest.mark.parametrize("value", [0, 11, 2**70, 2.0, "3", None, float("nan")])
def test_whole_numbers_are_whole_and_within_their_bounds(value):
    with pytest.raises(InputError, match=r"n is .*; give a whole number from 1 to 10"):
        check_whole("n", value, 1, 10)
    assert check_whole("n", 10, 1, 10) == 10


def test_what_is_printed_neither_moves_the_cursor_nor_fills_the_screen(capsys):
    def action():
        raise InputError("\x1b[2J\r\nname " + "x" * 100_000)

    assert guarded(action) == 2
    warn("a\x07b\nc")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("iclbayes: error: ?[2J??name x")
    assert first.isprintable() and len(first) < 1100
    assert second == "iclbayes: warning: a?b?c"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, os.strerror(28), "out.csv"), "out.csv: No space left on device"),
        (OSError(5, os.strerror(5)), "the system says: Input/output error"),
        (MemoryError("Unable to allocate 7 PiB"), "more memory than there is (Unable to allocate 7 PiB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "more memory than there is"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, said, capfd):
    def action():
        raise pickle.loads(pickle.dumps(error))

    stdout = os.dup(1)
    try:
        assert guarded(action) == 2
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
    found = capfd.readouterr().err
    assert said in found and found.count("\n") == 1


def test_other_errors_are_not_hidden():
    def action():
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="of ours"):
        guarded(action)


@pytest.mark.parametrize("name", ["a[1].csv", "b*.csv", "c?.csv", "d::e.csv", "{f,g}.csv", "zip:h.csv"])
def test_files_of_tasks_are_read_by_their_names_whatever_is_in_them(tmp_path, name):
    (tmp_path / name).write_text("question,answer\nright,1\n")
    for other in ("a1.csv", "bb.csv", "cc.csv", "f.csv", "g.csv"):
        (tmp_path / other).write_text("question,answer\nwrong,1\n")
    assert [example.question for example in load_task(str(tmp_path / name))] == ["right"]


def test_globs_in_names_of_hub_tasks_are_names(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda path, **how: asked.append(how) or 1 / 0)
    with pytest.raises(InputError):
        load_task("persona/*")
    assert asked[0]["data_files"] == "persona/[*].jsonl"
