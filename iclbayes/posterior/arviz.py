"""Posteriors as ArviZ `InferenceData`, and netCDF files of them."""

import os

import arviz as az
import numpy as np
import xarray as xr

from ..errors import InputError
from ..files import atomic_path
from .result import Posterior


def to_inference_data(posterior: Posterior, log_likelihood: bool = True) -> az.InferenceData:
    """The draws as `InferenceData`, for `az.plot_trace`, `az.summary`, `az.loo`, `az.compare`.

    Groups: `posterior` (dims chain, draw, group, then source or task), `sample_stats` (diverging, energy, n_steps; dims chain,
    draw, posterior), `observed_data` and `log_likelihood` (dim point; coordinates group, source, shots of each point).
    """
    curves = posterior.curves
    names = np.array([_label(row) for row in curves.keys.to_dict("records")], dtype=str)
    chains, draws = posterior.blocks[0].theta.shape[1:3]
    coords = {"chain": np.arange(chains), "draw": np.arange(draws), "group": names}
    variables = {}
    for name, value in posterior.params.items():
        dims = ["chain", "draw", "group"]
        for axis, size in enumerate(value.shape[3:]):
            dims.append(f"{name}_dim_{axis}")
            coords[dims[-1]] = np.arange(size)
        variables[name] = (dims, value)
    groups = {"posterior": xr.Dataset(variables, coords=coords)}
    stats = {
        "diverging": np.concatenate([b.diverging for b in posterior.blocks]),
        "energy": np.concatenate([b.energy for b in posterior.blocks]),
        "n_steps": np.concatenate([b.n_steps for b in posterior.blocks]),
    }
    stats = {
        name: (("chain", "draw", "posterior_index"), np.moveaxis(value, 0, 2))
        for name, value in stats.items()
    }
    groups["sample_stats"] = xr.Dataset(stats, coords={c: coords[c] for c in ("chain", "draw")})
    points = np.flatnonzero(posterior.used)
    curve = curves.point_curve()[points]
    at = {
        "point": np.arange(len(points)),
        "point_group": ("point", names[curves.group[curve]]),
        "point_source": ("point", curves.source[curve].astype(str)),
        "point_shots": ("point", curves.shots[points]),
    }
    groups["observed_data"] = xr.Dataset({"prob": ("point", curves.prob[points])}, coords=at)
    if log_likelihood:
        value = posterior.log_likelihood()[..., points]
        at = at | {c: coords[c] for c in ("chain", "draw")}
        groups["log_likelihood"] = xr.Dataset({"prob": (("chain", "draw", "point"), value)}, coords=at)
    for group in groups.values():
        group.attrs.update(law=posterior.law.name, inference_library="iclbayes")
    return az.InferenceData(**groups)


def _label(row: dict) -> str:
    return ", ".join(f"{k}={v}" for k, v in row.items()) or "all"


def write_netcdf(posterior: Posterior, path: str | os.PathLike) -> None:
    """Writes `to_inference_data` as netCDF, whole or not at all."""
    with atomic_path(path) as temporary:
        to_inference_data(posterior).to_netcdf(str(temporary))


def read_netcdf(path: str | os.PathLike) -> az.InferenceData:
    """Reads a netCDF file of `InferenceData`. Raises InputError if it is not there or not one."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; give the netCDF file that `posterior` wrote")
    try:
        return az.from_netcdf(str(path))
    except Exception as error:
        raise InputError(f"{path}: cannot be read as netCDF: {str(error).splitlines()[0]}") from None
