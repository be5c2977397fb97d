"""The stages of `synthetic.py`: pretraining, measuring, fitting, and the short form of the suppression experiment."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from synthetic_config import Config, keys, run_name

import iclbayes
from iclbayes import comparison as compare
from iclbayes import ginc, icl, plots, suppression, training
from iclbayes.console import progress
from iclbayes.files import write_csv

GROUP = ("learner", "layers", "seed", "k")


def fresh_batch(world, key, step, *, batch_size: int, context: int, blocks: int, weights=None):
    """Rows of new documents, made on the device."""
    del step
    return ginc.sample_blocks(world, key, batch_size, context, blocks=blocks, weights=weights).tokens


def pretrain(config: Config, world: ginc.World, run_dir: Path) -> dict[tuple[int, int], training.TrainResult]:
    """Trains every depth and seed; (layers, seed) → result."""
    if config.documents:
        length = config.context * config.blocks
        key, weights = keys(config)["documents"], config.weights or None
        documents = ginc.sample_documents(world, key, config.documents, length, weights=weights)
        rows = ginc.cut_blocks(documents, config.context).tokens
        batch_fn = training.rows_batch_fn(rows, config.batch_size, seed=config.world.seed)
    else:
        sizes = {"batch_size": config.batch_size, "context": config.context, "blocks": config.blocks}
        sizes["weights"] = config.weights or None
        batch_fn = jax.tree_util.Partial(functools.partial(fresh_batch, **sizes), world)
    held_out = held_out_rows(config, world)
    results = {}
    for layers in config.layers:
        for seed in config.seeds:
            print(f"{layers} layer{'s' * (layers > 1)}, seed {seed}", flush=True)
            results[layers, seed] = training.train(
                config.model(layers),
                config.training(layers, seed),
                batch_fn,
                run_dir / "models" / run_name(layers, seed),
                on_eval=lambda step, model: {"eval_loss": training.evaluate(model, held_out).loss},
                resume=config.resume,
                extra={
                    "world": dataclasses.asdict(config.world),
                    "documents": config.documents,
                    "weights": list(config.weights),
                },
            )
    return results


def held_out_rows(config: Config, world: ginc.World) -> jax.Array:
    """Rows that no training saw."""
    key, weights = keys(config)["held_out"], config.weights or None
    return ginc.sample_blocks(
        world, key, config.eval_rows, config.context, blocks=config.blocks, weights=weights
    ).tokens


def entropy_table(config: Config, world: ginc.World, results) -> pd.DataFrame:
    """Held-out loss of each model beside the exact mixture's on the same rows: nats a token, their gap and its standard error.

    No predictor can beat the exact mixture on average, so a gap below zero by more than noise is a mistake.
    """
    tokens = held_out_rows(config, world)
    exact = ginc.mixture_nll(world, tokens, blocks=config.blocks, weights=config.weights or None)
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


def measure(config: Config, world: ginc.World, results) -> pd.DataFrame:
    """ICL curves of every model on the same prompts."""
    prompts = icl_prompts(config, world)
    frames = []
    for (layers, seed), result in results.items():
        scores = icl.score_model(result.model, prompts)
        frames.append(icl.icl_curves(scores, learner="gpt2", layers=layers).assign(seed=seed))
    return pd.concat(frames, ignore_index=True).assign(method="none", amount=0, step=0)


def measure_exact(config: Config, world: ginc.World) -> pd.DataFrame:
    """ICL curves of the two exact learners; the one that was pretrained knows the weights of the mixture."""
    prompts = icl_prompts(config, world)
    frames = []
    for learner in icl.EXACT_LEARNERS:
        options = {"blocks": config.blocks, "weights": config.weights or None}
        options = options if learner == "exact_pretraining" else {}
        scores = icl.score_exact(world, prompts, learner, **options)
        frames.append(icl.icl_curves(scores, learner=learner, layers=0).assign(seed=0))
    return pd.concat(frames, ignore_index=True).assign(method="none", amount=0, step=0)


def fit_laws(config: Config, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(parameters of every law fitted on all shots, table of errors by law and fraction)."""
    curves = iclbayes.curves_from_frame(frame, group_by=GROUP, source="source", name="curves.csv")
    with progress("fitting the laws", "fit") as advance:
        table = compare.compare(curves, config.laws, config.fractions, on_done=advance)
        parameters = [iclbayes.fit(curves, law, on_done=advance).to_frame(stderr=True) for law in config.laws]
    return pd.concat(parameters, ignore_index=True), table


def suppress(config: Config, world: ginc.World, results, frame: pd.DataFrame, run_dir: Path) -> pd.DataFrame:
    """Fine-tunes the deepest model towards one task by SFT and DPO; returns its curves during and after.

    Writes forecast.csv (when suppressed tasks return, forecast and observed) and tables and figures named suppression_*.
    """
    layers, seed = max(config.layers), config.seeds[0]
    labels = {"learner": "gpt2", "layers": layers, "seed": seed}
    curves = []
    for method in ("sft", "dpo"):
        print(f"{method.upper()}, {layers} layer{'s' * (layers > 1)}, seed {seed}", flush=True)
        rate = config.sft_learning_rate if method == "sft" else config.dpo_learning_rate
        tuning = suppression.Tuning(
            method, config.favoured, rate, rows_per_document=config.blocks, weight_decay=config.weight_decay
        )
        curves.append(
            suppression.tune_amounts(
                results[layers, seed].model,
                tuning,
                config.suppress,
                world,
                jax.random.fold_in(
                    keys(config)["documents"], 1
                ),  # documents that the pretraining did not see
                icl_prompts(config, world),
                run_dir / "suppressed",
                weights=config.weights or None,
                columns=labels,
                resume=config.resume,
            )[0]
        )
    after = pd.concat(curves, ignore_index=True)
    before = frame[(frame["learner"] == "gpt2") & (frame["layers"] == layers) & (frame["seed"] == seed)]
    both = pd.concat([before, after], ignore_index=True)
    hypotheses = ("all_free", "knowledge_shared", "prior_shared")
    tables = suppression.analyse(
        both, favoured=config.favoured, hypotheses=hypotheses, forecaster=config.forecaster
    )
    for caption, table in suppression.summaries(tables).values():
        print(f"\n{caption}\n\n{compare.to_text(table, digits=3)}")
    for name, table in tables.items():
        write_csv(table, run_dir / ("forecast.csv" if name == "forecast" else f"suppression_{name}.csv"))
    for name, figure in suppression.figures(both, tables, favoured=config.favoured).items():
        plots.save(figure, run_dir / f"suppression_{name}.png")
    return after
