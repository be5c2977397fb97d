"""What the commands that sample posteriors share: progress and warnings as lines, priors from a file, shots of a forecast."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import progress, warn, warnings_as_lines

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..curves import Curves
    from ..posterior import LearnedPriors


@contextlib.contextmanager
def watched(step: str, curves: "Curves | None" = None) -> Iterator[Callable[[int], None]]:
    """How far a step of sampling is, and what it warns of, after its name; where it is a law's, of how many posteriors.

    Diagnostics are not among the warnings: commands say of themselves what comes of them (`diagnostics_sentence`).
    """
    from ..laws import LAWS
    from ..posterior import DiagnosticsWarning, PosteriorWarning

    total = None
    if curves is not None and step in LAWS:
        total = curves.n_groups if LAWS[step].joint else curves.n_curves
    with (
        warnings_as_lines(PosteriorWarning, step),
        progress(step, "posterior", total, first="compiling and sampling the first") as advance,
    ):
        warnings.simplefilter("ignore", DiagnosticsWarning)
        yield advance


def say_diagnostics(law: str, checks: "pd.DataFrame", method: str) -> None:
    """Prints in a line whether a law's posteriors can be trusted; warns where the quick method is what is wrong."""
    from ..posterior import diagnostics_sentence

    print(diagnostics_sentence(law, checks))
    if method == "laplace" and not checks["ok"].all():
        warn("the normal approximation does not hold here: take --method auto for numbers to rely on")


def learned_for(path: Path | None, laws: Sequence[str]) -> "LearnedPriors | None":
    """The priors of a file that `iclbayes learn-prior` wrote, or None without one.

    Raises:
      InputError: what `read_priors` raises, or none were learned for one of the laws.
    """
    from ..posterior import read_priors

    if path is None:
        return None
    learned = read_priors(path)
    for law in laws:
        learned.of(law)
    return learned


def forecast_shots(curves: "Curves", upto: float | None, asked: tuple[float, ...] = ()) -> "np.ndarray":
    """Shots up to `upto` (default: the longest curve): 60 even in ln(1 + n), those of the curves where they are few, those asked
    for."""
    import numpy as np

    from ..posterior import even_shots

    own = np.unique(curves.shots)
    top = own.max() if upto is None else upto
    even = even_shots(top)
    even = np.union1d(own[own <= top], even) if len(own) <= 60 else even
    return np.union1d(even, np.asarray(asked, float))
