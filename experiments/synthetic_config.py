"""What determines a run of `synthetic.py`: its configuration, presets, folder and random keys."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import jax
import tyro

import iclbayes
from iclbayes import ginc, training
from iclbayes.errors import InputError
from iclbayes.files import write_text
from iclbayes.models import GPT2Config

SIX = tuple(law.name for law in iclbayes.laws.SIX)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines a run, and where it goes."""

    preset: Literal["quick", "paper"] = "quick"
    """quick: a small world for two CPU cores; paper: the published scale for one accelerator."""
    run_dir: Path | None = None
    """folder of the run; by default a dated one under runs/."""
    resume: bool = False
    """continue the run in --run-dir."""

    world: ginc.WorldConfig = dataclasses.field(default_factory=lambda: ginc.WorldConfig.small(17))
    """the synthetic world."""
    layers: tuple[int, ...] = (1, 3)
    """depths to pretrain."""
    seeds: tuple[int, ...] = (0,)
    """seeds to pretrain each depth with."""
    width: int = 64
    """size of the residual stream."""
    heads: int = 4
    """attention heads."""
    context: int = 128
    """tokens in a row."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """precision of activations; auto is bfloat16 on accelerators and float32 on CPUs."""

    steps: int = 600
    """updates, if training on fresh documents (documents = 0)."""
    documents: int = 0
    """train for --epochs on this many documents instead of on fresh ones."""
    epochs: int = 5
    """passes over --documents."""
    flops_matched: bool = False
    """give every depth the compute of the deepest published one: round(80 / layers) epochs."""
    blocks: int = 1
    """rows of --context tokens in one document."""
    batch_size: int = 32
    """rows in a batch."""
    learning_rate: float = 3e-3
    """peak learning rate."""
    warmup_steps: int = 60
    """updates with a rising learning rate."""
    weight_decay: float = 0.01
    """of AdamW."""
    evals: int = 4
    """held-out evaluations during each training."""
    eval_rows: int = 512
    """held-out rows of --context tokens."""

    ks: tuple[int, ...] = (3, 5, 8, 10)
    """example lengths."""
    prompts: int = 400
    """prompts for each example length, shared among the sources."""

    weights: tuple[float, ...] = ()
    """mixture weights of the pretraining, one for each HMM; uniform by default."""

    suppress: tuple[int, ...] = (32, 128, 512)
    """suppression stage: documents of the favoured task to fine-tune the deepest model on; none skips it."""
    favoured: int = 0
    """suppression stage: the task to favour."""
    sft_learning_rate: float = 3e-4
    """suppression stage: peak learning rate of supervised fine-tuning."""
    dpo_learning_rate: float = 3e-4
    """suppression stage: peak learning rate of preference tuning."""
    forecaster: Literal["psis", "laplace", "nuts", "point"] = "psis"
    """suppression stage: how returns are forecast: a posterior (importance-resampled, Laplace or NUTS), or around point fits."""

    laws: tuple[str, ...] = SIX
    """laws to fit."""
    fractions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0)
    """shares of the shots to fit; 1 is interpolation."""

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
            seed=seed,
            log_every=max(1, steps // 24),
            eval_every=max(1, steps // max(1, self.evals)),
            checkpoint_every=max(1, steps // 4),
        )


PAPER = Config(
    preset="paper",
    world=ginc.WorldConfig.paper(),
    layers=(1, 2, 3, 4, 8, 12, 16),
    width=768,
    heads=12,
    context=1024,
    documents=1000,
    blocks=10,
    batch_size=8,
    learning_rate=8e-5,
    warmup_steps=1000,
    eval_rows=1000,
    prompts=1000,
    suppress=(),  # experiments/suppression.py --preset paper does the whole of it
)
PRESETS = {"quick": Config(), "paper": PAPER}


def run_name(layers: int, seed: int) -> str:
    """Name of a model's folder."""
    return f"layers{layers}_seed{seed}"


def open_run(config, name: str = "synthetic") -> Path:
    """The folder of the run with its config.json, new or, with `resume`, one that holds the same configuration.

    Raises:
      InputError: a folder that holds a run already, or another configuration (naming the field).
    """
    run_dir = config.run_dir
    if run_dir is None:
        if config.resume:
            raise InputError("--resume needs --run-dir: name the folder of the run to continue")
        run_dir = Path("runs") / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}"
    path = run_dir / "config.json"
    asked = as_json(config)
    if path.exists():
        if not config.resume:
            raise InputError(f"{run_dir}: already holds a run; add --resume or choose another folder")
        stored = json.loads(path.read_text())
        changed = [name for name in asked if stored.get(name) != asked[name]]
        if changed:
            field = changed[0]
            raise InputError(
                f"{path}: {field} is {stored.get(field)} there but {asked[field]} here; "
                "repeat the run's own options or choose another folder"
            )
        return run_dir
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir}: is a file; choose a folder")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(json.dumps(asked, indent=2) + "\n", path)
    return run_dir


def as_json(config) -> dict:
    """What determines a run, as JSON values."""
    values = dataclasses.asdict(config)
    for name in ("run_dir", "resume"):
        values.pop(name)
    return json.loads(json.dumps(values, default=str))


def keys(config: Config) -> dict[str, jax.Array]:
    """Random keys of the parts of a run, from the world's seed."""
    names = ("documents", "held_out", "prompts")
    return dict(zip(names, jax.random.split(jax.random.key(config.world.seed), len(names)), strict=True))


def parse(arguments: Sequence[str], presets: dict, description: str):
    """The configuration: a preset's defaults (the one that --preset names) with the overrides given."""
    name = next(iter(presets))
    for i, argument in enumerate(arguments):
        if argument.startswith("--preset"):
            name = argument.partition("=")[2] or (arguments[i + 1] if i + 1 < len(arguments) else name)
    default = presets.get(name, presets[next(iter(presets))])
    return tyro.cli(type(default), args=list(arguments), default=default, description=description)
