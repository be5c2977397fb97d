"""`iclbayes fit`: curves in, a table of parameters out."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import progress, warn, warnings_as_lines
from ..errors import CurvesWarning, InputError
from ..files import write_table
from ..markup import ROWS, number
from ..outputs import FITS
from .checks import warn_of_zero_shots
from .figures import count_panels, overlaid, panels_on_a_page, write_figure
from .options import (
    Columns,
    Count,
    Data,
    EngineName,
    FigureOptions,
    File,
    FitOptions,
    Fitting,
    Force,
    Laws,
    LookOfCurves,
    Parameters,
    Share,
    check_writing,
    engine_arguments,
    engine_options,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..fits import Fits

STREAM_BYTES = 128 * 2**20  # files above this, unpacked, are fitted in chunks
STEPS = 0.01  # error of a law's quadrature, in probability, that a picture shows


@dataclasses.dataclass(frozen=True)
class Fit:
    """Fit laws to every group of curves in one or more files.

    A file above 128 MB (unpacked, where it is compressed), or with --chunk-rows, is read and fitted in chunks with flat
    memory; the same command goes on after an interruption.
    """

    data: Data
    law: Laws = ()
    """law to fit (default: bayesian_scoring); give it again for several."""
    out: Path = Path("fits.csv")
    """table of parameters, .csv or .parquet."""
    stderr: bool = False
    """add columns NAME_se (standard errors) and NAME_lo90, NAME_hi90 (90 % intervals) for every parameter."""
    plot: File = None
    """figure of the fitted laws over the points, .png, .pdf (pages, where there are many curves) or .svg."""
    fraction: Share = None
    """fit only shots up to this share of each curve's largest (0 to 1)."""
    share: Parameters = ()
    """parameter that the groups differing only in --across have in common, such as gamma; give it again for several."""
    across: Columns = ()
    """column of --group-by over which --share parameters are shared."""
    chunk_rows: Count = None
    """read and fit this many rows at a time."""
    engine: EngineName = "local"
    """ray: fit many Parquet files on a Ray cluster (RAY_ADDRESS) or on this machine's cores through Ray; CURVES is then a pattern
    in quotes, such as 'curves/*.parquet', and --out a folder."""
    look: LookOfCurves = dataclasses.field(default_factory=FigureOptions)
    force: Force = False
    fitting: Fitting = dataclasses.field(default_factory=FitOptions)

    def run(self) -> None:
        """Fits, writes the table and the figure, says how the fits ended.

        Raises:
          InputError: anything that the user can mend.
        """
        from ..laws import get

        laws = self.law or ("bayesian_scoring",)
        for law in laws:
            get(law)
        options = self.fitting.named() | {
            "fraction": self.fraction,
            "share": self.share,
            "across": self.across,
        }
        if self.engine == "ray":
            self._on_ray(laws, options)
            return
        check_writing(self.data.curves, [(self.out, FITS)], self.plot, force=self.force)
        self.look.check(self.plot)
        if self.chunk_rows is not None or _size(self.data.curves) > STREAM_BYTES:
            self._stream(laws, options)
        else:
            self._whole(laws, options)

    def _on_ray(self, laws: Sequence[str], options: dict[str, Any]) -> None:
        from ..ray_engine import fit_with_ray

        if self.plot is not None or self.chunk_rows is not None:
            raise InputError("--plot and --chunk-rows are not available with --engine ray; leave them out")
        parts = fit_with_ray(
            *engine_arguments(self.data, self.out),
            laws,
            **engine_options(self.data),
            stderr=self.stderr,
            **options,
        )
        print(f"parameters: {len(parts)} files, {self.out}/part-*.parquet")

    def _whole(self, laws: Sequence[str], options: dict[str, Any]) -> None:
        import pandas as pd

        from .. import fits

        curves = self.data.read()
        overlay = overlaid(self.look, self.data)
        panels = 0 if self.plot is None else count_panels(curves, overlay)
        found, tables = [], []
        for law in laws:
            with progress(f"fitting {law}", "fit", first="compiling") as advance:
                found.append(fits.fit(curves, law, on_done=advance, **options))
            tables.append(found[-1].to_frame(stderr=self.stderr))
            print(_summary(found[-1]))
            if curves.n_curves <= ROWS:
                print("\n".join(_parameter_lines(found[-1], tables[-1])))
            _warn_of_steps(found[-1])
            warn_of_zero_shots(law, found[-1].zero_shot_misses(), curves.n_curves)
            _say_what_is_not_identified(found[-1])
        write_table(pd.concat(tables, ignore_index=True), self.out)
        print(f"parameters: {self.out}")
        if self.plot is not None:
            from ..plots import plot_fits
            from ..plots.fits import MOST

            def draw(page: int | None) -> "Figure":
                return plot_fits(found, overlay=overlay, page=page, size=self.look.inches)

            panels *= 1 if overlay is None else len(found)
            most = panels_on_a_page(MOST, self.look)
            print(write_figure(draw, self.plot, self.look, panels, most))

    def _stream(self, laws: Sequence[str], options: dict[str, Any]) -> None:
        from ..stream import CHUNK_ROWS, Progress, fit_stream

        if self.plot is not None:
            raise InputError(
                f"--plot needs the whole file in memory, but {self.data.named} is read in chunks; leave it out"
            )
        if len(self.data.curves) > 1:
            raise InputError(
                f"{self.data.named}: files read in chunks (above {STREAM_BYTES / 2**20:.0f} MB together, or with"
                " --chunk-rows) are fitted one at a time; give one, or join them to one"
            )
        before = 0
        with warnings_as_lines(CurvesWarning), progress("fitting", "fit", first="compiling") as advance:

            def on_progress(done: Progress) -> None:
                nonlocal before
                advance(done.fits - before)
                before = done.fits
                share = f" ({100 * done.rows / done.total_rows:.0f} % of the rows)" if done.total_rows else ""
                advance.note(f"{done.rows:,} rows{share}")

            ends = fit_stream(
                next(iter(self.data.curves)),
                self.out,
                laws,
                group_by=self.data.group_by,
                source=self.data.source,
                value=self.data.value,
                shots=self.data.shots,
                window=self.data.window,
                chunk_rows=CHUNK_ROWS if self.chunk_rows is None else self.chunk_rows,
                stderr=self.stderr,
                on_progress=on_progress,
                **options,
            )
        for law, counts in ends.items():
            print(f"{law}: {_ends(counts)}")
        print(f"parameters: {self.out}")


def _size(paths: Sequence[Path]) -> int:
    """Bytes of files together, unpacked; of those that are there."""
    from ..chunks import uncompressed_bytes

    return sum(uncompressed_bytes(path) for path in paths if os.path.exists(path))


def _summary(fits: "Fits") -> str:
    import numpy as np

    return f"{fits.law.name}: {_ends(fits.ends)}; median loss {np.nanmedian(fits.loss):.3g}"


def _ends(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {status.replace('_', ' ')}" for status, n in counts.items())


def _parameter_lines(fits: "Fits", table: "pd.DataFrame") -> Iterator[str]:
    """The parameters of each curve in a line, with intervals where the table has them; what the data leave open by name alone."""
    from ..curves import curve_labels
    from ..fit_blocks import NOT_DETERMINED, left_open

    wanted = re.compile(rf"({'|'.join(map(re.escape, fits.law.param_names))})(_\d+)?")
    columns = [name for name in map(str, table.columns) if wanted.fullmatch(name)]
    opened = {name: left_open(table, name) for name in columns}
    ends = "{0}_lo90", "{0}_hi90"
    for place, label in enumerate(curve_labels(fits.curves)):
        row = table.iloc[place]
        told, vague = [], []
        for name in columns:
            if opened[name][place]:
                vague.append(name)
            elif row[name] == row[name]:
                around = [number(row[end.format(name)]) for end in ends if end.format(name) in table]
                told.append(
                    f"{name} {number(row[name])}" + (f" (90 %: {' to '.join(around)})" if around else "")
                )
        rest = [f"{NOT_DETERMINED}: {', '.join(vague)}"] if vague else []
        yield f"  {label}: " + "; ".join([*([", ".join(told)] if told else []), *rest])


def _say_what_is_not_identified(fits: "Fits") -> None:
    """One line on the fits whose data leave parameters open, and on which parameters."""
    texts = Counter(text for text in fits.by_curve(fits.not_identified()) if text)
    if not texts:
        return
    counts: Counter[str] = Counter()
    for text, n in texts.items():
        counts.update(dict.fromkeys(text.split(), n))
    named = ", ".join(f"{name} of {n}" for name, n in counts.most_common() if name != "combination")
    print(
        f"{fits.law.name}: the data do not determine every parameter of {texts.total()} of {fits.curves.n_curves} curves"
        + (f" ({named})" if named else "")
        + "; columns identified and not_identified of the table say which, and what they hold there is no measurement"
    )


def _warn_of_steps(fits: "Fits") -> None:
    """Says where a law's quadrature shows, if it has one."""
    import numpy as np

    if fits.law.finer is None:
        return
    error = fits.numerical_error()
    error = error[np.isfinite(error)]
    seen = error > STEPS
    if seen.any():
        warn(
            f"the steps of {fits.law.name}'s quadrature show in {seen.sum()} of {len(error)} curves, "
            f"by up to {error.max():.2g} in probability; {fits.law.finer.name} has none"
        )
