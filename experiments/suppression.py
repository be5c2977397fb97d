"""Suppress one behaviour and bring it back: fine-tune the models of a synthetic run towards one task, measure, fit, forecast.

    python experiments/suppression.py --run-dir DIR                        # SFT and DPO on all models of the run in DIR
    python experiments/suppression.py --run-dir DIR --method sft --amounts 8 64
    python experiments/suppression.py --run-dir DIR --resume               # continue; also adds methods, amounts and models

DIR is the folder of a run of experiments/synthetic.py; experiments/paper.py does the published scale. DIR/suppression holds
config.json (with versions, times and the command), models/<model>/<method>_<amount>/ (logs and curves), curves.csv, fits.csv,
sharing.csv (which parameters amounts have in common), shifts.csv, attribution.csv, forecast.csv, laws.csv, utilisation.csv,
tables.md, tables.tex and the figures.

Hardware: quick, two CPU cores, about five minutes for two models; paper, one accelerator. The published learning rates (8e-5, DPO
8e-6) would not move the small models in so few updates, so the quick preset has larger ones.
"""

import dataclasses
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
import pandas as pd
import synthetic_config as synthetic
from utilisation import matrix_rate, utilisation

from iclbayes import comparison as compare
from iclbayes import ginc, icl, plots, suppression, training
from iclbayes.console import entry, progress
from iclbayes.errors import InputError
from iclbayes.files import write_csv, write_text


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines the fine-tuning, and where it goes."""

    preset: Literal["quick", "paper"] = "quick"
    """quick: amounts and learning rates for the small world; paper: the published ones."""
    run_dir: Path | None = None
    """folder of a run of experiments/synthetic.py."""
    resume: bool = False
    """continue what is in that folder; complete amounts are read, not repeated."""

    method: Literal["sft", "dpo", "both"] = "both"
    """supervised fine-tuning, preference tuning, or one after the other."""
    amounts: tuple[int, ...] = (8, 32, 128, 512)
    """documents (dpo: pairs) to fine-tune on, each from the same pretrained model."""
    layers: tuple[int, ...] = ()
    """depths; default: all of the run."""
    seeds: tuple[int, ...] = ()
    """seeds; default: all of the run."""
    favoured: int = 0
    """the task to favour."""

    sft_learning_rate: float = 1e-3
    """peak learning rate of supervised fine-tuning."""
    dpo_learning_rate: float = 3e-4
    """peak learning rate of preference tuning."""
    batch_size: int = 8
    """rows (dpo: pairs) in a batch."""
    beta: float = 0.1
    """dpo: strength of the pull towards the pretrained model."""
    epochs: int = 1
    """passes over the documents."""
    evals: int = 5
    """ICL curves measured during each fine-tuning."""
    keep_models: bool = False
    """keep the last checkpoint of each amount."""

    hypotheses: tuple[str, ...] = tuple(suppression.HYPOTHESES)
    """what the amounts may have in common."""
    laws: tuple[str, ...] = synthetic.SIX
    """laws to compare by amount."""
    fractions: tuple[float, ...] = (0.1, 0.5, 1.0)
    """shares of the shots to fit them on."""
    forecaster: Literal["psis", "laplace", "nuts", "point"] = "psis"
    """how returns are forecast: a posterior (importance-resampled, Laplace or NUTS), or around point fits."""

    def tuning(self, method: str, base: synthetic.Config) -> suppression.Tuning:
        """The fine-tuning by a method."""
        return suppression.Tuning(
            method=method,
            favoured=self.favoured,
            learning_rate=self.sft_learning_rate if method == "sft" else self.dpo_learning_rate,
            batch_size=self.batch_size,
            rows_per_document=base.blocks,
            epochs=self.epochs,
            beta=self.beta,
            weight_decay=base.weight_decay,
            evals=self.evals,
        )


PAPER = Config(
    preset="paper",
    amounts=(50, 250, 500, 1000, 2500, 5000),
    sft_learning_rate=8e-5,
    dpo_learning_rate=8e-6,
)
PRESETS = {"quick": Config(), "paper": PAPER}


def read_base(run_dir: Path | None) -> synthetic.Config:
    """The configuration of the pretraining run.

    Raises:
      InputError: no folder, or none of a run of experiments/synthetic.py.
    """
    if run_dir is None:
        raise InputError("--run-dir is missing: name the folder of a run of experiments/synthetic.py")
    path = run_dir / "config.json"
    try:
        values = json.loads(path.read_text())
        world = ginc.WorldConfig(**values.pop("world"))
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return synthetic.Config(**values, world=world, run_dir=run_dir)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: is no config of a run of experiments/synthetic.py ({error}); choose its folder"
        ) from None


def chosen_models(config: Config, base: synthetic.Config) -> list[tuple[int, int]]:
    """(layers, seed) of the models to fine-tune. Raises InputError for one that the run has not."""
    for name in ("layers", "seeds"):
        absent = [v for v in getattr(config, name) if v not in getattr(base, name)]
        if absent:
            raise InputError(f"--{name} {absent[0]}: the run has {', '.join(map(str, getattr(base, name)))}")
    return [(layers, seed) for layers in config.layers or base.layers for seed in config.seeds or base.seeds]


def fine_tune(config: Config, base: synthetic.Config, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(curves, utilisation) of all models, SFT of every model first, then DPO."""
    world = ginc.make_world(base.world)
    keys = synthetic.keys(base)
    prompts = icl.icl_prompts(world, keys["prompts"], ks=base.ks, count=base.prompts, context=base.context)
    key = jax.random.fold_in(keys["documents"], 1)  # documents that the pretraining did not see
    weights = base.weights or None
    extra = {"world": dataclasses.asdict(base.world), "prompts": base.prompts, "ks": list(base.ks)}
    rate = matrix_rate(base.model(1).dtype)
    curves, used = [], []
    models = chosen_models(config, base)
    methods = ("sft", "dpo") if config.method == "both" else (config.method,)
    for method in methods:
        for layers, seed in models:
            name = synthetic.run_name(layers, seed)
            print(f"{method.upper()}, {layers} layer{'s' * (layers > 1)}, seed {seed}", flush=True)
            model = training.load_model(config.run_dir / "models" / name)
            labels = {"learner": "gpt2", "layers": layers, "seed": seed}
            if method == methods[0]:
                curves.append(suppression.pretrained_curves(model, prompts, **labels))
            began = time.perf_counter()
            after, log = suppression.tune_amounts(
                model,
                config.tuning(method, base),
                config.amounts,
                world,
                jax.random.fold_in(key, config.favoured),
                prompts,
                folder / "models" / name,
                weights=weights,
                columns=labels,
                extra=extra,
                keep_models=config.keep_models,
                resume=config.resume,
            )
            curves.append(after)
            numbers = utilisation(log, model.config, rate) | {"seconds": time.perf_counter() - began}
            used.append(pd.DataFrame([{"method": method, "layers": layers, "seed": seed, **numbers}]))
    model_of = ["method", "layers", "seed"]
    frame = with_earlier(pd.concat(curves, ignore_index=True), folder / "curves.csv", [*model_of, "amount"])
    used = with_earlier(pd.concat(used, ignore_index=True), folder / "utilisation.csv", model_of)
    write_csv(frame, folder / "curves.csv")
    write_csv(used, folder / "utilisation.csv")
    return frame, used


def with_earlier(new: pd.DataFrame, path: Path, by: Sequence[str]) -> pd.DataFrame:
    """What an earlier command wrote, its rows replaced where `new` has the same values of `by`."""
    if not path.exists():
        return new
    old = pd.read_csv(path, float_precision="round_trip")
    known = pd.MultiIndex.from_frame(new[list(by)].drop_duplicates())
    kept = old[~pd.MultiIndex.from_frame(old[list(by)]).isin(known)]
    return pd.concat([kept, new], ignore_index=True) if len(kept) else new


def record(config: Config, folder: Path) -> None:
    """config.json: the options, the command, versions and the device."""
    values = synthetic.as_json(config) | {
        "command": " ".join(sys.argv),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "iclbayes")},
        "device": str(jax.devices()[0].device_kind),
    }
    write_text(json.dumps(values, indent=2) + "\n", folder / "config.json")


def write_results(tables: dict, figures: dict, folder: Path, prefix: str = "") -> list[Path]:
    """Writes tables as CSV, the short ones as Markdown and LaTeX, and figures; returns the paths."""
    for name, table in tables.items():
        write_csv(table, folder / f"{prefix}{name}.csv")
    short = suppression.summaries(tables)
    for suffix, style, lead in (("md", "markdown", ""), ("tex", "latex", "% ")):
        text = "\n\n".join(f"{lead}{caption}\n\n{compare.to_text(t, style)}" for caption, t in short.values())
        write_text(text + "\n", folder / f"{prefix}tables.{suffix}")
    for name, figure in figures.items():
        plots.save(figure, folder / f"{prefix}{name}.png")
    names = [f"{n}.csv" for n in tables] + ["tables.md", "tables.tex"] + [f"{n}.png" for n in figures]
    return [folder / f"{prefix}{name}" for name in names]


def report(config: Config, frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Fits, forecasts, tables and figures of the curves in `frame`, written to `folder`; returns the paths."""
    with progress("fitting", "fit") as advance:
        tables = suppression.analyse(
            frame,
            favoured=config.favoured,
            hypotheses=config.hypotheses,
            laws=config.laws,
            fractions=config.fractions,
            forecaster=config.forecaster,
            on_done=advance,
        )
    for caption, table in suppression.summaries(tables).values():
        print(f"\n{caption}\n\n{compare.to_text(table, digits=3)}")
    return write_results(tables, suppression.figures(frame, tables, favoured=config.favoured), folder)


def run(config: Config) -> None:
    """The whole experiment."""
    began = time.perf_counter()
    base = read_base(config.run_dir)
    folder = config.run_dir / "suppression"
    if (folder / "config.json").exists() and not config.resume:
        raise InputError(f"{folder}: already holds a run; add --resume to continue it")
    folder.mkdir(exist_ok=True)
    record(config, folder)
    print(f"folder: {folder}\n\n1. Fine-tuning towards task {config.favoured}", flush=True)
    frame, used = fine_tune(config, base, folder)
    print(f"\nModel FLOPs utilisation against the measured matrix rate\n\n{compare.to_text(used)}")

    print("\n2. Fitting, forecasting, drawing", flush=True)
    paths = [folder / "curves.csv", folder / "utilisation.csv", *report(config, frame, folder)]
    print("\n".join(f"  {path}" for path in paths))
    print(f"\ndone in {time.perf_counter() - began:.0f} s: {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = synthetic.parse(arguments, PRESETS, __doc__.splitlines()[0])
    return entry(lambda: run(config))


if __name__ == "__main__":
    sys.exit(main())
