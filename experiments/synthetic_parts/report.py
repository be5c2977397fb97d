"""Figures and tables of `synthetic.py`, written to the run's folder."""

from pathlib import Path

import pandas as pd

import iclbayes
from iclbayes import comparison, plots
from iclbayes.files import write_csv, write_text

from . import figures
from .config import Config


def draw(
    config: Config, frame: pd.DataFrame, fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path
) -> list[Path]:
    """Writes the figures of the pretrained models; returns their paths."""
    seed = config.seeds[0]
    found = {"curves.png": figures.curves(frame, seed)}
    deepest = frame[(frame["learner"] == "gpt2") & (frame["layers"] == max(config.layers))]
    deepest = deepest[deepest["seed"] == seed]
    curves = iclbayes.curves_from_frame(deepest, group_by=["k"], source="source")
    fraction = 0.5 if 0.5 in config.fractions else config.fractions[0]
    found["laws.png"] = plots.plot_fits(
        [iclbayes.fit(curves, law, fraction=fraction) for law in config.laws], max_panels=20
    )
    found["nrmse.png"] = plots.plot_errors(table[table["learner"] == "gpt2"])
    if (fits["law"] == figures.LAW).any():
        found["efficiency.png"] = figures.efficiency(fits, seed)
        found["priors.png"] = figures.priors(fits, seed)
    for name, figure in found.items():
        plots.save(figure, run_dir / name)
    return [run_dir / name for name in found]


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
