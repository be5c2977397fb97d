"""The benchmark of start-up times measures what it says."""

import pytest
from bench_latency import CURVE_FIT, PROCESSES, Config, Process, measure, run


def test_a_row_for_each_process(capsys):
    table = run(Config(repeats=1), {name: PROCESSES[name] for name in ("python -c pass", "iclbayes --help")})
    assert list(table["process"]) == ["python -c pass", "iclbayes --help"]
    assert (table[["CPU seconds", "wall seconds", "peak GB"]] > 0).all(axis=None)
    assert "CPU seconds" in capsys.readouterr().out
    assert list(run(Config(repeats=1, only="pass"), PROCESSES)["process"]) == ["python -c pass"]


def test_a_process_that_fails_is_not_measured():
    with pytest.raises(RuntimeError, match="unknown command"):
        run(Config(repeats=1), {"wrong": Process(("-m", "iclbayes", "fot"))})


def test_what_is_run_beside_is_a_script_that_runs():
    assert run(Config(repeats=1), {"SciPy": Process(("-c", CURVE_FIT))})["CPU seconds"][0] > 0.1


def test_a_full_cache_is_filled_by_a_run_that_does_not_count(tmp_path):
    note = "import os, pathlib; p = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR']) / 'seen'; "
    tell = "print(p.exists(), file=open('found', 'a')); p.write_text('')"
    for cache, expected in {"full": ["False", "True", "True"], "empty": ["False", "False"]}.items():
        measure(Process(("-c", note + tell), cache), 2, tmp_path)
        assert (tmp_path / "found").read_text().split() == expected
        (tmp_path / "found").unlink()
