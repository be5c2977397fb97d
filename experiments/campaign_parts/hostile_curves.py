"""Curves as nobody should measure them, many to a fit, and what may never come of them."""

from collections.abc import Iterator

import numpy as np

import iclbayes
from iclbayes import Curves
from iclbayes.fitting import Status

POINTS = 8
KNOWN = {status.name.lower() for status in Status}


def draw(rng: np.random.Generator, count: int) -> Curves:
    """So many curves of eight points: constants, steps, noise, falls, zeros and ones; shots up to 1e300, equal or dense; weights
    of 0 up to 1e308 and as small as the smallest float."""
    shape = (count, POINTS)
    steps = np.arange(POINTS)
    shots = np.choose(
        rng.integers(0, 5, count)[:, None],
        [
            np.broadcast_to(steps, shape),
            np.broadcast_to(2.0**steps, shape),
            np.sort(rng.integers(0, 10**6, shape), 1),
            np.broadcast_to(np.minimum(10.0 ** (steps * 43.0), 1e300), shape),
            np.broadcast_to(steps // 4, shape),
        ],
    )
    level = rng.choice([0.0, 1e-300, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12, 1.0], (count, 1))
    prob = np.choose(
        rng.integers(0, 6, count)[:, None],
        [
            np.broadcast_to(level, shape),
            rng.random(shape),
            np.where(steps >= rng.integers(0, POINTS, (count, 1)), level, 1 - level),
            np.sort(rng.random(shape), 1)[:, ::-1],
            np.sort(rng.random(shape), 1),
            rng.choice([0.0, 1.0], shape),
        ],
    )
    scale = rng.choice([1.0, 1e-300, 1e-9, 1e9, 1e300, 1e308], (count, 1))
    weight = np.where(rng.random(shape) < 0.15, 0.0, scale * rng.choice([1.0, 1e-6, 0.5], shape))
    weight[:, 0] = np.where((weight > 0).any(1), weight[:, 0], scale[:, 0])  # a curve has a point
    counts = rng.random((count, 1)) < 0.2
    n_test = np.where(counts, rng.choice([1.0, 10.0, 1e9], (count, 1)), np.nan)
    return Curves.from_arrays(
        shots[:, None], prob[:, None], weight[:, None], n_test=np.broadcast_to(n_test, shape)[:, None]
    )


def faults(curves: Curves, law: str, dtype: str) -> Iterator[str]:
    """What is wrong with the fits of a law to these curves."""
    fits = iclbayes.fit(curves, law, dtype=dtype, n_starts=2, max_steps=60)
    ends = fits.diagnostics()
    unknown = set(ends["status"]) - KNOWN
    if unknown:
        yield f"statuses {sorted(unknown)}"
    failed = int((ends["status"] == "failed").sum())
    if failed:
        yield f"{failed} fits failed"
    if not (fits.loss[~np.isnan(fits.loss)] >= 0).all():
        yield "a negative loss"
    with np.errstate(all="ignore"):
        for name, value in {
            **{f"parameter {name}": value for name, value in fits.params.items()},
            **{f"standard error of {name}": value for name, value in fits.stderr.items()},
            "prediction": fits.predict([0, 1, 10, 1e6, 1e300, np.inf]),
        }.items():
            if np.isnan(value).any():
                yield f"{int(np.isnan(value).sum())} NaN in {name}"
        reached = fits.predict([0, 1, 1e6])
    if ((reached < -1e-6) | (reached > 1 + 1e-6)).any():
        yield "a prediction that is no probability"
