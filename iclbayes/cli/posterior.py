"""`iclbayes posterior`: curves in, posteriors, bands and forecasts out."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..files import write_csv
from ..outputs import FORECAST, REACH
from .checks import warn_of_zero_shots
from .figures import count_panels, overlaid, panels_on_a_page, write_figure, write_reach
from .options import (
    DataAhead,
    EngineName,
    FigureOptions,
    File,
    Force,
    Laws,
    LikelihoodName,
    LookOfCurves,
    Parameters,
    Share,
    check_writing,
    engine_arguments,
    engine_options,
)
from .sampling import forecast_shots, learned_for, say_diagnostics, watched

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HORIZON = 4.0  # the figure goes this many times as far as the longest curve


@dataclasses.dataclass(frozen=True)
class PosteriorCommand:
    """Posteriors of laws for every group of curves: how many shots, and how sure.

    With several laws the forecast also has their stacked average, weighted by how well each forecasts the last part of the
    fitted shots from the first.
    """

    data: DataAhead
    law: Laws = ()
    """law (default: staged, bayesian_heterogeneous_exact and logistic, and their average); give it again for several."""
    fraction: Share = None
    """fit only shots up to this share of each curve's largest (0 to 1); forecast the rest."""
    level: Share = None
    """probability between 0 and 1: say how many shots it takes to get there, and write shots_to_reach.csv beside the forecast."""
    forecast: File = None
    """where the forecast goes (CSV)."""
    plot: File = None
    """where a figure of the bands goes, .png, .pdf (pages, where there are many curves) or .svg; it looks ahead to four times the
    longest curve."""
    plot_reach: File = None
    """where a figure goes of the shots to --level, with intervals, a row for each curve."""
    look: LookOfCurves = dataclasses.field(default_factory=FigureOptions)
    out: File = None
    """where the draws go (netCDF, for ArviZ); with several laws one file each, the law's name added. With --engine ray the folder
    of the results."""
    engine: EngineName = "local"
    """ray: sample many Parquet files on a Ray cluster (RAY_ADDRESS) or on this machine's cores through Ray; CURVES is then a
    pattern in quotes, such as 'curves/*.parquet', and --out a folder for forecasts and shots to --level."""
    likelihood: LikelihoodName = "auto"
    """what noise the observations have; auto goes by the columns."""
    prior: File = None
    """priors that iclbayes learn-prior wrote (JSON), instead of the defaults."""
    discrepancy: bool = True
    """let the curve wander from the law, the more the farther outside the fitted shots."""
    hierarchy: Parameters = ()
    """parameter that the groups draw from a common distribution, such as gamma; give it again for several."""
    method: Literal["auto", "nuts", "psis", "laplace"] = "auto"
    """auto: importance sampling where its diagnostic k-hat is good, NUTS where it is not (psis is its former name); nuts: chains
    for all; laplace: the normal approximation, for thousands of curves."""
    diagnostics: bool = False
    """print the whole table of diagnostics."""
    force: Force = False
    chains: int = 4
    """chains of nuts."""
    warmup: int = 300
    """adaptation steps of each chain."""
    draws: int = 500
    """draws kept of each chain."""
    seed: int = 0
    """seed of all random numbers."""

    def _on_ray(self) -> None:
        from ..posterior import STACK, even_shots
        from ..ray_engine import posterior_with_ray

        if self.plot or self.plot_reach or self.forecast or self.hierarchy:
            raise InputError(
                "--plot, --plot-reach, --forecast and --hierarchy are not available with --engine ray; leave them out"
            )
        if self.out is None:
            raise InputError("--engine ray wants a folder for its results; name it with --out")
        top = () if self.data.upto is None else tuple(even_shots(self.data.upto))
        parts = posterior_with_ray(
            *engine_arguments(self.data, self.out),
            self.law or STACK,
            **engine_options(self.data),
            shots=(*self.data.asked, *top),
            level=self.level,
            fraction=self.fraction,
            priors=learned_for(self.prior, self.law or STACK),
            **self._sampling(),
        )
        print(
            f"forecasts{' and shots to the level' if self.level else ''}: {len(parts)} files, {self.out}/part-*.parquet"
        )

    def _sampling(self) -> dict[str, Any]:
        """The options of `sample`, but for priors."""
        return {
            "likelihood": self.likelihood,
            "discrepancy": "walk" if self.discrepancy else None,
            "hierarchy": self.hierarchy,
            "method": self.method,
            "seed": self.seed,
            "n_chains": self.chains,
            "n_warmup": self.warmup,
            "n_draws": self.draws,
        }

    def run(self) -> "pd.DataFrame | None":
        """Samples, writes what was asked for, prints the diagnostics; returns the forecast.

        Raises:
          InputError: anything that the user can mend.
        """
        import numpy as np
        import pandas as pd

        from .. import posterior
        from ..laws import get
        from ..posterior import STACK, stack, write_netcdf
        from ..runtime import cache_folder

        if self.level is not None and not 0 < self.level < 1:
            raise InputError(f"--level {self.level} is not a probability between 0 and 1")
        if self.plot_reach is not None and self.level is None:
            raise InputError("--plot-reach draws the shots to a level; add --level, such as --level 0.5")
        if self.engine == "ray":
            return self._on_ray()
        self.look.check(self.plot, self.plot_reach)
        if self.out and self.out.suffix != ".nc":
            raise InputError(f"{self.out}: draws are written as netCDF; let --out end with .nc")
        if self.forecast and ".csv" not in self.forecast.suffixes[-2:]:  # also .csv.gz
            raise InputError(f"{self.forecast}: forecasts are written as CSV; let --forecast end with .csv")
        laws = self.law or STACK
        draws = [self._draws_path(get(law).name, len(laws)) for law in laws] if self.out else []
        reach = (self.forecast or Path("forecast.csv")).with_name("shots_to_reach.csv")
        tables = [(self.forecast, FORECAST), (reach if self.level is not None else None, REACH)]
        read = [*self.data.curves, *([self.prior] if self.prior else [])]
        check_writing(read, tables, (self.plot, self.plot_reach), draws, self.force)
        asked = self.data.asked
        learned = learned_for(self.prior, laws)
        curves = self.data.read()
        overlay = overlaid(self.look, self.data)
        panels = count_panels(curves, overlay) if self.plot is not None else 0
        options = {**self._sampling(), "priors": learned}

        if learned:
            print(
                f"priors of {self.prior}, learned from {learned.learned_from.get('groups', 'an unknown number of')} groups"
            )
        stacked = stack(
            curves,
            laws,
            fraction=self.fraction,
            watch=functools.partial(watched, curves=curves),
            kept_in=cache_folder("posteriors"),
            **options,
        )
        posteriors, first = stacked.posteriors, stacked.posteriors[0]
        shots = wide = forecast_shots(curves, self.data.upto, asked)
        if self.level is not None or self.plot:
            wide = np.union1d(forecast_shots(curves, HORIZON * curves.shots.max()), shots)
        found = stacked.forecasts(wide)
        ahead = found[-1]
        tables = [one[one["shots"].isin(shots)] for one in found]
        name = first.law.name
        if len(posteriors) > 1:
            shares = zip(posteriors, stacked.weights, strict=True)
            print("stacking weights:", ", ".join(f"{one.law.name} {w:.2f}" for one, w in shares))
            name = "the stack of " + ", ".join(one.law.name for one in posteriors)
        table = pd.concat(tables, ignore_index=True)
        for one in posteriors:
            checks = one.diagnostics()
            say_diagnostics(one.law.name, checks, self.method)
            if self.diagnostics:
                print(_plain(checks))
            warn_of_zero_shots(f"the posterior of {one.law.name}", one.zero_shot_misses(), curves.n_curves)
        reached: list[pd.DataFrame] = []
        if self.level is not None:
            reached = stacked.reach_tables(self.level)
            print(f"\nShots until the probability is {self.level:g}, by {name}:")
            print(*posterior.reach_sentences(curves, first.used, reached[-1], ahead), sep="\n")
            write_csv(pd.concat(reached, ignore_index=True), reach)
        if asked:
            print(f"\nExpected probability, by {name}:")
            print(*posterior.forecast_sentences(curves, first.used, tables[-1], asked), sep="\n")
        written = []
        for one in posteriors if self.out else ():
            path = self._draws_path(one.law.name, len(posteriors))
            write_netcdf(one, path)
            written.append(f"draws: {path}")
        if self.level is not None:
            written.append(f"shots: {reach}")
        if self.forecast:
            write_csv(table, self.forecast)
            written.append(f"forecast: {self.forecast}")
        if self.plot:
            from .. import plots

            def draw(page: int | None) -> "Figure":
                known = reached[-1] if reached else None
                return plots.plot_bands(
                    first,
                    ahead,
                    level=self.level,
                    reached=known,
                    overlay=overlay,
                    page=page,
                    size=self.look.inches,
                )

            most = panels_on_a_page(plots.bands.MOST, self.look)
            written.append(write_figure(draw, self.plot, self.look, panels, most))
        if self.plot_reach is not None:
            written.append(write_reach(self.plot_reach, curves, reached[-1], self.look))
        if written:
            print("\n" + "\n".join(written))
        return table

    def _draws_path(self, law: str, n_laws: int) -> Path:
        assert self.out is not None
        return self.out if n_laws == 1 else self.out.with_stem(f"{self.out.stem}_{law}")


def _plain(table: "pd.DataFrame") -> str:
    """The table without columns that say nothing, its numbers to three digits or whole."""

    def number(value: float) -> str:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"

    said = table.loc[:, table.notna().any() & (table.astype(str) != "").any()]
    return said.to_string(index=False, float_format=number)
