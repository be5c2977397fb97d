"""`iclbayes contrast`: two conditions side by side, in sentences."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from tyro.conf import arg

from ..errors import InputError
from ..files import write_table
from ..outputs import MOVED, TIMES
from .figures import panels_on_a_page, write_figure, write_reach
from .options import Data, FigureLook, File, Force, LawName, LikelihoodName, Look, Share, check_writing
from .sampling import say_diagnostics, watched

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..curves import Curves
    from ..posterior import Posterior

TOLERANCE = 0.3
HORIZON = 4.0  # the figure goes this many times as far as the longest curve


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What differs between two conditions (base and instruct, before and after): which parameters of a Bayesian law moved, by how
    much, how sure; and how many times as many shots it takes to get to a level.

    Groups are compared that differ only in the column of --pair. What the data do not determine is said so.
    """

    data: Data
    pair: Annotated[tuple[str, str, str], arg(metavar="COLUMN BEFORE AFTER")]
    """column and the two of its values to compare, as in --pair variant base instruct; the column need not be in --group-by."""
    law: Annotated[LawName, arg(metavar="LAW", help_behavior_hint="(default: bayesian_scoring)")] = (
        "bayesian_scoring"
    )
    """a Bayesian law with prior, efficiency, gamma and beta."""
    level: float = 0.5
    """probability between 0 and 1 to which the shots are counted."""
    tolerance: float = TOLERANCE
    """shifts of ln K and of log odds up to this count as none; 0.3 is a factor of 1.35."""
    method: Literal["auto", "nuts", "psis", "laplace"] = "auto"
    """auto: importance sampling where its diagnostic k-hat is good, NUTS where it is not; nuts: chains for all; laplace: the
    normal approximation, quick, with a k-hat that says whether to trust it."""
    likelihood: LikelihoodName = "auto"
    """what noise the observations have; auto goes by the columns."""
    fraction: Share = None
    """fit only shots up to this share of each curve's largest (0 to 1)."""
    discrepancy: bool = True
    """let the curves wander from the law, the more the farther outside the fitted shots."""
    out: File = None
    """where the table of the parameters goes, .csv or .parquet; that of the shots goes beside it, "_shots" added to the name."""
    plot: File = None
    """where a figure goes with the two curves of each pair and their bands, .png, .pdf (pages, where there are many pairs)
    or .svg."""
    plot_reach: File = None
    """where a figure goes of the shots to the level, with intervals, a row for each curve."""
    look: Look = dataclasses.field(default_factory=FigureLook)
    force: Force = False
    chains: int = 4
    """chains of nuts."""
    warmup: int = 300
    """adaptation steps of each chain."""
    draws: int = 500
    """draws kept of each chain."""
    seed: int = 0
    """seed of all random numbers."""

    def run(self) -> "pd.DataFrame":
        """Samples, prints what moved, writes what was asked for; returns the table of the parameters.

        Raises:
          InputError: anything that the user can mend.
        """
        from .. import contrasts, laws, plots, posterior

        if not 0 < self.level < 1:
            raise InputError(f"--level {self.level} is not a probability between 0 and 1")
        if not 0 < self.tolerance < float("inf"):
            raise InputError(f"--tolerance {self.tolerance} is no finite number above 0")
        contrasts.check_law(laws.get(self.law))
        shots_path = (
            None if self.out is None or not self.out.name else self.out.with_stem(f"{self.out.stem}_shots")
        )
        figures = (self.plot, self.plot_reach)
        check_writing(self.data.curves, [(self.out, MOVED), (shots_path, TIMES)], figures, force=self.force)
        self.look.check(*figures)
        data, pairs, column = paired_data(self.data, self.pair)
        curves = data.read()
        one = self._sample(only(curves, pairs, column))  # a wrong name is told before anything is sampled
        curves = one.curves
        say_diagnostics(self.law, one.diagnostics(), self.method)
        found = answers_of(one, pairs, column, self.level, self.tolerance)
        table, times = found.moved, found.times
        print(*found.sentences, sep="\n")
        names = dict.fromkeys(table["parameter"])
        print("\n" + "; ".join(f"{name}: {posterior.MEANING[name]}" for name in names))
        self._write(table, self.out, "parameters")
        self._write(times, shots_path, "shots")
        if self.plot is not None:

            def draw(page: int | None) -> "Figure":
                size = self.look.inches
                return plots.plot_overlay(
                    one, found.ahead, found.numbers, self.level, reached=found.reached, page=page, size=size
                )

            most = panels_on_a_page(plots.bands.MOST_PAIRS, self.look)
            print(write_figure(draw, self.plot, self.look, len(found.numbers), most))
        if self.plot_reach is not None:
            print(write_reach(self.plot_reach, curves, found.reached, self.look))
        return table

    def _sample(self, curves: "Curves") -> "Posterior":
        from ..posterior import sample

        with watched(self.law, curves) as advance:
            return sample(
                curves,
                self.law,
                fraction=self.fraction,
                likelihood=self.likelihood,
                discrepancy="walk" if self.discrepancy else None,
                method=self.method,
                seed=self.seed,
                n_chains=self.chains,
                n_warmup=self.warmup,
                n_draws=self.draws,
                on_done=advance,
            )

    def _write(self, table: "pd.DataFrame", path: Path | None, what: str) -> None:
        if path is not None:
            write_table(table, path)
            print(f"{what}: {path}")


class Answers(NamedTuple):
    """What differs between the conditions of some pairs."""

    moved: "pd.DataFrame"  # of `contrasts.contrast`
    times: "pd.DataFrame"  # of `posterior.times_table`
    ahead: "pd.DataFrame"  # forecasts of all curves, to four times the longest
    reached: "pd.DataFrame"  # of `Posterior.reach_table`, a row per curve
    numbers: list[tuple[int, int, tuple[str, str]]]  # of `posterior.curve_pairs`
    sentences: list[str]


def answers_of(
    one: "Posterior", pairs: list[tuple[str, str]], column: str, level: float, tolerance: float = TOLERANCE
) -> Answers:
    """What a posterior says of pairs of conditions."""
    from .. import contrasts, posterior

    curves = one.curves
    table = contrasts.contrast(one, pairs, column=column, tolerance=tolerance)
    times = posterior.times_table(one, pairs, level, column=column)
    ahead = one.forecast(posterior.even_shots(HORIZON * curves.shots.max()))
    shots = one.reach_table(level)
    lines = posterior.reach_sentences(curves, one.used, shots, ahead)
    numbers = posterior.curve_pairs(curves, pairs, column)
    reached = [(lines[a], lines[b]) for a, b, _ in numbers]
    sentences = posterior.contrast_sentences(table, times, reached, tolerance)
    return Answers(table, times, ahead, shots, numbers, sentences)


def paired_data(data: Data, pair: tuple[str, str, str]) -> tuple[Data, list[tuple[str, str]], str]:
    """(the data grouped by the pair's column too, the pairs of its values, the column)."""
    column, pairs = pair[0], [(pair[1], pair[2])]
    if column not in data.group_by:
        data = dataclasses.replace(data, group_by=(*data.group_by, column))
    return data, pairs, column


def only(curves: "Curves", pairs: list[tuple[str, str]], column: str) -> "Curves":
    """The groups that stand in a pair."""
    import numpy as np

    from ..contrasts import paired_groups

    groups = {g for a, b, _ in paired_groups(curves, pairs, column) for g in (a, b)}
    return curves.select(np.array(sorted(groups)))
