"""Figures and tables of `synthetic.py`, written to the run's folder."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import iclbayes
from iclbayes import comparison, plots
from iclbayes.errors import InputError
from iclbayes.files import write_csv, write_text
from iclbayes.runs import CONFIG_FILE, read_config
from iclbayes.suppression import final_steps, plot_forecast, plot_return

from . import figures
from .config import Config


def draw(
    config: Config, frame: pd.DataFrame, fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path
) -> list[Path]:
    """Writes the figures of the pretrained models; returns their paths."""
    seed = config.seeds[0]
    deepest = frame[(frame["learner"] == "gpt2") & (frame["layers"] == max(config.layers))]
    deepest = deepest[deepest["seed"] == seed]
    curves = iclbayes.curves_from_frame(deepest, group_by=["k"], source="source")
    fraction = 0.5 if 0.5 in config.fractions else config.fractions[0]
    found = from_tables(frame, fits, table, seed)
    found["laws.png"] = lambda: plots.plot_fits(
        [iclbayes.fit(curves, law, fraction=fraction) for law in config.laws], max_panels=20
    )
    for name, figure in found.items():
        plots.save(figure(), run_dir / name)
    return [run_dir / name for name in found]


def from_tables(
    frame: pd.DataFrame, fits: pd.DataFrame, table: pd.DataFrame | None, seed: int
) -> dict[str, Callable[[], Figure | Axes]]:
    """The figures of the pretrained models that need nothing but the tables of the run, by the names of their files."""
    found: dict[str, Callable[[], Figure | Axes]] = {"curves.png": lambda: figures.curves(frame, seed)}
    if table is not None:
        found["nrmse.png"] = lambda: plots.plot_errors(table[table["learner"] == "gpt2"])
    if (fits["law"] == figures.LAW).any():
        found["efficiency.png"] = lambda: figures.efficiency(fits, seed)
        found["priors.png"] = lambda: figures.priors(fits, seed)
    return found


def redraw(run_dir: Path) -> list[Path]:
    """Draws again those figures of a run that stand in its folder and need no more than its tables; returns their paths.

    Raises:
      InputError: config.json, curves.csv or fits.csv are missing or damaged.
    """
    config = read_config(run_dir / CONFIG_FILE)
    seed, favoured = config["seeds"][0], config["favoured"]
    read = {name: run_dir / f"{name}.csv" for name in ("curves", "fits", "table", "forecast")}
    missing = [path for name, path in read.items() if name in ("curves", "fits") and not path.exists()]
    if missing:
        raise InputError(
            f"{missing[0]}: is missing; name the folder of a finished run of experiments/synthetic.py"
        )
    frame, fits, table, forecast = (pd.read_csv(path) if path.exists() else None for path in read.values())
    assert frame is not None and fits is not None
    found = from_tables(frame, fits, table, seed)
    if (fits["law"] == figures.LAW).any():
        found["summary.png"] = lambda: figures.summary(frame, fits, seed, favoured, forecast)
    if forecast is not None:
        models = frame[(frame["learner"] == "gpt2") & (frame["seed"] == seed)]
        final = final_steps(models[models["layers"] == models["layers"].max()])
        for method, part in final.groupby("method", sort=False):
            ahead = forecast[forecast["method"] == method]
            found[f"suppression_curves_{method}.png"] = lambda p=part, a=ahead: plot_return(p, a, favoured)
        found["suppression_forecast.png"] = lambda: plot_forecast(forecast)
    drawn = [name for name in found if (run_dir / name).exists()]
    for name in drawn:
        plots.save(found[name](), run_dir / name)
    return [run_dir / name for name in drawn]


def draw_summary(config: Config, frame: pd.DataFrame, fits: pd.DataFrame, run_dir: Path) -> None:
    """Writes summary.png, the whole run on one sheet, unless the law that it shows was not fitted."""
    if not (fits["law"] == figures.LAW).any():
        return
    path = run_dir / "forecast.csv"
    forecast = pd.read_csv(path) if path.exists() else None
    plots.save(
        figures.summary(frame, fits, config.seeds[0], config.favoured, forecast), run_dir / "summary.png"
    )


def write_results(fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path) -> None:
    """fits.csv, and the table of errors as CSV, Markdown and LaTeX (means over the trained models)."""
    write_csv(fits, run_dir / "fits.csv")
    write_csv(table, run_dir / "table.csv")
    means = comparison.mean_table(table[table["learner"] == "gpt2"])
    for suffix, form in (("md", "markdown"), ("tex", "latex")):
        write_text(comparison.to_text(means, form, index=True) + "\n", run_dir / f"table.{suffix}")
