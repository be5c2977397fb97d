"""`iclbayes compare`: which law describes the curves, and which foretells them."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction

from ..console import progress
from ..files import write_table
from ..outputs import COMPARED
from .checks import warn_of_zero_shots
from .figures import write_figure
from .options import (
    NUMBER,
    Data,
    FigureLook,
    File,
    FitOptions,
    Fitting,
    Force,
    Laws,
    Look,
    TableStyle,
    check_writing,
)


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare laws on the same curves: error when fitted on all shots (fraction 1) or extrapolated from a part of them."""

    data: Data
    law: Laws = ()
    """law to compare (default: the six of the paper); give it again for several."""
    fraction: Annotated[UseAppendAction[tuple[float, ...]], NUMBER] = ()
    """share of the shots to fit (default: 1); give it again for several. 1 is scored on all points, less on those left out."""
    out: Path = Path("table.csv")
    """table with a row for each law, fraction, group and source, .csv or .parquet."""
    style: TableStyle = "plain"
    """how the tables are printed."""
    table: bool = False
    """print the whole table too."""
    plot: File = None
    """figure of mean NRMSE by law and fraction, .png, .pdf or .svg."""
    look: Look = dataclasses.field(default_factory=FigureLook)
    force: Force = False
    fitting: Fitting = dataclasses.field(default_factory=FitOptions)

    def run(self) -> None:
        """Fits and scores the laws, prints the means, writes the table and the figure.

        Raises:
          InputError: anything that the user can mend.
        """
        from .. import comparison
        from ..laws import SIX

        check_writing(self.data.curves, [(self.out, COMPARED)], self.plot, force=self.force)
        self.look.check(self.plot)
        curves = self.data.read()
        fractions = self.fraction or (1.0,)
        missed = {}
        with progress("comparing laws", "fit", first="compiling") as advance:
            table = comparison.compare(
                curves,
                self.law or SIX,
                fractions,
                on_done=advance,
                on_fits=lambda fits: missed.update({fits.law.name: fits.zero_shot_misses()}),
                **self.fitting.named(),
            )
        for law, rows in missed.items():
            warn_of_zero_shots(law, rows, len(fractions) * curves.n_curves)
        write_table(table, self.out)
        print(f"\n{comparison.summary_text(table, self.style)}")
        if self.table:
            print(f"\nEvery curve\n\n{comparison.to_text(table, self.style)}")
        print(f"\ntable: {self.out}")
        if self.plot is not None:
            from ..plots import figure_of, plot_errors

            figure = figure_of(plot_errors(table, size=self.look.inches))
            print(write_figure(lambda page: figure, self.plot, self.look))
