"""Speed of collecting a curve in one pass against a pass for each number of shots. Same model, same run.

    python experiments/bench_collect.py                  # a minute on two CPU cores
    python experiments/bench_collect.py --device cuda --dtype bfloat16 --layers 16 --width 2048 --repeats 5

Expected: at least 20 times as many tokens of conversation a second at 64 shots (40 to 55 times on a CPU). Three
ways to the same numbers, in turns: back end (a); back end (a) given one prompt for each number of shots, with
the same batching and the head on the answers alone; and the loop that one would write by hand, one forward pass
with all logits at a time. A token of a conversation counts once, however often it is computed. The model is a
randomly initialised Llama: its speed does not depend on its weights.
"""

import dataclasses
import statistics
import time

import numpy as np
import torch
import tyro
from transformers import LlamaConfig, LlamaForCausalLM

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


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        intermediate_size=3 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // 64,
        num_key_value_heads=settings.width // 64,
        max_position_embeddings=(settings.shots + 1) * settings.shot_tokens,
    )
    model = LlamaForCausalLM(config).to(settings.device, getattr(torch, settings.dtype)).eval()
    backend = HFBackend(model)
    prompts = make_prompts(settings)
    tokens = sum(len(p.ids) for p in prompts)
    print(
        f"{settings.conversations} conversations of {settings.shots} shots, {tokens:,} tokens; Llama of"
        f" {settings.layers} layers, width {settings.width}, {settings.dtype} on {settings.device},"
        f" {torch.get_num_threads()} threads"
    )
    ways = {"one pass": one_pass, "a pass for each number of shots": pass_for_each, "loop by hand": loop}
    one_pass(backend, prompts)  # warm up
    seconds = {name: [] for name in ways}
    results = {}
    for _ in range(settings.repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way(backend, prompts)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        ratio = median / medians["one pass"]
        apart = np.abs(results[name] - results["one pass"]).max()
        print(
            f"{name:32s} {median:8.2f} s {tokens / median:10,.0f} tokens/s   one pass: {ratio:5.1f} times"
            f"   largest difference {apart:.1e} nats"
        )


if __name__ == "__main__":
    main()
