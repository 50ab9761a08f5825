"""The domain of a file of ours: what any reader of The Well's layout understands, and beside it what tells it exactly.

    dimensions           @spatial_dims; time (float64, @units, @calendar); x, y, z in the units of the box, or lat, lon in degrees
    boundary_conditions  <axis>_<kind> of the ends of an axis, one or both; `dry`, a wall whose mask (*X) is true in the dry cells of a
                         Masked domain
    surrogates           @domain: JSON without arrays; edges_x, ... (float64) of stretched axes

The arrays are not in the JSON, since an attribute of HDF5 takes 64 KiB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import torch

from surrogates.data.arrays import Grid
from surrogates.data.hdf5 import OURS, names, plain
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.domains.box import OPEN, PERIODIC
from surrogates.domains.layout import GLOBE
from surrogates.domains.masked import GRIDS

DRY, EDGES = "dry", "edges_"
CARTESIAN, SPHERICAL = "cartesian", "spherical"


def write_geometry(f: h5py.File, grid: Grid, times: Sequence[float], about_time: Mapping[str, str]) -> None:
    """Dimensions and boundary conditions, and in our group what tells the domain exactly."""
    f.attrs.update({"grid_type": SPHERICAL if grid.axes == GLOBE else CARTESIAN, "n_spatial_dims": grid.dim})
    group = f.create_group("dimensions")
    group.attrs["spatial_dims"] = names(grid.axes)
    plain(group, "time", np.asarray(times, np.float64), sample_varying=False, time_varying=True)
    group["time"].attrs.update(about_time)
    for axis, name in enumerate(grid.axes):
        plain(group, name, grid.coordinate(axis).numpy().astype(np.float32), sample_varying=False, time_varying=False)
    _boundaries(f.create_group("boundary_conditions"), grid)
    _domain(f[OURS], grid)


def domain_from(f: h5py.File) -> Grid:
    """The domain of a file of ours. Raises ValueError for a kind that has no tensor-product grid."""
    entry = json.loads(f[OURS].attrs["domain"])
    kind = entry.get("type")
    if kind not in GRIDS and kind != "masked":
        raise ValueError(f"{f.filename}: domain {kind!r} is none of 'masked', {', '.join(map(repr, GRIDS))}, whose grids this layout holds")
    if kind != "masked":
        return _grid(f, entry)
    return Masked(_grid(f, entry["box"]), torch.from_numpy(~f["boundary_conditions"][DRY]["mask"][:].astype(bool)))


def times_from(f: h5py.File) -> list[float]:
    """The times of a file of ours; those of format 1 were multiples of dt, rounded to float32."""
    time = f["dimensions"]["time"]
    if time.dtype == np.float64:
        return [float(t) for t in time[:]]
    return [i * float(f[OURS].attrs["dt"]) for i in range(time.shape[0])]


def about_time(f: h5py.File) -> dict[str, str]:
    """Units and calendar of the times, where the file has them."""
    attrs = f["dimensions"]["time"].attrs
    return {k: str(attrs[k]) for k in ("units", "calendar") if k in attrs}


def _domain(ours: h5py.Group, grid: Grid) -> None:
    inner = grid.box if isinstance(grid, Masked) else grid
    if isinstance(inner, Box):
        for name, edges in zip(inner.axes, inner.edges, strict=True):
            if edges is not None:
                plain(ours, f"{EDGES}{name}", np.asarray(edges, np.float64))
        inner = replace(inner, edges=(None,) * inner.dim)
    entry = inner.to_json()
    ours.attrs["domain"] = json.dumps({"type": "masked", "box": entry} if isinstance(grid, Masked) else entry)


def _grid(f: h5py.File, entry: Mapping[str, Any]) -> Box | Patch | Sphere:
    grid = GRIDS[entry["type"]].from_json(entry)
    if not isinstance(grid, Box):
        return grid
    held = [f[OURS].get(f"{EDGES}{name}") for name in grid.axes]
    return replace(grid, edges=tuple(e if h is None else tuple(h[:].tolist()) for e, h in zip(grid.edges, held, strict=True)))


def _boundaries(group: h5py.Group, grid: Grid) -> None:
    inner = grid.box if isinstance(grid, Masked) else grid
    for axis, n, sides in zip(grid.axes, grid.shape, _sides(inner), strict=True):
        for kind in dict.fromkeys(sides):
            mask = np.zeros(n, bool)
            mask[[place for place, side in zip((0, -1), sides, strict=True) if side == kind]] = True
            _side(group.create_group(f"{axis}_{kind}"), [axis], kind, mask)
    if isinstance(grid, Masked):
        _side(group.create_group(DRY), grid.axes, "wall", ~grid.wet.numpy())


def _sides(grid: Box | Patch | Sphere) -> tuple[tuple[str, str], ...]:
    """What lies at both ends of each axis; the poles of a sphere are open, as the layout's own sphere has them."""
    if isinstance(grid, Box):
        return grid.sides
    ends = (OPEN, PERIODIC) if isinstance(grid, Sphere) else tuple(PERIODIC if kind == PERIODIC else OPEN for kind in grid.boundary)
    return tuple((kind, kind) for kind in ends)


def _side(side: h5py.Group, axes: Sequence[str], kind: str, mask: Any) -> None:
    side.attrs.update({"associated_dims": names(axes), "associated_fields": names([]), "bc_type": kind.upper()})
    side.attrs.update({"sample_varying": False, "time_varying": False})
    plain(side, "mask", mask)
    plain(side, "values", np.zeros(int(mask.sum()), np.float32))
