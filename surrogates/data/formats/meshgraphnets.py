"""MeshGraphNets' data (cylinder_flow, airfoil, flag_simple, ...) as HDF5, as the converters of its TFRecords write them.

    cylinder_flow/
      train.h5, valid.h5, test.h5     or any one of them; .hdf5 too
        0/, 1/, ...                   a trajectory a group, under any name
          cells       (T, cell, 3)    static arrays stand once for every frame, for one (1, ...), or without a time
          pos         (T, node, 2)    `mesh_pos` in DeepMind's names
          node_type   (T, node, 1)    0 fluid, 1 obstacle, 2 airfoil, 3 handle, 4 inflow, 5 outflow, 6 wall
          velocity    (T, node, 2), pressure (T, node, 1), density, world_pos (T, node, 3), ...   the fields
      meta.json                       DeepMind's: its `dt` is taken

Every trajectory has a mesh of its own, in its reference configuration: where cloth is in space is the field `world_pos`, which the
attribute `moving` names. Node types become boundaries of these names. A part a trajectory. Meshes are read when the file is opened,
fields when they are looked at. Nothing tells the units; give them, and `dt` without a meta.json.

Sources: https://github.com/google-deepmind/deepmind-research/tree/master/meshgraphnets (dataset.py, common.py);
https://github.com/echowve/meshGraphNets_pytorch (parse_tfrecord.py); Pfaff et al., 2021, https://arxiv.org/abs/2010.03409.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.data.formats.part import part
from surrogates.data.lazy import lazy
from surrogates.data.mesh_features import with_shared_features
from surrogates.data.mesh_piece import MOVING
from surrogates.domains import Mesh
from surrogates.domains.box import AXES
from surrogates.fields import Field

SUFFIXES = (".h5", ".hdf5")
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
TYPES = {1: "obstacle", 2: "airfoil", 3: "handle", 4: "inflow", 5: "outflow", 6: "wall"}
POSITIONS = ("mesh_pos", "pos")
WORLD = "world_pos"
LARGEST = 1 << 20  # bytes of a meta.json


def recognises(path: Path) -> bool:
    """HDF5 whose first group has cells, node types and positions."""
    for file in _files(path):
        try:
            with h5py.File(file, "r") as f:
                first = next((g for g in f.values() if isinstance(g, h5py.Group)), None)
                if first is not None and "cells" in first and "node_type" in first and any(p in first for p in POSITIONS):
                    return True
        except (OSError, KeyError, RuntimeError):
            return False
    return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """The trajectories of each file, by the split that its name says, else "all". Raises ValueError as `checks`, for meshes that change
    with time, for node types that have no name, and for what nobody says."""
    out: dict[str, list[xr.Dataset]] = {}
    for file in _files(path):
        found = out.setdefault(SPLITS.get(file.stem.lower(), "all"), [])
        found += _trajectories(file, len(found), given.over(_meta(file.parent)))
    return with_shared_features(out)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file()) if path.is_dir() else []


def _meta(folder: Path) -> Given:
    """The step of a meta.json, if there is one."""
    file = folder / "meta.json"
    if not file.is_file() or file.stat().st_size > LARGEST:
        return Given()
    try:
        dt = float(json.loads(file.read_text())["dt"])
        if not 0 < dt < inf:
            raise ValueError(f"dt is {dt}")
        return Given(dt=dt)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no meta.json of MeshGraphNets ({error}); it needs a number `dt`") from error


def _trajectories(path: Path, first: int, given: Given) -> Iterator[xr.Dataset]:
    with checks.open_hdf5(path) as f, checks.telling(path):
        names = [n for n in f if isinstance(f.get(n), h5py.Group)]
        for n, name in enumerate(sorted(names, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))):
            yield _trajectory(f[name], path, first + n, given)


def _trajectory(group: h5py.Group, path: Path, number: int, given: Given) -> xr.Dataset:
    place = f"{path}: {group.name}"
    where = next((p for p in POSITIONS if p in group), None)
    if where is None:
        raise ValueError(f"{place} has no positions of nodes, {' or '.join(POSITIONS)}; there are {sorted(group)}")
    frames = max(a.shape[0] for n, a in group.items() if isinstance(a, h5py.Dataset) and a.ndim == 3)
    points = _static(group, where, path, frames)
    cells, kinds = _static(group, "cells", path, frames), _static(group, "node_type", path, frames).reshape(-1)
    if points.ndim != 2 or len(kinds) != len(points):
        raise ValueError(f"{place} has positions of shape {points.shape} and {len(kinds)} node types; both are one a node")
    try:
        mesh = Mesh.from_cells(points, cells.astype(np.int64), _boundaries(kinds, place), units=given.unit("length", path))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    arrays, of = {}, {}
    for name in sorted(set(group) - {where, "cells", "node_type"}):
        array = checks.array(group, name, path, (frames, len(points), None))
        field = _field(name, array.shape[2], mesh.dim, given, path, place)
        values = lazy(array, path, leading=1)
        for c, variable in enumerate(field.variables):
            arrays[variable], of[variable] = values[None, ..., c], field
    if not arrays:
        raise ValueError(f"{place} has no field, an array of shape ({frames}, {len(points)}, components); there are {sorted(group)}")
    dt = given.need(given.dt, "dt", path, "there is no meta.json beside it that says the time between frames")
    times = (given.time or 0.0) + dt * np.arange(frames)
    vectors = Given(fields={f.name: f.variables for f in of.values() if f.components})
    said = given.over(vectors)
    made = part(arrays, of, mesh, given=said, times=times, name=path.parent.name, first=number)
    return made.assign_attrs({"dt": dt, **({MOVING: WORLD} if WORLD in group else {})})


def _static(group: h5py.Group, name: str, path: Path, frames: int) -> NDArray[Any]:
    """An array without its axis of time. Raises ValueError where the first, middle and last frames differ."""
    array = checks.array(group, name, path)
    if array.ndim < 3:
        return np.asarray(array[()])
    if array.ndim > 3 or array.shape[0] not in (1, frames):
        raise ValueError(f"{path}: {array.name} has shape {array.shape}; it needs ({frames} or 1, number, components)")
    first: NDArray[Any] = array[0]
    for t in (array.shape[0] // 2, array.shape[0] - 1):
        if not np.array_equal(array[t], first):
            raise ValueError(f"{path}: {array.name} is another at frame {t} than at 0: meshes that are remade with time are not read")
    return first


def _boundaries(kinds: NDArray[Any], place: str) -> dict[str, NDArray[np.int64]]:
    found = sorted(set(np.unique(kinds).tolist()) - {0})
    strange = [k for k in found if k not in TYPES]
    if strange:
        raise ValueError(f"{place} has node types {strange}, which have no name; known are 0 (fluid) and {TYPES}")
    return {TYPES[int(k)]: np.flatnonzero(kinds == k) for k in found}


def _field(name: str, count: int, dim: int, given: Given, path: Path, place: str) -> Field:
    if count not in (1, dim, 3, dim * dim) or count > len(AXES) ** 2:
        raise ValueError(f"{place}/{name} has {count} components, which is no scalar, vector or tensor in {dim}-D")
    tensor = tuple(a + b for a in AXES[:dim] for b in AXES[:dim])
    labels = () if count == 1 else AXES[:count] if count <= len(AXES) else tensor
    return Field(name, given.unit(name, path, given.units.get("length") if name == WORLD else None), tuple(labels))
