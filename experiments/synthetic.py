"""From nothing to fitted laws: pretrain GPT-2s on the synthetic world, measure their ICL curves, fit every law.

    python experiments/synthetic.py                               # preset quick, minutes on two CPU cores
    python experiments/synthetic.py --preset paper                # the published scale, for one accelerator
    python experiments/synthetic.py --run-dir DIR --resume        # continue a run that was stopped
    python experiments/synthetic.py --layers 1 2 4 --steps 300    # any field can be overridden

A run folder holds config.json, models/ (checkpoints and their logs), metrics.csv (all training logs), entropy.csv (held-out
loss beside the exact mixture's), curves.csv, fits.csv, table.csv, table.md, table.tex and the figures.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pandas as pd
import tyro

import iclbayes
from iclbayes import compare, ginc, icl, plots, suppression, training
from iclbayes.cli import print_comparison, progress, run_guarded
from iclbayes.files import InputError, write_csv, write_text
from iclbayes.models import GPT2Config
from iclbayes.runtime import use_compilation_cache

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
    """ICL curves of every model and of the two exact learners, on the same prompts."""
    prompts = icl_prompts(config, world)
    frames = []
    for (layers, seed), result in results.items():
        scores = icl.score_model(result.model, prompts)
        frames.append(icl.icl_curves(scores, learner="gpt2", layers=layers).assign(seed=seed))
    for learner in icl.EXACT_LEARNERS:
        options = {"blocks": config.blocks} if learner == "exact_pretraining" else {}
        scores = icl.score_exact(world, prompts, learner, **options)
        frames.append(icl.icl_curves(scores, learner=learner, layers=0).assign(seed=0))
    return pd.concat(frames, ignore_index=True).assign(method="none", amount=0, step=0)


GROUP = ("learner", "layers", "seed", "k")


def fit_laws(config: Config, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(parameters of every law fitted on all shots, table of errors by law and fraction)."""
    curves = iclbayes.curves_from_frame(frame, group_by=GROUP, source="source", name="curves.csv")
    with progress("fitting the laws", "fit") as advance:
        table = compare.compare(curves, config.laws, config.fractions, on_done=advance)
        parameters = [iclbayes.fit(curves, law, on_done=advance).to_frame(stderr=True) for law in config.laws]
    return pd.concat(parameters, ignore_index=True), table


def draw(
    config: Config, frame: pd.DataFrame, fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path
) -> list[Path]:
    """Writes the figures; returns their paths."""
    shown = frame[(frame["learner"] != "gpt2") | (frame["seed"] == config.seeds[0])].copy()
    shown["line"] = [
        f"GPT-2, {layers} layer{'s' * (layers > 1)}" if learner == "gpt2" else EXACT_LABELS[learner]
        for learner, layers in zip(shown["learner"], shown["layers"], strict=True)
    ]
    figures = {
        "curves.png": plots.plot_lines(
            shown,
            panel=("k", "source"),
            line="line",
            columns=shown["source"].nunique(),
            panel_label=lambda key: f"k = {key[0]}, source {key[1]}",
        ),
    }
    deepest = frame[(frame["learner"] == "gpt2") & (frame["layers"] == max(config.layers))]
    deepest = deepest[deepest["seed"] == config.seeds[0]]
    curves = iclbayes.curves_from_frame(deepest, group_by=["k"], source="source")
    fraction = 0.5 if 0.5 in config.fractions else config.fractions[0]
    figures["laws.png"] = plots.plot_fits(
        [iclbayes.fit(curves, law, fraction=fraction) for law in config.laws], max_panels=20
    )
    figures["nrmse.png"] = plots.plot_errors(table[table["learner"] == "gpt2"])
    scoring = fits[(fits["law"] == "bayesian_scoring") & (fits["learner"] == "gpt2")]
    scoring = scoring[scoring["seed"] == config.seeds[0]]
    if len(scoring):
        labels = {"layers": "layers", "efficiency": "ICL efficiency K", "prior": "prior ρ", "source": "task"}
        efficiency = scoring.drop_duplicates(["layers", "k"])
        figures["efficiency.png"] = plots.plot_parameter(
            efficiency, x="layers", y="efficiency", line="k", labels=labels, logy=True
        )
        figures["priors.png"] = plots.plot_parameter(
            scoring, x="layers", y="prior", line="source", panel="k", labels=labels
        )
    for name, figure in figures.items():
        plots.save(figure, run_dir / name)
    return [run_dir / name for name in figures]


EXACT_LABELS = {
    "exact_prompt": "exact, knows the prompt process",
    "exact_pretraining": "exact, ideal pretrained model",
}


def write_results(config: Config, fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path) -> None:
    """fits.csv, and the table of errors as CSV, Markdown and LaTeX (means over the trained models)."""
    write_csv(fits, run_dir / "fits.csv")
    write_csv(table, run_dir / "table.csv")
    means = compare.mean_table(table[table["learner"] == "gpt2"])
    for suffix, form in (("md", "markdown"), ("tex", "latex")):
        write_text(compare.to_text(means, form, index=True) + "\n", run_dir / f"table.{suffix}")


def run(config: Config) -> None:
    """The whole experiment."""
    began = time.perf_counter()
    run_dir = open_run(config)
    print(f"run folder: {run_dir}\n\n1. Pretraining", flush=True)
    world = ginc.make_world(config.world)
    results = pretrain(config, world, run_dir)
    logs = [r.metrics.assign(layers=layers, seed=seed) for (layers, seed), r in results.items()]
    write_csv(pd.concat(logs, ignore_index=True), run_dir / "metrics.csv")

    entropy = entropy_table(config, world, results)
    write_csv(entropy, run_dir / "entropy.csv")
    print("\nHeld-out loss beside the exact mixture's entropy, nats a token (no model can be below it)\n")
    print(compare.to_text(entropy))
    if (entropy["gap"] < -2 * entropy["gap_stderr"]).any():
        print("warning: a model beats the exact learner, which cannot be: check the world and the model")

    print("\n2. Measuring ICL curves", flush=True)
    frame = measure(config, world, results)
    write_csv(frame, run_dir / "curves.csv")
    print(compare.to_text(rise_table(frame)))

    print("\n3. Fitting the laws", flush=True)
    fits, table = fit_laws(config, frame)
    write_results(config, fits, table, run_dir)
    print_comparison(table[table["learner"] == "gpt2"])

    print("\n4. Drawing", flush=True)
    figures = draw(config, frame, fits, table, run_dir)
    names = [
        "config.json",
        "metrics.csv",
        "entropy.csv",
        "curves.csv",
        "fits.csv",
        "table.csv",
        "table.md",
        "table.tex",
    ]
    print("\n".join(f"  {path}" for path in [*(run_dir / name for name in names), *figures]))

    if config.suppress:
        print(f"\n5. Suppressing all tasks but {config.favoured}", flush=True)
        after = suppress(config, world, results, frame, run_dir)
        write_csv(pd.concat([frame, after], ignore_index=True), run_dir / "curves.csv")
        print(f"  {run_dir / 'forecast.csv'}\n  {run_dir / 'suppression_*'}")
    print(f"\ndone in {time.perf_counter() - began:.0f} s: {run_dir}")


# --- suppression stage: the short form of experiments/suppression.py ---


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
    tables = suppression.analyse(both, favoured=config.favoured, hypotheses=hypotheses)
    for caption, table in suppression.summaries(tables).values():
        print(f"\n{caption}\n\n{compare.to_text(table, digits=3)}")
    for name, table in tables.items():
        write_csv(table, run_dir / ("forecast.csv" if name == "forecast" else f"suppression_{name}.csv"))
    for name, figure in suppression.figures(both, tables, favoured=config.favoured).items():
        plots.save(figure, run_dir / f"suppression_{name}.png")
    return after


def rise_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Probability of the right answer at the first and the last shot, averaged over sources."""
    by = ["learner", "layers", "seed", "k"]
    means = frame.groupby([*by, "shots"], sort=False)["prob"].mean().reset_index("shots")
    grouped = means.groupby(by, sort=False)
    table = grouped.agg(shots=("shots", "last"), first=("prob", "first"), last=("prob", "last")).reset_index()
    return table.assign(rise=table["last"] - table["first"])


def parse(arguments: Sequence[str], presets: dict, description: str):
    """The configuration: a preset's defaults (the one that --preset names) with the overrides given."""
    name = next(iter(presets))
    for i, argument in enumerate(arguments):
        if argument.startswith("--preset"):
            name = argument.partition("=")[2] or (arguments[i + 1] if i + 1 < len(arguments) else name)
    default = presets.get(name, presets[next(iter(presets))])
    return tyro.cli(type(default), args=list(arguments), default=default, description=description)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    if not jax.config.jax_compilation_cache_dir:
        use_compilation_cache()
    config = parse(sys.argv[1:] if arguments is None else arguments, PRESETS, __doc__.splitlines()[0])
    return run_guarded(lambda: run(config))


if __name__ == "__main__":
    sys.exit(main())
