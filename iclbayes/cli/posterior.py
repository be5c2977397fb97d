"""`iclbayes posterior`: curves in, posteriors, bands and forecasts out."""

import contextlib
import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tyro

from ..errors import InputError
from ..files import atomic_path, check_place, write_csv
from ..reading import read_curves

Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class PosteriorCommand:
    """Posteriors of laws for every group of curves: how many shots, and how sure.

    With several laws the forecast also has their stacked average, weighted by how well each forecasts the last part of the
    fitted shots from the first.
    """

    curves: tyro.conf.Positional[Path]
    """CSV or Parquet file of curves."""
    law: Repeated = ()
    """Name of a law; repeat for several (default: bayesian_heterogeneous, bayesian_scoring and logistic, and their average)."""
    group_by: Repeated = ()
    """Column whose values define the groups; repeat for several."""
    source: str | None = None
    """Column that names the source of each curve."""
    fraction: float | None = None
    """Fit only shots up to this fraction of each curve's largest number; forecast the rest."""
    likelihood: Literal[
        "auto", "binomial", "beta_binomial", "quasi_binomial", "normal", "logit_normal", "beta"
    ] = "auto"
    """What noise the observations have; auto goes by the columns."""
    discrepancy: bool = True
    """Let the curve wander from the law, the more the farther outside the fitted shots."""
    hierarchy: Repeated = ()
    """Parameter that the groups draw from a common distribution; repeat for several."""
    method: Literal["nuts", "psis", "laplace"] = "nuts"
    """Sampler; psis and laplace are for thousands of curves."""
    chains: int = 4
    """Chains."""
    warmup: int = 300
    """Adaptation steps of each chain."""
    draws: int = 500
    """Draws kept of each chain."""
    seed: int = 0
    """Seed of all random numbers."""
    out: Path | None = None
    """Where the draws go (netCDF, for ArviZ); with several laws one file each, the law's name added."""
    plot: Path | None = None
    """Where a figure of the bands goes."""
    forecast: Path | None = None
    """Where the forecast goes (CSV)."""
    level: float | None = None
    """Also write shots_to_reach.csv (beside the forecast) for this probability."""

    def run(self) -> pd.DataFrame:
        """Samples, writes what was asked for, prints the diagnostics; returns the forecast.

        Raises:
          InputError: anything that the user can mend.
        """
        from ..laws import get
        from ..plots.figures import check_suffix
        from ..posterior import STACK, stack, write_netcdf
        from .main import progress

        if self.level is not None and not 0 < self.level < 1:
            raise InputError(f"--level {self.level} is not a probability between 0 and 1")
        if self.out and self.out.suffix != ".nc":
            raise InputError(f"{self.out}: draws are written as netCDF; let --out end with .nc")
        if self.forecast and ".csv" not in self.forecast.suffixes[-2:]:  # also .csv.gz
            raise InputError(f"{self.forecast}: forecasts are written as CSV; let --forecast end with .csv")
        if self.plot:
            check_suffix(self.plot)
        laws = self.law or STACK
        draws = [self._draws_path(get(law).name, len(laws)) for law in laws] if self.out else []
        reach = (self.forecast or Path("forecast.csv")).with_name("shots_to_reach.csv")
        wanted = [*draws, self.forecast, self.plot, reach if self.level is not None else None]
        for path in filter(None, wanted):
            check_place(path)
        curves = read_curves(self.curves, group_by=self.group_by, source=self.source)
        options = {
            "likelihood": self.likelihood,
            "discrepancy": "walk" if self.discrepancy else None,
            "hierarchy": self.hierarchy,
            "method": self.method,
            "seed": self.seed,
            "n_chains": self.chains,
            "n_warmup": self.warmup,
            "n_draws": self.draws,
        }

        @contextlib.contextmanager
        def watch(step):
            with _told(step), progress(step, "posterior") as advance:
                yield advance

        stacked = stack(curves, laws, fraction=self.fraction, watch=watch, **options)
        posteriors = stacked.posteriors
        shots = _grid(curves)
        tables = [one.forecast(shots) for one in posteriors]
        if len(posteriors) > 1:
            shares = zip(posteriors, stacked.weights, strict=True)
            print("stacking weights:", ", ".join(f"{one.law.name} {w:.2f}" for one, w in shares))
            tables.append(stacked.forecast(shots))
        table = pd.concat(tables, ignore_index=True)
        for one in posteriors:
            if self.out:
                write_netcdf(one, self._draws_path(one.law.name, len(posteriors)))
            print(one.law.name)
            print(one.diagnostics().to_string(index=False))
        if self.forecast:
            write_csv(table, self.forecast)
        if self.level is not None:
            write_csv(
                pd.concat([one.reach_table(self.level) for one in posteriors], ignore_index=True), reach
            )
        if self.plot:
            from ..plots.bands import plot_bands

            with atomic_path(self.plot) as temporary:
                plot_bands(posteriors[0], table[table["law"] == table["law"].iloc[-1]]).savefig(
                    temporary, dpi=120
                )
        return table

    def _draws_path(self, law: str, n_laws: int) -> Path:
        return self.out if n_laws == 1 else self.out.with_stem(f"{self.out.stem}_{law}")


@contextlib.contextmanager
def _told(prefix: str):
    """Warnings about posteriors as lines of the command line, each once."""
    from ..posterior import PosteriorWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PosteriorWarning)
        yield
    for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, PosteriorWarning)):
        print(f"iclbayes: warning: {prefix}: {text}", file=sys.stderr)


def _grid(curves) -> np.ndarray:
    """Shots of the forecast: those of the curves where they are few, else 60 even in ln(1 + n)."""
    own = np.unique(curves.shots)
    even = np.unique(np.round(np.expm1(np.linspace(0.0, np.log1p(own.max()), 60))))
    return np.union1d(own, even) if len(own) <= 60 else even
