"""Options that commands share, each written once. Nothing here imports JAX: the help must come at once."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from ..console import warn, warnings_as_lines
from ..errors import CurvesWarning, InputError
from ..files import is_csv
from ..outputs import MARKED, check_outputs

if TYPE_CHECKING:
    from ..curves import Curves

# The names that the library's own tables hold, said again without importing them; a test keeps the two alike.
LawName = Literal[
    "bayesian_original",
    "bayesian_sampling",
    "bayesian_scoring",
    "power",
    "bounded_power",
    "logistic",
    "bayesian_heterogeneous",
    "bayesian_heterogeneous_exact",
    "bayesian_original_log",
    "bayesian_sampling_log",
    "bayesian_scoring_log",
    "bayesian_heterogeneous_log",
    "bayesian_heterogeneous_exact_log",
    "staged",
    "bayesian_staged",
]
LossName = Literal["auto", "squared", "squared_nll", "squared_log_nll", "huber", "binomial"]
ValueName = Literal["prob", "n_correct", "accuracy", "nll", "prob_choice"]
LikelihoodName = Literal[
    "auto", "binomial", "beta_binomial", "quasi_binomial", "normal", "logit_normal", "beta"
]
SHOWN = 6  # curves that a warning names
NAMED = 3  # files that are named one by one
MANY = 10_000  # curves above which shapes are not looked at
TableStyle = Literal["plain", "markdown", "latex"]

# How options show in the help: what stands for the value, and no "(default: None)" behind those that may be left out.
LAWS = arg(metavar="LAW", help_behavior_hint=f"(one of {', '.join(LawName.__args__)})")
COLUMN = arg(metavar="COLUMN", help_behavior_hint="")
NUMBER = arg(metavar="NUMBER", help_behavior_hint="")
COUNT = arg(metavar="COUNT", help_behavior_hint="")
FILE = arg(metavar="FILE", help_behavior_hint="")

Laws = Annotated[UseAppendAction[tuple[LawName, ...]], LAWS]
Columns = Annotated[UseAppendAction[tuple[str, ...]], COLUMN]
Parameters = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="PARAMETER", help_behavior_hint="")]
Column = Annotated[str | None, COLUMN]
File = Annotated[Path | None, FILE]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
Share = Annotated[float | None, NUMBER]
Count = Annotated[int | None, COUNT]


@dataclasses.dataclass(frozen=True)
class CurveFile:
    """Which curves the files hold, but for the column of the shots."""

    curves: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="CURVES [CURVES ...]", help_behavior_hint="(required)")
    ]
    """file of curves (CSV, JSON lines, Parquet), or several: a row for each measured number of shots."""
    group_by: Columns = ()
    """column whose values tell the groups apart, such as model; give it again for several. Without it all rows are one group.
    file: the files' names, where no column is called so."""
    source: Column = None
    """column that tells the curves of one group apart: which task's examples the context holds. Without it they are averaged."""
    value: Annotated[
        ValueName | None,
        arg(
            metavar=f"{{{','.join(ValueName.__args__)}}}",
            help_behavior_hint="(default: the first of them that is there)",
        ),
    ] = None
    """which column holds the measured values."""
    window: Annotated[float | None, NUMBER] = None
    """shots that fit the models' context: points beyond are left out, forecasts end there. A column window says it by row."""

    def __post_init__(self) -> None:
        if not self.curves:
            raise InputError("missing: CURVES, a file of curves or several")
        twice = next((path for path in self.curves if self.curves.count(path) > 1), None)
        if twice is not None:
            raise InputError(f"{twice}: is named twice; name each file of curves once")

    @property
    def column(self) -> str:
        """The column with the numbers of shots."""
        return "shots"

    @property
    def named(self) -> str:
        """The files in a few words."""
        if len(self.curves) <= NAMED:
            return ", ".join(map(str, self.curves))
        return f"{len(self.curves)} files ({self.curves[0]} … {self.curves[-1]})"

    def read(self) -> "Curves":
        """Reads the curves and says what they are, and of what reading warns.

        Raises:
          InputError: what `iclbayes.read_curves` says of the files.
        """
        from .. import memory, reading, tables

        frames = dict(zip(map(str, self.curves), tables.read_tables(self.curves, self.column), strict=True))
        with warnings_as_lines(CurvesWarning):
            curves = reading.curves_from_frames(
                frames,
                group_by=self.group_by,
                source=self.source,
                value=self.value,
                shots=self.column,
                window=self.window,
            )
        rows = sum(map(len, frames.values()))
        del frames
        memory.release(rows)
        print(f"{self.named}: {curves!r} from {rows} rows")
        _warn_of_shapes(curves)
        return curves


@dataclasses.dataclass(frozen=True)
class CurvesIn(CurveFile):
    """Which curves the files hold. Their columns are described in the README under "Curve files"."""

    shots: Annotated[str, arg(metavar="COLUMN")] = "shots"
    """column with the numbers of shots."""

    @property
    def column(self) -> str:
        """The column with the numbers of shots."""
        return self.shots


@dataclasses.dataclass(frozen=True)
class CurvesAhead(CurveFile):
    """Which curves the files hold, and at which numbers of shots they are forecast."""

    shots: Annotated[UseAppendAction[tuple[str, ...]], NUMBER] = ()
    """numbers of shots to forecast besides those up to the largest measured, as in --shots 64 128; a word instead names the
    column of the files that holds the numbers of shots."""
    upto: Annotated[float | None, NUMBER] = None
    """forecast up to this number of shots."""

    @property
    def column(self) -> str:
        """The column with the numbers of shots."""
        words = [word for word in self.shots if not _is_number(word)]
        if len(words) > 1:
            raise InputError(
                f"--shots {words[0]} {words[1]}: name one column, the one with the numbers of shots"
            )
        return words[0] if words else "shots"

    @property
    def asked(self) -> tuple[float, ...]:
        """The numbers of shots that are asked for by --shots.

        Raises:
          InputError: a number that cannot be one of shots.
        """
        numbers = tuple(float(word) for word in self.shots if _is_number(word))
        for number in (*numbers, *(() if self.upto is None else (self.upto,))):
            if not 0 <= number < float("inf"):
                raise InputError(f"--shots and --upto want finite numbers of at least 0, not {number:g}")
        return numbers


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _warn_of_shapes(curves: "Curves") -> None:
    """One line on the curves that no law can describe; their fits end like any other."""
    from ..shapes import not_described

    if curves.n_curves > MANY:
        return
    table = not_described(curves)
    if table.empty:
        return
    names = list(curves.keys.columns)
    if "source" in table and (len(set(curves.source)) > 1 or not names):
        names = [*dict.fromkeys([*names, "source"])] if curves.n_curves > 1 else names
    labels = table[names].astype(str).agg(" ".join, axis=1) if names else ["the curve"] * len(table)
    told = [f"{label} {shape}" for label, shape in zip(labels, table["shape"], strict=True)]
    more = f", and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    warn(
        f"no law here describes {len(told)} of {curves.n_curves} curves, whose probability does not rise with shots or which"
        f" have too few points; their parameters mean little: {'; '.join(told[:SHOWN])}{more}"
    )


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How the laws are fitted. The defaults suit most curves."""

    loss: LossName = "auto"
    """what a fit minimises: error of the probability, of the NLL, of its logarithm, or the likelihood of counts (binomial); auto
    is binomial where all points are counts, else squared."""
    background: Annotated[
        int | None,
        arg(metavar="TASKS", help_behavior_hint="(default: 1 where the first values ask for it, else 0)"),
    ] = None
    """tasks of each group that own no curve: 0, 1, 2, … Groups of one curve have 1 by default."""
    shot_offset: float = 0.0
    """added to the shots of Bayesian laws; 1 meets the published code."""
    baseline_offset: float = 1.0
    """o in t = n + o of the other laws; 0 meets the published code, for curves that begin at 1 shot or later."""
    starts: int = 8
    """first guesses of each fit."""
    max_steps: int = 200
    """step limit of each first guess."""
    seed: int = 0
    """seed of the random first guesses."""

    def named(self) -> dict[str, Any]:
        """The options under the names that `iclbayes.fit` gives them."""
        named = dataclasses.asdict(self)
        return named | {"n_starts": named.pop("starts")}


@dataclasses.dataclass(frozen=True)
class FigureLook:
    """How the figure looks."""

    title: Text = None
    """heading of the figure."""
    ylabel: Text = None
    """what the vertical axis is called."""
    size: Annotated[str | None, arg(metavar="slide|paper|WxH", help_behavior_hint="")] = None
    """of the figure: slide (16 to 9), paper (6.5 by 4.5 inches), or width and height in inches, such as 8x5. Without it the
    figure grows with the number of panels."""

    @property
    def inches(self) -> tuple[float, float] | None:
        """Width and height of the figure in inches, None where it grows with its panels.

        Raises:
          InputError: a size that is none.
        """
        if self.size is None:
            return None
        from ..plots.layout import LARGEST, SIZES, SMALLEST

        if self.size in SIZES:
            return SIZES[self.size]
        sides = re.fullmatch(r"(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)", self.size.strip().lower())
        wanted = "give slide, paper, or width and height in inches, such as 8x5"
        if sides is None:
            raise InputError(f"--size {self.size!r} is no size of a figure; {wanted}")
        width, height = float(sides[1]), float(sides[2])
        if not all(SMALLEST <= side <= LARGEST for side in (width, height)):
            raise InputError(
                f"--size {self.size}: figures are {SMALLEST:g} to {LARGEST:g} inches wide and high; {wanted}"
            )
        return width, height

    def check(self, *figures: Path | None) -> None:
        """Raises InputError for a size that is none, and where there is no figure to which the options could apply."""
        asked = [
            f"--{field.name}" for field in dataclasses.fields(self) if getattr(self, field.name) is not None
        ]
        if asked and not any(figures):
            raise InputError(f"{asked[0]} says how a figure looks, but none is asked for; add --plot")
        self.inches  # noqa: B018 (a size that is none is told)


@dataclasses.dataclass(frozen=True)
class FigureOptions(FigureLook):
    """How the figure of curves looks."""

    overlay: Column = None
    """column: curves that differ in it alone share a panel, each in a colour of its own."""


Data = OmitArgPrefixes[CurvesIn]
Look = OmitArgPrefixes[FigureLook]
LookOfCurves = OmitArgPrefixes[FigureOptions]
DataAhead = OmitArgPrefixes[CurvesAhead]
Fitting = OmitArgPrefixes[FitOptions]


EngineName = Literal["local", "ray"]


def engine_arguments(data: "CurveFile", out: Path) -> tuple[list[str], Path]:
    """(files and patterns, folder of results) of a command that runs on an engine.

    Raises:
      InputError: an --out that names a file.
    """
    if out.suffix in (".csv", ".parquet", ".gz", ".nc"):
        raise InputError(
            f"--out {out}: with --engine ray the results are a folder of Parquet files; name a folder"
        )
    return [str(path) for path in data.curves], out


def engine_options(data: "CurveFile") -> dict[str, Any]:
    """How the files of a command that runs on an engine are read."""
    columns = {"value": data.value, "shots": data.column, "window": data.window}
    return {"group_by": data.group_by, "source": data.source, "columns": columns}


Force = Annotated[
    bool, arg(help="write over a file of that name that this command did not write.", help_behavior_hint="")
]


def check_writing(
    inputs: Iterable[Path],
    tables: Iterable[tuple[Path | None, frozenset[str]]],
    figure: Path | Iterable[Path | None] | None = None,
    draws: Iterable[Path] = (),
    force: bool = False,
) -> None:
    """Raises InputError unless everything that a command is to write can be written, and nothing of the user's is lost.

    Args:
      inputs: files that it reads.
      tables: paths (None for what is not wanted), each with the columns that tell the table from a user's.
      figure: where a figure goes, or several of them; None where none is wanted.
      draws: netCDF files.
      force: write over what this package did not write.
    """
    wanted = [(path, columns) for path, columns in tables if path is not None]
    for path, _ in wanted:
        if not (is_csv(path) or path.suffix == ".parquet"):
            raise InputError(f"{path}: tables are written as .csv or .parquet; change the ending")
    figures = [figure] if figure is None or isinstance(figure, Path) else figure
    drawn = [path for path in figures if path is not None]
    if drawn:
        from ..plots.style import check_suffix

        for path in drawn:
            check_suffix(path)
    marked = [(path, MARKED) for path in (*drawn, *draws)]
    check_outputs([*wanted, *marked], inputs, force)
