"""The stages of `synthetic.py`: pretraining, measuring, fitting."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import iclbayes
from iclbayes import comparison as compare
from iclbayes import ginc, icl, training
from iclbayes.console import progress, warnings_as_lines
from iclbayes.runtime import side_by_side

from .config import Config, keys, run_name

GROUP = ("learner", "layers", "seed", "k")


def fresh_batch(world, key, step, *, batch_size: int, context: int, rows: ginc.Rows, weights=None):
    """New rows, made on the device."""
    del step
    return ginc.sample_rows(world, key, batch_size, context, rows, weights=weights).tokens


def pretrain(config: Config, world: ginc.World, run_dir: Path) -> dict[tuple[int, int], training.TrainResult]:
    """Trains every depth and seed, side by side on a CPU; (layers, seed) → result."""
    weights = config.weights or None
    if config.documents:
        key = keys(config)["documents"]
        rows = ginc.sample_document_rows(
            world, key, config.documents, config.context, config.rows, weights=weights
        ).tokens
        batch_fn = training.rows_batch_fn(rows, config.batch_size, seed=config.world.seed)
    else:
        sizes = {"batch_size": config.batch_size, "context": config.context, "rows": config.rows}
        batch_fn = jax.tree_util.Partial(functools.partial(fresh_batch, **sizes, weights=weights), world)
    held_out = held_out_rows(config, world)
    models = [(layers, seed) for layers in config.layers for seed in config.seeds]

    def updates(model: tuple[int, int]) -> int:
        """What a model costs: updates of one layer, so that the time left is right."""
        return model[0] * config.training(*model).steps

    def one(model: tuple[int, int], check: Callable[[], None]) -> training.TrainResult:
        layers, seed = model

        def told(n: int) -> None:
            check()
            advance(n * layers)

        return training.train(
            config.model(layers),
            config.training(layers, seed),
            batch_fn,
            run_dir / "models" / run_name(layers, seed),
            on_eval=lambda step, model: {"eval_loss": training.evaluate(model, held_out).loss},
            resume=config.resume,
            extra={
                "world": dataclasses.asdict(config.world),
                "rows": dataclasses.asdict(config.rows),
                "documents": config.documents,
                "weights": list(config.weights),
            },
            progress=told,
        )

    total = sum(map(updates, models))
    with (
        warnings_as_lines(training.TrainWarning),
        progress("pretraining", "layer update", total, first="compiling") as advance,
    ):
        return dict(zip(models, side_by_side(one, models, updates), strict=True))


def held_out_rows(config: Config, world: ginc.World) -> jax.Array:
    """Rows that no training saw."""
    key, weights = keys(config)["held_out"], config.weights or None
    return ginc.sample_rows(world, key, config.eval_rows, config.context, config.rows, weights=weights).tokens


def entropy_table(config: Config, world: ginc.World, results) -> pd.DataFrame:
    """Held-out loss of each model beside the exact mixture's on the same rows: nats a token, their gap and its standard error.

    No predictor can beat the exact mixture on average, so a gap below zero by more than noise is a mistake.
    """
    tokens = held_out_rows(config, world)
    exact = ginc.rows_nll(world, tokens, config.rows, weights=config.weights or None)
    exact_rows = np.asarray(exact.rows, float)
    rows = []
    for (layers, seed), result in results.items():
        loss = training.evaluate(result.model, tokens)
        difference = loss.nll / loss.tokens - exact_rows
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        rows.append((layers, seed, loss.loss, loss.stderr, float(exact.mean), difference.mean(), error))
    return pd.DataFrame(rows, columns=["layers", "seed", "loss", "stderr", "entropy", "gap", "gap_stderr"])


def icl_prompts(config: Config, world: ginc.World):
    """The prompts that every model and every stage is measured on."""
    key = keys(config)["prompts"]
    return icl.icl_prompts(world, key, ks=config.ks, count=config.prompts, context=config.context)


def measure(config: Config, world: ginc.World, results, exact: bool = True) -> pd.DataFrame:
    """ICL curves of every model and (exact) of the two exact learners on the same prompts: `exact_prompt` knows how prompts are
    made; `exact_pretraining` is the ideal pretrained model, which knows the rows and the weights of the mixture."""
    prompts = icl_prompts(config, world)
    ideal = (
        ("exact_examples", {"ks": config.rows.lengths})
        if config.kind == "examples"
        else ("exact_pretraining", {"blocks": config.blocks})
    )
    learners = {
        "exact_prompt": ("exact_prompt", {}),
        "exact_pretraining": (ideal[0], {**ideal[1], "weights": config.weights or None}),
    }

    def one(learner: tuple[int, int] | str, check: Callable[[], None]) -> pd.DataFrame:
        check()
        if isinstance(learner, str):
            name, options = learners[learner]
            scores = icl.score_exact(world, prompts, name, **options)
            return icl.icl_curves(scores, learner=learner, layers=0).assign(seed=0)
        layers, seed = learner
        scores = icl.score_model(results[learner].model, prompts)
        return icl.icl_curves(scores, learner="gpt2", layers=layers).assign(seed=seed)

    # What takes long is compiling, on one core each.
    frames = side_by_side(one, [*results, *(learners if exact else ())])
    return pd.concat(frames, ignore_index=True).assign(method="none", amount=0, step=0)


def fit_laws(config: Config, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(parameters of every law fitted on all shots, table of errors by law and fraction)."""
    curves = iclbayes.curves_from_frame(frame, group_by=GROUP, source="source", name="curves.csv")
    with progress("fitting the laws", "fit", first="compiling") as advance:
        table = compare.compare(curves, config.laws, config.fractions, on_done=advance)
        parameters = side_by_side(
            lambda law, check: iclbayes.fit(curves, law, on_done=advance).to_frame(stderr=True), config.laws
        )
    return pd.concat(parameters, ignore_index=True), table
