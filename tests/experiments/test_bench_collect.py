"""The benchmark of collecting end to end at sizes that take seconds: what it compares, never how fast."""

import re
import sys

import bench_collect
import pytest
import torch


@pytest.mark.parametrize("named", [False, True])
def test_ways_agree_and_competing_answers_read_less_than_three_times_the_tokens(
    named, tmp_path, monkeypatch, capsys
):
    words = ["--shots", "8", "--layers", "1", "--width", "64", "--vocabulary", "200", "--repeats", "1"]
    if named:
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(vocab_size=150, n_positions=256, n_embd=16, n_layer=1, n_head=1)
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
        words += ["--model", str(tmp_path)]
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["bench_collect.py", *words])
    try:
        bench_collect.main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    apart = [float(x) for x in re.findall(r"largest difference(?: of the two)? (\S+)", printed)]
    assert len(apart) == 4 and max(apart) < 1e-4
    times = re.findall(r"^(.*?) {2,}.* ([\d.]+) times the tokens", printed, re.M)
    factors = {name: float(number) for name, number in times}
    assert factors["no competing answers"] == 1
    assert 1 < factors["competing answers, shared"] < 3 < factors["a prompt for each"]
    assert re.search(r"^bfloat16 less float32: log probability \S+ nats", printed, re.M)
