"""What determines a run of `synthetic.py`: its configuration, presets and random keys."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax

import iclbayes
from iclbayes import ginc, suppression, training
from iclbayes.cli.parsing import parse_script
from iclbayes.models import GPT2Config

SIX = tuple(law.name for law in iclbayes.laws.SIX)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines a run, and where it goes. The defaults are the preset quick."""

    preset: Literal["quick", "small", "paper"] = "quick"
    """quick: a few minutes on two CPU cores; small: two hours on two cores; paper: the published scale for one accelerator."""
    run_dir: Path | None = None
    """folder of the run; by default a dated one under runs/."""
    resume: bool = False
    """continue the run in --run-dir."""

    world: ginc.WorldConfig = dataclasses.field(default_factory=lambda: quick_world(17))
    """the synthetic world."""
    kind: Literal["documents", "examples"] = "examples"
    """pretraining rows: blocks of documents, as published, or documents made of examples, as prompts are."""
    layers: tuple[int, ...] = (1, 2)
    """depths to pretrain."""
    seeds: tuple[int, ...] = (0,)
    """seeds to pretrain each depth with."""
    width: int = 48
    """size of the residual stream."""
    heads: int = 4
    """attention heads."""
    context: int = 96
    """tokens in a row."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """precision of activations; auto is bfloat16 on accelerators and float32 on CPUs."""

    steps: int = 4000
    """updates, if training on fresh rows (documents = 0)."""
    documents: int = 0
    """train for --epochs on this many documents instead of on fresh ones."""
    epochs: int = 5
    """passes over --documents."""
    flops_matched: bool = False
    """give every depth the compute of the deepest published one: round(80 / layers) epochs."""
    blocks: int = 1
    """rows of --context tokens in one document; one made of examples is one row."""
    batch_size: int = 16
    """rows in a batch."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """of the pretraining: AdamW, or Muon, which gets as far in fewer updates of small models."""
    learning_rate: float = 8e-3
    """peak learning rate."""
    warmup_steps: int = 60
    """updates with a rising learning rate."""
    weight_decay: float = 0.01
    """of AdamW."""
    beta2: float = 0.98
    """of AdamW: decay of the mean squared gradient; short runs want a short memory."""
    evals: int = 3
    """held-out evaluations during each training."""
    eval_rows: int = 512
    """held-out rows of --context tokens."""

    ks: tuple[int, ...] = (2, 3, 4)
    """example lengths, of the prompts and of rows made of examples."""
    prompts: int = 400
    """prompts for each example length, shared among the sources."""

    weights: tuple[float, ...] = ()
    """mixture weights of the pretraining, one for each HMM; uniform by default."""

    suppress: tuple[int, ...] = (512, 2048, 4096, 8192)
    """suppression stage: documents of the favoured task to fine-tune the deepest model on; none skips it."""
    favoured: int = 0
    """suppression stage: the task to favour."""
    sft_learning_rate: float = 3e-4
    """suppression stage: peak learning rate of supervised fine-tuning."""
    dpo_learning_rate: float = 5e-5
    """suppression stage: peak learning rate of preference tuning."""
    forecaster: Literal["psis", "laplace", "nuts", "point"] = "psis"
    """suppression stage: how returns are forecast: a posterior (importance-resampled, Laplace or NUTS), or around point fits."""

    laws: tuple[str, ...] = SIX
    """laws to fit."""
    fractions: tuple[float, ...] = (0.1, 0.5, 1.0)
    """shares of the shots to fit; 1 is interpolation."""

    @property
    def rows(self) -> ginc.Rows:
        """The kind of rows of every stage."""
        return ginc.rows_of(self.kind, self.blocks, self.ks)

    def tunings(self) -> dict[str, suppression.Tuning]:
        """How the suppression stage fine-tunes, by method."""
        rates = {"sft": self.sft_learning_rate, "dpo": self.dpo_learning_rate}
        more = {"rows": self.rows, "weight_decay": self.weight_decay, "evals": 0}
        return {
            method: suppression.Tuning(method, self.favoured, rate, **more) for method, rate in rates.items()
        }

    def model(self, layers: int) -> GPT2Config:
        """The model of a depth."""
        dtype = self.dtype
        if dtype == "auto":
            dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
        return GPT2Config(self.world.vocab_size, self.context, layers, self.heads, self.width, dtype=dtype)

    def training(self, layers: int, seed: int) -> training.TrainConfig:
        """The training run of a depth and seed."""
        steps = self.steps
        if self.documents:
            epochs = round(80 / layers) if self.flops_matched else self.epochs
            steps = training.steps_for_epochs(self.documents * self.blocks, self.batch_size, epochs)
        elif self.flops_matched:
            steps = max(1, round(self.steps * max(self.layers) / layers))
        return training.TrainConfig(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=min(self.warmup_steps, steps - 1),
            weight_decay=self.weight_decay,
            beta2=self.beta2,
            optimizer=self.optimizer,
            seed=seed,
            log_every=max(1, steps // 24),
            eval_every=max(1, steps // max(1, self.evals)),
            checkpoint_every=max(1, steps // 4),
        )


def quick_world(seed: int) -> ginc.WorldConfig:
    """A world that two layers learn in minutes: 3 HMMs, one entity, 6 slots, and symbols so many that states rarely share one.
    Its HMMs are alike (temperature 0.5), so that telling them apart takes a few examples."""
    return ginc.WorldConfig(seed=seed, hmms=3, entities=1, slots=6, symbols=100, temperature=0.5)


SMALL = Config(
    preset="small",
    world=ginc.WorldConfig.paper(17),
    kind="documents",
    layers=(1, 2, 4),
    width=128,
    context=256,
    blocks=4,
    batch_size=16,
    learning_rate=4e-3,
    warmup_steps=300,
    beta2=0.999,
    evals=8,
    ks=(3, 5, 8, 10),
    prompts=1000,
    suppress=(50, 250, 1000),
    sft_learning_rate=3e-4,
    dpo_learning_rate=1e-4,
    fractions=(0.05, 0.1, 0.2, 0.5, 1.0),
)
PAPER = Config(
    preset="paper",
    world=ginc.WorldConfig.paper(),
    kind="documents",
    layers=(1, 2, 3, 4, 8, 12, 16),
    width=768,
    heads=12,
    context=1024,
    documents=1000,
    blocks=10,
    batch_size=8,
    learning_rate=8e-5,
    warmup_steps=1000,
    optimizer="adamw",
    beta2=0.999,
    evals=4,
    eval_rows=1000,
    ks=(3, 5, 8, 10),
    prompts=1000,
    suppress=(),  # experiments/suppression.py --preset paper does the whole of it
    fractions=(0.05, 0.1, 0.2, 0.5, 1.0),
)
PRESETS = {"quick": Config(), "small": SMALL, "paper": PAPER}


def run_name(layers: int, seed: int) -> str:
    """Name of a model's folder."""
    return f"layers{layers}_seed{seed}"


def keys(config: Config) -> dict[str, jax.Array]:
    """Random keys of the parts of a run, from the world's seed."""
    names = ("documents", "held_out", "prompts", "tuning")
    return dict(zip(names, jax.random.split(jax.random.key(config.world.seed), len(names)), strict=True))


def parse(arguments: Sequence[str] | None, presets: dict, program: str, description: str = ""):
    """The configuration: a preset's defaults (the one that --preset names) with the overrides given.

    Args:
      arguments: those of the command line by default.
      presets: name → configuration.
      program, description: for messages and the help.

    Raises:
      InputError: the arguments do not fit.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = next(iter(presets))
    for i, argument in enumerate(arguments):
        if argument.startswith("--preset"):
            name = argument.partition("=")[2] or (arguments[i + 1] if i + 1 < len(arguments) else name)
    default = presets.get(name, presets[next(iter(presets))])
    return parse_script(type(default), arguments, program, description, default)
