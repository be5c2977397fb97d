"""Curves of real language models in, the paper's comparison out: which law describes them, and what post-training moved.

    python experiments/real_llms.py --curves base.csv chat.csv --base NAME --instruct NAME --unsafe matching
    python experiments/real_llms.py --curves curves.csv --no-posterior          # point fits only: a minute or two
    python experiments/real_llms.py --curves curves.csv --group-by model task selection --law bayesian_heterogeneous_exact

Curves come from `iclbayes collect` and `iclbayes import-lm-eval`, or are any file that `iclbayes.read_curves` reads. The
folder of results holds config.json; table.csv (NRMSE of every law, fraction and curve), table.md, table.tex (its means); fits.csv
(parameters of every law with standard errors); parameters.csv, contrast.csv (what moved), posterior.csv (weight of a task by
shots), reach.csv (shots to the level, with the chance of never), summary.md; diagnostics.csv (of the posteriors); and the figures
laws.png, errors.png, contrast.png, posterior.png, reach.png.

Hardware: two CPU cores do; with posteriors (NUTS) count some seconds to a minute for a group of curves.
"""

import dataclasses
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from synthetic_parts.checks import LARGEST_SEED, MOST, check_comparison

import iclbayes
from iclbayes import comparison as compare
from iclbayes import contrasts, plots
from iclbayes.cli.parsing import parse_script
from iclbayes.console import entry, progress, warnings_as_lines
from iclbayes.curves import Curves
from iclbayes.errors import CurvesWarning, InputError, check_above_zero, check_each_once, check_whole
from iclbayes.files import check_folder, write_csv, write_text
from iclbayes.outputs import is_ours
from iclbayes.reading import curves_from_frames
from iclbayes.runs import alone_in
from iclbayes.tables import read_tables

SIX = tuple(law.name for law in iclbayes.laws.SIX)
CONDITIONS = ("flip", "benign_shots")  # columns of collected files whose values must not be averaged over


@dataclasses.dataclass(frozen=True)
class Config:
    """What is analysed, how, and where the results go."""

    curves: tuple[Path, ...]
    """files of curves, CSV or Parquet."""
    out_dir: Path | None = None
    """folder of the results; by default a dated one under runs/."""
    group_by: tuple[str, ...] = ("model", "task")
    """columns whose values define the groups; the curves of a group share prior and efficiency."""
    source: str | None = None
    """column that names the source of each curve; by default `source`, where all files have it."""
    value: str | None = None
    """which value column to use: prob, n_correct, accuracy or nll (default: the first that is there)."""

    laws: tuple[str, ...] = SIX
    """laws to compare."""
    fractions: tuple[float, ...] = (0.5, 0.9, 1.0)
    """shares of the shots to fit; 1 is interpolation."""
    law: str = "bayesian_scoring"
    """Bayesian law whose parameters are contrasted."""

    base: tuple[str, ...] = ()
    """first of each pair to contrast: base models, or before post-training."""
    instruct: tuple[str, ...] = ()
    """second of each pair, in the same order."""
    pair_column: str = "model"
    """group column that the names of the pairs are values of."""
    tolerance: float = 0.3
    """shifts of ln K and of the logits of prior, gamma, beta up to this count as none."""
    unsafe: tuple[str, ...] = ()
    """sources (or tasks) whose posterior by shots is drawn; default: all."""
    level: float = 0.5
    """probability for which shots to reach it are asked."""

    posterior: bool = True
    """sample posteriors; otherwise the normal approximation around point fits."""
    method: Literal["nuts", "psis", "laplace"] = "nuts"
    """sampler of the posteriors; psis and laplace are for many curves."""
    discrepancy: bool = True
    """let curves wander from the law, the more the farther outside the fitted shots."""
    chains: int = 4
    """chains of NUTS."""
    warmup: int = 300
    """adaptation steps of each chain."""
    draws: int = 500
    """draws kept of each chain."""
    seed: int = 0
    """seed of all random numbers."""


# --- reading ---


def read_files(config: Config) -> Curves:
    """All files as one `Curves`.

    Raises:
      InputError: what `read_curves` says of a file; a condition that would be averaged over; a curve that is in two files.
    """
    frames = dict(zip(map(str, config.curves), read_tables(config.curves)))
    source = config.source
    if source is None and all("source" in frame for frame in frames.values()):
        source = "source"
    if source in config.group_by:
        source = None
    for path, frame in frames.items():
        for name in CONDITIONS:
            if name in frame and len(frame[name].drop_duplicates()) > 1 and name not in config.group_by:
                raise InputError(
                    f"{path}: column {name!r} has several values, which would be averaged; add it to --group-by"
                )
    with warnings_as_lines(CurvesWarning):
        return curves_from_frames(frames, group_by=config.group_by, source=source, value=config.value)


def check(config: Config) -> None:
    """Raises InputError for settings that no file of curves could make right."""
    if not config.curves:
        raise InputError("no curves; give files with --curves")
    if len(config.base) != len(config.instruct):
        raise InputError(
            f"--base names {len(config.base)} and --instruct {len(config.instruct)}; give them in pairs"
        )
    if config.base and config.pair_column not in config.group_by:
        raise InputError(
            f"--pair-column {config.pair_column} is not among the group columns; add it to --group-by"
        )
    if not 0 < config.level < 1:
        raise InputError(f"--level {config.level} is not a probability between 0 and 1")
    check_above_zero("--tolerance", config.tolerance)
    check_each_once("--curves", config.curves)
    if config.group_by:
        check_each_once("--group-by", config.group_by)
    check_comparison(config.laws, config.fractions)
    for name in ("chains", "warmup", "draws"):
        check_whole(f"--{name}", getattr(config, name), 1, MOST)
    check_whole("--chains times --draws", config.chains * config.draws, 1, MOST)
    check_whole("--seed", config.seed, 0, LARGEST_SEED)
    missing = {"gamma", "beta", "prior"} - set(iclbayes.laws.get(config.law).param_names)
    if missing:
        raise InputError(
            f"--law {config.law} has no {', '.join(sorted(missing))}; take bayesian_scoring, bayesian_sampling, "
            "bayesian_heterogeneous or one of their _log readings"
        )
    scoring = isinstance(iclbayes.laws.get(config.law), iclbayes.laws.ScoringLaw)
    if config.base and not config.posterior and not scoring:
        raise InputError(
            f"point fits of {config.law} cannot be contrasted; leave out --no-posterior or take --law bayesian_scoring"
        )


def check_results(out: Path, curves: Sequence[Path]) -> None:
    """Raises InputError unless the results can go to this folder: it is new, empty or of this script, and no curves are in it."""
    check_folder(out)
    inside = [path for path in curves if os.path.realpath(path.parent) == os.path.realpath(out)]
    if inside:
        raise InputError(f"--out-dir {out}: holds the curves {inside[0]}; choose another folder")
    about = out / "config.json"
    others = sorted(found.name for found in out.iterdir() if found.name[:1] != ".") if out.exists() else []
    if others and not (about.exists() and is_ours(about)):
        raise InputError(
            f"{out}: holds {others[0]} but no results of this script; choose a new or an empty folder"
        )


def unsafe_rows(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of these sources or, where no source is called so, of these tasks. Raises InputError for an unknown name."""
    if not names:
        return frame
    found = np.zeros(len(frame), bool)
    for name in names:
        hit = frame["source"].astype(str) == name
        if not hit.any() and "task" in frame:
            hit = frame["task"].astype(str) == name
        if not hit.any():
            tasks = frame["task"].unique() if "task" in frame else ()
            known = ", ".join(map(str, dict.fromkeys([*frame["source"].unique(), *tasks])))
            raise InputError(f"--unsafe {name}: no source or task is called so; there are {known}")
        found |= hit.to_numpy()
    return frame[found].reset_index(drop=True)


# --- analysis ---


def uncertain(config: Config, curves: Curves) -> contrasts.ParameterDraws:
    """Draws of the contrasted law's parameters: the posterior, or a normal around the point fits."""
    if not config.posterior:
        return contrasts.NormalDraws(iclbayes.fit(curves, config.law), seed=config.seed)
    from iclbayes.posterior import PosteriorWarning, sample

    with (
        warnings_as_lines(PosteriorWarning),
        progress("sampling posteriors", "group", curves.n_groups) as advance,
    ):
        return sample(
            curves,
            config.law,
            discrepancy="walk" if config.discrepancy else None,
            method=config.method,
            n_chains=config.chains,
            n_warmup=config.warmup,
            n_draws=config.draws,
            seed=config.seed,
            on_done=advance,
        )


def shots_grid(curves: Curves) -> np.ndarray:
    """About 60 numbers of shots from 0 to four times the longest curve, even in ln(1 + n)."""
    top = 4 * max(float(curves.shots.max()), 1.0)
    return np.unique(np.round(np.expm1(np.linspace(0.0, np.log1p(top), 60))))


def mean_tables(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Captions and tables: mean NRMSE by law and fraction, and by model where there is one, paired tests."""
    curves = table.groupby(["law", "fraction"]).size().iloc[0]
    means = compare.mean_table(table).reset_index()
    found = [(f"Mean NRMSE over {curves} curves, by the share of the shots that was fitted", means)]
    if "model" in table and len(table["model"].unique()) > 1:
        wide = table.pivot_table(
            index=["fraction", "model"],
            columns="law",
            values="nrmse",
            sort=False,
            dropna=False,
            observed=True,
        )
        wide = wide[list(dict.fromkeys(table["law"]))].sort_index(level=0, sort_remaining=False)
        found.append(("Mean NRMSE by fraction and model", wide.dropna(how="all").reset_index()))
    tests = compare.paired_tests(table)
    if len(tests):
        found.append(("Paired t-tests of NRMSE over curves, best law against each other one", tests))
    return found


def write_comparison(table: pd.DataFrame, out: Path) -> None:
    """table.csv, and its means as Markdown and LaTeX."""
    write_csv(table, out / "table.csv")
    tables = mean_tables(table)
    write_text(as_markdown(tables), out / "table.md")
    latex = [f"% {caption}\n{compare.to_text(frame, 'latex')}" for caption, frame in tables]
    write_text("\n\n".join(latex) + "\n", out / "table.tex")


def as_markdown(tables: Sequence[tuple[str, pd.DataFrame]]) -> str:
    """Captions and tables as a Markdown text."""
    return (
        "\n\n".join(f"{caption}\n\n{compare.to_text(frame, 'markdown')}" for caption, frame in tables) + "\n"
    )


def significant(frame: pd.DataFrame) -> pd.DataFrame:
    """Three significant digits of every number that is not whole: parameters differ by orders of magnitude."""
    floats = frame.select_dtypes("float").columns
    return frame.assign(**{name: [f"{value:.3g}" for value in frame[name]] for name in floats})


# --- the whole ---


def run(config: Config) -> Path:
    """Reads, fits, writes and draws everything; returns the folder of the results."""
    began = time.perf_counter()
    check(config)
    out = config.out_dir or Path("runs") / f"real_llms-{datetime.now():%Y-%m-%d-%H%M%S}"
    check_results(out, config.curves)
    curves = read_files(config)
    pairs = list(zip(config.base, config.instruct, strict=True))
    if pairs:
        contrasts.paired_groups(curves, pairs, config.pair_column)
    unsafe_rows(curves.keys.iloc[curves.group].assign(source=curves.source), config.unsafe)
    with alone_in(out):
        _run(config, curves, pairs, out)
    print(f"\ndone in {time.perf_counter() - began:.0f} s: {out}")
    return out


def _run(config: Config, curves: Curves, pairs: Sequence[tuple[str, str]], out: Path) -> None:
    settings = dataclasses.asdict(config)
    settings["versions"] = {name: importlib.metadata.version(name) for name in ("iclbayes", "jax", "numpyro")}
    write_text(json.dumps(settings, indent=2, default=str) + "\n", out / "config.json")
    print(f"results: {out}\n{curves!r}\n\n1. Comparing the laws", flush=True)

    with progress("comparing laws", "fit") as advance:
        table = compare.compare(curves, config.laws, config.fractions, on_done=advance)
        fits = [iclbayes.fit(curves, law, on_done=advance) for law in config.laws]
    write_comparison(table, out)
    write_csv(pd.concat([f.to_frame(stderr=True) for f in fits], ignore_index=True), out / "fits.csv")
    print(f"\n{compare.summary_text(table)}")
    figures = {"laws": plots.plot_fits(fits), "errors": plots.figure_of(plots.plot_errors(table))}

    how = f"posteriors, {config.method}" if config.posterior else "point fits"
    print(f"\n2. Parameters of {config.law} ({how})", flush=True)
    one = uncertain(config, curves)
    if config.posterior:
        write_csv(one.diagnostics(), out / "diagnostics.csv")
    parameters = contrasts.parameter_table(one)
    write_csv(parameters, out / "parameters.csv")
    summary = [(f"Parameters of {config.law} ({how})", parameters)]
    if pairs:
        tests = None
        if not config.posterior:
            tests = contrasts.sharing_tests(curves, config.law, pairs, column=config.pair_column)
        moved = contrasts.contrast(
            one, pairs, column=config.pair_column, tests=tests, tolerance=config.tolerance
        )
        write_csv(moved, out / "contrast.csv")
        caption = (
            "What moved: shift of ln K and of the logits of prior, gamma, beta from before to after, with 90 % intervals; "
            f"same: within ± {config.tolerance:g}"
        )
        columns = [c for c in moved if c != "shift_sd"]
        summary.append((caption, moved[columns]))
        figures["contrast"] = plots.plot_contrast(moved, config.tolerance)

    largest = float(curves.shots.max())
    weights = unsafe_rows(contrasts.posterior_table(one, shots_grid(curves)), config.unsafe)
    write_csv(weights, out / "posterior.csv")
    figures["posterior"] = plots.plot_task_weights(weights, config.group_by, largest)
    reach = contrasts.reach_table(one, config.level)
    write_csv(reach, out / "reach.csv")
    summary.append(
        (
            f"Shots to probability {config.level:g}: quantiles, and the probability of never (100 × the longest curve)",
            reach,
        )
    )
    figures["reach"] = plots.figure_of(plots.plot_reach(reach, config.group_by, config.level, largest))
    summary = [(caption, significant(frame)) for caption, frame in summary]
    for caption, frame in summary:
        print(f"\n{caption}\n\n{compare.to_text(frame)}")
    write_text(as_markdown(summary), out / "summary.md")
    for name, figure in figures.items():
        plots.save(figure, out / f"{name}.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    return entry(lambda: run(parse_script(Config, arguments, "real_llms.py", __doc__.splitlines()[0])))


if __name__ == "__main__":
    sys.exit(main())
