"""What a report on a run of the synthetic world says: predictions of the theory, met or not, and the curves and tables behind."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..suppression.report import summaries
from . import run_charts
from .charts import bands_hint
from .comparisons import means_of
from .parts import Report, Section, Table, number_text, some, table_of
from .run_tables import RunTables

LAW = "bayesian_scoring"  # the law whose parameters the theory speaks of
DOUBTFUL = 0.7  # k̂ of importance weights above this


def report_of_run(run: RunTables, *, title: str, about: Mapping[str, str] | None = None) -> Report:
    """A report on a run: the story, the curves beside the exact learner's, priors and efficiency, suppression and return.

    Args:
      run: the tables of its folder.
      title: of the page.
      about: provenance, name → text.
    """
    story = run.tables["story"]
    met = story["met"].astype(str) == "yes"
    failed = [_finding(row) for row in story[~met].to_dict("records")]
    verdict = [f"{met.sum()} of {len(story)} predictions of the theory came true in this run."]
    verdict += [f"Not as predicted: {text}" for text in failed]
    return Report(
        title=title,
        question="Small GPT-2s were trained in a synthetic world in which the exact Bayesian learner is known. Do they learn in"
        " context as it does, do the laws' parameters mean what they say, does fine-tuning towards one task leave the knowledge"
        " of the others, and can their return be forecast?",
        verdict=verdict,
        caveats=_caveats(run),
        sections=[
            Section("The story", _outline(story)),
            Section(
                "Curves beside the exact learner's",
                hint="Black: the exact Bayesian learner, which knows how prompts are made. Models are means over their seeds."
                " Point at a dot for its numbers; drag and scroll to move and zoom.",
                charts=run_charts.curves(run.tables["curves"]),
            ),
            *_parameters(run.tables["fits"]),
            *_suppression(run),
            Section("Numbers", tables=_tables(run)),
        ],
        about=about or {},
    )


def _finding(row: Mapping[Hashable, Any]) -> str:
    """A finding in words; older runs told the number and its bounds alone."""
    number = f"{row['what']}: {_value(row['measured'])}, predicted {row['target']}"
    told = row.get("finding")
    return f"{told} ({number})" if isinstance(told, str) else number


def _value(value: object) -> str:
    return number_text(float(f"{value:.3g}") if isinstance(value, float) else value)


def _outline(story: pd.DataFrame) -> list[str]:
    """A line for each step's question, and under it, with a space before, its findings."""
    lines = []
    for step, part in story.groupby("step", sort=False):
        question = part["question"].iloc[0] if "question" in part else None
        lines.append(f"{step}. {question}" if isinstance(question, str) else f"Step {step}")
        for row in part.to_dict("records"):
            told = row.get("finding")
            text = told if isinstance(told, str) else _finding(row)
            lines.append(f" {row['met']}: {text}")
    return lines


def _caveats(run: RunTables) -> list[str]:
    said = []
    fits = run.tables["fits"]
    mine = fits[fits["law"] == LAW]
    if mine.empty:
        said.append(f"The law {LAW}, whose parameters the theory speaks of, was not fitted in this run.")
    opened = mine[run_charts.left_open(mine, "efficiency")]
    if len(opened):
        of = mine.drop_duplicates(["learner", "layers", "seed", "k"])
        many = opened.drop_duplicates(["learner", "layers", "seed", "k"])
        said.append(
            f"{len(many)} of {len(of)} fits do not determine the efficiency K; their K is in no chart, and marked in the tables."
        )
    seeds = run.config.get("seeds", [])
    if len(seeds) == 1:
        said.append(
            "One seed of the models was trained: how much another would differ is not in these numbers."
        )
    if not run.suppressed:
        said.append(
            "No task was suppressed in this run, or that stage has not ended: there is no forecast of a return."
        )
        return said
    ahead = run_charts.ahead(run.tables["forecast"])
    if len(ahead) < 20:
        said.append(
            f"Only {len(ahead)} returns were still to come when they were forecast; shares of so few are rough."
        )
    endless = int(np.isinf(ahead["hi90"]).sum())
    if endless:
        said.append(
            f"{endless} of {len(ahead)} intervals of a forecast have no upper end (they reach to never), and are easily right."
        )
    doubtful = int((ahead["k_hat"] > DOUBTFUL).sum()) if "k_hat" in ahead else 0
    if doubtful:
        said.append(
            f"{doubtful} of {len(ahead)} forecasts rest on importance weights that are not to be relied on (k̂ above 0.7)."
        )
    return said


def _parameters(fits: pd.DataFrame) -> list[Section]:
    charts = run_charts.parameters(fits[fits["law"] == LAW])
    if not charts:
        return []
    hint = (
        "What the law reads from the curves: how likely each task is before any example (prior ρ), and how much one example is"
        " worth (efficiency K), with 90 % intervals of K. On the grey line a model's prior is that of the exact learner's curves."
    )
    return [Section("Priors and efficiency", hint=hint, charts=charts)]


def _suppression(run: RunTables) -> list[Section]:
    if not run.suppressed:
        return []
    forecast = run.tables["forecast"]
    ahead = run_charts.ahead(forecast)
    lines = []
    if len(ahead):
        held = int(ahead["covered"].sum())
        lines.append(
            f"Of {len(ahead)} returns that were still to come after the first {100 * ahead['window'].iloc[0]:g} % of the shots,"
            f" the 90 % intervals hold {held}."
        )
    hint = (
        "Thick lines: the tasks that fine-tuning did not favour, their mean; thin ones: the favoured task. The others start"
        " the lower the more documents; where they end tells whether they are still known."
    )
    sections = [
        Section("Suppression", hint=hint, charts=run_charts.suppressed(run.tables["curves"], run.favoured))
    ]
    if "suppression_forecast_bands" in run.tables:
        drawn = run_charts.bands(run.tables["curves"], run.tables["suppression_forecast_bands"], forecast)
        hint = (
            "A suppressed task for each method and length of examples, after the most documents of which its return was still to"
            f" come. {bands_hint('not yet seen')} The dotted line is the level of the return."
        )
        if drawn:
            sections.append(Section("Curves as forecast from their first shots", hint=hint, charts=drawn))
    charts = run_charts.returns(forecast)
    if charts:
        hint = (
            "Each dot is a suppressed task on its way back: across, the shots at which it was back at a level; up, what was"
            " forecast from the first shots, with the 90 % interval."
            " On the grey line the forecast came true; a triangle says never."
        )
        sections.append(Section("Return, forecast and observed", lines, hint=hint, charts=charts, plain=True))
    return sections


def _tables(run: RunTables) -> list[Table]:
    story = run.tables["story"]
    tables = [
        table_of(
            "Predictions of the theory",
            story[["step", "what", "measured", "target", "met"]].rename(columns={"target": "predicted"}),
            {"measured": _value},
        ),
        table_of("Held-out loss beside the exact learner's (nats a token)", run.tables["entropy"]),
        _parameter_table(run.tables["fits"]),
        means_of(
            run.tables["table"][run.tables["table"]["learner"] == "gpt2"],
            "Mean error of each law on the models' curves (NRMSE)",
        ),
    ]
    if run.suppressed:
        named = {name.removeprefix("suppression_"): table for name, table in run.tables.items()}
        tables += [table_of(caption, table) for caption, table in summaries(named).values()]
        tables.append(_ahead_table(run_charts.ahead(run.tables["forecast"])))
    return tables


def _parameter_table(fits: pd.DataFrame) -> Table:
    """Parameters of the scoring law with 90 % intervals; those that the curves leave open have no number."""
    mine = fits[fits["law"] == LAW]
    rows = mine[["learner", "layers", "seed", "k", "source"]].rename(columns={"source": "task"})
    for name, head in (("prior", "prior ρ"), ("efficiency", "efficiency K"), ("gamma", "γ"), ("beta", "β")):
        if name in mine:
            rows[head] = _with_interval(mine, name)
    return table_of(f"Parameters of {LAW}, with 90 % intervals", rows, where="fits.csv")


def _with_interval(rows: pd.DataFrame, name: str) -> list[str]:
    opened = run_charts.left_open(rows, name)
    ends = np.asarray(
        rows[[f"{name}_lo90", f"{name}_hi90"]].to_numpy(float)
        if f"{name}_lo90" in rows
        else np.full((len(rows), 2), np.nan)
    )
    cells = []
    for value, (low, high), left_open in zip(rows[name], ends, opened, strict=True):
        around = f" ({low:.3g} to {high:.3g})" if np.isfinite([low, high]).all() else ""
        cells.append("not determined" if left_open else f"{value:.3g}{around}")
    return cells


def _ahead_table(ahead: pd.DataFrame) -> Table:
    shown = ahead[
        [
            "method",
            "layers",
            "seed",
            "k",
            "amount",
            "source",
            "share",
            "observed",
            "predicted",
            "lo90",
            "hi90",
            "p_never",
        ]
    ]
    shown = shown.rename(
        columns={"source": "task", "share": "way back", "predicted": "forecast", "lo90": "90 % from"}
    )
    shown = shown.rename(columns={"hi90": "90 % to", "p_never": "P(never)", "amount": "documents"})
    never = dict.fromkeys(("observed", "forecast", "90 % from", "90 % to"), run_charts.shots_said)
    share = {name: lambda x: f"{100 * x:.0f} %" for name in ("way back", "P(never)")}
    return table_of(
        "Returns that were still to come: shots, forecast and observed",
        shown,
        {**never, **share},
        "forecast.csv",
    )


def run_facts(run: RunTables) -> dict[str, str]:
    """Where a run comes from: its command, versions and settings, and the digests of its files."""
    versions = run.record.get("versions", {})
    world = run.config.get("world", {})
    facts = {
        "command of the run": run.record.get("command"),
        "versions of the run": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
        "device of the run": run.record.get("device"),
        "preset": run.config.get("preset"),
        "world": ", ".join(f"{name} {value}" for name, value in world.items()) or None,
        "models": _models(run.config),
        "digests of the files": "; ".join(f"{name} SHA-256 {digest}" for name, digest in run.digests.items()),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _models(config: Mapping[str, Any]) -> str | None:
    if "layers" not in config:
        return None
    layers = some([str(n) for n in config["layers"]])
    return f"GPT-2 of {layers} layers, width {config.get('width', '–')}, seeds {some([str(s) for s in config.get('seeds', [])])}"
