"""Suppress one behaviour and bring it back: fine-tune the models of a synthetic run towards one task, measure, fit, forecast.

    python experiments/suppression.py --run-dir DIR                        # SFT and DPO on all models of the run in DIR
    python experiments/suppression.py --run-dir DIR --method sft --amounts 8 64
    python experiments/suppression.py --run-dir DIR --resume               # continue; also adds methods, amounts and models

DIR is the folder of a run of experiments/synthetic.py; experiments/paper.py does the published scale. DIR/suppression holds
config.json, record.json (command, versions, device), models/<model>/<method>_<amount>/ (logs and curves), curves.csv, fits.csv,
sharing.csv (which parameters amounts have in common), shifts.csv, attribution.csv, forecast.csv, laws.csv, utilisation.csv,
tables.md, tables.tex and the figures.

Hardware: quick, two CPU cores, about five minutes for two models; paper, one accelerator. The published learning rates (8e-5, DPO
8e-6) would not move the small models in so few updates, so the quick preset has larger ones.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from synthetic_parts import config as synthetic
from synthetic_parts import story
from synthetic_parts.checks import check as check_base
from synthetic_parts.checks import check_comparison, check_tunings
from synthetic_parts.stages import icl_prompts
from synthetic_parts.suppress import analyse, fine_tune, loaded

from iclbayes import ginc, runs, suppression
from iclbayes.console import entry
from iclbayes.digests import read_sealed
from iclbayes.errors import InputError, check_each_once, one_line
from iclbayes.files import write_csv
from iclbayes.training import matrix_rate, utilisation
from iclbayes.training.checkpoints import CHECKPOINT_FOLDER


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

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of work."""
        return ("sft", "dpo") if self.method == "both" else (self.method,)

    def tuning(self, method: str, base: synthetic.Config) -> suppression.Tuning:
        """The fine-tuning by a method."""
        return suppression.Tuning(
            method=method,
            favoured=self.favoured,
            learning_rate=self.sft_learning_rate if method == "sft" else self.dpo_learning_rate,
            batch_size=self.batch_size,
            rows=base.rows,
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
        values = read_sealed(path)
        world = ginc.WorldConfig(**values.pop("world"))
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        base = synthetic.Config(**values, world=world, run_dir=run_dir)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _no_config(path, error) from None
    try:
        check_base(base)
    except (ValueError, TypeError, AttributeError) as error:  # values that the script never wrote
        raise _no_config(path, error) from None
    return base


def _no_config(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: is no config of a run of experiments/synthetic.py ({one_line(error)}); choose its folder"
    )


def check(config: Config, base: synthetic.Config, flag: str = "--") -> None:
    """Raises InputError unless models of the run `base` can be fine-tuned so, and the curves analysed. Computes nothing.

    Args:
      config: what is asked for.
      base: the pretraining.
      flag: what stands before the names of options.
    """
    tunings = [config.tuning(method, base) for method in config.methods]
    check_tunings(tunings, f"{flag}amounts", config.amounts, config.favoured, base.world.hmms, flag)
    check_each_once(f"{flag}hypotheses", config.hypotheses)
    suppression.check_hypotheses(config.hypotheses)
    if config.laws:
        check_comparison(config.laws, config.fractions, flag)


def check_models(config: Config, base: synthetic.Config) -> None:
    """Raises InputError unless the run has trained every model that is to be fine-tuned."""
    for model in chosen_models(config, base):
        folder = base.run_dir / "models" / synthetic.run_name(*model)
        if not (folder / CHECKPOINT_FOLDER).is_dir():
            raise InputError(
                f"{folder}: holds no checkpoint; finish that run (experiments/synthetic.py --resume), or choose other "
                "--layers and --seeds"
            )


def chosen_models(config: Config, base: synthetic.Config) -> list[tuple[int, int]]:
    """(layers, seed) of the models to fine-tune. Raises InputError for one that the run has not."""
    for name in ("layers", "seeds"):
        if getattr(config, name):
            check_each_once(f"--{name}", getattr(config, name))
        absent = [v for v in getattr(config, name) if v not in getattr(base, name)]
        if absent:
            raise InputError(f"--{name} {absent[0]}: the run has {', '.join(map(str, getattr(base, name)))}")
    return [(layers, seed) for layers in config.layers or base.layers for seed in config.seeds or base.seeds]


def tune_models(config: Config, base: synthetic.Config, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(curves, utilisation) of all models, SFT of every model first, then DPO; added to what an earlier command wrote."""
    world = ginc.make_world(base.world)
    keys = synthetic.keys(base)
    names = {model: synthetic.run_name(*model) for model in chosen_models(config, base)}
    curves, log = fine_tune(
        {model: loaded(config.run_dir, name) for model, name in names.items()},
        {method: config.tuning(method, base) for method in config.methods},
        config.amounts,
        world,
        keys["tuning"],
        icl_prompts(base, world),
        lambda model: folder / "models" / names[model],
        weights=base.weights or None,
        extra={"world": dataclasses.asdict(base.world), "prompts": base.prompts, "ks": list(base.ks)},
        keep_models=config.keep_models,
        resume=config.resume,
    )
    rate = matrix_rate(base.model(1).dtype)
    model_of = ["method", "layers", "seed"]
    used = [
        dict(zip(model_of, key, strict=True))
        | utilisation(part, base.model(key[1]), rate)
        | {"seconds": part["seconds"].iloc[0]}
        for key, part in log.groupby(model_of, sort=False)
    ]
    frame = with_earlier(curves, folder / "curves.csv", [*model_of, "amount"])
    used = with_earlier(pd.DataFrame(used), folder / "utilisation.csv", model_of)
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


def open_folder(config: Config) -> Path:
    """The folder DIR/suppression, new or added to."""
    folder = config.run_dir / "suppression"
    runs.open_run(folder, runs.as_json(config), resume=config.resume, compare=False)
    runs.record(folder)
    return folder


def report(config: Config, frame: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """Fits, forecasts, tables and figures of the curves in `frame`, written to `folder`; returns the tables."""
    return analyse(
        frame,
        folder,
        favoured=config.favoured,
        hypotheses=config.hypotheses,
        laws=config.laws,
        fractions=config.fractions,
        forecaster=config.forecaster,
    )


def run(config: Config) -> None:
    """The whole experiment."""
    base = read_base(config.run_dir)
    check(config, base)
    check_models(config, base)
    with runs.alone_in(config.run_dir / "suppression"):
        _run(config, base)


def _run(config: Config, base: synthetic.Config) -> None:
    folder = open_folder(config)
    print(f"folder: {folder}", flush=True)
    frame, used = tune_models(config, base, folder)
    tables = report(config, frame, folder)
    found = story.suppression(frame, tables["attribution"], config.favoured)
    print(story.tell([*found, *story.forecasts(tables["forecast"])]))
    print(
        f"\nFine-tuning used {used['utilisation'].min():.0%} to {used['utilisation'].max():.0%} of the measured matrix rate "
        f"({used['seconds'].sum():.0f} s).\ntables: {folder}/tables.md, *.csv; figures: {folder}/*.png"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    description = __doc__.splitlines()[0]
    return entry(lambda: run(synthetic.parse(arguments, PRESETS, "suppression.py", description)))


if __name__ == "__main__":
    sys.exit(main())
