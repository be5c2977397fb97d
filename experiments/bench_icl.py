r"""How fast ICL curves are measured, beside plain loops that take full logits to the host.

    python experiments/bench_icl.py      # small world, 3 × 64 GPT-2, context 128: 1 minute on two CPU cores
    python experiments/bench_icl.py --no-small-world --context 1024 --layers 12 --width 768 --heads 12 \
        --dtype bfloat16 --batch 64      # the published sizes: for a GPU

Every row measures the same curves (one for each source and k) with the same model, with random weights, on
the same prompts in the same run. The rows take turns, and medians over the turns are printed. First, all rows
are checked to give the same probabilities.

    iclbayes      `icl.score_model` and `icl.icl_curves`: batches of one shape, answers gathered on the device
    batch loop    the model under `nnx.jit`, `--batch` prompts at a time; full logits to the host, where NumPy
                  takes the log-softmax at the scored positions
    prompt loop   the same, prompt by prompt
    eager loop    the same, prompt by prompt and without jit: the model called as it stands

curves/s = curves / seconds to measure them all. The last two loops run over the first prompts of each k only
(`--loop-prompts`, `--eager-prompts`) and their time is scaled up to all of them.

Measured on two busy CPU cores: 33 times the eager loop, 4.8 times the prompt loop, 1.1 times the batch loop.
More than 10 times is reached against a loop without jit alone: at this size the forward pass is nearly all of
the work, logits are few (26 a token), and the loops under jit run the same forward pass.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
import scipy.special
import tyro
from flax import nnx

from iclbayes import ginc, icl
from iclbayes.models import GPT2, GPT2Config
from iclbayes.runtime import use_compilation_cache


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark."""

    small_world: bool = True  # the small world of 4 HMMs; the published one of 5 otherwise
    ks: tuple[int, ...] = (3, 5, 8, 10)  # example lengths
    count: int = 128  # prompts for each k
    context: int = 128
    layers: int = 3
    heads: int = 4
    width: int = 64
    dtype: str = "float32"
    batch: int = 16  # of the batch loop
    loop_prompts: int = 16  # of each k in the prompt loop
    eager_prompts: int = 2  # of each k in the eager loop; 0 leaves that row out
    repeats: int = 7  # turns
    seed: int = 0


def plain_loop(forward: Callable, prompts, limit: int, batch: int):
    """ln P(answer) [limit, N] for each k, from all logits of `batch` prompts at a time on the host."""
    results = []
    for one in prompts:
        tokens, before, answers = (np.asarray(a) for a in (one.tokens, one.positions - 1, one.answers))
        rows = []
        for first in range(0, limit, batch):
            here = slice(first, first + batch)
            logits = np.asarray(forward(tokens[here]))
            scored = np.take_along_axis(logits, before[here][..., None], axis=1)
            log_probs = scipy.special.log_softmax(scored, axis=-1)
            log_prob = np.take_along_axis(log_probs, answers[here][..., None], axis=-1)[..., 0]
            rows.append((log_prob, scored.argmax(-1) == answers[here]))
        log_prob, correct = (np.concatenate(parts) for parts in zip(*rows))
        results.append(icl.PromptScores(one.k, np.asarray(one.source)[:limit], log_prob, correct))
    return tuple(results)


def main(settings: Settings) -> dict[str, float]:
    """Prints the table; returns seconds for all curves by name of the row."""
    sizes = ginc.WorldConfig.small if settings.small_world else ginc.WorldConfig.paper
    world = ginc.make_world(sizes(seed=settings.seed))
    prompts = icl.icl_prompts(
        world,
        jax.random.key(settings.seed),
        ks=settings.ks,
        count=settings.count,
        context=settings.context,
    )
    config = GPT2Config(
        vocab_size=world.config.vocab_size,
        context=settings.context,
        n_layers=settings.layers,
        n_heads=settings.heads,
        width=settings.width,
        dtype=settings.dtype,
    )
    model = GPT2(config, rngs=nnx.Rngs(settings.seed))
    jitted = nnx.jit(lambda model, tokens: model(tokens))

    def under_jit(tokens):
        return jitted(model, tokens)

    batch = min(settings.batch, settings.count)
    whole_batches = settings.count // batch * batch  # one shape
    loop_prompts = min(settings.loop_prompts, settings.count)
    eager_prompts = min(settings.eager_prompts, settings.count)
    rows = {  # name: (what to run, prompts of each k that it runs over)
        "iclbayes": (lambda: icl.score_model(model, prompts), settings.count),
        "batch loop": (lambda: plain_loop(under_jit, prompts, whole_batches, batch), whole_batches),
        "prompt loop": (lambda: plain_loop(under_jit, prompts, loop_prompts, 1), loop_prompts),
    }
    if eager_prompts:
        rows["eager loop"] = (lambda: plain_loop(model, prompts, eager_prompts, 1), eager_prompts)

    ours = rows["iclbayes"][0]()
    tolerance = 1e-4 if settings.dtype == "float32" else 5e-2
    for name, (run, _) in rows.items():  # compiles, too
        for mine, theirs in zip(ours, run(), strict=True):
            np.testing.assert_allclose(
                mine.log_prob[: len(theirs.log_prob)], theirs.log_prob, atol=tolerance, err_msg=name
            )

    times = {name: [] for name in rows}
    for _ in range(settings.repeats):
        for name, (run, number) in rows.items():
            start = time.perf_counter()
            icl.icl_curves(run())
            times[name].append((time.perf_counter() - start) * settings.count / number)

    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
    curves = len(settings.ks) * world.config.hmms
    device = jax.devices()[0].device_kind
    ks = ", ".join(map(str, settings.ks))
    print(
        f"{curves} curves, {settings.count} prompts for each of k = {ks}; GPT-2 "
        f"{settings.layers} × {settings.width}, context {settings.context}, {settings.dtype}, {device}; "
        f"medians of {settings.repeats}"
    )
    print(f"{'':12}{'curves/s':>10}{'ms a prompt':>13}{'iclbayes is faster by':>24}")
    for name, taken in seconds.items():
        per_prompt = 1e3 * taken / (settings.count * len(settings.ks))
        print(f"{name:12}{curves / taken:10.2f}{per_prompt:13.2f}{taken / seconds['iclbayes']:23.1f}×")
    return seconds


if __name__ == "__main__":
    settings = tyro.cli(Settings, description=__doc__)
    use_compilation_cache()
    main(settings)
