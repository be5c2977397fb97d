"""The benchmark of start-up times measures what it says."""

import subprocess

import pytest
from bench_latency import COMMANDS, Config, run


def test_a_row_for_each_process(capsys):
    table = run(Config(repeats=1), {name: COMMANDS[name] for name in ("python -c pass", "iclbayes --help")})
    assert list(table["process"]) == ["python -c pass", "iclbayes --help"]
    assert (table[["CPU seconds", "wall seconds"]] > 0).all(axis=None)
    assert "CPU seconds" in capsys.readouterr().out


def test_a_process_that_fails_is_not_measured():
    with pytest.raises(subprocess.CalledProcessError):
        run(Config(repeats=1), {"wrong": ["-m", "iclbayes", "fot"]})
