"""Compiled programs as bytes: read by another process of the same machine and user, made anew where anything is amiss."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iclbayes import executables, runtime
from iclbayes.program_store import ProgramStore

pytestmark = pytest.mark.skipif(
    not executables.usable(), reason="compiled programs are kept where there is one CPU device"
)

SCRIPT = """
import sys, numpy as np, iclbayes
folder = iclbayes.use_cache(sys.argv[1])
import jax, jax.numpy as jnp
from iclbayes.runtime import programs
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
x = np.linspace(1.0, 2.0, 12).reshape(3, 4)
def function(x):
    if sys.argv[2] == "never":
        raise AssertionError("traced")
    return {"plain": jnp.sort(jnp.exp(x) @ x.T), "last": jnp.linalg.cholesky(x @ x.T + jnp.eye(3)) if sys.argv[3:] else x}
found = programs.run("name", function, x)
print(programs.store.loaded, programs.store.written, *np.round(found["plain"].ravel(), 9), *np.round(found["last"].ravel(), 9))
"""


def process(folder, *arguments):
    command = [sys.executable, "-c", SCRIPT, str(folder), *arguments]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0 and not found.stderr, found.stderr
    return found.stdout.split()


def kinds(folder):
    return sorted(path.suffix for path in (folder / "programs").iterdir())


def test_another_process_neither_traces_nor_compiles(tmp_path):
    first = process(tmp_path, "once")
    assert first[:2] == ["0", "1"] and kinds(tmp_path) == [".machine"]
    second = process(tmp_path, "never")
    assert second[:2] == ["1", "0"] and second[2:] == first[2:]


def test_code_that_jax_has_in_its_own_cache_is_compiled_again(tmp_path):
    """XLA cannot write a program as bytes that it has read as bytes: the kernels of the second copy are missing."""
    first = process(tmp_path, "once")
    for _ in range(2):
        (path,) = (tmp_path / "programs").iterdir()
        path.unlink()
        assert process(tmp_path, "once")[2:] == first[2:]
        again = process(tmp_path, "never")
        assert again[0] == "1" and again[2:] == first[2:]


def test_a_program_that_calls_lapack_is_kept_in_portable_form(tmp_path):
    first = process(tmp_path, "once", "lapack")
    assert kinds(tmp_path) == [".program"]
    second = process(tmp_path, "never", "lapack")
    assert second[0] == "1" and second[2:] == first[2:]
    x = np.linspace(1.0, 2.0, 12).reshape(3, 4)
    np.testing.assert_allclose(
        [float(v) for v in second[-9:]], np.linalg.cholesky(x @ x.T + np.eye(3)).ravel(), atol=1e-8
    )


def stored(folder):
    """How many programs a new process would read from the folder, and write there."""
    programs = runtime.Programs()
    programs.store = ProgramStore(folder)
    assert programs.run("three times", lambda x: 3.0 * x, np.ones(2))[0] == 3
    return programs.store.loaded, programs.store.written


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files of this system have no owner")
def test_a_file_that_others_may_write_is_not_read(tmp_path):
    log = []

    def function(x):
        log.append(1)
        return 2 * x

    def run():
        programs = runtime.Programs()
        programs.store = ProgramStore(tmp_path)
        return programs.run("twice", function, np.ones(2))[0]

    assert run() == run() == 2 and len(log) == 1
    (path,) = tmp_path.iterdir()
    path.chmod(0o666)
    assert run() == 2 and len(log) == 2
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600  # a new one in its place
    assert run() == 2 and len(log) == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files of this system have no owner")
def test_files_are_of_the_user_alone_whatever_the_umask(tmp_path):
    before = os.umask(0o002)
    try:
        assert stored(tmp_path) == (0, 1)
        assert stored(tmp_path) == (1, 0)
    finally:
        os.umask(before)


def test_files_that_are_old_are_removed(tmp_path):
    old, new = tmp_path / "a.machine", tmp_path / "b.program"
    for path in (old, new, tmp_path / "notes.txt"):
        path.write_text("x")
    os.utime(old, (0, 0))
    os.utime(tmp_path / "notes.txt", (0, 0))
    stored(tmp_path)
    assert not old.exists() and new.exists() and (tmp_path / "notes.txt").exists()


def test_settings_of_jax_that_change_what_is_traced_make_another_program(tmp_path):
    assert stored(tmp_path) == (0, 1)
    with jax.numpy_dtype_promotion("strict"):
        assert stored(tmp_path) == (0, 1)
    assert stored(tmp_path) == (1, 0)


def test_a_program_that_does_not_run_here_is_made_anew():
    calls = []

    def broken(x):
        raise jax.errors.JaxRuntimeError("NOT_FOUND: a kernel")

    def make():
        calls.append(1)
        return lambda x: x + 1

    program = executables.or_else(broken, make)
    assert program(1) == 2 and program(2) == 3 and len(calls) == 1
    short = []

    def out_of_memory(x):
        if x:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
        return jnp.sin(short.append(x) or 0.0)

    fine = executables.or_else(out_of_memory, make)
    assert fine(0) == 0 and len(calls) == 1
    with pytest.raises(jax.errors.JaxRuntimeError):  # what has run here once is not to blame
        fine(1)
    assert len(calls) == 1


def test_code_is_of_one_processor_one_number_of_cores_and_one_set_of_flags(monkeypatch):
    names = {executables.name("a"), executables.name("b")}
    for variable, value in (("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"), ("NPROC", "1")):
        monkeypatch.setenv(variable, value)
        executables._machine.cache_clear()
        names.add(executables.name("a"))
    monkeypatch.undo()
    monkeypatch.setattr(executables, "_processor", lambda: "another processor")
    executables._machine.cache_clear()
    names.add(executables.name("a"))
    monkeypatch.undo()
    executables._machine.cache_clear()
    assert len(names) == 5 and executables.name("a") in names


def test_a_device_that_someone_chose_is_left_alone():
    with jax.default_device(jax.local_devices()[0]):
        assert not executables.usable()
