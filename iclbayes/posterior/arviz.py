"""Posteriors as ArviZ's data, and netCDF files of them; works with ArviZ 0 (`InferenceData`) and ArviZ 1 (`xarray.DataTree`).

ArviZ and xarray are imported when they are needed, and without the notice about its future that ArviZ 0 prints once a day.
"""

import importlib.metadata
import os
import types
import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..errors import InputError
from ..files import write_bytes
from ..laws import Law
from . import predictive
from .draws import PosteriorDraws

if TYPE_CHECKING:
    import xarray as xr

BACKGROUND = "background"  # label of the task that owns no curve; numbered where there are several


def to_arviz(posterior: PosteriorDraws, log_likelihood: bool = True) -> Any:
    """The draws for ArviZ; see `Posterior.to_arviz`."""
    groups = datasets(posterior, log_likelihood)
    if _old_arviz():
        return import_arviz().InferenceData(**groups)
    import xarray as xr

    return xr.DataTree.from_dict(groups)


def datasets(posterior: PosteriorDraws, log_likelihood: bool = True) -> "dict[str, xr.Dataset]":
    """The groups of `to_arviz` by name."""
    import xarray as xr

    axes = _Axes(posterior)
    chain = {"chain": np.arange(posterior.n_draws[0]), "draw": np.arange(posterior.n_draws[1])}
    groups = {
        "posterior": xr.Dataset(axes.parameters(), coords=chain | axes.coords),
        "sample_stats": xr.Dataset(axes.sample_stats(), coords=chain | axes.coords),
    }
    curves = posterior.curves
    points = np.flatnonzero(posterior.used)
    curve = curves.point_curve()[points]
    at = {
        "point": np.arange(len(points)),
        "point_group": ("point", axes.names[curves.group[curve]]),
        "point_source": ("point", curves.source[curve].astype(str)),
        "point_shots": ("point", curves.shots[points]),
    }
    groups["observed_data"] = xr.Dataset({"prob": ("point", curves.prob[points])}, coords=at)
    if log_likelihood:
        value = predictive.log_likelihood(posterior)[..., points]
        groups["log_likelihood"] = xr.Dataset(
            {"prob": (("chain", "draw", "point"), value)}, coords=chain | at
        )
    for group in groups.values():
        group.attrs.update(law=posterior.law.name, inference_library="iclbayes")
    return groups


class _Axes:
    """Names of the axes of a posterior's parameters and of its units, and values placed along them."""

    def __init__(self, posterior: PosteriorDraws):
        self.posterior = posterior
        curves = posterior.curves
        self.names = np.array([_label(row) for row in curves.keys.to_dict("records")], dtype=str)
        table = np.full((curves.n_groups, posterior.n_sources), "", dtype=object)
        table[curves.group, curves.rank()] = curves.source.astype(str)
        labels = [{*column} - {""} for column in table.T]
        self.coords: dict[Hashable, Any] = {"group": self.names}
        if all(len(found) == 1 for found in labels):
            self.sources = [found.pop() for found in labels]
            self.coords["source"] = np.array(self.sources, dtype=str)
        else:  # groups of other sources: numbers, and beside them which is which
            self.sources = [str(i) for i in range(posterior.n_sources)]
            self.coords["source"] = np.arange(posterior.n_sources)
            self.coords["source_label"] = (("group", "source"), table.astype(str))
        self.background = max(int(block.spec.background) for block in posterior.blocks)
        if "prior" in posterior.law.param_names:
            more = [f"{BACKGROUND} {i + 1}" for i in range(self.background)]
            self.coords["task"] = np.array(
                [*self.sources, *(more if len(more) > 1 else [BACKGROUND][: len(more)])]
            )

    def parameters(self) -> dict[str, "tuple[list[str], np.ndarray]"]:
        """Dims and values of every parameter, groups in their own order."""
        named = _parameter_axes(self.posterior.law)
        found = {}
        for name, value in self.posterior.params.items():
            own = named.get(name, ["source"] if value.ndim == 4 else [])
            for axis, dim in enumerate(own, start=3):
                if dim == "task":
                    value = self._with_background_last(value, axis)
            found[name] = (["chain", "draw", "group", *own], value)
        return found

    def _with_background_last(self, value: np.ndarray, axis: int) -> np.ndarray:
        """The values of a task axis, background tasks moved from behind a group's own sources to the end of the axis."""
        if not self.background:
            return value
        out = np.full((*value.shape[:axis], len(self.coords["task"]), *value.shape[axis + 1 :]), np.nan)
        for block in self.posterior.blocks:
            n_curves = block.spec.n_curves
            for group in block.units.groups.ravel():
                old, new = (np.moveaxis(a[:, :, group], axis - 1, 0) for a in (value, out))
                new[:n_curves] = old[:n_curves]
                more = int(block.spec.background)
                own = self.posterior.n_sources
                new[own : own + more] = old[n_curves : n_curves + more]
        return out

    def sample_stats(self) -> dict[str, "tuple[list[str], np.ndarray]"]:
        """What the sampler noted, by unit: of a joint law the group, of the others the curve, of a hierarchy all groups."""
        posterior = self.posterior
        blocks = posterior.blocks
        dims = [] if blocks[0].spec.hierarchy else ["group"] if posterior.law.joint else ["group", "source"]
        curves, rank = posterior.curves, posterior.curves.rank()
        shape = {"group": curves.n_groups, "source": posterior.n_sources}
        lead, size = posterior.n_draws, [shape[dim] for dim in dims]
        stats = {
            "diverging": np.zeros((*size, *lead), bool),
            "energy": np.full((*size, *lead), np.nan),
            "n_steps": np.zeros((*size, *lead), int),
            "k_hat": np.full(size, np.nan),
        }
        for block in blocks:
            first = block.units.curves[:, 0, 0]
            where = (curves.group[first], rank[first])[: len(dims)]
            for name, values in stats.items():
                values[where if dims else ...] = getattr(block, name) if dims else getattr(block, name)[0]
        found = {
            name: (["chain", "draw", *dims], np.moveaxis(value, (-2, -1), (0, 1)))
            for name, value in stats.items()
            if name != "k_hat"
        }
        if np.isnan(stats["energy"]).all():  # no Hamiltonian was run
            del found["energy"]
        if not np.isnan(stats["k_hat"]).all():
            found["k_hat"] = (dims, stats["k_hat"])
        return found


def _parameter_axes(law: Law) -> dict[str, list[str]]:
    """Names of the axes behind the group of a joint law's parameters, told by their lengths for 3 sources and 4 tasks."""
    if not law.joint:
        return {}
    lengths = {3: "source", 4: "task"}
    raw = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in law.raw_shapes(3, True).items()}
    shapes = jax.eval_shape(law.constrain, raw)
    return {
        name: [lengths.get(n, f"{name}_dim_{i}") for i, n in enumerate(value.shape)]
        for name, value in shapes.items()
    }


def _label(row: dict[Hashable, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in row.items()) or "all"


def write_netcdf(posterior: PosteriorDraws, path: str | os.PathLike) -> None:
    """Writes `to_arviz` as netCDF, whole or not at all.

    The file is made in memory: on a full disk the netCDF library would end the process.
    """
    write_bytes(netcdf_bytes(datasets(posterior)), path)


def netcdf_bytes(groups: "Mapping[str, xr.Dataset]") -> bytes:
    """A netCDF file with these groups, as ArviZ lays them out."""
    import netCDF4
    from xarray.backends import NetCDF4DataStore

    # The digits of draws are noise: packing them takes longer than all else here and spares a fifth of the file.
    # The name is of no file: memory is what it is written to, from so many bytes up.
    file = netCDF4.Dataset("in memory", mode="w", memory=1 << 16)
    try:
        for name, group in groups.items():
            store = NetCDF4DataStore(file.createGroup(name))
            whole = [key for key, value in group.variables.items() if value.dtype.kind in "biu"]
            group.dump_to_store(store, encoding={key: {"zlib": True} for key in whole})
    except BaseException:
        file.close()
        raise
    return bytes(file.close())


def read_netcdf(path: str | os.PathLike) -> Any:
    """Reads a netCDF file that `write_netcdf` wrote, under ArviZ 0 or 1.

    Args:
      path: the file.

    Returns:
      `arviz.InferenceData` with ArviZ 0, `xarray.DataTree` with ArviZ 1.

    Raises:
      InputError: the file is not there or not one of these.
    """
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file; give the netCDF file that `posterior` wrote")
    try:
        if _old_arviz():
            return import_arviz().from_netcdf(str(path))
        import xarray as xr

        with xr.open_datatree(path) as tree:
            return tree.load()
    except Exception as error:
        raise InputError(f"{path}: cannot be read as netCDF: {str(error).splitlines()[0]}") from None


def _old_arviz() -> bool:
    """Whether the installed ArviZ has its own `InferenceData`."""
    return int(importlib.metadata.version("arviz").split(".")[0]) < 1


def import_arviz() -> types.ModuleType:
    """ArviZ, without the notice about its future that version 0 gives at its first import of a day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "\nArviZ is undergoing a major refactor", FutureWarning)
        import arviz
    return arviz
