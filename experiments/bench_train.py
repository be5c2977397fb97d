"""Training tokens/s of iclbayes beside `transformers`' GPT-2 under PyTorch.

    python experiments/bench_train.py            # two sizes, about 3 minutes on two idle CPU cores

Same sizes, same initialisation scheme, same batches of GINC, AdamW, clipping, same cores, same run. Each of
the two trains in a process of its own and waits while the other one works; turns alternate, and medians over
the turns are compared. Needs `pip install -e '.[llm]'`. What each optimisation gained is in bench_train.md.
"""

import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import tyro

VOCABULARY, HEADS, DISTINCT_BATCHES = 26, 4, 8
PEAK_SIZE = 1024  # side of the square matrices whose product measures the machine


@dataclasses.dataclass(frozen=True)
class Size:
    """Sizes of a model and its batch."""

    layers: int
    width: int
    context: int
    batch: int

    def __str__(self) -> str:
        return f"{self.layers} layers × {self.width}, context {self.context}, batch {self.batch}"


SIZES = (Size(3, 64, 128, 32), Size(4, 128, 256, 32))


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure."""

    sizes: tuple[int, ...] = (0, 1)  # which of the two sizes
    turns: int = 7  # turns of each, of which the median counts
    seconds: float = 4.0  # about how long a turn is
    cores: int = 0  # cores of each, 0 for all; 1 compares CPU time fairly on a busy machine
    worker: str = ""  # internal: "jax" or "torch", to be one of the two
    size: int = 0  # internal: the worker's size


def blocks(size: Size) -> np.ndarray:
    """Batches of the small world, int32[DISTINCT_BATCHES · batch, context], equal in both processes."""
    import jax

    from iclbayes import ginc

    world = ginc.make_world(ginc.WorldConfig.small())
    number = DISTINCT_BATCHES * size.batch
    return np.asarray(ginc.sample_blocks(world, jax.random.key(0), number, size.context).tokens)


def jax_steps(size: Size):
    """With iclbayes: run(steps) -> mean loss, peak() -> GFLOP/s, and model FLOPs a token."""
    import jax
    import jax.numpy as jnp

    from iclbayes import models, training

    model = models.GPT2Config(
        vocab_size=VOCABULARY,
        context=size.context,
        n_layers=size.layers,
        n_heads=HEADS,
        width=size.width,
    )
    config = training.TrainConfig(
        steps=100_000, batch_size=size.batch, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0
    )
    batches = training.rows_batch_fn(blocks(size), size.batch, shuffle=False)
    trainer = training.Trainer(model, config, batches, training.lm_loss)
    state = trainer.init(training.init_params(model, 0))
    trainer.compile(state)

    def run(steps: int) -> float:
        nonlocal state
        while steps:
            count = min(steps, config.steps_per_dispatch)
            state = trainer.run(state, count)
            steps -= count
        means, state = training.read_totals(config, state)
        return means["loss"]

    square = jax.random.normal(jax.random.key(0), (PEAK_SIZE, PEAK_SIZE))
    multiply = jax.jit(jnp.matmul)

    def peak() -> float:
        """GFLOP/s of a large float32 matrix product, the best of several."""
        jax.block_until_ready(multiply(square, square))
        seconds = []
        for _ in range(10):
            began = time.perf_counter()
            jax.block_until_ready(multiply(square, square))
            seconds.append(time.perf_counter() - began)
        return 2 * PEAK_SIZE**3 / min(seconds) / 1e9

    return run, peak, models.flops_per_token(model)


def torch_steps(size: Size):
    """The same with `transformers` and PyTorch, with fused AdamW and fused attention: its fastest here."""
    data = blocks(size)
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=size.context,
            n_embd=size.width,
            n_layer=size.layers,
            n_head=HEADS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
            attn_implementation="sdpa",
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    tokens = torch.tensor(data, dtype=torch.long).split(size.batch)
    done = 0

    def run(steps: int) -> float:
        nonlocal done
        total = 0.0
        for _ in range(steps):
            batch = tokens[done % DISTINCT_BATCHES]
            loss = model(batch, labels=batch).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total, done = total + loss.item(), done + 1
        return total / steps

    square = torch.randn(PEAK_SIZE, PEAK_SIZE)

    def peak() -> float:
        seconds = []
        for _ in range(10):
            began = time.perf_counter()
            torch.matmul(square, square)
            seconds.append(time.perf_counter() - began)
        return 2 * PEAK_SIZE**3 / min(seconds) / 1e9

    return run, peak, None


def work(options: Options) -> None:
    """A worker: reads numbers of steps, answers with wall seconds, CPU seconds and the mean loss."""
    if options.cores:  # before either library makes its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
    from iclbayes.runtime import use_compilation_cache

    use_compilation_cache()
    make = {"jax": jax_steps, "torch": torch_steps}[options.worker]
    run, peak, flops = make(SIZES[options.size])
    run(3)
    print(f"ready {peak()} {flops or 0}", flush=True)
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        loss = run(int(line))
        print(time.perf_counter() - began, time.process_time() - cpu, loss, flush=True)


class Worker:
    """One of the two processes."""

    def __init__(self, name: str, size: int, cores: int):
        command = [sys.executable, __file__, "--worker", name, "--size", str(size), "--cores", str(cores)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"bench_train: the {name} worker failed; run: {' '.join(command)}")
        self.peak, self.flops = float(answer[1]), float(answer[2])

    def turn(self, steps: int) -> tuple[float, float, float]:
        """Trains; returns wall seconds, CPU seconds, mean loss."""
        print(steps, file=self.process.stdin, flush=True)
        wall, cpu, loss = map(float, self.process.stdout.readline().split())
        return wall, cpu, loss

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(options: Options, index: int) -> None:
    """Alternates the two and prints their medians and the ratio."""
    size = SIZES[index]
    tokens = size.batch * size.context
    workers = {name: Worker(name, index, options.cores) for name in ("jax", "torch")}
    # Whole rounds over the batches, so that the losses of both can be compared.
    round_seconds = workers["torch"].turn(DISTINCT_BATCHES)[0]
    workers["jax"].turn(DISTINCT_BATCHES)
    steps = DISTINCT_BATCHES * max(1, round(options.seconds / round_seconds))
    turns = {name: [] for name in workers}
    for _ in range(options.turns):
        for name, worker in workers.items():
            turns[name].append(worker.turn(steps))
    print(f"\n{size}: {options.turns} turns of {steps} steps, alternating")
    print("| | tokens/s | tokens/s of CPU time | 1024³ product, GFLOP/s | loss at the end |")
    print("|---|---|---|---|---|")
    rate, cpu_rate = {}, {}
    for name, worker in workers.items():
        wall, cpu, loss = np.array(turns[name]).T
        rate[name] = steps * tokens / np.median(wall)
        cpu_rate[name] = steps * tokens / np.median(cpu)
        label = "iclbayes" if name == "jax" else "transformers"
        print(f"| {label} | {rate[name]:,.0f} | {cpu_rate[name]:,.0f} | {worker.peak:.0f} | {loss[-1]:.3f} |")
        worker.close()
    pairs = [t[0] / j[0] for j, t in zip(turns["jax"], turns["torch"], strict=True)]
    flops = workers["jax"].flops
    used = rate["jax"] * flops / 1e9
    print(
        f"ratio iclbayes : transformers = {rate['jax'] / rate['torch']:.2f} (wall; median of neighbouring "
        f"turns {np.median(pairs):.2f}), {cpu_rate['jax'] / cpu_rate['torch']:.2f} (CPU time)"
    )
    print(
        f"{flops / 1e6:.2f} MFLOP a token → iclbayes does {used:.0f} GFLOP/s, "
        f"{100 * used / workers['jax'].peak:.0f} % of the large product"
    )


def main() -> None:
    """Runs the benchmark, or one of its workers."""
    options = tyro.cli(Options)
    if options.worker:
        work(options)
        return
    print(
        f"cores: {options.cores or len(os.sched_getaffinity(0))}, load of the machine: {os.getloadavg()[0]:.1f}"
    )
    for index in options.sizes:
        measure(options, index)


if __name__ == "__main__":
    main()
