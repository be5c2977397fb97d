"""`iclbayes report`: curves in, one HTML file out that can be sent round."""

import dataclasses
import datetime
import platform
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ..console import progress
from ..digests import file_digest
from ..errors import InputError
from ..files import write_text
from ..outputs import MARKED, check_outputs
from .contrast import answers_of, only, paired_data
from .options import Data, File, Force, Laws, LikelihoodName, Share, Text
from .sampling import forecast_shots, learned_for, watched

HORIZON = 4.0  # the charts go this many times as far as the longest curve


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """One HTML file with the answer in sentences, charts to zoom, tables and caveats; it needs no network and can be sent round.

    Forecasts are those of iclbayes posterior; with --pair it also says what differs between two conditions, as iclbayes contrast
    does.
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
        from .. import __version__, comparison, posterior
        from ..laws import SIX
        from ..posterior import STACK, stack
        from ..report import bundle, render, report_of
        from ..report.contents import provenance

        if not 0 < self.level < 1:
            raise InputError(f"--level {self.level} is not a probability between 0 and 1")
        if self.out.suffix not in (".html", ".htm"):
            raise InputError(f"{self.out}: reports are written as HTML; let --out end with .html")
        check_outputs(
            [(self.out, MARKED)], [*self.data.curves, *([self.prior] if self.prior else [])], self.force
        )
        javascript = bundle()  # says at once if its package is missing
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
        }

        stacked = stack(curves, laws, fraction=self.fraction, watch=watched, priors=learned, **options)
        with progress("comparing laws", "fit") as advance:
            fractions = (1.0, 0.5) if self.fraction is None else (1.0, self.fraction)
            compared = comparison.compare(curves, (*SIX, "staged"), fractions, on_done=advance)
        said: list[str] = []
        if column is not None:
            with watched("bayesian_scoring") as advance:
                one = posterior.sample(
                    paired, "bayesian_scoring", fraction=self.fraction, on_done=advance, **options
                )
            said = answers_of(one, pairs, column, self.level).sentences
        report = report_of(
            stacked,
            self.level,
            title=self.title
            or f"{', '.join(path.stem for path in self.data.curves)}: shots to {self.level * 100:g} %",
            shots=forecast_shots(curves, HORIZON * curves.shots.max()),
            comparison=compared,
            contrast=said,
            about=provenance(
                data=f"{', '.join(path.name for path in self.data.curves)}, {curves!r}",
                digest_of_the_file="; ".join(f"SHA-256 {file_digest(path)}" for path in self.data.curves),
                command=shlex.join(["iclbayes", *sys.argv[1:]]) if sys.argv[1:2] == ["report"] else None,
                date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
                versions=f"iclbayes {__version__}, Python {platform.python_version()}",
                seed=self.seed,
            ),
        )
        write_text(render(report, javascript), self.out)
        print("\n" + "\n".join(report.verdict))
        print(*report.caveats, sep="\n")
        print(f"\nreport: {self.out}")
