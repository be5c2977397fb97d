"""The servers of the shared cases, run as they are: zeros are refused by name, right numbers taken however tokens are written."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from llm_helpers import load_model

from iclbayes import InputError
from iclbayes.cli.collect import Collect

SHARED = Path(__file__).parents[3] / "shared" / "cases" / "collect"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if not (SHARED / "server.py").exists():
        pytest.skip("the folder of shared cases has no collect/server.py here")
    folder = tmp_path_factory.mktemp("shared")
    subprocess.run([sys.executable, SHARED / "mk_tiny.py"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(folder, request):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SHARED / "server.py", str(port), request.param], cwd=folder)
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()
    process.wait()


def curves(folder, out, **settings):
    return Collect(
        str(folder / "tiny"), str(SHARED / "task.csv"), out, shuffles=2, max_shots=4, **settings
    ).run()


@pytest.mark.parametrize("server", ["gspace", "token_ids", "echo_only", "chunked"], indirect=True)
def test_right_numbers_are_accepted(folder, server, tmp_path):
    load_model(folder / "tiny")  # one thread
    local = curves(folder, tmp_path / "local.csv", device="cpu", dtype="float32")
    found = curves(folder, tmp_path / "served.csv", backend="openai", base_url=server, retries=1)
    np.testing.assert_allclose(np.log(found["prob"]), np.log(local["prob"]), atol=1e-4)


@pytest.mark.parametrize("server", ["zeros"], indirect=True)
def test_zeros_are_refused_by_name(folder, server, tmp_path):
    with pytest.raises(InputError, match="returns 0 as the log probability of every token"):
        curves(folder, tmp_path / "c.csv", backend="openai", base_url=server, retries=1)
