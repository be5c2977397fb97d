"""Compiled programs, chunks, blocks and the compilation cache."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iclbayes import runtime
from iclbayes.errors import InputError
from iclbayes.runtime import Programs, in_blocks, map_chunks


def square(x):
    return {"square": x * x, "sum": jnp.sum(x)}


def test_a_program_is_compiled_once_for_a_name_shapes_dtype_and_options():
    programs = Programs()
    x = np.arange(3.0)
    found = programs.run("square", square, x)
    np.testing.assert_array_equal(found["square"], x**2)
    assert found["sum"] == 3 and isinstance(found["square"], np.ndarray)
    programs.run("square", square, x + 1)
    assert programs.compilations == len(programs) == 1
    others = [
        ("square", (np.arange(4.0),), {}),
        ("square", (np.arange(3),), {}),
        ("square", (x,), {"effort": "much"}),
        ("square", (x.astype(np.float32),), {"dtype": np.float32}),
        ("another", (x,), {}),
    ]
    for k, (name, arguments, options) in enumerate(others):
        programs.run(name, square, *arguments, **options)
        assert programs.compilations == len(programs) == k + 2


def test_small_work_is_compiled_with_least_effort():
    assert [runtime.effort_for(*size) for size in ((6, 60), (8, 256))] == ["least", "least"]
    sizes = ((9, 90), (8, 257), (128, 10**6), (6, 60, True))
    assert [runtime.effort_for(*size) for size in sizes] == ["little"] * 4
    assert runtime.effort_for(129, 129) == "much"


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    options = runtime.compiler_options("little")
    if options is None:
        pytest.skip("options are for CPUs alone")
    monkeypatch.setattr(runtime, "compiler_options", lambda effort: options | {"xla_no_such_option": 1})
    for effort in ("least", "little", "much"):
        assert Programs().run("square", square, np.full(2, 3.0), effort=effort)["square"][0] == 9


def test_a_program_is_traced_in_its_own_precision():
    assert jnp.asarray(1.0).dtype == jnp.float32  # the user's
    third = lambda x: x + jnp.asarray(1.0) / 3  # noqa: E731
    one = np.ones(2)
    assert Programs().run("third", third, one)[0] == 1 + 1 / 3
    single = Programs().run("third", third, one.astype(np.float32), dtype=np.float32)
    assert single.dtype == np.float32
    assert jnp.asarray(1.0).dtype == jnp.float32


def test_threads_that_ask_at_once_wait_for_one_compilation():
    programs, traced, barrier = Programs(), [], threading.Barrier(4)

    def slow(x):
        traced.append(1)
        time.sleep(0.2)  # while tracing: the others ask in the meantime
        return 2 * x

    def ask(k):
        barrier.wait()
        return programs.run("slow", slow, np.full(3, float(k)))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, range(4)))
    assert len(traced) == programs.compilations == 1
    np.testing.assert_array_equal(results, np.repeat(2.0 * np.arange(4), 3).reshape(4, 3))


def test_cleared_programs_are_compiled_anew():
    programs = Programs()
    programs.run("square", square, np.ones(2))
    programs.clear()
    assert len(programs) == 0 and programs.compilations == 1
    np.testing.assert_array_equal(programs.run("square", square, np.full(2, 3.0))["square"], [9, 9])
    assert programs.compilations == 2


def test_a_failed_compilation_leaves_nothing_behind():
    programs = Programs()
    with pytest.raises(TypeError):
        programs.run("square", lambda x: x + None, np.ones(2))
    np.testing.assert_array_equal(programs.run("square", square, np.ones(2))["square"], [1, 1])
    assert programs.compilations == 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("padding", "filled"), [("last", 6.0), ("zero", 0.0)])
def test_chunks_have_one_size_and_their_results_stand_in_order(padding, filled, workers, monkeypatch):
    monkeypatch.setattr(runtime, "workers", lambda: workers)
    seen, done = [], []

    def function(chunk):
        seen.append(chunk["x"].copy())
        return chunk["x"].sum(axis=1), chunk["y"]

    arrays = {"x": np.arange(14.0).reshape(7, 2) // 2, "y": np.arange(7)}
    total, y = map_chunks(function, arrays, 3, padding=padding, on_done=done.append)
    np.testing.assert_array_equal(total, 2 * np.arange(7.0))
    np.testing.assert_array_equal(y, np.arange(7))
    assert {len(chunk) for chunk in seen} == {3} and sorted(done) == [1, 3, 3]
    last = next(chunk for chunk in seen if chunk[0, 0] == 6)
    np.testing.assert_array_equal(last[1:], filled)


@pytest.mark.parametrize("batch", [4, 12, 13])
def test_blocks_give_what_the_whole_gives(batch):
    x = np.random.default_rng(0).uniform(size=(batch, 2)).astype(np.float32)
    sizes = []

    def function(a):
        sizes.append(len(a["x"]))
        return a["x"] ** 2, a["x"].sum(1)

    found = jax.jit(lambda x: in_blocks(function, {"x": x}, size=4))(x)
    np.testing.assert_allclose(found[0], x**2)
    np.testing.assert_allclose(found[1], x.sum(1), rtol=1e-6)
    assert sizes[0] == (batch if batch % 4 else 4)


FIT = """
import jax
from iclbayes.runtime import use_compilation_cache
print(use_compilation_cache())
print(jax.jit(lambda x: x + 1)(1.0))
"""


@pytest.mark.parametrize("broken", ["file", "no home"])
def test_a_cache_that_cannot_be_written_costs_one_line(tmp_path, broken):
    (tmp_path / "file").write_text("in the way")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMP", "HOME"))}
    environment |= {"PYTHONPATH": str(Path(runtime.__file__).parents[1])}
    if broken == "file":
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "file" / "cache")
    else:
        environment["HOME"] = str(tmp_path / "file")
    done = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["None", "2.0"], done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("iclbayes: warning: no compilation cache") and str(tmp_path / "file") in line


def test_the_cache_folder_is_made_and_used(tmp_path):
    folder = tmp_path / "new" / "cache"
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "PYTHONPATH": str(Path(runtime.__file__).parents[1]),
    }
    done = subprocess.run([sys.executable, "-c", FIT], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(folder), "2.0"] and done.stderr == "" and folder.is_dir()


class TestSideBySide:
    @pytest.fixture(autouse=True)
    def two_workers(self, monkeypatch):
        monkeypatch.setattr(runtime, "workers", lambda: 2)

    def test_results_are_in_the_order_of_the_jobs_and_the_costliest_begins_first(self):
        begun = []
        together = threading.Barrier(2, timeout=60)  # passes only if two jobs run at once

        def job(n, check):
            begun.append(n)
            together.wait()
            return 10 * n

        assert runtime.side_by_side(job, [1, 4, 2, 3], cost=lambda n: n) == [10, 40, 20, 30]
        assert set(begun[:2]) == {4, 3}

    def test_the_error_of_a_job_is_told_and_ends_the_others(self):
        ended = []

        def job(n, check):
            if n == 0:
                raise InputError("the loss is nan")
            for _ in range(6000):
                check()
                time.sleep(0.01)
            ended.append(n)

        with pytest.raises(InputError, match="the loss is nan"):
            runtime.side_by_side(job, [0, 1, 2])
        assert ended == []

    def test_one_worker_takes_the_jobs_in_turn(self, monkeypatch):
        monkeypatch.setattr(runtime, "workers", lambda: 1)
        begun = []
        assert runtime.side_by_side(lambda n, check: begun.append(n) or n, [1, 3, 2], cost=lambda n: n) == [
            1,
            3,
            2,
        ]
        assert begun == [1, 3, 2]
