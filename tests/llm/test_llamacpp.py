"""Back end (b) against llama-cpp-python's own server, with a tiny GGUF written here.

Needs the extra `iclbayes[test-servers]`, whose package is built from source in 10 to 20 minutes.
"""

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from llm_helpers import CHATML, INST, rows, save_model, write_gguf, write_jsonl

from iclbayes import InputError
from iclbayes.cli.collect import Collect

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed: pip install 'iclbayes[test-servers]'",
)


@contextlib.contextmanager
def llama_server(path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(path), "--logits_all", "true"]
    command += ["--n_ctx", "2048", "--host", "127.0.0.1", "--port", str(port), "--verbose", "false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert process.poll() is None, "the server has ended"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def collect(folder, out, **settings):
    chosen = {"model": str(folder / "model"), "task": str(folder / "task.jsonl"), "shuffles": 3}
    return Collect(**(chosen | {"out": out, "device": "cpu"} | settings)).run()


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_real_server_agrees_with_the_local_model(tmp_path, template):
    save_model(tmp_path / "model", template=INST, adds_bos=True)
    write_jsonl(tmp_path / "task.jsonl", rows(12))
    local = collect(tmp_path, tmp_path / "hf.csv", template=template)
    with llama_server(write_gguf(tmp_path / "model", tmp_path / "tiny.gguf", add_bos=True)) as url:
        settings = {"backend": "openai", "base_url": url, "context_window": 2000, "concurrency": 2}
        served = collect(tmp_path, tmp_path / "served.csv", template=template, **settings)
    apart = np.abs(np.log(served["prob"]) - np.log(local["prob"])).max()
    print(f"largest difference of log probabilities: {apart:.2g}")
    assert apart < 2e-2


def test_real_server_that_is_off_by_one_is_refused(tmp_path):
    save_model(tmp_path / "model", template=CHATML)
    write_jsonl(tmp_path / "task.jsonl", rows(12))
    with llama_server(write_gguf(tmp_path / "model", tmp_path / "tiny.gguf", add_bos=False)) as url:
        settings = {"backend": "openai", "base_url": url, "context_window": 2000}
        with pytest.raises(InputError, match="shifted by"):
            collect(tmp_path, tmp_path / "served.csv", **settings)
