"""Chunks, devices and hosts give what one program on one device gives."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import iclbayes
from iclbayes.fitting import execute

LONG = 96  # points, enough for the starts to be run on binned points


@pytest.mark.parametrize(
    ("batch", "shape", "workers", "devices", "size"),
    [
        (2048, (1, LONG), 2, 1, 1024),
        (2047, (1, LONG), 2, 1, 512),
        (10_000, (1, LONG), 16, 1, 512),  # no core without work
        (10_000, (1, LONG), 1, 1, 1024),  # a GPU, too
        (10_000, (8, 64), 2, 1, 512),  # joint groups: their matrices
        (10_000, (1, 2048), 2, 1, 512),
        (10_000, (1, LONG), 1, 8, 4096),
        (4_096, (1, LONG), 2, (8, 2), 2048),  # two hosts: one chunk each
        (4_096, (1, LONG), 2, (1, 2), 1024),
        (40, (1, LONG), 64, 1, 8),
        (1, (1, LONG), 2, 1, 1),
    ],
)
def test_chunks_are_as_large_as_leaves_every_core_one(batch, shape, workers, devices, size):
    devices, hosts = devices if isinstance(devices, tuple) else (devices, 1)
    assert execute.chunk_size(batch, shape, workers, devices, hosts) == size


def test_hosts_with_other_cores_cut_alike(monkeypatch):
    """Every host has to know the chunks of all; only who runs how many at once is its own affair."""
    seen = []
    monkeypatch.setattr(execute, "chunk_size", lambda *a: seen.append(a) or 8)
    monkeypatch.setattr(execute, "gather", lambda result, *rest: result)
    monkeypatch.setattr(execute, "devices_of_each_host", lambda: 1)
    monkeypatch.setattr(execute.jax, "process_count", lambda: 2)
    for cores in (2, 16):
        monkeypatch.setattr(execute, "workers", lambda n=cores: n)
        iclbayes.fit(iclbayes.Curves.from_arrays(np.arange(8), np.full((16, 8), 0.5)), "power", max_steps=1)
    assert seen[0] == seen[1]


def test_a_large_batch_gives_what_small_ones_give(monkeypatch):
    """Chunks of 1,024 fits, their points in blocks, and the padded rest, against chunks of 128."""
    monkeypatch.setattr(execute, "workers", lambda: 2)
    rng = np.random.default_rng(3)
    n = np.arange(LONG)
    rate, middle = rng.uniform(0.05, 0.5, (2100, 1)), rng.uniform(10, 80, (2100, 1))
    prob = 0.1 + 0.8 / (1 + np.exp(-rate * (n - middle))) + 0.01 * rng.standard_normal((2100, LONG))
    whole = iclbayes.fit(iclbayes.Curves.from_arrays(n, np.clip(prob, 0, 1)), "logistic")
    for part in (slice(0, 300), slice(900, 1200), slice(1800, 2100)):
        few = iclbayes.fit(iclbayes.Curves.from_arrays(n, np.clip(prob[part], 0, 1)), "logistic")
        losses = [fits.diagnostics()["loss"].to_numpy() for fits in (whole, few)]
        ratio = losses[0][part] / losses[1]
        # Who meets whom in the pool may change which of two minima is found, seldom.
        assert np.mean(np.abs(ratio - 1) < 1e-6) > 0.98 and np.abs(np.log(ratio)).max() < 0.5


EIGHT = """
import sys
import jax, numpy as np, iclbayes
from iclbayes.runtime import use_compilation_cache
use_compilation_cache(sys.argv[1])
rng = np.random.default_rng(0)
n = np.arange(16)
prob = 0.2 + 0.6 / (1 + np.exp(-(n - 5 - rng.uniform(0, 3, (20, 1))) / 2)) + 0.01 * rng.standard_normal((20, 16))
fits = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "power", n_starts=4)
print(len(jax.local_devices()))
np.save(sys.argv[2], np.concatenate([fits.loss, *fits.params.values()], axis=1))
"""


def test_eight_devices_give_the_result_of_one(tmp_path):
    results = []
    for count in (1, 8):
        flags = f"--xla_force_host_platform_device_count={count}"
        out = tmp_path / f"{count}.npy"
        cache = jax.config.jax_compilation_cache_dir
        done = subprocess.run(
            [sys.executable, "-c", EIGHT, cache, str(out)],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(count)]
        results.append(np.load(out))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


TWO_HOSTS = """
import sys
import numpy as np, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.distributed.initialize(sys.argv[2], num_processes=int(sys.argv[3]), process_id=int(sys.argv[4]))
import iclbayes
rng = np.random.default_rng(0)
n = np.arange(16)
prob = np.exp(-(rng.uniform(0.3, 2, (int(sys.argv[6]), 1)) * (n + 1.0) ** -0.7 + 0.1))
fits = iclbayes.fit(iclbayes.Curves.from_arrays(n, prob), "power")
if jax.process_index() == jax.process_count() - 1:
    np.save(sys.argv[5], np.concatenate([fits.loss, *fits.params.values()], axis=1))
"""


@pytest.mark.parametrize("count", [1, 40])
def test_two_hosts_give_the_result_of_one(tmp_path, count):
    """Also where there are fewer fits than hosts, so that one of them has nothing to do."""
    results = []
    for hosts in (1, 2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        out = tmp_path / f"{hosts}.npy"
        cache = jax.config.jax_compilation_cache_dir
        running = [
            subprocess.Popen(
                [sys.executable, "-c", TWO_HOSTS, cache, address, str(hosts), str(i), str(out), str(count)],
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(hosts)
        ]
        errors = [process.communicate(timeout=240)[1] for process in running]
        assert all(process.returncode == 0 for process in running), errors
        results.append(np.load(out))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


@pytest.mark.parametrize(
    "seed", [0, 1, 2**31 - 1, 2**32 + 5, 2**63 - 1, -1, -(2**40), np.int32(3), np.uint8(7)]
)
def test_a_seed_gives_the_key_that_jax_gives(seed):
    with jax.enable_x64(True):
        np.testing.assert_array_equal(
            execute.key_data(seed), jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
        )
