"""Back end (b) against llama-cpp-python's own server, with a tiny GGUF written here.

Needs the extra `iclbayes[test-servers]`, whose package is built from source in 10 to 20 minutes.
"""

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from llm_helpers import CHATML, INST, load_model, rows, save_model, write_jsonl

from iclbayes import InputError
from iclbayes.cli.collect import Collect

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llama_cpp", "gguf")),
    reason="llama-cpp-python and gguf are not installed: pip install 'iclbayes[test-servers]'",
)


def rotary_order(weight, heads):
    """Rows of a query or key matrix in the order in which llama.cpp rotates them."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def write_gguf(folder, path, add_bos):
    """The Llama and byte-level tokenizer of `folder` as a float32 GGUF file."""
    import gguf

    model, tokenizer = load_model(folder)
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([kinds.CONTROL if i in special else kinds.NORMAL for _, i in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(add_bos)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, tensor in model.state_dict().items():
        value = tensor.float().numpy()
        stem = name.removesuffix(".weight")
        layer = ""
        if stem.startswith("model.layers."):
            number, stem = stem.removeprefix("model.layers.").split(".", 1)
            layer = f"blk.{number}."
        if stem.endswith("q_proj"):
            value = rotary_order(value, config.num_attention_heads)
        if stem.endswith("k_proj"):
            value = rotary_order(value, config.num_key_value_heads)
        writer.add_tensor(f"{layer}{names[stem]}.weight", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
