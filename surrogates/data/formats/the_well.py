"""Files in The Well's layout that are not ours: what they mean is read from the layout alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from surrogates.data.files import files_of
from surrogates.data.formats.given import Given
from surrogates.data.hdf5 import ORDERS, open_hdf5
from surrogates.data.lazy import lazy
from surrogates.data.read import read_file
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import TIME, TRAJECTORY, coordinates, describe_attrs, variables


def recognises(path: Path) -> bool:
    """A file, or the first file of each split of a folder."""
    try:
        found = [paths[0] for paths in files_of(path).values()]
        return bool(found) and all(_fits(p) for p in found)
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a file. Raises ValueError for a file that is not sound."""
    return {split: [read_file(p) for p in paths] for split, paths in files_of(path).items()}


def _fits(path: Path) -> bool:
    with open_hdf5(path) as f:
        return all(name in f for name in ("dimensions", *ORDERS))


def dataset_of(f: h5py.File, path: Path) -> xr.Dataset:
    box, fields, count = _geometry(f), _fields(f), int(f.attrs["n_trajectories"])
    time = f["dimensions"]["time"]
    if time.ndim != 1:
        raise ValueError(f"{f.filename}: time varies between trajectories; only one time axis for all is read")
    times = [float(t) for t in time[:]]
    data: dict[str, Any] = {}
    for x in fields:
        order = {0: 0, box.dim: 1}.get(len(x.components), 2)
        array = lazy(f[ORDERS[order]][x.name], path)
        expected = (count, len(times), *box.shape, *(box.dim,) * order)
        if array.shape != expected:
            raise ValueError(f"{path}: field {x.name!r} has shape {array.shape} but the dimensions of the file say {expected}")
        flat = array.reshape(*array.shape[: 2 + box.dim], box.dim**order)
        for i, (name, meta) in enumerate(variables(x, box)):
            data[name] = ((TRAJECTORY, TIME, *box.axes), flat[..., i], meta)
    parameters = {}
    for name in f["scalars"].attrs["field_names"]:
        if not f["scalars"][name].attrs["time_varying"]:
            parameters[str(name)] = np.broadcast_to(np.ravel(np.asarray(f["scalars"][name][()], np.float64)), count).tolist()
    coords = coordinates(box, times, range(count), parameters=parameters)
    return xr.Dataset(data, coords, {"dataset": str(f.attrs["dataset_name"]), "dt": times[1] - times[0], **describe_attrs(fields, box)})


def _geometry(f: h5py.File) -> Box:
    if str(f.attrs["grid_type"]) != "cartesian":
        raise ValueError(f"{f.filename} has grid_type {f.attrs['grid_type']!r}; only 'cartesian' is read")
    names = [str(n) for n in f["dimensions"].attrs["spatial_dims"]]
    sides = [bc.attrs for bc in f["boundary_conditions"].values()]
    periodic = {str(d) for bc in sides if str(bc["bc_type"]).upper() == "PERIODIC" for d in bc["associated_dims"]}
    axes = [f["dimensions"][n][:].astype(np.float64) for n in names]
    spacing = [float(np.diff(a).mean()) for a in axes]
    for name, a, h in zip(names, axes, spacing, strict=True):
        if not np.allclose(np.diff(a), h, rtol=1e-3):
            raise ValueError(f"{f.filename}: the points of dimension {name!r} are not equally spaced")
    lower = [float(a[0] if n in periodic else a[0] - h / 2) for n, a, h in zip(names, axes, spacing, strict=True)]
    upper = [lo + len(a) * h for lo, a, h in zip(lower, axes, spacing, strict=True)]
    kinds = tuple("periodic" if n in periodic else "wall" for n in names)
    return Box(tuple(len(a) for a in axes), tuple(lower), tuple(upper), kinds)


def _fields(f: h5py.File) -> Fields:
    names = tuple(str(n) for n in f["dimensions"].attrs["spatial_dims"])
    components = {0: (), 1: names, 2: tuple(a + b for a in names for b in names)}
    entries = []
    for order, group in enumerate(ORDERS):
        for name in f[group].attrs["field_names"]:
            if f[group][name].attrs["time_varying"] and f[group][name].attrs["sample_varying"]:
                entries.append(Field(str(name), components=components[order]))
    return Fields(tuple(entries))
