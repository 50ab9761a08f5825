"""One file in The Well's layout -> one xarray Dataset; ours (`surrogates.data.layout`) or anybody's.

Contiguous float32 arrays become memory maps, so that opening costs nothing and reading costs what is read; others come through
dask, a trajectory a chunk. What our files say exactly (domain, fields, dt, parameters in float64) is taken from there; for others
it is inferred from the layout: points equally spaced, periodic where a boundary condition says so, cell centres elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.layout import FORMAT, MEMBERS, ORDERS, OURS, checksum, domain_from
from surrogates.domains import Box, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, coordinates, describe_attrs

RESUME = "`surrogates data make`, said again, resumes it; partial=True opens its complete trajectories"


def read_file(path: Path, *, partial: bool = False, verify: bool = False) -> xr.Dataset:
    """One file. Raises ValueError where it is truncated, foreign, unfinished, of a later format, or fails `verify`."""
    with open_hdf5(path) as f:
        try:
            dataset = _dataset(f, path, partial)
        except KeyError as error:
            raise ValueError(f"{path} is not in The Well's layout: {error.args[0]}") from error
    if verify and "checksum" in dataset.attrs and checksum(path) != dataset.attrs["checksum"]:
        stored = dataset.attrs["checksum"][:12]
        raise ValueError(f"{path}: the arrays do not match their checksum {stored}...; the file was changed or damaged, make it again")
    return dataset


def open_hdf5(path: Path) -> h5py.File:
    """Raises ValueError where the file is missing, truncated or not HDF5."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except OSError as error:
        why = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise ValueError(f"{path} is {why} ({error}); copy or make it again") from error


def final_of(f: h5py.File) -> dict[str, Any] | None:
    """The closing record of a file of ours; None while it is unfinished. Raises ValueError for a later format."""
    if int(f[OURS].attrs["format"]) > FORMAT:
        raise ValueError(f"{f.filename} has format {f[OURS].attrs['format']} but this version reads up to {FORMAT}; install a later one")
    try:
        return dict(json.loads(f[OURS]["final"][:].tobytes().rstrip(b"\0")))
    except ValueError:
        return None


def _dataset(f: h5py.File, path: Path, partial: bool) -> xr.Dataset:
    box, fields, count = _geometry(f), _fields(f), int(f.attrs["n_trajectories"])
    ours = f.get(OURS)
    rows, ids, members = np.arange(count), np.arange(count), 1
    attrs: dict[str, Any] = {"dataset": str(f.attrs["dataset_name"]), **describe_attrs(fields, box)}
    if ours is not None:
        final, ids, members = final_of(f), ours["trajectory"][:], int(ours.attrs.get(MEMBERS, 1))
        if final is None and not partial:
            raise ValueError(f"{path} is unfinished; {RESUME}")
        whole = ours["complete"][:].astype(bool).reshape(-1, members).all(1)
        rows = rows[np.repeat(whole, members)]
        attrs.update({k: str(ours.attrs[k]) for k in ("recipe", "version")}, seed=int(ours.attrs["seed"]))
        if final is not None:
            attrs["checksum"] = final["checksum"]
            attrs.update({k: v for k, v in final["certificate"].items() if isinstance(v, int | float)})
    times = _times(f)
    first, lead = rows[::members], () if members == 1 else (members,)
    coords = coordinates(box, times, ids[first].tolist(), range(members) if lead else None, parameters=_parameters(f, first))
    return xr.Dataset(_variables(f, path, fields, box, rows, lead), coords, {"dt": times[1] - times[0], **attrs})


def _geometry(f: h5py.File) -> Box | Sphere:
    if OURS in f:
        return domain_from(f[OURS].attrs["domain"])
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
    """Fields that vary in time; those that do not are not states."""
    if OURS in f:
        return Fields.from_json(json.loads(f[OURS].attrs["fields"]))
    names = tuple(str(n) for n in f["dimensions"].attrs["spatial_dims"])
    components = {0: (), 1: names, 2: tuple(a + b for a in names for b in names)}
    entries = []
    for order, group in enumerate(ORDERS):
        for name in f[group].attrs["field_names"]:
            if f[group][name].attrs["time_varying"] and f[group][name].attrs["sample_varying"]:
                entries.append(Field(str(name), components=components[order]))
    return Fields(tuple(entries))


def _times(f: h5py.File) -> list[float]:
    time = f["dimensions"]["time"]
    if time.ndim != 1:
        raise ValueError(f"{f.filename}: time varies between trajectories; only one time axis for all is read")
    if OURS in f:
        return [i * float(f[OURS].attrs["dt"]) for i in range(time.shape[0])]
    return [float(t) for t in time[:]]


def _parameters(f: h5py.File, rows: npt.NDArray[Any]) -> dict[str, list[float]]:
    out, count = {}, int(f.attrs["n_trajectories"])
    for name in f["scalars"].attrs["field_names"]:
        scalar = f["scalars"][name]
        if not scalar.attrs["time_varying"]:
            exact = f.attrs[name] if OURS in f else scalar[()]
            values = np.broadcast_to(np.ravel(np.asarray(exact, np.float64)), count)
            out[str(name)] = [float(v) for v in values[rows]]
    return out


def _variables(
    f: h5py.File, path: Path, fields: Fields, box: Box | Sphere, rows: npt.NDArray[Any], lead: tuple[int, ...]
) -> dict[str, Any]:
    """One variable a component; `lead` is () or, where so many rows each are the members of one trajectory, their number."""
    data: dict[str, Any] = {}
    dims = (TRAJECTORY, *((MEMBER,) if lead else ()), TIME, *box.axes)
    frames, count = f["dimensions"]["time"].shape[-1], int(f.attrs["n_trajectories"])
    for x in fields:
        order = {0: 0, box.dim: 1}.get(len(x.components), 2)
        array = _lazy(f[ORDERS[order]][x.name], path)
        expected = (count, frames, *box.shape, *(box.dim,) * order)
        if array.shape != expected:
            raise ValueError(f"{path}: field {x.name!r} has shape {array.shape} but the dimensions of the file say {expected}")
        array = array if len(rows) == count else array[rows]
        flat = array.reshape(-1, *lead, *array.shape[1 : 2 + box.dim], box.dim**order)
        for i, name in enumerate(x.variables):
            meta = {"units": x.units, "long_name": x.long_name or name.replace("_", " "), "field": x.name}
            data[name] = (dims, flat[..., i], meta)
    return data


def _lazy(array: h5py.Dataset, path: Path) -> Any:
    offset = array.id.get_offset()
    if offset is not None and array.dtype == np.dtype("<f4"):
        return np.asarray(np.memmap(path, np.float32, "r", offset, array.shape))
    import dask.array as da

    rows = _Rows(path, array)
    return da.from_array(rows, chunks=(1, *array.shape[1:]))  # type: ignore[no-untyped-call]


class _Rows:
    """An HDF5 array that is opened only while it is read."""

    def __init__(self, path: Path, array: h5py.Dataset) -> None:
        self.path, self.name = path, array.name
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(np.float32), array.ndim

    def __getitem__(self, index: Any) -> npt.NDArray[np.float32]:
        with h5py.File(self.path, "r") as f:
            values: npt.NDArray[np.float32] = f[self.name][index].astype(np.float32)
        return values
