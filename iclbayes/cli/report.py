"""`iclbayes report`: curves, a table of `iclbayes compare` or the folder of a run in, one HTML file out to send round."""

import dataclasses
import datetime
import functools
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from ..console import progress
from ..digests import file_digest
from ..errors import InputError
from ..files import write_text
from ..outputs import COMPARED, MARKED, check_outputs, is_ours
from .contrast import answers_of, only, paired_data
from .options import Data, File, Force, Laws, LikelihoodName, Share, Text
from .sampling import forecast_shots, learned_for, watched

if TYPE_CHECKING:
    from ..report import Report

HORIZON = 4.0  # the charts go this many times as far as the longest curve
ABOUT_CURVES = ("level", "law", "pair", "fraction", "likelihood", "prior", "method", "draws", "seed")


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """One HTML file with the answer in sentences, charts to zoom, tables and caveats; it needs no network and can be sent round.

    Forecasts are those of iclbayes posterior; with --pair it also says what differs between two conditions, as iclbayes contrast
    does. Instead of a file of curves, CURVES may be a table that iclbayes compare wrote (which law won, by how much, over how
    many curves) or the folder of a run of experiments/synthetic.py (what the theory predicted and what was found).
    """

    data: Data
    level: float = 0.5
    """probability between 0 and 1: the report says how many shots it takes to get there."""
    out: Path = Path("report.html")
    """where the report goes (.html)."""
    law: Laws = ()
    """law (default: staged, bayesian_heterogeneous_exact and logistic, and their average); give it again for several."""
    pair: Annotated[
        tuple[str, str, str] | None, arg(metavar="COLUMN BEFORE AFTER", help_behavior_hint="")
    ] = None
    """a group column and two of its values, such as variant base instruct: say what differs between them."""
    fraction: Share = None
    """fit only shots up to this share of each curve's largest (0 to 1); forecast the rest."""
    likelihood: LikelihoodName = "auto"
    """what noise the observations have; auto goes by the columns."""
    prior: File = None
    """priors that iclbayes learn-prior wrote (JSON), instead of the defaults."""
    method: Literal["auto", "nuts", "psis", "laplace"] = "auto"
    """how posteriors are found, as in iclbayes posterior."""
    title: Text = None
    """heading of the report."""
    force: Force = False
    draws: Annotated[int, arg(metavar="COUNT")] = 500
    """draws kept of each of four chains."""
    seed: int = 0
    """seed of all random numbers."""

    def run(self) -> None:
        """Samples, compares, writes the page.

        Raises:
          InputError: anything that the user can mend.
        """
        from ..report import bundle, render

        if not 0 < self.level < 1:
            raise InputError(f"--level {self.level} is not a probability between 0 and 1")
        if self.out.suffix not in (".html", ".htm"):
            raise InputError(f"{self.out}: reports are written as HTML; let --out end with .html")
        check_outputs(
            [(self.out, MARKED)], [*self.data.curves, *([self.prior] if self.prior else [])], self.force
        )
        javascript = bundle()  # says at once if its package is missing
        path = self.data.curves[0]
        alone = len(self.data.curves) == 1
        if alone and path.is_dir():
            report = self._of_run(path)
        elif alone and is_comparison(path):
            report = self._of_comparison(path)
        else:
            report = self._of_curves()
        write_text(render(report, javascript), self.out)
        print("\n" + "\n".join(report.verdict))
        print(*report.caveats, sep="\n")
        print(f"\nreport: {self.out}")

    def _of_run(self, path: Path) -> "Report":
        from ..report.run_tables import read_run
        from ..report.runs import report_of_run, run_facts

        self._check_bare("the folder of a run")
        run = read_run(path)
        title = self.title or f"{path.resolve().name}: a run of the synthetic world"
        return report_of_run(run, title=title, about=self._about(path.resolve().name) | run_facts(run))

    def _of_comparison(self, path: Path) -> "Report":
        from ..report import read_comparison, report_of_comparison

        self._check_bare("a table of iclbayes compare")
        table = read_comparison(path)
        title = self.title or f"{path.stem}: laws compared"
        return report_of_comparison(
            table, title=title, about=self._about(f"{path.name}, {len(table)} rows", digests=True)
        )

    def _check_bare(self, what: str) -> None:
        """Raises InputError for an option that only curves have."""
        for part, names in (
            (self, ABOUT_CURVES),
            (self.data, ("group_by", "source", "value", "window", "shots")),
        ):
            for field in dataclasses.fields(part):
                if field.name in names and getattr(part, field.name) != field.default:
                    raise InputError(
                        f"{self.data.named}: is {what}, for which --{field.name.replace('_', '-')} means nothing; leave it out"
                    )

    def _about(self, what: str, *, digests: bool = False, seed: int | None = None) -> dict[str, str]:
        """Where the page comes from: what it is made of, and the digests of the files, if files they are."""
        from .. import __version__
        from ..report import provenance

        return provenance(
            data=what,
            digest_of_the_file="; ".join(f"SHA-256 {file_digest(path)}" for path in self.data.curves)
            if digests
            else None,
            command=shlex.join(["iclbayes", *sys.argv[1:]]) if sys.argv[1:2] == ["report"] else None,
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            versions=f"iclbayes {__version__}, Python {platform.python_version()}",
            seed=seed,
        )

    def _of_curves(self) -> "Report":
        from .. import comparison, posterior
        from ..laws import SIX
        from ..posterior import STACK, stack
        from ..report import report_of
        from ..runtime import cache_folder

        data, pairs, column = self.data, [], None
        if self.pair is not None:
            data, pairs, column = paired_data(self.data, self.pair)
        laws = self.law or STACK
        learned = learned_for(self.prior, laws)
        curves = data.read()
        if column is not None:
            paired = only(curves, pairs, column)  # a wrong name is told before anything is sampled
        options: dict[str, Any] = {
            "likelihood": self.likelihood,
            "method": self.method,
            "seed": self.seed,
            "n_draws": self.draws,
            "kept_in": cache_folder("posteriors"),
        }

        stacked = stack(
            curves,
            laws,
            fraction=self.fraction,
            watch=functools.partial(watched, curves=curves),
            priors=learned,
            **options,
        )
        with progress("comparing laws", "fit", first="compiling") as advance:
            fractions = (1.0, 0.5) if self.fraction is None else (1.0, self.fraction)
            compared = comparison.compare(curves, (*SIX, "staged"), fractions, on_done=advance)
        said: list[str] = []
        if column is not None:
            with watched("bayesian_scoring") as advance:
                one = posterior.sample(
                    paired, "bayesian_scoring", fraction=self.fraction, on_done=advance, **options
                )
            said = answers_of(one, pairs, column, self.level).sentences
        return report_of(
            stacked,
            self.level,
            title=self.title
            or f"{', '.join(path.stem for path in self.data.curves)}: shots to {self.level * 100:g} %",
            shots=forecast_shots(curves, HORIZON * curves.shots.max()),
            comparison=compared,
            contrast=said,
            about=self._about(
                f"{', '.join(path.name for path in self.data.curves)}, {curves!r}",
                digests=True,
                seed=self.seed,
            ),
        )


def is_comparison(path: Path) -> bool:
    """Whether this file is a table that `iclbayes compare` wrote."""
    return path.is_file() and path.stat().st_size > 0 and path.suffix != ".json" and is_ours(path, COMPARED)
