"""Figures and tables of `synthetic.py`."""

from pathlib import Path

import pandas as pd

import iclbayes
from iclbayes import comparison as compare
from iclbayes import plots
from iclbayes.files import write_csv, write_text

from .config import Config

EXACT_LABELS = {
    "exact_prompt": "exact, knows the prompt process",
    "exact_pretraining": "exact, ideal pretrained model",
}


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
        labels = {
            "layers": "layers",
            "efficiency": "ICL efficiency K",
            "prior": "prior ρ",
            "source": "task",
            "k": "k",
        }
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


def write_results(fits: pd.DataFrame, table: pd.DataFrame, run_dir: Path) -> None:
    """fits.csv, and the table of errors as CSV, Markdown and LaTeX (means over the trained models)."""
    write_csv(fits, run_dir / "fits.csv")
    write_csv(table, run_dir / "table.csv")
    means = compare.mean_table(table[table["learner"] == "gpt2"])
    for suffix, form in (("md", "markdown"), ("tex", "latex")):
        write_text(compare.to_text(means, form, index=True) + "\n", run_dir / f"table.{suffix}")


def draw_summary(config: Config, frame: pd.DataFrame, fits: pd.DataFrame, run_dir: Path) -> None:
    pass
