"""The one suppression stage, of `synthetic.py` and of `suppression.py`: fine-tune models by amounts, then say what moved and when
the suppressed tasks return."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import pandas as pd

from iclbayes import comparison, ginc, plots, suppression, training
from iclbayes.console import progress, warnings_as_lines
from iclbayes.files import write_csv, write_text
from iclbayes.ginc import Prompts
from iclbayes.models import GPT2
from iclbayes.runtime import side_by_side

Model = tuple[int, int]  # layers, seed


def fine_tune(
    models: Mapping[Model, Callable[[], GPT2]],
    tunings: Mapping[str, suppression.Tuning],
    amounts: Sequence[int],
    world: ginc.World,
    key: jax.Array,
    prompts: Sequence[Prompts],
    folder_of: Callable[[Model], Path],
    *,
    weights: Sequence[float] | None = None,
    extra: Mapping | None = None,
    keep_models: bool = False,
    resume: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tunes every model by every method and amount, side by side on a CPU.

    Args:
      models: (layers, seed) → function that gives the pretrained model.
      tunings: method → how.
      amounts: documents.
      world, key: what documents are drawn from, and the key of the draw.
      prompts: to measure ICL curves on.
      folder_of: the folder of a model's runs.
      weights, extra, keep_models, resume: as in `suppression.tune_amounts`.

    Returns:
      (curves before, during and after, all models by the first method first; the training logs with layers, seed and `seconds`
      of each model and method).
    """
    jobs = [(method, model) for method in tunings for model in models]
    # Updates of a batch of each amount; DPO's batches hold pairs, and a reference has scored them.
    updates = {method: sum(t.training(amount).steps for amount in amounts) for method, t in tunings.items()}

    def one(job: tuple[str, Model], check: Callable[[], None]) -> tuple[pd.DataFrame, pd.DataFrame]:
        method, (layers, seed) = job
        began = time.perf_counter()
        model = models[layers, seed]()
        labels = {"learner": "gpt2", "layers": layers, "seed": seed}

        def told(n: int) -> None:
            check()
            advance(n)

        curves, log = suppression.tune_amounts(
            model,
            tunings[method],
            amounts,
            world,
            jax.random.fold_in(key, tunings[method].favoured),
            prompts,
            folder_of((layers, seed)),
            weights=weights,
            columns=labels,
            extra=dict(extra or {}),
            keep_models=keep_models,
            resume=resume,
            progress=told,
        )
        if method == next(iter(tunings)):
            curves = pd.concat([suppression.pretrained_curves(model, prompts, **labels), curves])
        return curves, log.assign(seconds=time.perf_counter() - began)

    def cost(job: tuple[str, Model]) -> float:
        method, (layers, _) = job
        return layers * updates[method] * (2 if method == "dpo" else 1)

    total, what = sum(updates.values()) * len(models), " and ".join(method.upper() for method in tunings)
    with (
        warnings_as_lines(training.TrainWarning),
        progress(f"fine-tuning by {what}", "update", total, first="compiling") as advance,
    ):
        curves, logs = zip(*side_by_side(one, jobs, cost), strict=True)
    return pd.concat(curves, ignore_index=True), pd.concat(logs, ignore_index=True)


def analyse(frame: pd.DataFrame, folder: Path, prefix: str = "", **options) -> dict[str, pd.DataFrame]:
    """Fits, forecasts, tables and figures of the curves in `frame`, written to `folder`; returns the tables.

    Args:
      frame: curves before and after fine-tuning.
      folder: where to write; forecast.csv stands there under this name, all else with `prefix` before its name.
      **options: of `suppression.analyse`.
    """
    with progress("what moved, and when tasks return", "fit", first="compiling") as advance:
        tables = suppression.analyse(frame, on_done=advance, **options)
    for name, table in tables.items():
        write_csv(table, folder / ("forecast.csv" if name == "forecast" else f"{prefix}{name}.csv"))
    short = suppression.summaries(tables)
    for suffix, style, lead in (("md", "markdown", ""), ("tex", "latex", "% ")):
        text = "\n\n".join(
            f"{lead}{caption}\n\n{comparison.to_text(t, style)}" for caption, t in short.values()
        )
        write_text(text + "\n", folder / f"{prefix}tables.{suffix}")
    for name, figure in suppression.figures(frame, tables, favoured=options.get("favoured", 0)).items():
        plots.save(figure, folder / f"{prefix}{name}.png")
    return tables


def loaded(run_dir: Path, name: str) -> Callable[[], GPT2]:
    """A function that reads a pretrained model of a run."""
    return lambda: training.load_model(run_dir / "models" / name)
