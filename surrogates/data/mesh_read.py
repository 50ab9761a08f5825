"""A file of fields on meshes (`mesh_file`) -> its parts, a lazy Dataset each; trajectories on one mesh and of one length share one.

Opening reads names and shapes. Behind every array is one memory map of the whole file, so that thousands of parts cost a map and no
memory. That cells name nodes which exist is checked when the Mesh is made (`domain_of`), and everything else here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.formats import checks
from surrogates.data.hdf5 import open_hdf5
from surrogates.data.mesh_file import FIELDS, FORMAT, NAME, checksum, in_order
from surrogates.data.mesh_piece import MOVING, shape_of
from surrogates.domains.layout import MESH, NODE, mesh_coords
from surrogates.fields import Field, Fields
from surrogates.interchange import FORCINGS, LEAD, STATIC, TIME, TRAJECTORY

RESUME = "say again what wrote it, which resumes it; partial=True opens its complete trajectories"


def is_mesh_file(path: Path) -> bool:
    """Whether a file is one of ours on meshes; never raises."""
    try:
        with h5py.File(path, "r") as f:
            return str(f.attrs.get("format_name", "")) == NAME
    except (OSError, ValueError, KeyError):
        return False


def read_parts(path: Path, *, partial: bool = False, verify: bool = False) -> list[xr.Dataset]:
    """The parts of a file. Raises ValueError where it is truncated, foreign, unfinished, of a later format, or fails `verify`.

    `partial`: the complete trajectories of an unfinished file; `verify`: compare all arrays with their checksum.
    """
    with open_hdf5(path) as f:
        try:
            final = _final(f, path)
            if final is None and not partial:
                raise ValueError(f"{path} is unfinished; {RESUME}")
            parts = _parts(f, path, final)
        except KeyError as error:
            raise ValueError(f"{path} is not in the layout {NAME!r}: {error.args[0]}") from error
    if verify and final is not None and checksum(path) != final["checksum"]:
        raise ValueError(
            f"{path}: the arrays do not match their checksum {final['checksum'][:12]}...; it was changed or damaged, make it again"
        )
    return parts


def _final(f: h5py.File, path: Path) -> dict[str, Any] | None:
    if str(f.attrs.get("format_name", "")) != NAME:
        raise ValueError(f"{path} has no attribute format_name {NAME!r}: it holds no fields on meshes of ours")
    if int(f.attrs["format"]) > FORMAT:
        raise ValueError(f"{path} has format {f.attrs['format']} but this version reads up to {FORMAT}; install a later one")
    try:
        return dict(json.loads(checks.array(f, "final", path)[:].tobytes().rstrip(b"\0")))
    except json.JSONDecodeError:
        return None


def _parts(f: h5py.File, path: Path, final: Mapping[str, Any] | None) -> list[xr.Dataset]:
    complete = checks.array(f, "complete", path, (int(f.attrs["n_trajectories"]),))[:].astype(bool)
    kinds = {kind: Fields.from_json(json.loads(f.attrs.get(kind, "[]"))) for kind in (FIELDS, STATIC, FORCINGS)}
    attrs = {"dataset": str(f.attrs["dataset_name"]), **json.loads(f.attrs["attrs"])}
    if final is not None:
        attrs |= {k: v for k, v in final["certificate"].items() if isinstance(v, int | float)}
    file = _Mapped(path, f)
    out, first = [], 0
    for k, group in enumerate(in_order(f["parts"])):
        rows = group["trajectory"].shape[0]
        whole = np.flatnonzero(complete[first : first + rows])
        first += rows
        if len(whole):
            part = _part(file, group, kinds)
            key = {} if final is None else {"checksum": f"{final['checksum']}/{k}"}
            part = part.assign_attrs({**part.attrs, **attrs, **key})
            out.append(part if len(whole) == rows else part.isel({TRAJECTORY: whole}))
    return out


class _Mapped:
    """The arrays of one file, by one map of its bytes."""

    def __init__(self, path: Path, f: h5py.File) -> None:
        self.path, self.f = path, f
        self.bytes = np.memmap(path, np.uint8, "c")  # copy on write: the file never changes, and torch takes the arrays as they are

    def __call__(self, group: h5py.Group, name: str, shape: tuple[int | None, ...], dtype: str) -> npt.NDArray[Any]:
        """Raises ValueError for another shape or type, and where the file is shorter than it says."""
        array = checks.array(group, name, self.path, shape)
        place = f"{self.path}: {array.name}"
        if array.dtype != np.dtype(dtype) or array.chunks is not None:
            raise ValueError(f"{place} is {array.dtype}{' in chunks' if array.chunks else ''}, but this layout has contiguous {dtype}")
        offset, size = array.id.get_offset() or 0, array.dtype.itemsize * int(np.prod(array.shape, dtype=np.int64))
        if offset + size > len(self.bytes):
            raise ValueError(f"{place} ends at byte {offset + size} but the file has {len(self.bytes)}; it is truncated, make it again")
        view: npt.NDArray[Any] = np.asarray(self.bytes[offset : offset + size]).view(dtype).reshape(array.shape)
        return view


def _part(file: _Mapped, group: h5py.Group, kinds: Mapping[str, Fields]) -> xr.Dataset:
    held, domain = _mesh(file, file.f[f"meshes/{int(group.attrs['mesh']):04d}"])
    nodes, ids = int(domain["nodes"]), file(group, "trajectory", (None,), "<i8")
    times = checks.rising(file(group, TIME, (None,), "<f8"), f"{file.path}: {group.name}/time")
    lead = (len(ids), len(times))
    coords = {**held, **_of_time(group, ids, times)}
    for name, column in group.get("parameters", {}).items():
        coords[name] = (TRAJECTORY, file(column.parent, name, (len(ids),), "<f8"), {"role": "parameter"})
    data: dict[str, Any] = {}
    for kind in (FIELDS, FORCINGS):
        for x in kinds[kind]:
            array = file(group[kind], x.name, (*lead, *shape_of(x, nodes)), "<f4")
            data |= {n: ((TRAJECTORY, TIME, NODE), u, _about(x, n)) for n, u in zip(x.variables, _columns(array, x), strict=True)}
    for x in kinds[STATIC]:
        array = file(group[STATIC], x.name, (None, *shape_of(x, nodes)), "<f4")
        shared = len(array) == 1
        dims = (NODE,) if shared else (TRAJECTORY, NODE)
        columns = _columns(array[0] if shared else array, x)
        data |= {n: (dims, u, _about(x, n)) for n, u in zip(x.variables, columns, strict=True)}
    declared = {kind: json.dumps(kinds[kind].to_json()) for kind in (STATIC, FORCINGS) if kinds[kind].count}
    own = {k: str(group.attrs[k]) for k in (MOVING,) if k in group.attrs}
    step = {"dt": float(group.attrs["dt"])} if group.attrs["dt"] else {}
    told = {"Conventions": "CF-1.11 UGRID-1.0", FIELDS: json.dumps(kinds[FIELDS].to_json()), "domain": json.dumps(domain)}
    return xr.Dataset(data, coords, {**step, **told, **declared, **own})


def _mesh(file: _Mapped, group: h5py.Group) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its coordinates, and what the attribute `domain` says of it."""
    points = file(group, "points", (None, None), "<f8")
    nodes, dim = points.shape
    parts = {
        "edges": file(group, "edges", (2, None), "<i8"),
        "measure": file(group, "measure", (nodes,), "<f8"),
        "markers": file(group, "markers", (nodes,), "<i8"),
        "member": np.broadcast_to(np.int64(0), nodes),
        **({"cells": file(group, "cells", (None, None), "<i8")} if "cells" in group else {}),
    }
    corners = parts["cells"].shape[1] if "cells" in parts else dim + 1
    if not 1 <= dim <= 3 or not 2 <= corners <= dim + 1:
        raise ValueError(
            f"{file.path}: {group.name} has {dim} coordinates and cells of {corners} corners, which is no mesh in 1-3 dimensions"
        )
    units, periods = str(group.attrs["units"]), [float(p) or None for p in group.attrs["periods"]]
    about = {"names": [str(n) for n in group.attrs["names"]], "members": 1, "periods": periods, "units": units}
    return mesh_coords(points, parts, units), {"type": "mesh", "nodes": nodes, **about, "key": str(group.attrs["key"])}


def _of_time(group: h5py.Group, ids: npt.NDArray[Any], times: npt.NDArray[Any]) -> dict[str, Any]:
    units = str(group.attrs["time_units"])
    about = {"units": units, **({"calendar": str(group.attrs["calendar"])} if "calendar" in group.attrs else {})}
    return {
        TRAJECTORY: (TRAJECTORY, np.array(ids), {"long_name": "trajectory", "cf_role": "trajectory_id"}),
        TIME: (TIME, times, {"long_name": "time", **about, "axis": "T"}),
        LEAD: (TIME, times - times[0], {"long_name": "time since the initial state", "units": units.partition(" since ")[0]}),
    }


def _about(x: Field, name: str) -> dict[str, str]:
    return {"units": x.units, "long_name": x.long_name or name.replace("_", " "), "field": x.name, "mesh": MESH, "location": NODE}


def _columns(array: npt.NDArray[Any], x: Field) -> Sequence[npt.NDArray[Any]]:
    return [array[..., c] for c in range(len(x.components))] if x.components else [array]
