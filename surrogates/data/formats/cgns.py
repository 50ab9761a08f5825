"""CGNS in HDF5: one zone without structure, its solution at vertices and in cells, its boundaries. Every node is a group with an attribute
`label`; its data are the array " data" in it (`cgns_nodes`).

    Base (CGNSBase_t): dimension of cells, of space
      Zone (Zone_t): numbers of vertices and cells        ZoneType: Unstructured
        GridCoordinates: CoordinateX, CoordinateY[, CoordinateZ]
        Elements_t: type, ...    ElementRange: first and last number    ElementConnectivity: vertices, from 1    (ElementStartOffset)
        FlowSolution_t: GridLocation (Vertex, unless it says CellCenter), arrays; VelocityX, VelocityY, VelocityZ are one vector
        ZoneBC: BC_t with PointList or PointRange, of vertices, or of elements where GridLocation says so

Cells are the elements of the base's dimension; elements below it are boundaries by the name of their section, as those of BC_t are by
theirs. One solution a file: a series in time is a file a frame. Structured zones, several zones, polyhedra (NGON_n, NFACE_n), several
solutions of one kind and files in ADF are refused with what to do.

Sources: https://cgns.github.io/CGNS_docs_current/hdf5/index.html, https://cgns.github.io/CGNS_docs_current/sids/gridflow.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from surrogates.data.formats import cgns_nodes as nodes
from surrogates.data.formats import checks
from surrogates.data.formats.mesh_frame import Frame
from surrogates.data.mesh_cells import DIMENSION

KINDS = {
    2: ("vertex", 1, 1), 3: ("line", 2, 2), 4: ("line", 2, 3), 5: ("triangle", 3, 3), 6: ("triangle", 3, 6), 7: ("quad", 4, 4),
    8: ("quad", 4, 8), 9: ("quad", 4, 9), 10: ("tetra", 4, 4), 11: ("tetra", 4, 10), 12: ("pyramid", 5, 5), 13: ("pyramid", 5, 14),
    14: ("wedge", 6, 6), 15: ("wedge", 6, 15), 16: ("wedge", 6, 18), 17: ("hexahedron", 8, 8), 18: ("hexahedron", 8, 20),
    19: ("hexahedron", 8, 27), 21: ("pyramid", 5, 13),
}  # fmt: skip
"""Kind, corners (which come first) and vertices of an element by the number of its type."""
MIXED, AXES = 20, "XYZ"
VERTEX, CELLS = "Vertex", "CellCenter"


class Section(NamedTuple):
    """Elements of one kind: the number of each, and its corners, from 0."""

    name: str
    kind: str
    numbers: NDArray[np.int64]
    corners: NDArray[np.int64]


def read(path: Path) -> Frame:
    """Raises ValueError, with file and node, for what is not sound and what is refused."""
    with open(path, "rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            raise ValueError(f"{path} is not HDF5: CGNS of the older form ADF is turned into it by `cgnsconvert -h {path.name} new.cgns`")
    with checks.open_hdf5(path) as f:
        nodes.closed(f, path)
        base = nodes.only(f, "CGNSBase_t", path)
        zone = nodes.only(base, "Zone_t", path)
        if nodes.text(nodes.child(zone, "ZoneType", path), path) != "Unstructured":
            raise ValueError(f"{path}: {zone.name} is structured; write it as a mesh of cells (ParaView: Clean to Grid, then VTU)")
        dim, vertices = int(nodes.numbers(base, path, 2)[0]), int(nodes.numbers(zone, path)[0])
        points = _points(zone, path, vertices)
        sections = [s for g in nodes.labelled(zone, "Elements_t") for s in _sections(g, path, len(points))]
        sections.sort(key=lambda s: int(s.numbers[0]))
        solid = np.sort(np.concatenate([s.numbers for s in sections if DIMENSION.get(s.kind) == dim] or [np.zeros(0, np.int64)]))
        if len(np.unique(solid)) < len(solid):
            raise ValueError(f"{path}: {zone.name} has several elements of one number: the ranges of its sections overlap")
        at = _solutions(zone, path, {VERTEX: vertices, CELLS: len(solid)})
        cells = {name: [_piece(values, s, solid) for s in sections] for name, values in at.get(CELLS, {}).items()}
        return Frame(
            points, [(s.kind, s.corners) for s in sections], at.get(VERTEX, {}), cells, {}, _boundaries(zone, path, sections, dim, vertices)
        )


def _piece(values: NDArray[Any], section: Section, cells: NDArray[np.int64]) -> NDArray[Any]:
    """What a solution in cells, in the order of their numbers, says of a section; nothing of one that is no cells."""
    if not np.isin(section.numbers, cells).all():
        return np.full((len(section.numbers), *values.shape[1:]), np.nan)
    found: NDArray[Any] = values[np.searchsorted(cells, section.numbers)]
    return found


def _points(zone: h5py.Group, path: Path, vertices: int) -> NDArray[np.float64]:
    grid = nodes.only(zone, "GridCoordinates_t", path)
    columns = [nodes.numbers(nodes.child(grid, n, path), path, vertices) for a in AXES if (n := f"Coordinate{a}") in grid]
    if len(columns) < 2:
        raise ValueError(f"{path}: {grid.name} has {sorted(grid)}; CoordinateX and CoordinateY are needed")
    return np.stack([checks.finite(c, f"{path}: {grid.name}") for c in columns], 1)


def _sections(group: h5py.Group, path: Path, vertices: int) -> Iterator[Section]:
    place, name = f"{path}: {group.name}", str(group.name).rpartition("/")[2]
    kind = int(nodes.numbers(group, path)[0])
    first, last = (int(n) for n in nodes.numbers(nodes.child(group, "ElementRange", path), path, 2))
    flat = nodes.integers(nodes.child(group, "ElementConnectivity", path), path)
    count = last - first + 1
    if kind != MIXED and kind not in KINDS:
        raise ValueError(
            f"{place} has elements of type {kind}, of {sorted(KINDS)} and mixed ones; polyhedra are to be cut: write it as VTU"
        )
    if count < 1 or count > len(flat):
        raise ValueError(f"{place}: ElementRange says {first} to {last}, and ElementConnectivity has {len(flat)} numbers")
    rows: dict[int, tuple[list[int], list[int]]] = {}
    if kind == MIXED:
        n = 0
        for k in range(count):
            this = int(flat[n]) if n < len(flat) else 0
            if this not in KINDS or n + 1 + KINDS[this][2] > len(flat):
                raise ValueError(f"{place}: element {first + k} of its mixed ones has type {this}, or ends beyond ElementConnectivity")
            rows.setdefault(this, ([], []))[0].append(first + k)
            rows[this][1].append(n + 1)
            n += 1 + KINDS[this][2]
    else:
        if len(flat) != count * KINDS[kind][2]:
            raise ValueError(f"{place}: {count} elements of {KINDS[kind][2]} vertices are not the {len(flat)} of ElementConnectivity")
        rows[kind] = (list(range(first, last + 1)), list(range(0, len(flat), KINDS[kind][2])))
    for this, (numbers, starts) in rows.items():
        shape, corners, _ = KINDS[this]
        found = flat[np.asarray(starts)[:, None] + np.arange(corners)] - 1
        if int(found.min()) < 0 or int(found.max()) >= vertices:
            raise ValueError(f"{place} names vertex {int(found.max()) + 1 if found.min() >= 0 else int(found.min()) + 1} of {vertices}")
        yield Section(name, shape, np.asarray(numbers, np.int64), found)


def _solutions(zone: h5py.Group, path: Path, sizes: dict[str, int]) -> dict[str, dict[str, NDArray[Any]]]:
    """Arrays by location and name."""
    out: dict[str, dict[str, NDArray[Any]]] = {}
    for group in nodes.labelled(zone, "FlowSolution_t"):
        place = nodes.text(group["GridLocation"], path) if "GridLocation" in group else VERTEX
        if place not in sizes:
            raise ValueError(f"{path}: {group.name} lies at {place!r}; {VERTEX} and {CELLS} are read")
        if place in out:
            raise ValueError(f"{path} holds several solutions at {place}; write each step into a file of its own, numbered")
        out[place] = _vectors({n: nodes.numbers(g, path, sizes[place]) for n, g in nodes.named(group, "DataArray_t")})
    return out


def _vectors(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Components whose names end in X, Y[, Z] as one array (entry, component)."""
    out: dict[str, NDArray[Any]] = {}
    for name, values in columns.items():
        stem, last = name[:-1], name[-1:]
        axes = [a for a in AXES if f"{stem}{a}" in columns]
        if stem and last in axes and axes[:2] == ["X", "Y"]:
            out.setdefault(stem, np.stack([columns[f"{stem}{a}"] for a in axes], 1))
        else:
            out[name] = values
    return out


def _boundaries(zone: h5py.Group, path: Path, sections: list[Section], dim: int, vertices: int) -> dict[str, NDArray[np.int64]]:
    """Vertices of the boundaries by name: those of conditions, or of sections below the dimension of cells where there are none."""
    out: dict[str, NDArray[np.int64]] = {}
    most = max([vertices, *(int(s.numbers[-1]) for s in sections)])
    for group in nodes.labelled(zone, "ZoneBC_t"):
        for name, bc in nodes.named(group, "BC_t"):
            place = nodes.text(bc["GridLocation"], path) if "GridLocation" in bc else VERTEX
            chosen = np.concatenate(
                [nodes.integers(bc[n], path) for n in ("PointList", "ElementList") if n in bc] or [_range(bc, path, most)]
            )
            if place != VERTEX or "ElementList" in bc or "ElementRange" in bc:
                chosen = np.concatenate([s.corners[np.isin(s.numbers, chosen)].ravel() for s in sections] or [chosen]) + 1
            if len(chosen) and (int(chosen.min()) < 1 or int(chosen.max()) > vertices):
                raise ValueError(f"{path}: {bc.name} names vertices {int(chosen.min())} to {int(chosen.max())}, and there are {vertices}")
            out[name] = np.unique(chosen - 1)
    if out:
        return out
    below: dict[str, list[NDArray[np.int64]]] = {}
    for s in sections:
        if 0 < DIMENSION.get(s.kind, 0) < dim:
            below.setdefault(s.name, []).append(s.corners.ravel())
    return {name: np.unique(np.concatenate(parts)) for name, parts in below.items()}


def _range(bc: h5py.Group, path: Path, most: int) -> NDArray[np.int64]:
    found = next((bc[n] for n in ("PointRange", "ElementRange") if n in bc), None)
    if found is None:
        raise ValueError(f"{path}: {bc.name} has neither PointList nor PointRange; it has {sorted(bc)}")
    first, last = (int(n) for n in nodes.numbers(found, path, 2))
    if not 0 < first <= last <= most:
        raise ValueError(f"{path}: {found.name} says {first} to {last}, and there are {most}")
    return np.arange(first, last + 1)
