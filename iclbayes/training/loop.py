"""The training loop: updates, logs, evaluations and checkpoints of one run."""

import dataclasses
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import pandas as pd
from flax import nnx
from tqdm import tqdm

from ..errors import InputError
from ..locks import locked
from ..models import GPT2, GPT2Config
from .checkpoints import CHECKPOINT_FOLDER, Checkpoints, check_config, read_config, write_config
from .config import TrainConfig
from .losses import lm_loss
from .metrics_log import MetricsLog
from .step import BatchFn, LossFn, Trainer, TrainState, init_params, read_totals

METRICS_FILE, LOCK_FILE = "metrics.csv", ".lock"


class TrainWarning(UserWarning):
    """A run goes on, but not from where it was."""


# (step, model) -> columns for metrics.csv, such as {"eval_loss": …}, or None.
OnEval = Callable[[int, GPT2], Mapping[str, float] | None]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run leaves.

    Attributes:
      model: the trained model.
      metrics: the rows of metrics.csv.
      run_dir: the run's folder: config.json, metrics.csv and checkpoints/.
      steps: updates done in all.
    """

    model: GPT2
    metrics: pd.DataFrame
    run_dir: Path
    steps: int


def train(
    model: GPT2Config | GPT2,
    config: TrainConfig,
    batch_fn: BatchFn,
    run_dir: str | os.PathLike,
    *,
    loss_fn: LossFn = lm_loss,
    on_eval: OnEval | None = None,
    resume: bool = False,
    extra: Mapping | None = None,
    progress: bool | Callable[[int], None] = True,
) -> TrainResult:
    """Trains a GPT-2 in a folder.

    Everything on the device happens in one compiled program: the batch of update s is made by
    `batch_fn(fold_in(key, s), s)`, so nothing about the data has to be stored to resume. A run that was
    stopped at any moment, also by SIGKILL, goes on from its last checkpoint with `resume=True` and ends, on
    the same machine, with the same bits.

    Args:
      model: sizes of a model to initialise from `config.seed`, or a model to start from, which stays as it
        is.
      config: hyperparameters.
      batch_fn: (key, step) -> batch, jittable. Bind arrays with `jax.tree_util.Partial`, not in a closure.
      run_dir: folder of the run, made if missing.
      loss_fn: (model, batch) -> (loss, metrics), jittable; each metric becomes a column of metrics.csv.
      on_eval: called as on_eval(step, model) every `config.eval_every` updates and at the end; the numbers
        that it returns become columns of metrics.csv. After a crash it may be called again for a step that it
        has seen, with the same model. It must not keep the model: the next update takes its arrays.
      resume: continue the run in `run_dir`; begins it where there is none yet.
      extra: what else determines the run (JSON), stored in config.json and compared on resume.
      progress: show a progress bar; or a function to call with the number of updates done, those before a resumption first.

    Raises:
      InputError: the folder holds another run, or this run with another config (naming the field), or files but no run; another
        process trains there; or the loss is no longer finite.

    Warns:
      TrainWarning: the newest checkpoint is damaged, so that training goes on from the one before.
    """
    run_dir, extra = Path(run_dir), dict(extra or {})
    model_config = model if isinstance(model, GPT2Config) else model.config
    stored = read_config(run_dir)
    if stored is not None and not resume:
        raise InputError(f"{run_dir}: already holds a training run; resume it or choose another folder")
    left = [name for name in (METRICS_FILE, CHECKPOINT_FOLDER) if (run_dir / name).exists()]
    if stored is None and left:
        raise InputError(
            f"{run_dir}: holds {left[0]} but no config.json of a training run; choose another folder"
        )
    if stored is not None:
        check_config(run_dir, stored, model_config, config, extra)
    else:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{run_dir}: cannot be made: {error.strerror}; choose another place") from None
    with locked(run_dir / LOCK_FILE, run_dir):
        if stored is None:
            write_config(run_dir, model_config, config, extra)
        return _train(model, config, batch_fn, run_dir, loss_fn, on_eval, progress)


def _train(
    model: GPT2Config | GPT2,
    config: TrainConfig,
    batch_fn: BatchFn,
    run_dir: Path,
    loss_fn: LossFn,
    on_eval: OnEval | None,
    progress: bool | Callable[[int], None],
) -> TrainResult:
    """The run in a folder that has its config, from the last whole checkpoint if there is one."""
    model_config = model if isinstance(model, GPT2Config) else model.config
    trainer = Trainer(model_config, config, batch_fn, loss_fn)
    checkpoints = Checkpoints(run_dir, config.keep_checkpoints)
    try:
        params = nnx.state(model) if isinstance(model, GPT2) else init_params(model_config, config.seed)
        state = trainer.init(params)
        before, damaged = checkpoints.restore_last(state)
        state = state if before is None else before
        if damaged:
            goes_on = "begins anew" if before is None else f"goes on from step {int(state.step)}"
            warnings.warn(
                f"{run_dir}: the checkpoint of step {damaged[0]} is damaged, so training {goes_on}",
                TrainWarning,
                stacklevel=3,
            )
        log = MetricsLog(run_dir / METRICS_FILE, keep_until=int(state.step))
        state = _run_to_end(trainer, state, log, checkpoints, on_eval, progress)
    finally:
        checkpoints.close()
    return TrainResult(
        trainer.model(state.params), pd.read_csv(run_dir / METRICS_FILE), run_dir, int(state.step)
    )


def _run_to_end(trainer: Trainer, state: TrainState, log, checkpoints, on_eval, progress) -> TrainState:
    config, step = trainer.config, int(state.step)
    tokens_per_step = trainer.tokens_per_step()
    if step < config.steps:
        trainer.compile(state)
    own = progress is True
    bar = tqdm(total=config.steps, initial=step, unit="step", disable=not own, dynamic_ncols=True)
    told = progress if callable(progress) else bar.update
    if callable(progress) and step:
        progress(step)
    seconds, steps_timed = 0.0, 0
    with bar:
        while step < config.steps:
            began = time.perf_counter()
            count = min(config.steps_per_dispatch, _next_stop(config, step) - step)
            state = jax.block_until_ready(trainer.run(state, count))
            seconds, steps_timed = seconds + time.perf_counter() - began, steps_timed + count
            step += count
            told(count)

            row, last = {}, step == config.steps
            if last or step % config.log_every == 0:
                means, state = read_totals(config, state)
                rate = steps_timed * tokens_per_step / seconds
                row |= {"step": step, "tokens": step * tokens_per_step, **means, "tokens_per_s": rate}
                seconds, steps_timed = 0.0, 0
                bar.set_postfix_str(f"loss {means['loss']:.4f}, {rate:,.0f} tokens/s")
                if not math.isfinite(means["loss"]):
                    raise InputError(
                        f"{log.path}: the loss is {means['loss']} by step {step}; lower the learning rate"
                    )
            if on_eval and (last or (config.eval_every and step % config.eval_every == 0)):
                row |= {"step": step, "tokens": step * tokens_per_step}
                row |= on_eval(step, trainer.model(state.params)) or {}
            if row:
                log.append(row)
            if last or step % config.checkpoint_every == 0:
                checkpoints.save(state)
    return state


def _next_stop(config: TrainConfig, step: int) -> int:
    """The next step after which the host has something to do."""
    periods = [p for p in (config.log_every, config.eval_every, config.checkpoint_every) if p]
    return min([config.steps, *(step - step % p + p for p in periods)])
