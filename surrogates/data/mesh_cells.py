"""Cells of any kind as simplices, and data in cells as data at nodes.

A quadrilateral is cut along the diagonal that leaves the larger smallest triangle, so that one that is not convex is cut inside; pyramids,
wedges and hexahedra along fixed diagonals into 2, 3 and 6 tetrahedra (numbered as VTK has it). Of curved cells the corners are kept. The
neighbours of a node are then the corners of its simplices, which is denser than the sides of the cells by their diagonals.

Data in cells become data at nodes in one of two ways:

    nodes      u_i = sum_c V_c u_c / sum_c V_c over the cells c at node i: second order inside, half a cell inwards at the boundary
    centres    nodes are the centres of the cells, neighbours those that share a side, measures the cells' volumes: nothing is lost
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.domains import Mesh
from surrogates.domains.mesh_edges import both_ways

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DIMENSION = {"line": 1, "triangle": 2, "quad": 2, "polygon": 2, "tetra": 3, "pyramid": 3, "wedge": 3, "hexahedron": 3}
CORNERS = {"line": 2, "triangle": 3, "quad": 4, "tetra": 4, "pyramid": 5, "wedge": 6, "hexahedron": 8}
_TETRAHEDRA = {
    "tetra": ((0, 1, 2, 3),),
    "pyramid": ((0, 1, 2, 4), (0, 2, 3, 4)),
    "wedge": ((0, 1, 2, 5), (0, 1, 4, 5), (0, 3, 4, 5)),
    "hexahedron": ((0, 1, 2, 6), (0, 1, 5, 6), (0, 3, 2, 6), (0, 3, 7, 6), (0, 4, 5, 6), (0, 4, 7, 6)),
}
_SIDES = {
    "line": ((0,), (1,)),
    "triangle": ((0, 1), (1, 2), (2, 0)),
    "quad": ((0, 1), (1, 2), (2, 3), (3, 0)),
    "tetra": ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3)),
    "pyramid": ((0, 1, 2, 3), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)),
    "wedge": ((0, 1, 2), (3, 4, 5), (0, 1, 4, 3), (1, 2, 5, 4), (2, 0, 3, 5)),
    "hexahedron": ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)),
}


def kind_of(name: str, place: str) -> str:
    """The plain kind of a kind of meshio's: "triangle" of "triangle6". Raises ValueError for one that has no simplices here."""
    plain = name.rstrip("0123456789")
    if plain not in DIMENSION:
        raise ValueError(f"{place} has cells of the kind {name!r}; only {', '.join(DIMENSION)} are read")
    return plain


def simplices(kind: str, cells: Ints, points: Floats) -> tuple[Ints, Ints]:
    """The simplices of cells of one plain kind, and of which cell each is a part."""
    count = len(cells)
    if kind in ("line", "triangle"):
        return cells[:, : CORNERS[kind]], np.arange(count)
    if kind == "quad":
        return _quads(cells[:, :4], points), np.repeat(np.arange(count), 2)
    if kind == "polygon":
        fans = [cells[:, [0, i, i + 1]] for i in range(1, cells.shape[1] - 1)]
        return np.stack(fans, 1).reshape(-1, 3), np.repeat(np.arange(count), len(fans))
    table = np.array(_TETRAHEDRA[kind])
    return cells[:, table].reshape(-1, 4), np.repeat(np.arange(count), len(table))


def _quads(cells: Ints, points: Floats) -> Ints:
    ways = np.array([[[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]]])
    corners = points[cells]  # (cell, 4, D)
    first = corners[:, ways[..., 0]]
    u, v = corners[:, ways[..., 1]] - first, corners[:, ways[..., 2]] - first
    if points.shape[1] == 2:
        areas = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
        areas = areas * np.sign(areas.sum(-1, keepdims=True))  # an area outside of the cell counts as negative
    else:
        areas = np.linalg.norm(np.cross(u, v), axis=-1)
    best = areas.min(-1).argmax(1)
    return np.take_along_axis(cells[:, None], ways[best].reshape(-1, 1, 6), 2).reshape(-1, 3)


def volumes_of(points: Floats, corners: Ints) -> Floats:
    """Of simplices that fill the space of their points."""
    spans = points[corners[:, 1:]] - points[corners[:, :1]]
    gram = spans @ spans.transpose(0, 2, 1)
    factorial = float(np.prod(np.arange(1, corners.shape[1])))
    result: Floats = np.sqrt(np.maximum(np.linalg.det(gram), 0.0)) / factorial
    return result


def to_nodes(values: NDArray[Any], owner: Ints, corners: Ints, volume: Floats, nodes: int) -> NDArray[Any]:
    """Values of cells (cell, ...) averaged onto nodes by volume; `owner` is the cell of each simplex."""
    weight = np.repeat(volume, corners.shape[1])
    flat = corners.reshape(-1)
    total = np.bincount(flat, weight, nodes)
    wide = values[np.repeat(owner, corners.shape[1])].reshape(len(flat), -1).astype(np.float64)
    sums = np.stack([np.bincount(flat, weight * column, nodes) for column in wide.T], 1)
    return np.asarray(sums / total[:, None]).reshape(nodes, *values.shape[1:]).astype(values.dtype)


def centred(points: Floats, blocks: Sequence[tuple[str, Ints]], boundary: Mapping[str, Ints] | None = None, units: str = "1") -> Mesh:
    """The mesh of cells' centres; `blocks` are (plain kind, cells), `boundary` cells by name. Raises ValueError for polygons."""
    centres, measure, keys, owners, start = [], [], [], [], 0
    for kind, cells in blocks:
        if kind not in _SIDES:
            raise ValueError(f"cells of the kind {kind!r} have no table of sides; average their data onto nodes instead")
        corners, owner = simplices(kind, cells, points)
        volume = volumes_of(points, corners)
        total = np.bincount(owner, volume, len(cells))
        middle = points[corners].mean(1)
        moments = [np.bincount(owner, volume * middle[:, a], len(cells)) for a in range(points.shape[1])]
        centres.append(np.stack(moments, 1) / total[:, None])
        measure.append(total)
        for side in _SIDES[kind]:
            key = np.full((len(cells), 4), -1, np.int64)
            key[:, : len(side)] = np.sort(cells[:, side], 1)
            keys.append(key)
            owners.append(start + np.arange(len(cells)))
        start += len(cells)
    key, own = np.concatenate(keys), np.concatenate(owners)
    order = np.lexsort(key.T[::-1])
    key, own = key[order], own[order]
    shared = (key[1:] == key[:-1]).all(1)
    pairs = torch.from_numpy(np.stack([own[:-1][shared], own[1:][shared]]))
    markers = torch.zeros(start, dtype=torch.long)
    for k, cells in enumerate((boundary or {}).values(), start=1):
        markers[torch.from_numpy(cells)] = k
    x = torch.from_numpy(np.concatenate(centres))
    size = torch.from_numpy(np.concatenate(measure))
    return Mesh(x, both_ways(pairs, start), size, None, markers, tuple(boundary or ()), units=units)
