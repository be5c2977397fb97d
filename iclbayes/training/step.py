"""The training state and the one jitted program that advances it."""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.tree_util import Partial

from ..models import GPT2, GPT2Config
from .config import Schedule, TrainConfig, learning_rate_at, make_optimizer, schedule

# (model, batch) -> (loss, metrics): float32 scalars, the loss in nats.
LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
# (key, step) -> batch. Runs on the device, inside the program.
BatchFn = Callable[[jax.Array, jax.Array], object]


class TrainState(NamedTuple):
    """Everything that a run needs to go on exactly as if it had never stopped.

    Attributes:
      params: the model's parameters, an `nnx.State`.
      optimizer: state of the optimizer.
      step: int32 scalar, updates done.
      key: random key of the run; the batch of update s is drawn with `fold_in(key, s)`.
      totals: float32 sums of the metrics since they were last logged, and `count`, the updates in them.
    """

    params: nnx.State
    optimizer: optax.OptState
    step: jax.Array
    key: jax.Array
    totals: dict[str, jax.Array]


def init_params(config: GPT2Config, seed: int) -> nnx.State:
    """Initial parameters of a GPT-2, drawn from `seed` in one compiled program."""
    return jax.jit(lambda: nnx.state(GPT2(config, rngs=nnx.Rngs(seed))))()


class Program(NamedTuple):
    """What a training step is compiled for, hashable: runs that agree in it and in the shapes of their arrays share one
    compiled step, whatever their length, learning rate, seed and data.

    Attributes:
      graph: structure of the model.
      optimizer: the hyperparameters that the optimizer holds as constants; the rest are the defaults of `TrainConfig`.
    """

    graph: nnx.GraphDef
    optimizer: TrainConfig


class Trainer:
    """One run: `init` makes a state, `run` advances it by any number of updates.

    `loss_fn` and `batch_fn` may be `jax.tree_util.Partial`s: the arrays and numbers bound in them are then arguments of the
    program, not constants compiled into it. Use that for worlds, data sets and reference models. A later run finds the
    compiled step again if its functions are the same ones (an equal lambda or `functools.partial` is another function).

    Args:
      model_config: sizes of the model.
      config: hyperparameters.
      batch_fn: (key, step) -> batch.
      loss_fn: (model, batch) -> (loss, metrics).
    """

    def __init__(self, model_config: GPT2Config, config: TrainConfig, batch_fn: BatchFn, loss_fn: LossFn):
        self.config = config
        self.graph = _graph(model_config)
        constants = ("beta1", "beta2", "epsilon", "weight_decay", "clip_norm", "optimizer")
        self.program = Program(self.graph, TrainConfig(**{name: getattr(config, name) for name in constants}))
        self._schedule = schedule(config)
        self._batch_fn, self._loss_fn = (
            f if isinstance(f, Partial) else Partial(f) for f in (batch_fn, loss_fn)
        )

    def model(self, params: nnx.State) -> GPT2:
        """The model with these parameters."""
        return nnx.merge(self.graph, params)

    def init(self, params: nnx.State) -> TrainState:
        """The state before the first update. The parameters are copied, since `run` gives up its input."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 1)
        return start(self.program, params, key, self._batch_fn, self._loss_fn)

    def tokens_per_step(self) -> int:
        """Integers in the arrays of two or more dimensions of a batch: the tokens of one update."""
        batch = jax.eval_shape(self._batch_fn, jax.random.key(0), jnp.int32(0))
        leaves = [x for x in jax.tree.leaves(batch) if x.ndim >= 2]
        return sum(x.size for x in leaves if jnp.issubdtype(x.dtype, jnp.integer))

    def compile(self, state: TrainState) -> None:
        """Compiles the program unless an earlier run has, so that `run` never stops to do it. `state` stays."""
        self.run(jax.tree.map(jnp.copy, state), 0)

    def run(self, state: TrainState, steps: int) -> TrainState:
        """The state `steps` updates later. `state` itself is donated: its arrays are gone afterwards."""
        return advance(self.program, state, jnp.int32(steps), self._schedule, self._batch_fn, self._loss_fn)


@functools.cache
def _graph(config: GPT2Config) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: GPT2(config, rngs=nnx.Rngs(0))))


@functools.partial(jax.jit, static_argnums=0)
def start(
    program: Program, params: nnx.State, key: jax.Array, batch_fn: BatchFn, loss_fn: LossFn
) -> TrainState:
    def metrics_of(params, key):
        return loss_fn(nnx.merge(program.graph, params), batch_fn(key, jnp.int32(0)))[1]

    names = ("loss", "grad_norm", "count", *jax.eval_shape(metrics_of, params, key))
    totals = {name: jnp.zeros((), jnp.float32) for name in names}
    params = jax.tree.map(jnp.copy, params)
    optimizer = make_optimizer(program.optimizer).init(params)
    return TrainState(params, optimizer, jnp.int32(0), key, totals)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance(
    program: Program, state: TrainState, steps: jax.Array, rates: Schedule, batch_fn: BatchFn, loss_fn: LossFn
) -> TrainState:
    # One loop with a traced number of updates: however a run is cut into calls, the same program does the
    # same arithmetic, so a resumed run equals an uninterrupted one bit for bit.
    optimizer = make_optimizer(program.optimizer, rates.rate)

    def update(_, state: TrainState) -> TrainState:
        batch = batch_fn(jax.random.fold_in(state.key, state.step), state.step)

        def loss_of(params):
            return loss_fn(nnx.merge(program.graph, params), batch)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, moments = optimizer.update(grads, state.optimizer, state.params)
        new = {"loss": loss, "grad_norm": optax.global_norm(grads), "count": 1.0, **metrics}
        return TrainState(
            params=cast(nnx.State, optax.apply_updates(state.params, updates)),
            optimizer=moments,
            step=state.step + 1,
            key=state.key,
            totals={name: total + new[name] for name, total in state.totals.items()},
        )

    return jax.lax.fori_loop(0, steps, update, state)


def read_totals(config: TrainConfig, state: TrainState) -> tuple[dict[str, float], TrainState]:
    """Means of the metrics since the last reading, the last learning rate, and the state with sums of 0."""
    totals = {name: float(value) for name, value in jax.device_get(state.totals).items()}
    count = totals.pop("count")
    means = {name: total / max(count, 1.0) for name, total in totals.items()}
    means["learning_rate"] = float(learning_rate_at(config, state.step - 1))
    return means, state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals))
