"""`iclbayes learn-prior`: past curves in, priors for the next one out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import progress
from ..errors import InputError
from ..outputs import MARKED, check_outputs
from .options import Data, Force, Laws, LikelihoodName

if TYPE_CHECKING:
    import pandas as pd

    from ..posterior import LearnedPriors


@dataclasses.dataclass(frozen=True)
class LearnPrior:
    """Learn from past curves what the parameters of a law usually are, for posteriors of the next curve from few points.

    iclbayes posterior NEXT --prior prior.json uses what was learned. Give past curves of the kind of which the next will be: the
    same task with other models, or the same models with other tasks.
    """

    data: Data
    out: Path
    """where the priors go (JSON, to read and to change)."""
    law: Laws = ()
    """law (default: those that iclbayes posterior averages); give it again for several."""
    likelihood: LikelihoodName = "auto"
    """what noise the observations have; auto goes by the columns."""
    force: Force = False
    seed: int = 0
    """seed of all random numbers."""

    def run(self) -> "LearnedPriors":
        """Learns and writes the priors, says what they are.

        Raises:
          InputError: anything that the user can mend.
        """
        from ..laws import get
        from ..posterior import STACK, learn_priors, learned_table

        if self.out.suffix != ".json":
            raise InputError(f"{self.out}: priors are written as JSON; let --out end with .json")
        check_outputs([(self.out, MARKED)], [self.data.curves], self.force)
        curves = self.data.read()
        laws = [get(law).name for law in self.law or STACK]
        with progress("learning priors", "posterior") as advance:
            found = learn_priors(curves, laws, likelihood=self.likelihood, seed=self.seed, on_done=advance)
        found.write(self.out)
        for law in laws:
            groups = found.learned_from["groups"]
            print(
                f"\n{law}: what {groups} groups say of the next, and what is assumed without them (median, 90 %)"
            )
            print(_plain(learned_table(found, law)))
        print(f"\npriors: {self.out}")
        return found


def _plain(table: "pd.DataFrame") -> str:
    """A line for each parameter: median and 90 % range learned, those of the default, how much of its variance is gone."""

    def said(row: "pd.Series", prefix: str) -> str:
        numbers = [row[f"{prefix}{key}"] for key in ("median", "lo90", "hi90")]
        if numbers[0] != numbers[0]:  # NaN: the defaults of the noise depend on the likelihood
            return "by likelihood"
        middle, low, high = (f"{n:.2g}" if n < 99.5 else f"{n:,.0f}" for n in numbers)
        return f"{middle} ({low} to {high})"

    rows = [("parameter", "learned", "default", "narrower by")]
    for _, row in table.iterrows():
        rows.append(
            (
                row["parameter"],
                said(row, ""),
                said(row, "default_"),
                f"{100 * (1 - (1 - row['learned']) ** 0.5):.0f} %",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
