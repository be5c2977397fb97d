"""What a report on a comparison of laws says: what won, by how much, over how many curves."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..comparison import METRICS, SURE, common_curves, mean_table, p_text, paired_tests, verdict
from ..errors import InputError
from ..outputs import COMPARED
from .dots import means_chart
from .parts import Chart, Report, Section, Table, number_text, table_of

NUMBERS = ("fraction", *METRICS, "n_fit", "n_eval")


def read_comparison(path: Path) -> pd.DataFrame:
    """The table that `iclbayes compare` wrote, labels of curves kept as they were written.

    Raises:
      InputError: it cannot be read, or a cell that should be a number is none.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        heads = list(pd.read_csv(path, nrows=0).columns)
        labels = [name for name in heads if name not in NUMBERS]
        table = pd.read_csv(
            path,
            dtype={**dict.fromkeys(labels, str), **{name: float for name in NUMBERS if name in heads}},
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in NUMBERS},
        )
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["nothing is known of why"])[0]
        raise InputError(f"{path}: cannot be read as a table of iclbayes compare: {reason}") from None
    lacking = COMPARED - set(table)
    if lacking or table.empty:
        what = f"has no column {sorted(lacking)[0]!r}" if lacking else "has no rows"
        raise InputError(f"{path}: {what}; give a table that iclbayes compare wrote")
    return table


def report_of_comparison(
    table: pd.DataFrame, *, title: str, about: Mapping[str, str] | None = None
) -> Report:
    """A report on which law describes curves, and which foretells them.

    Args:
      table: of `iclbayes.compare`.
      title: of the page.
      about: provenance, name → text.
    """
    return Report(
        title=title,
        question="Which law is nearest to these curves where it was fitted, and which foretells what it has not seen?"
        " NRMSE is the root of the mean squared error of the probability, as a share of the curve's mean.",
        verdict=verdict(table),
        caveats=_caveats(table),
        sections=law_sections(table),
        about=about or {},
    )


def law_sections(table: pd.DataFrame) -> list[Section]:
    """Charts of mean errors, and the numbers: means, on how many curves each law is nearest, t-tests, every curve."""
    tables = [means_of(table), _nearest(table)]
    tests = paired_tests(table).dropna(subset="p")
    if len(tests):
        tests = tests.assign(fraction=[_fitted(f) for f in tests["fraction"]])
        tests = tests.rename(
            columns={
                "fraction": "fitted on",
                "law": "nearest law",
                "difference": "mean difference",
                "n": "curves",
            }
        )
        tables.append(
            table_of(
                "Paired t-tests of NRMSE over curves, nearest law against each other one",
                tests,
                {"p": p_text},
            )
        )
    tables.append(_every_curve(table))
    return [
        Section(
            "Mean errors",
            hint="Dots are means over curves with one standard error, the nearest law at the top."
            " Point at a dot for its number.",
            charts=_charts(table),
        ),
        Section("Numbers", tables=tables),
    ]


def means_of(table: pd.DataFrame, caption: str = "Mean error of each law (NRMSE)") -> Table:
    """Mean NRMSE, a row for each law, a column for each share of the shots that was fitted."""
    means = mean_table(table)
    heads = [f"fitted on {_fitted(float(str(part)))}" for part in means]
    values = means.to_numpy(float)
    rows = tuple(
        (str(law), *("–" if np.isnan(x) else f"{x:.4f}" for x in row))
        for law, row in zip(means.index, values, strict=True)
    )
    return Table(caption, ("law", *heads), rows)


def _fitted(fraction: float) -> str:
    return "all shots" if fraction == 1 else f"the first {100 * fraction:g} %"


def _caveats(table: pd.DataFrame) -> list[str]:
    said = []
    tests = paired_tests(table)
    curves = len(table.groupby([*_columns(table)], dropna=False)) if _columns(table) else 1
    for fraction, wide in common_curves(table).items():
        what = f"Fitted on {_fitted(fraction)}"
        if len(wide) < curves:
            said.append(
                f"{what}, {curves - len(wide)} of {curves} curves do not count: at least one law has no finite error there."
            )
        mine = tests[tests["fraction"] == fraction]
        level = [str(law) for law, p in zip(mine["versus"], mine["p"], strict=True) if p > SURE]
        if level:
            best = mine["law"].iloc[0]
            said.append(
                f"{what}, {best} cannot be told from {', '.join(level)}:"
                f" over {len(wide)} curves the difference may be chance (paired t-tests, p above {SURE:g})."
            )
    return said


def _columns(table: pd.DataFrame) -> list[str]:
    """What tells the curves apart: group columns, and the source where it tells anything."""
    names = [str(name) for name in table.columns if name not in {"law", *NUMBERS}]
    useless = "source" in names and table["source"].nunique(dropna=False) < 2 and len(names) > 1
    return [name for name in names if not (useless and name == "source")]


def _charts(table: pd.DataFrame) -> list[Chart]:
    found = []
    for fraction, wide in common_curves(table).items():
        if wide.empty:
            continue
        mean, error = wide.mean(), wide.sem()
        rows = pd.DataFrame({"law": [str(law) for law in wide], "mean": mean.to_numpy(float)})
        rows = rows.assign(low=(mean - error).to_numpy(float), high=(mean + error).to_numpy(float))
        rows = rows.sort_values("mean", kind="stable", ignore_index=True)
        title = f"Fitted on {_fitted(fraction)}, " + (
            "scored there too" if fraction == 1 else "scored on the rest"
        )
        says = f"{len(wide)} {'curve' if len(wide) == 1 else 'curves'}; nearest: {rows['law'].iloc[0]}."
        spec = means_chart(rows, f"{title}: {says}", names="law", value=("mean", "mean NRMSE"))
        found.append(Chart(title, says, spec))
    return found


def _nearest(table: pd.DataFrame) -> Table:
    """On how many curves each law has the lowest error."""
    counts, heads = {}, []
    for fraction, wide in common_curves(table).items():
        heads.append(f"fitted on {_fitted(fraction)}, of {len(wide)}")
        won = wide.idxmin(axis=1).value_counts() if len(wide) else pd.Series(dtype=int)
        counts[heads[-1]] = [int(won.get(law, 0)) for law in dict.fromkeys(table["law"])]
    rows = [
        (str(law), *(number_text(counts[head][i]) for head in heads))
        for i, law in enumerate(dict.fromkeys(table["law"]))
    ]
    return Table("On how many curves each law is nearest", ("law", *heads), tuple(rows))


def _every_curve(table: pd.DataFrame) -> Table:
    columns = _columns(table)
    wide = table.set_index([*columns, "fraction", "law"])["nrmse"].unstack("law", sort=False)
    wide = wide[list(dict.fromkeys(table["law"]))].reset_index()
    wide["fraction"] = [_fitted(f) for f in wide["fraction"]]
    return table_of(
        "NRMSE of every curve",
        wide.rename(columns={"fraction": "fitted on"}),
        {str(name): lambda x: "–" if np.isnan(x) else f"{x:.4f}" for name in dict.fromkeys(table["law"])},
        "the table of iclbayes compare",
    )
