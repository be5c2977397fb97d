"""The command line `iclbayes`. Heavy parts are imported inside the commands that need them."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import CurvesWarning, InputError
from ..files import atomic_path, check_place

Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]
STREAM_BYTES = 128 * 2**20  # files above this are fitted in chunks
STEPS = 0.01  # error of a law's quadrature, in probability, that a picture shows


@dataclasses.dataclass(frozen=True)
class Fit:
    """Fit laws to every group of curves in a file.

    Files above 128 MB, or with --chunk-rows, are read and fitted in chunks with flat memory; the same command goes on after
    an interruption.
    """

    curves: tyro.conf.Positional[Path]
    """CSV or Parquet file of curves."""
    law: Repeated = ()
    """law to fit; repeat for several (default: bayesian_scoring)."""
    group_by: Repeated = ()
    """column whose values define the groups; repeat for several."""
    source: str | None = None
    """column that names the source of each curve."""
    value: str | None = None
    """which value column to use: prob, n_correct, accuracy or nll (default: the first that is there)."""
    fraction: float | None = None
    """fit only shots up to this share of each curve's largest."""
    loss: str = "squared"
    """squared, squared_nll, squared_log_nll, huber or binomial."""
    share: Repeated = ()
    """parameter that the groups differing only in --across have in common."""
    across: Repeated = ()
    """column of --group-by over which --share parameters are shared."""
    background: bool | None = None
    """add a task that owns no curve (default: only for groups of one curve)."""
    shot_offset: float = 0.0
    """added to the shots of Bayesian laws; 1 meets the published code."""
    starts: int = 8
    """first guesses per fit."""
    max_steps: int = 200
    """step limit of each start."""
    seed: int = 0
    """seed of the random first guesses."""
    stderr: bool = False
    """add a column NAME_se of standard errors for every parameter."""
    chunk_rows: int | None = None
    """read and fit this many rows at a time."""
    out: Path = Path("fits.csv")
    """table of parameters, .csv or .parquet."""
    plot: Path | None = None
    """figure of the fitted laws over the points."""

    def run(self) -> None:
        """Runs the command."""
        options = {
            "fraction": self.fraction,
            "loss": self.loss,
            "share": self.share,
            "across": self.across,
            "background": self.background,
            "shot_offset": self.shot_offset,
            "n_starts": self.starts,
            "max_steps": self.max_steps,
            "seed": self.seed,
        }
        _check_table_path(self.out)
        if self.plot is not None:
            from ..plots.figures import check_suffix

            check_suffix(self.plot)
            check_place(self.plot)
        laws = self.law or ("bayesian_scoring",)
        from ..laws import get

        for law in laws:
            get(law)
        large = self.curves.exists() and self.curves.stat().st_size > STREAM_BYTES
        if self.chunk_rows is not None or large:
            self._stream(laws, options)
        else:
            self._whole(laws, options)

    def _whole(self, laws, options) -> None:
        import pandas as pd

        from .. import fits
        from ..plots import figures as plots

        curves = read_and_tell(self.curves, self.group_by, self.source, self.value)
        found = []
        for law in laws:
            with progress(f"fitting {law}", "fit") as advance:
                found.append(fits.fit(curves, law, on_done=advance, **options))
            print(_summary(found[-1]))
            _warn_of_steps(found[-1])
        _write_table(pd.concat([f.to_frame(stderr=self.stderr) for f in found], ignore_index=True), self.out)
        print(f"parameters: {self.out}")
        if self.plot is not None:
            plots.save(plots.plot_fits(found), self.plot)
            print(f"figure: {self.plot}")

    def _stream(self, laws, options) -> None:
        from ..stream import CHUNK_ROWS, Progress, fit_stream

        if self.plot is not None:
            raise InputError(
                f"--plot needs the whole file in memory, but {self.curves} is read in chunks; leave it out"
            )
        if self.value is not None:
            raise InputError(
                "--value is not available for files read in chunks; keep one value column in the file"
            )
        before = 0
        with progress("fitting", "fit") as advance:

            def on_progress(done: Progress) -> None:
                nonlocal before
                advance(done.fits - before)
                before = done.fits
                share = f" ({100 * done.rows / done.total_rows:.0f} % of the rows)" if done.total_rows else ""
                advance.note(f"{done.rows:,} rows{share}")

            ends = fit_stream(
                self.curves,
                self.out,
                laws,
                group_by=self.group_by,
                source=self.source,
                chunk_rows=self.chunk_rows or CHUNK_ROWS,
                stderr=self.stderr,
                on_progress=on_progress,
                **options,
            )
        for law, counts in ends.items():
            print(f"{law}: {_told(counts)}")
        print(f"parameters: {self.out}")


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare laws on the same curves: error when fitted on all shots (fraction 1) or extrapolated from a part of them."""

    curves: tyro.conf.Positional[Path]
    """CSV or Parquet file of curves."""
    law: Repeated = ()
    """law to compare; repeat for several (default: the six of the paper)."""
    group_by: Repeated = ()
    """column whose values define the groups; repeat for several."""
    source: str | None = None
    """column that names the source of each curve."""
    value: str | None = None
    """which value column to use: prob, n_correct, accuracy or nll (default: the first that is there)."""
    fraction: tyro.conf.UseAppendAction[tuple[float, ...]] = ()
    """share of the shots to fit; repeat for several (default: 1). 1 evaluates on all points, less on the rest."""
    loss: str = "squared"
    """squared, squared_nll, squared_log_nll, huber or binomial."""
    background: bool | None = None
    """add a task that owns no curve (default: only for groups of one curve)."""
    shot_offset: float = 0.0
    """added to the shots of Bayesian laws; 1 meets the published code."""
    starts: int = 8
    """first guesses per fit."""
    max_steps: int = 200
    """step limit of each start."""
    seed: int = 0
    """seed of the random first guesses."""
    out: Path = Path("table.csv")
    """table with a row per law, fraction, group and source, .csv or .parquet."""
    style: str = "plain"
    """how the tables are printed: plain, markdown or latex."""
    table: bool = False
    """print the whole table too."""
    plot: Path | None = None
    """figure of mean NRMSE by law and fraction."""

    def run(self) -> None:
        """Runs the command."""
        from .. import comparison as comparing
        from ..laws import SIX
        from ..plots import figures as plots

        _check_table_path(self.out)
        if self.plot is not None:
            plots.check_suffix(self.plot)
            check_place(self.plot)
        if self.style not in comparing.FORMATS:
            raise InputError(
                f"unknown table style {self.style!r}: choose one of {', '.join(comparing.FORMATS)}"
            )
        curves = read_and_tell(self.curves, self.group_by, self.source, self.value)
        with progress("comparing laws", "fit") as advance:
            table = comparing.compare(
                curves,
                self.law or SIX,
                self.fraction or (1.0,),
                on_done=advance,
                loss=self.loss,
                background=self.background,
                shot_offset=self.shot_offset,
                n_starts=self.starts,
                max_steps=self.max_steps,
                seed=self.seed,
            )
        _write_table(table, self.out)
        print_comparison(table, self.style)
        if self.table:
            print(f"\nEvery curve\n\n{comparing.to_text(table, self.style)}")
        print(f"\ntable: {self.out}")
        if self.plot is not None:
            plots.save(plots.plot_errors(table), self.plot)
            print(f"figure: {self.plot}")


def print_comparison(table, style: str = "plain") -> None:
    """Prints mean NRMSE per law and fraction, over how many curves, and the paired t-tests."""
    from .. import comparison as comparing

    counts = list(dict.fromkeys(len(wide) for wide in comparing.common_curves(table).values()))
    told = ", ".join(map(str, counts))
    print(f"\nMean NRMSE over {told} curves, by the share of shots that was fitted\n")
    print(comparing.to_text(comparing.mean_table(table), style, index=True))
    tests = comparing.paired_tests(table)
    if len(tests):
        print("\nPaired t-tests of NRMSE over curves, best law against each other one\n")
        print(comparing.to_text(tests, style))


def read_and_tell(path: Path, group_by, source: str | None, value: str | None):
    """Reads curves and says what they are, and of what reading warns."""
    import warnings

    from .. import reading

    frame = reading.read_table(path)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", CurvesWarning)
        curves = reading.curves_from_frame(
            frame, group_by=group_by, source=source, value=value, name=str(path)
        )
    print(f"{path}: {curves!r} from {len(frame)} rows")
    for note in notes:
        print(f"iclbayes: warning: {note.message}", file=sys.stderr)
    return curves


class progress:
    """A progress bar on stderr, safe to advance from threads: `with progress("fitting", "fit") as advance: advance(3)`."""

    def __init__(self, what: str, unit: str, total: int | None = None):
        from tqdm import tqdm

        tqdm.monitor_interval = 0
        self._bar = tqdm(desc=what, unit=unit, total=total, dynamic_ncols=True, disable=None, mininterval=0.2)

    def __enter__(self) -> "progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def __call__(self, n: int = 1) -> None:
        with self._bar.get_lock():
            self._bar.update(n)

    def note(self, text: str) -> None:
        """Shows a text behind the bar."""
        self._bar.set_postfix_str(text)


def _summary(fits) -> str:
    import numpy as np

    return f"{fits.law.name}: {_told(fits.ends)}; median loss {np.nanmedian(fits.loss):.3g}"


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {status.replace('_', ' ')}" for status, n in counts.items())


def _warn_of_steps(fits) -> None:
    """Says where a law's quadrature shows, if it has one."""
    import numpy as np

    if fits.law.finer is None:
        return
    error = fits.numerical_error()
    error = error[np.isfinite(error)]
    seen = error > STEPS
    if seen.any():
        print(
            f"iclbayes: warning: the steps of {fits.law.name}'s quadrature show in {seen.sum()} of {len(error)} curves, "
            f"by up to {error.max():.2g} in probability; {fits.law.finer.name} has none",
            file=sys.stderr,
        )


def _check_table_path(path: Path) -> None:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: tables are written as .csv or .parquet; change the ending")
    check_place(path)


def _write_table(frame, path: Path) -> None:
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def commands() -> dict[str, type]:
    """The commands by name; each is a dataclass of options with `run()`."""
    from .collect import Collect, ImportLmEval
    from .posterior import PosteriorCommand

    return {
        "fit": Fit,
        "compare": Compare,
        "posterior": PosteriorCommand,
        "collect": Collect,
        "import-lm-eval": ImportLmEval,
    }


def spread_values(arguments: list[str], repeated: set[str]) -> list[str]:
    """`--law a b` → `--law a --law b`, for flags that may be repeated, once the positional argument has been given."""
    if len(arguments) < 2 or arguments[1].startswith("-"):
        return arguments
    spread, flag = arguments[:2], None
    fresh = False
    for argument in arguments[2:]:
        if argument.startswith("--"):
            name = argument.replace("_", "-")
            flag, fresh = (name if name in repeated else None), True
        elif flag is not None:
            if not fresh:
                spread.append(flag)
            fresh = False
        spread.append(argument)
    return spread


def _repeated_flags(kind: type) -> set[str]:
    return {"--" + f.name.replace("_", "-") for f in dataclasses.fields(kind) if isinstance(f.default, tuple)}


def run_guarded(action: Callable[[], None]) -> int:
    """Runs `action`; a user's mistake becomes one line on stderr. Returns the exit status: 0, 2, or 130 after Ctrl-C."""
    try:
        action()
    except InputError as error:
        print(f"iclbayes: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iclbayes: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `iclbayes`. Returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    known = commands()
    if arguments and arguments[0] in known:
        arguments = spread_values(arguments, _repeated_flags(known[arguments[0]]))
    kinds = tuple(
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, kind in known.items()
    )
    union = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    command = tyro.cli(
        union, args=arguments, prog="iclbayes", description="Bayesian scaling laws for in-context learning."
    )

    import jax

    from ..runtime import use_compilation_cache

    if not jax.config.jax_compilation_cache_dir:
        use_compilation_cache()
    return run_guarded(command.run)


if __name__ == "__main__":
    sys.exit(main())
