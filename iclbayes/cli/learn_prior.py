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

    iclbayes posterior NEXT --prior prior.json uses what was learned. Give past curves of the kind of which the next will be:
    other models on the same tasks. For other tasks the forecasts were worse than with the default priors.
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
        from ..comparison import to_text
        from ..laws import get
        from ..posterior import STACK, learn_priors, learned_table

        if self.out.suffix != ".json":
            raise InputError(f"{self.out}: priors are written as JSON; let --out end with .json")
        check_outputs([(self.out, MARKED)], self.data.curves, self.force)
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
            print(to_text(_as_read(learned_table(found, law))))
        print(f"\npriors: {self.out}")
        return found


def _as_read(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table as text: median and 90 % range learned, those of the default, how much narrower the former is."""
    import pandas as pd

    from ..posterior.contrast_answers import number_text

    def said(row: "pd.Series", prefix: str) -> str:
        numbers = [row[f"{prefix}{key}"] for key in ("median", "lo90", "hi90")]
        if pd.isna(numbers[0]):
            return "by likelihood"
        middle, low, high = map(number_text, numbers)
        return f"{middle} ({low} to {high})"

    return pd.DataFrame(
        {
            "parameter": table["parameter"],
            "learned": [said(row, "") for _, row in table.iterrows()],
            "default": [said(row, "default_") for _, row in table.iterrows()],
            "narrower by": [f"{100 * (1 - (1 - share) ** 0.5):.0f} %" for share in table["learned"]],
        }
    )
