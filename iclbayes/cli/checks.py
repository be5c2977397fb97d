"""Lines that several commands print about what a fit or a posterior does not say."""

from typing import TYPE_CHECKING

from ..console import warn

if TYPE_CHECKING:
    import pandas as pd


def warn_of_zero_shots(what: str, missed: "pd.DataFrame", n_curves: int) -> None:
    """One line on the curves whose zero-shot point is missed by far, of `Fits.zero_shot_misses`; none if there are none."""
    if missed.empty:
        return
    worst = missed.iloc[int((missed["observed"] - missed["fitted"]).abs().to_numpy().argmax())]
    warn(
        f"{what} misses the zero-shot point of {len(missed)} of {n_curves} curves by far: fitted "
        f"{worst['fitted']:.2f}, measured {worst['observed']:.2f} at worst; more tasks (--background) "
        "or a law of two stages (staged) may say it"
    )
