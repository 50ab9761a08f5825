"""One file of ours in The Well's layout (`surrogates.data.layout`) -> one xarray Dataset, exactly what was written; others by `the_well`.

Contiguous arrays become memory maps, so that opening costs nothing and reading costs what is read. The levels of a field lie in arrays of
their own, and come through dask, some frames a chunk.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.arrays import Grid, Known, arrays_of
from surrogates.data.geometry import about_time, domain_from, times_from
from surrogates.data.hdf5 import FORMAT, MEMBERS, OURS, PARAMETER, open_hdf5
from surrogates.data.lazy import lazy, stacked
from surrogates.data.part import checksum, known_in
from surrogates.domains.layout import axes
from surrogates.fields import Fields
from surrogates.interchange import LEVEL, MEMBER, TIME, TRAJECTORY, coordinates, declare, describe_attrs, variables

__all__ = ["final_of", "open_hdf5", "read_file"]

RESUME = "`surrogates data make`, said again, resumes it; partial=True opens its complete trajectories"
INTERNAL = ("format", "fields", "static", "forcings", "domain", MEMBERS)


def read_file(path: Path, *, partial: bool = False, verify: bool = False) -> xr.Dataset:
    """One file. Raises ValueError where it is truncated, foreign, unfinished, of a later format, or fails `verify`."""
    with open_hdf5(path) as f:
        try:
            if OURS not in f:
                from surrogates.data.formats.the_well import dataset_of

                return dataset_of(f, path)
            dataset = _dataset(f, path, partial)
        except KeyError as error:
            raise ValueError(f"{path} is not in The Well's layout: {error.args[0]}") from error
    if verify and "checksum" in dataset.attrs and checksum(path) != dataset.attrs["checksum"]:
        stored = dataset.attrs["checksum"][:12]
        raise ValueError(f"{path}: the arrays do not match their checksum {stored}...; the file was changed or damaged, make it again")
    return dataset


def final_of(f: h5py.File) -> dict[str, Any] | None:
    """The closing record of a file of ours; None while it is unfinished. Raises ValueError for a later format."""
    if int(f[OURS].attrs["format"]) > FORMAT:
        raise ValueError(f"{f.filename} has format {f[OURS].attrs['format']} but this version reads up to {FORMAT}; install a later one")
    try:
        return dict(json.loads(f[OURS]["final"][:].tobytes().rstrip(b"\0")))
    except ValueError:
        return None


def _dataset(f: h5py.File, path: Path, partial: bool) -> xr.Dataset:
    ours, final = f[OURS], final_of(f)
    if final is None and not partial:
        raise ValueError(f"{path} is unfinished; {RESUME}")
    grid, fields, known = domain_from(f), Fields.from_json(json.loads(ours.attrs["fields"])), known_in(f)
    ids, members = ours["trajectory"][:], int(ours.attrs.get(MEMBERS, 1))
    whole = ours["complete"][:].astype(bool).reshape(-1, members).all(1)
    rows = np.arange(len(ids))[np.repeat(whole, members)]
    attrs = {"dataset": str(f.attrs["dataset_name"]), **describe_attrs(fields, grid)}
    attrs |= {k: v.item() if isinstance(v, np.generic) else v for k, v in ours.attrs.items() if k not in INTERNAL}
    if final is not None:
        attrs["checksum"] = final["checksum"]
        attrs |= {k: v for k, v in final.get("certificate", {}).items() if isinstance(v, int | float)}
    first, lead = rows[::members], () if members == 1 else (members,)
    times, of_members = times_from(f), range(members) if lead else None
    coords = coordinates(grid, times, ids[first].tolist(), of_members, parameters=_parameters(f, first), about_time=about_time(f))
    sizes = (len(ids), len(times))
    data: dict[str, Any] = {}
    for k in (*(Known(x, timed=True, shared=False) for x in fields), *known):
        data |= _variables(f, path, k, grid, rows, lead, sizes)
        if k.field.levels:
            coords[LEVEL] = (LEVEL, list(k.field.levels), {"long_name": "level"})
    made = xr.Dataset(data, coords, attrs)
    kinds = {timed: Fields(tuple(k.field for k in known if k.timed == timed)) for timed in (False, True)}
    return declare(made, static=kinds[False] if kinds[False].count else None, forcings=kinds[True] if kinds[True].count else None)


def _parameters(f: h5py.File, rows: npt.NDArray[Any]) -> dict[str, list[float]]:
    """Exact, from our group; in format 1 from the attributes of the root."""
    out, count = {}, int(f.attrs["n_trajectories"])
    for name in f.attrs["simulation_parameters"]:
        held = f[OURS].get(f"{PARAMETER}{name}")
        values = np.broadcast_to(np.ravel(np.asarray(f.attrs[name] if held is None else held[()], np.float64)), count)
        out[str(name)] = [float(v) for v in values[rows]]
    return out


def _variables(
    f: h5py.File, path: Path, k: Known, grid: Grid, rows: npt.NDArray[Any], lead: tuple[int, ...], sizes: tuple[int, int]
) -> dict[str, Any]:
    """One variable a component; `lead` is () or, where so many rows each are the members of one trajectory, their number."""
    x, expected = k.field, (*(() if k.shared else sizes[:1]), *(sizes[1:] if k.timed else ()))
    of_row = () if k.shared else (TRAJECTORY, *((MEMBER,) if lead else ()))
    dims = (*of_row, *((TIME,) if k.timed else ()), *((LEVEL,) if x.levels else ()), *(axes(grid) if k.spread else ()))
    channels: dict[int, Any] = {}
    for array in arrays_of(x, grid, k.spread):
        values = lazy(f[array.path], path)
        if values.shape != array.shape(grid, *expected):
            raise ValueError(
                f"{path}: field {x.name!r} has shape {values.shape} but the dimensions of the file say {array.shape(grid, *expected)}"
            )
        if not k.shared:
            values = _rows(values, rows, sizes[0]).reshape(-1, *lead, *values.shape[1:])
        values = values.reshape(*values.shape[: values.ndim - array.order], -1) if array.order else values[..., None]
        channels |= {channel: values[..., i] for i, channel in enumerate(array.channels)}
    each, data = max(1, len(x.levels)), {}
    for i, (name, meta) in enumerate(variables(x, grid)):
        mine = [channels[i * each + n] for n in range(each)]
        data[name] = (dims, stacked(mine, dims.index(LEVEL)) if x.levels else mine[0], meta)
    return data


def _rows(values: Any, rows: npt.NDArray[Any], count: int) -> Any:
    """These rows of an array, without reading it where they are its first ones."""
    return values if len(rows) == count else values[: len(rows)] if (rows == np.arange(len(rows))).all() else values[rows]
