"""Two at once: the second gets one line; what a killed process left holds nobody up."""

import json
import os
import signal
import subprocess
import sys

import pytest

from iclbayes import InputError, runs
from iclbayes.locks import locked

HOLDER = """
import sys, time
from iclbayes.locks import locked
with locked(sys.argv[1], "x"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_is_told_who_is_first(holder, tmp_path):
    with (
        pytest.raises(InputError, match=rf"process {holder.pid} on ") as caught,
        locked(tmp_path / ".lock", "folder"),
    ):
        pass
    assert "\n" not in str(caught.value) and str(caught.value).startswith("folder: ")


def test_a_killed_holder_holds_nobody_up(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path / ".lock", "folder"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_within_one_process_too(tmp_path):
    with (
        locked(tmp_path / ".lock", "folder"),
        pytest.raises(InputError),
        locked(tmp_path / ".lock", "folder"),
    ):
        pass
    with locked(tmp_path / ".lock", "folder"):
        pass


def test_many_that_come_and_go_are_never_two_at_once(tmp_path):
    """Each adds to a counter by reading and writing it, which loses counts if two do so at once."""
    (tmp_path / "count").write_text("0")
    script = """
import sys, time
from pathlib import Path
from iclbayes import InputError
from iclbayes.locks import locked
folder, left = Path(sys.argv[1]), 100
while left:
    try:
        with locked(folder / ".lock", folder):
            count = int((folder / "count").read_text())
            time.sleep(0.0002)
            (folder / "count").write_text(str(count + 1))
            left -= 1
    except InputError:
        time.sleep(0.0001)
"""
    several = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "\\u001b[2J"}'])
def test_a_strange_lock_file_is_no_holder(tmp_path, content):
    (tmp_path / ".lock").write_text(content)
    with locked(tmp_path / ".lock", "folder"):
        pass


def test_a_run_folder_is_for_one(tmp_path):
    with runs.alone_in(tmp_path / "run") as folder:
        runs.open_run(folder, {"a": 1}, resume=False)
        with pytest.raises(InputError, match="is writing there"), runs.alone_in(folder):
            pass
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_folder_in_which_nothing_began_is_gone(tmp_path):
    with pytest.raises(InputError, match="nothing"), runs.alone_in(tmp_path / "a" / "run"):
        raise InputError("nothing")
    assert not (tmp_path / "a" / "run").exists()


def test_a_run_is_not_begun_among_files_of_the_user(tmp_path):
    (tmp_path / "curves.csv").write_text("mine")
    with pytest.raises(InputError, match=r"holds curves\.csv but no run"):
        runs.open_run(tmp_path, {"a": 1}, resume=False)
    assert (tmp_path / "curves.csv").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, '{"a": 1, "sha256": "0"}', "\xff"])
def test_a_damaged_config_is_one_line(tmp_path, content):
    runs.open_run(tmp_path, {"a": 1}, resume=False)
    runs.open_run(tmp_path, {"a": 1}, resume=True)
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        runs.open_run(tmp_path, {"a": 1}, resume=True)
    assert "\n" not in str(caught.value) and "config.json" in str(caught.value)


def test_a_value_changed_in_a_config_is_found(tmp_path):
    runs.open_run(tmp_path, {"a": 1, "b": [0.1, None]}, resume=False)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(InputError, match="digest"):
        runs.open_run(tmp_path, {"a": 1, "b": [0.2, None]}, resume=True)
