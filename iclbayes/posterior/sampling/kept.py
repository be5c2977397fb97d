"""Draws on disk: what a stopped command had finished, the repeated command takes from there.

The draws of a bucket of units are kept under a digest of everything that they depend on: the sources of iclbayes and the versions
that `program_store` names, the law, likelihood and priors, the points, the sampler's options and the seed. So what is found is
what would be sampled again. What cannot be described without doubt (a law from elsewhere) is not kept; a damaged file is passed
over; a place that cannot be written costs time alone. Files are NumPy arrays, read without pickle.
"""

import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...digests import arrays_digest
from ...errors import InputError
from ...files import atomic_path
from ...program_store import NotStable, code_version, described
from ..model.spec import Spec
from ..units import Units
from .laplace import Mode
from .unit_draws import UnitDraws

MOST_BYTES = 256 * 2**20  # of all files of the folder; the oldest go first
DIGEST = "sha256"


def key_of(*parts: Any) -> str | None:
    """A name for what these values determine; None where one of them has no description."""
    try:
        return hashlib.sha256(described((code_version(), *parts)).encode()).hexdigest()
    except NotStable:
        return None


def read(folder: Path, key: str, spec: Spec, units: Units) -> UnitDraws | None:
    """The draws kept under a key; None if there are none that can be trusted."""
    path = folder / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        stored = str(arrays.pop(DIGEST))
        if stored != arrays_digest(arrays):
            return None
        mode = Mode(**{field.name: arrays.pop(f"mode_{field.name}") for field in dataclasses.fields(Mode)})
        method = arrays.pop("method").astype(object)
        found = UnitDraws(spec=spec, units=units, mode=mode, method=method, **arrays)
    except Exception:  # whatever is wrong with it, sampling gives the same draws
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # what is used stays
    return found


def write(folder: Path, key: str, draws: UnitDraws) -> None:
    """Keeps draws under a key, and lets go of the oldest files where all would be too many; without a word where it cannot."""
    arrays = {f"mode_{field.name}": getattr(draws.mode, field.name) for field in dataclasses.fields(Mode)}
    arrays |= {
        field.name: getattr(draws, field.name)
        for field in dataclasses.fields(UnitDraws)
        if field.name not in ("spec", "units", "mode")
    }
    arrays["method"] = draws.method.astype(str)
    if sum(np.asarray(a).nbytes for a in arrays.values()) > MOST_BYTES:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / f"{key}.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays, **{DIGEST: np.array(arrays_digest(arrays))})
        _trim(folder)
    except (OSError, InputError):
        pass


def _trim(folder: Path) -> None:
    files = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
