"""How to train: hyperparameters, the learning-rate schedule and the optimizer that follow from them."""

import dataclasses
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax.typing import ArrayLike

from ..errors import InputError

MUON_RMS = (
    0.2  # root mean square of Muon's updates of a matrix before the learning rate: about that of AdamW's
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Hyperparameters of one training run. Steps are optimizer updates.

    Raises:
      InputError: a value that makes no training run.
    """

    steps: int = 1000  # updates in the whole run
    batch_size: int = 32  # sequences in a batch; the batch function reads it
    learning_rate: float = 3e-3  # the peak, reached after the warm-up
    warmup_steps: int = 100  # updates with a rising learning rate
    weight_decay: float = 0.01  # decoupled; of matrices and embeddings, not of biases and norms
    beta1: float = 0.9  # Adam's decay of the mean gradient
    beta2: float = 0.999  # Adam's decay of the mean squared gradient
    epsilon: float = 1e-8  # Adam's addition to the denominator
    clip_norm: float = 1.0  # largest global norm of the gradient; 0 does not clip
    seed: int = 0  # of the initial weights and the batches
    optimizer: Literal["adamw", "muon"] = (
        "adamw"  # muon: orthogonalised momentum for matrices, AdamW for the rest
    )
    log_every: int = 50  # updates between rows of metrics.csv, each a mean over them
    eval_every: int = 0  # updates between calls of `on_eval`; 0 calls it at the end only
    checkpoint_every: int = 500  # updates between checkpoints; there is always one at the end
    keep_checkpoints: int = 2  # how many of the last checkpoints stay
    steps_per_dispatch: int = 20  # most updates done in one call of the device

    def __post_init__(self):
        least = {
            "steps": 1,
            "batch_size": 1,
            "warmup_steps": 0,
            "log_every": 1,
            "eval_every": 0,
            "checkpoint_every": 1,
            "keep_checkpoints": 1,
            "steps_per_dispatch": 1,
            "learning_rate": 0,
            "weight_decay": 0,
            "epsilon": 0,
            "clip_norm": 0,
            "seed": 0,
        }
        for name, value in least.items():
            given = getattr(self, name)
            if not value <= given < math.inf:
                wanted = "a finite number" if given == math.inf else f"at least {value}"
                raise InputError(f"TrainConfig.{name} is {given}; give {wanted}")
        if self.optimizer not in ("adamw", "muon"):
            raise InputError(f'TrainConfig.optimizer is {self.optimizer!r}; give "adamw" or "muon"')
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"TrainConfig.{name} is {getattr(self, name)}; give a number in [0, 1)")
        if self.warmup_steps >= self.steps:
            raise InputError(
                f"TrainConfig.warmup_steps is {self.warmup_steps} of {self.steps} steps; give fewer"
            )


class Schedule(NamedTuple):
    """The learning-rate schedule as arrays, so that runs of other lengths and rates need no other program.

    Attributes:
      peak: float32, largest learning rate.
      warmup: float32, w, updates with a rising learning rate.
      steps: float32, T, updates in all.
    """

    peak: jax.Array
    warmup: jax.Array
    steps: jax.Array

    def rate(self, step: ArrayLike) -> jax.Array:
        """Learning rate of update s = 0 … T − 1: peak · min((s + 1) / (w + 1), (T − s) / (T − w)).

        It rises linearly, is the peak at s = w, then falls linearly to peak / (T − w) in the last update; no update has the
        rate 0.
        """
        step = jnp.asarray(step, jnp.float32)
        rising = (step + 1) / (self.warmup + 1)
        falling = (self.steps - step) / (self.steps - self.warmup)
        return self.peak * jnp.minimum(rising, falling)


def schedule(config: TrainConfig) -> Schedule:
    """The schedule of a run."""
    return Schedule(*(jnp.float32(x) for x in (config.learning_rate, config.warmup_steps, config.steps)))


def learning_rate_at(config: TrainConfig, step: jax.Array) -> jax.Array:
    """Learning rate of an update, see `Schedule.rate`."""
    return schedule(config).rate(step)


def make_optimizer(config: TrainConfig, rate: optax.Schedule | None = None) -> optax.GradientTransformation:
    """Clipping by the global norm, then AdamW (Loshchilov & Hutter 2019) or Muon (Jordan et al. 2024).

    Weights decay in arrays of two or more dimensions only. Muon replaces the momentum of a matrix W [m, n] by the nearest
    matrix with orthonormal rows or columns (five Newton–Schulz steps), times 0.2 √max(m, n), so that an update is as large as
    AdamW's and both take the same learning rates (Liu et al. 2025, arXiv 2502.16982); all other arrays follow AdamW.

    Args:
      config: hyperparameters.
      rate: update → learning rate; that of `config` by default.
    """
    rate = rate or schedule(config).rate
    if config.optimizer == "muon":
        method = optax.contrib.muon(
            rate,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,  # of the matrices; the rest does not decay
            consistent_rms=MUON_RMS,
        )
    else:
        method = optax.adamw(
            rate,
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params),
        )
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, method)
