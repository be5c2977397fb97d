"""Lowered programs on disk: found again by another process, never where anything differs, and no fault of a file is felt."""

import functools
import os
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from iclbayes import examples, laws, program_store, runtime
from iclbayes.fitting.levenberg_marquardt import levenberg_marquardt
from iclbayes.posterior.model.spec import make_spec
from iclbayes.posterior.sampling.nuts import Chains
from iclbayes.program_store import NotStable, ProgramStore, decoded, described, encoded


@pytest.fixture
def programs(tmp_path):
    """Makes what a new process has: no compiled program, and the store of a folder."""

    def make():
        new = runtime.Programs()
        new.store = ProgramStore(tmp_path / "programs")
        return new

    return make


def traced(log):
    def function(x, also):
        log.append(1)
        return Chains(x + 1, {"twice": 2 * x, "none": None}, (also["y"] * 1.5, [x.sum()]), x, jnp.cos(x))

    return function


def test_another_process_takes_the_program_without_tracing(programs, tmp_path):
    x, also, log = np.arange(3.0), {"y": np.arange(4)}, []
    first = programs().run("name", traced(log), x, also)
    assert len(log) == 1 and len(list((tmp_path / "programs").iterdir())) == 1
    other = programs()
    second = other.run("name", traced(log), x, also)
    assert len(log) == 1 and other.store.loaded == 1 and other.store.written == 0
    assert type(second) is Chains and jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    np.testing.assert_array_equal(second.z, x + 1)
    other.run("name", traced(log), x + 5, also)
    assert len(log) == 1


def test_one_line_lets_a_script_take_what_another_script_traced(tmp_path):
    script = """
import sys, numpy as np, iclbayes
folder = iclbayes.use_cache(sys.argv[1])
from iclbayes.runtime import programs
curves = iclbayes.Curves.from_arrays(np.arange(5.0), np.linspace(0.2, 0.7, 5)[None])
print(folder, round(float(iclbayes.fit(curves, "logistic").to_frame()["L"].iloc[0]), 9), end=" ")
print(programs.store.loaded, programs.store.written)
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    (folder, fitted, loaded, written), (_, again, found, more) = told
    assert folder == str(tmp_path) and fitted == again
    assert (loaded, more) == ("0", "0") and written == found != "0"


def test_whatever_differs_makes_another_program(programs, monkeypatch):
    log = []
    x, also = np.arange(3.0), {"y": np.arange(4)}
    programs().run("name", traced(log), x, also)
    programs().run("other name", traced(log), x, also)
    programs().run("name", traced(log), np.arange(4.0), also)
    programs().run("name", traced(log), x, {"y": np.arange(4.0)})
    programs().run("name", traced(log), x.astype(np.float32), also, dtype=np.float32)
    monkeypatch.setattr(program_store, "code_version", lambda: "another version")
    programs().run("name", traced(log), x, also)
    assert len(log) == 6


def test_single_precision_stays_single(programs):
    third = lambda x: x + jnp.asarray(1.0) / 3  # noqa: E731
    for _ in range(2):
        assert programs().run("third", third, np.ones(2, np.float32), dtype=np.float32).dtype == np.float32
        assert programs().run("third", third, np.ones(2))[0] == 1 + 1 / 3


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign", "folder"])
def test_a_file_that_is_not_whole_is_passed_over_and_replaced(programs, tmp_path, damage):
    x, also, log = np.arange(3.0), {"y": np.arange(4)}, []
    programs().run("name", traced(log), x, also)
    (path,) = (tmp_path / "programs").iterdir()
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytearray(whole)
        flipped[-40] ^= 1
        path.write_bytes(
            {"cut": whole[:-9], "empty": b"", "flipped": bytes(flipped), "foreign": b"x" * 500}[damage]
        )
    again = programs().run("name", traced(log), x, also)
    np.testing.assert_array_equal(again.z, x + 1)
    assert len(log) == 2
    if damage != "folder":
        programs().run("name", traced(log), x, also)
        assert len(log) == 2  # replaced


def test_a_place_that_cannot_be_written_costs_time_alone(tmp_path):
    (tmp_path / "programs").write_text("a file stands where the folder would")
    programs = runtime.Programs()
    programs.store = ProgramStore(tmp_path / "programs")
    assert programs.run("square", lambda x: x**2, np.full(2, 3.0))[0] == 9
    assert programs.store.written == 0


class Foreign(NamedTuple):
    x: jax.Array


def test_what_cannot_be_described_or_rebuilt_is_not_kept(programs):
    one = programs()
    mine = lambda: None  # noqa: E731
    assert one.run(("name", mine), lambda x: x + 1, np.ones(2))[0] == 2
    assert one.run("foreign result", lambda x: Foreign(x + 1), np.ones(2)).x[0] == 2
    with_own_sharding = jax.jit(lambda x: x + 1)
    assert one.run("jitted", with_own_sharding, np.ones(2))[0] == 2
    assert one.store.written == 0
    for value in (mine, Foreign, object(), np.array([object()]), (1, {"a": mine})):
        with pytest.raises(NotStable):
            described(value)


def test_descriptions_tell_apart_what_makes_other_programs():
    spec = functools.partial(make_spec, laws.get("logistic"), "binomial", 1)
    values = [
        *(1, 1.0, True, "1", None, b"1", (1,), [1], (1, 1), {"a": 1}, {"a": 2}, {"b": 1}, np.float64(1), np.float32(1)),
        *(np.ones(1), np.ones(2), np.ones((2, 1)), np.ones(2, int), jnp.ones(1)),
        *(dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0), dist.Normal(1.0, 1.0), dist.Cauchy(0.0, 1.0)),
        dist.Normal(0.0, 1.0).expand((2,)),
        dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(0.0, 2.0)),
        dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(0.0, 3.0)),
        *(laws.get("logistic"), laws.get("bayesian_scoring_log"), laws.get("power")),
        *(spec(0), spec(1), spec(0, priors={"raw_L": dist.Normal(0.0, 3.0)}), spec(0, hierarchy=("L",))),
        *(levenberg_marquardt(), levenberg_marquardt(damping=0.5), optax.adam(0.1), optax.adam(0.2), optax.sgd(0.1)),
        *(make_spec, described, functools.partial(described, 1), functools.partial(described, 2)),
    ]  # fmt: skip
    found = [described(value) for value in values]
    assert len(set(found)) == len(values)
    assert described(dist.Normal(0.0, 1.0)) == described(dist.Normal(0.0, 1.0))
    assert described(optax.adam(0.1)) == described(optax.adam(0.1))


def test_another_process_gives_the_same_description():
    code = (
        "from iclbayes import laws, program_store as s; import optax;"
        "from iclbayes.posterior.model.spec import make_spec;"
        "print(s.described([s.code_version(), optax.adam(0.1),"
        " *(make_spec(laws.get(name), 'quasi_binomial', 2, 1) for name in laws.LAWS)]))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1 and len(texts.pop()) > 1000


def test_a_tree_comes_back_from_its_json():
    tree = Chains(0, {"b": 1, "a": [2, None]}, (3, ()), [], {})
    assert decoded(encoded(tree)) == tree
    with pytest.raises(ValueError):
        decoded(["os:system", None, [1]])
    letters = ["iclbayes.files:os.sep.join", None, [["dict", ["ls"], [0]]]]
    for what in ("iclbayes.files:os.system", "iclbayes.curves:Curves", "iclbayes.files:os.stat_result"):
        with pytest.raises(ValueError):
            decoded([what, None, [letters]])


def test_a_command_run_again_finds_its_programs_and_gives_the_same_bytes(tmp_path):
    examples.write_examples(tmp_path)
    command = [
        sys.executable,
        "-m",
        "iclbayes",
        "fit",
        "unsafe_answers.csv",
        "--group-by",
        "model",
        "--group-by",
        "variant",
    ]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    found, kept = [], []
    for out in ("one.csv", "two.csv"):
        arguments = [*command, "--law", "logistic", "--out", out]
        subprocess.run(arguments, cwd=tmp_path, env=environment, check=True, capture_output=True)
        found.append((tmp_path / out).read_bytes())
        kept.append({path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "programs").iterdir()})
    assert found[0] == found[1] and kept[0] == kept[1] and len(kept[0]) >= 2
