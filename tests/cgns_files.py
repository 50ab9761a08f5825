"""CGNS files as its library writes them, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def node(parent: h5py.Group, name: str, label: str, data: Any = None) -> h5py.Group:
    """As the library writes one."""
    kinds = {"i4": "I4", "f4": "R4", "f8": "R8", "i1": "C1"}
    values = np.frombuffer(data.encode(), np.int8) if isinstance(data, str) else None if data is None else np.asarray(data)
    if values is not None and values.dtype == np.int64:
        values = values.astype(np.int32)
    group = parent.create_group(name, track_order=True)
    for key, said, size in (("name", name, 33), ("label", label, 33), ("type", "MT" if values is None else kinds[values.dtype.str[1:]], 3)):
        group.attrs.create(key, np.bytes_(said), dtype=h5py.string_dtype("ascii", size))
    group.attrs["flags"] = np.array([1], np.int32)
    if values is not None:
        group[" data"] = values
    return group


def elements(zone: h5py.Group, name: str, kind: int, first: int, rows: Any, count: int | None = None) -> None:
    flat = np.concatenate([np.ravel(r) for r in rows])
    section = node(zone, name, "Elements_t", [kind, 0])
    node(section, "ElementRange", "IndexRange_t", [first, first + (count or len(rows)) - 1])
    node(section, "ElementConnectivity", "DataArray_t", flat)


def root(path: Path) -> h5py.File:
    f = h5py.File(path, "w", track_order=True)
    for key, said, size in (("name", "HDF5 MotherNode", 33), ("label", "Root Node of HDF5 File", 33), ("type", "MT", 3)):
        f.attrs.create(key, np.bytes_(said), dtype=h5py.string_dtype("ascii", size))
    f[" format"] = np.frombuffer(b"IEEE_LITTLE_32\0", np.int8)
    f[" hdf5version"] = np.frombuffer(b"HDF5 Version 1.10.8".ljust(33, b"\0"), np.int8)
    node(f, "CGNSLibraryVersion", "CGNSLibraryVersion_t", np.array([3.4], np.float32))
    return f


def square(path: Path, *, mixed: bool = False, faces: bool = True) -> Path:
    """Four triangles (or three and a quad) in two rows of points: fields at vertices and in cells, an inlet and walls."""
    with root(path) as f:
        base = node(f, "Base", "CGNSBase_t", [2, 2])
        zone = node(base, "Zone", "Zone_t", [[6], [4 if not mixed else 3], [0]])
        node(zone, "ZoneType", "ZoneType_t", "Unstructured")
        grid = node(zone, "GridCoordinates", "GridCoordinates_t")
        for axis, x in zip("XY", ([0.0, 1, 2, 0, 1, 2], [0.0, 0, 0, 1, 1, 1]), strict=True):
            node(grid, f"Coordinate{axis}", "DataArray_t", np.array(x))
        if mixed:
            elements(zone, "Cells", 20, 1, [[5, 1, 2, 4], [7, 2, 3, 6, 5], [5, 2, 5, 4]], 3)
        else:
            elements(zone, "Cells", 5, 1, [[1, 2, 4], [2, 5, 4], [2, 3, 5], [3, 6, 5]])
        elements(zone, "Left", 3, 4 if mixed else 5, [[1, 4]])
        solution = node(zone, "AtPoints", "FlowSolution_t")
        node(solution, "GridLocation", "GridLocation_t", "Vertex")
        for name, values in (("VelocityX", range(6)), ("VelocityY", range(6, 12)), ("Pressure", range(12, 18))):
            node(solution, name, "DataArray_t", np.array(values, np.float64))
        inside = node(zone, "InCells", "FlowSolution_t")
        node(inside, "GridLocation", "GridLocation_t", "CellCenter")
        node(inside, "Temperature", "DataArray_t", np.arange(3.0 if mixed else 4.0))
        if faces:
            conditions = node(zone, "ZoneBC", "ZoneBC_t")
            inlet = node(conditions, "inlet", "BC_t", "BCInflow")
            node(inlet, "PointList", "IndexArray_t", [[4 if mixed else 5]])
            node(inlet, "GridLocation", "GridLocation_t", "EdgeCenter")
            bottom = node(conditions, "bottom", "BC_t", "BCWall")
            node(bottom, "PointRange", "IndexRange_t", [[1], [3]])
    return path
