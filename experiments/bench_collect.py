"""Speed of collecting a curve in one pass against a pass for each number of shots, of competing answers, and of bfloat16.

    python experiments/bench_collect.py                  # a minute on two CPU cores
    python experiments/bench_collect.py --device cuda --dtype bfloat16 --layers 16 --width 2048 --repeats 5
    python experiments/bench_collect.py --model FOLDER   # a real model, by folder or name on the hub

Expected: at least 20 times as many tokens of conversation a second at 64 shots (40 to 55 times on a CPU). Three
ways to the same numbers, in turns: back end (a); back end (a) given one prompt for each number of shots, with
the same batching and the head on the answers alone; and the loop that one would write by hand, one forward pass
with all logits at a time. A token of a conversation counts once, however often it is computed. The model is a
randomly initialised Llama, whose speed does not depend on its weights, or the one that --model names.

Then two comparisons on the same conversations: competing answers (--rivals of them for each shot, --rival-tokens long, which part
from the answer at their first token) against none, with what stands before them read once and with a prompt for each; and the
model in bfloat16 against float32. Expected: competing answers read less than three times the tokens of the conversations.
"""

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import tyro
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from iclbayes.llm.backends.hf import HFBackend
from iclbayes.llm.prompts import Prompt


@dataclasses.dataclass(frozen=True)
class Settings:
    shots: int = 64
    """most shots before an answer."""
    shot_tokens: int = 16
    """tokens of a shot, of which the last two but one are the answer."""
    conversations: int = 1
    layers: int = 2
    width: int = 256
    vocabulary: int = 8_000
    repeats: int = 3
    """times each way is measured; medians are compared."""
    threads: int = 1
    """of the CPU; more than are idle make each other wait."""
    device: str = "cpu"
    dtype: str = "float32"
    model: str | None = None
    """folder or name of a model; without it one is initialised at random."""
    rivals: int = 3
    """competing answers of each shot."""
    rival_tokens: int = 3
    """tokens of each of them."""


def make_model(settings: Settings) -> Any:
    torch.manual_seed(0)
    dtype = getattr(torch, settings.dtype)
    if settings.model is not None:
        return AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype).to(settings.device).eval()
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        intermediate_size=3 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // 64,
        num_key_value_heads=settings.width // 64,
        max_position_embeddings=(settings.shots + 1) * settings.shot_tokens + settings.rival_tokens,
    )
    return LlamaForCausalLM(config).to(settings.device, dtype).eval()


def make_rivals(settings: Settings, prompts: list[Prompt]) -> list[Prompt]:
    """The conversations, and a prompt for each competing answer of each shot."""
    rng = np.random.default_rng(1)
    found = []
    for prompt in prompts:
        found.append(prompt)
        for first, _ in prompt.spans:
            for number in range(settings.rivals):
                tokens = rng.integers(0, settings.vocabulary, settings.rival_tokens)
                tokens[0] = (prompt.ids[first] + 1 + number) % settings.vocabulary  # not the answer's own
                ids = np.concatenate([prompt.ids[:first], tokens])
                found.append(Prompt.plain(ids, [(int(first), int(first) + settings.rival_tokens)]))
    return found


def make_prompts(settings: Settings) -> list[Prompt]:
    rng = np.random.default_rng(0)
    ends = np.arange(1, settings.shots + 2) * settings.shot_tokens - 1
    spans = np.stack([ends - 2, ends], 1)
    length = ends[-1]
    return [
        Prompt.plain(rng.integers(0, settings.vocabulary, length), spans)
        for _ in range(settings.conversations)
    ]


def one_pass(backend: HFBackend, prompts: list[Prompt]) -> np.ndarray:
    found = dict(backend.score(prompts))
    return np.array([found[i][:, 0] for i in range(len(prompts))])


def pass_for_each(backend: HFBackend, prompts: list[Prompt]) -> np.ndarray:
    parts = [Prompt.plain(p.ids[:stop], [(first, stop)]) for p in prompts for first, stop in p.spans]
    return one_pass(backend, parts).reshape(len(prompts), -1)


@torch.inference_mode()
def loop(backend: HFBackend, prompts: list[Prompt]) -> np.ndarray:
    found = []
    for prompt in prompts:
        for first, stop in prompt.spans:
            ids = torch.tensor(prompt.ids[None, :stop], dtype=torch.long, device=backend.model.device)
            values = backend.model(ids, use_cache=False).logits[0, first - 1 : -1].float().log_softmax(-1)
            found.append(values.gather(1, ids[0, first:, None]).sum().item())
    return np.array(found).reshape(len(prompts), -1)


def timed(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """(median seconds, results) of ways that are measured in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def compare_passes(settings: Settings, backend: HFBackend, prompts: list[Prompt]) -> None:
    tokens = sum(len(p.ids) for p in prompts)
    alone = HFBackend(backend.model, share=False)  # each number of shots reads its whole prompt
    ways = {
        "one pass": lambda: one_pass(backend, prompts),
        "a pass for each number of shots": lambda: pass_for_each(alone, prompts),
        "loop by hand": lambda: loop(backend, prompts),
    }
    medians, results = timed(ways, settings.repeats)
    for name, median in medians.items():
        ratio = median / medians["one pass"]
        apart = np.abs(results[name] - results["one pass"]).max()
        print(
            f"{name:32s} {median:8.2f} s {tokens / median:10,.0f} tokens/s   one pass: {ratio:5.1f} times"
            f"   largest difference {apart:.1e} nats"
        )


def compare_rivals(settings: Settings, backend: HFBackend, prompts: list[Prompt]) -> None:
    asked = make_rivals(settings, prompts)
    alone = HFBackend(backend.model, share=False)
    list(backend.score(asked[: settings.rivals + 2]))  # the trial of sharing
    ways = {
        "no competing answers": lambda: dict(backend.score(prompts)),
        "competing answers, shared": lambda: dict(backend.score(asked)),
        "a prompt for each": lambda: dict(alone.score(asked)),
    }
    medians, results = timed(ways, settings.repeats)
    tokens = sum(len(p.ids) for p in prompts)
    read = dict(zip(ways, (tokens, sum(backend.cost(asked)), sum(alone.cost(asked)))))
    print(f"\n{settings.rivals} competing answers of {settings.rival_tokens} tokens for each shot")
    for name, median in medians.items():
        print(
            f"{name:32s} {median:8.2f} s {median / medians['no competing answers']:6.1f} times the time"
            f" {read[name] / tokens:6.1f} times the tokens {read[name] / median:10,.0f} tokens/s"
        )
    shared, plain = results["competing answers, shared"], results["a prompt for each"]
    apart = max(np.abs(shared[i] - plain[i]).max() for i in plain)
    print(f"largest difference of the two {apart:.1e} nats")


def compare_precisions(settings: Settings, backend: HFBackend, prompts: list[Prompt]) -> None:
    tokens = sum(len(p.ids) for p in prompts)
    half = HFBackend(copy.deepcopy(backend.model).to(torch.bfloat16))
    ways = {"float32": lambda: one_pass(backend, prompts), "bfloat16": lambda: one_pass(half, prompts)}
    one_pass(half, prompts)  # warm up
    medians, results = timed(ways, settings.repeats)
    print("\nprecision")
    for name, median in medians.items():
        print(f"{name:32s} {median:8.2f} s {tokens / median:10,.0f} tokens/s")
    logs = results["bfloat16"] - results["float32"]
    probs = np.exp(results["bfloat16"]) - np.exp(results["float32"])
    print(
        f"bfloat16 less float32: log probability {logs.mean():+.1e} nats (sd {logs.std():.1e}),"
        f" probability {probs.mean():+.1e} (sd {probs.std():.1e})"
    )


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(settings.threads)
    model = make_model(settings)
    settings = dataclasses.replace(settings, vocabulary=model.config.get_text_config().vocab_size)
    backend = HFBackend(model)
    prompts = make_prompts(settings)
    print(
        f"{settings.conversations} conversations of {settings.shots} shots, {sum(len(p.ids) for p in prompts):,} tokens;"
        f" {settings.model or f'Llama of {settings.layers} layers, width {settings.width}'}, {settings.dtype} on"
        f" {settings.device}, {torch.get_num_threads()} threads"
    )
    one_pass(backend, prompts)  # warm up
    compare_passes(settings, backend, prompts)
    compare_rivals(settings, backend, prompts)
    if settings.dtype == "float32":
        compare_precisions(settings, backend, prompts)


if __name__ == "__main__":
    main()
