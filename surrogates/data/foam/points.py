"""The points of a mesh as nodes, with triangles between them: for pictures, and for networks that want corners.

    node       a point; of a case that is one cell thick those of one side, in the plane
    edge       an edge of a face
    cell       triangles: of the plane's faces, or of the boundary in three dimensions
    measure    the volume of each cell (area in the plane), in equal shares to its points

Values in cells are interpolated with weights 1/distance, at a point on the boundary from the faces of the boundary alone, as OpenFOAM's
volPointInterpolation does; distances in a flat case are taken in its plane. Fields at points are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.data.foam.case import Case
from surrogates.data.foam.field import About, Field
from surrogates.data.foam.patches import CYCLIC, FLAT, Patch
from surrogates.data.foam.polymesh import Floats, PolyMesh, Whole
from surrogates.domains import Mesh
from surrogates.domains.mesh_edges import both_ways


@dataclass(frozen=True, eq=False)
class OnPoints:
    """`ids` are the points that are nodes; `weights` takes cells, then faces of `sides`, to them. `mesh` holds nothing computed."""

    mesh: PolyMesh
    ids: Whole
    sides: tuple[Patch, ...]
    weights: Any
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.ids),)

    @property
    def patches(self) -> dict[str, str]:
        return {p.name: p.type for p in self.sides}

    def take(self, case: Case, about: About, time: float) -> NDArray[np.float32]:
        """(node, k), float32. Raises ValueError where a patch has no value, and for fields on faces."""
        found = field_like(about, case, time)
        if about.location == "point":
            return found.internal(len(self.mesh.points))[self.ids].astype(np.float32)
        values = np.concatenate([found.internal(self.mesh.cells), *(found.patch(self.mesh, p.name) for p in self.sides)])
        out: NDArray[np.float32] = (self.weights @ values).astype(np.float32)
        return out


def points_of(case: Case) -> tuple[Mesh, OnPoints]:
    """Raises ValueError where only parts of the mesh are there (processor folders)."""
    mesh = case.mesh
    axes = tuple(a for a in range(3) if a not in mesh.flat)
    used = np.zeros(len(mesh.points), bool)
    used[mesh.corners] = True
    for axis in mesh.flat:
        x = mesh.points[:, axis]
        used &= x < (x.min() + x.max()) / 2
    (ids,) = np.nonzero(used)
    node = np.full(len(mesh.points), -1)
    node[ids] = np.arange(len(ids))
    sides = tuple(p for p in mesh.patches if p.type not in FLAT)
    corner, after, face = _around(mesh)
    edges = node[np.stack([corner, after])]
    domain = Mesh(
        torch.from_numpy(mesh.points[ids][:, list(axes)]),
        both_ways(torch.from_numpy(edges[:, (edges >= 0).all(0) & (edges[0] != edges[1])]), len(ids)),
        torch.from_numpy(_shares(mesh, node, face)),
        _triangles(mesh, node),
        torch.from_numpy(_markers(mesh, sides, node)),
        tuple(p.name for p in sides),
        units="m",
    )
    return domain, OnPoints(replace(mesh), ids, sides, _weights(mesh, sides, node, face, axes), axes)


def field_like(about: About, case: Case, time: float, *, boundary: bool = True) -> Field:
    """A field. Raises ValueError where it is of another kind or in other units than `about` says."""
    found = case.field(about.name, time, boundary=boundary)
    if found.about != about:
        here, there = (f"a {a.kind} of {a.location} in {a.units!r}" for a in (found.about, about))
        raise ValueError(f"{found.path}: is {here}, and at other times {there}; leave out the times that differ")
    return found


def _around(mesh: PolyMesh) -> tuple[Whole, Whole, Whole]:
    """Of each corner of each face: the point, the next one around the face, and the face."""
    face = np.repeat(np.arange(len(mesh.owner)), np.diff(mesh.begins))
    following = np.arange(1, len(mesh.corners) + 1)
    following[mesh.begins[1:] - 1] = mesh.begins[:-1]
    return mesh.corners, mesh.corners[following], face


def _of_cells(mesh: PolyMesh, node: Whole, face: Whole) -> tuple[Whole, Whole]:
    """All pairs (cell, node) of a cell and a node at one of its corners, once each."""
    at = node[mesh.corners]
    inside = (face < mesh.inside) & (at >= 0)
    cell = np.concatenate([mesh.owner[face[at >= 0]], mesh.neighbour[face[inside]]])
    key = np.unique(cell * (node.max() + 1) + np.concatenate([at[at >= 0], at[inside]]))
    return key // (node.max() + 1), key % (node.max() + 1)


def _shares(mesh: PolyMesh, node: Whole, face: Whole) -> Floats:
    thickness = np.prod([np.ptp(mesh.points[:, a]) for a in mesh.flat])
    cell, at = _of_cells(mesh, node, face)
    shares: Floats = np.bincount(at, (mesh.volumes / thickness / np.bincount(cell))[cell]).astype(np.float64)
    return shares


def _triangles(mesh: PolyMesh, node: Whole) -> torch.Tensor:
    """Fans of the faces in the plane of the nodes, or of all faces of the boundary."""
    kinds = ("empty",) if mesh.flat else tuple({p.type for p in mesh.patches})
    faces = np.concatenate([np.zeros(0, np.int64), *(np.arange(p.start, p.start + p.size) for p in mesh.patches if p.type in kinds)])
    out = []
    for n in np.unique(np.diff(mesh.begins)[faces]):
        at = node[mesh.corners[mesh.begins[faces[np.diff(mesh.begins)[faces] == n], None] + np.arange(n)]]
        at = at[(at >= 0).all(1)]
        out += [at[:, [0, k, k + 1]] for k in range(1, n - 1)]
    return torch.from_numpy(np.concatenate(out))


def _markers(mesh: PolyMesh, sides: tuple[Patch, ...], node: Whole) -> Whole:
    markers = np.zeros(node.max() + 1, np.int64)
    for number, p in enumerate(sides, start=1):
        at = node[mesh.corners[mesh.begins[p.start] : mesh.begins[p.start + p.size]]]
        markers[at[at >= 0]] = number
    return markers


def _weights(mesh: PolyMesh, sides: tuple[Patch, ...], node: Whole, face: Whole, axes: tuple[int, ...]) -> Any:
    """(node, cells + faces of sides), rows that add up to one, sparse."""
    from scipy.sparse import coo_matrix, diags

    cell, at = _of_cells(mesh, node, face)
    columns, rows, centres = [cell], [at], [mesh.centres[cell]]
    fixed, first = np.zeros(node.max() + 1, bool), mesh.cells
    for p in sides:
        here = slice(mesh.begins[p.start], mesh.begins[p.start + p.size])
        corners, of = node[mesh.corners[here]], face[here]
        if p.type not in CYCLIC:
            fixed[corners[corners >= 0]] = True
            columns.append(first + (of - p.start)[corners >= 0])
            rows.append(corners[corners >= 0])
            centres.append(mesh.faces.centres[of[corners >= 0]])
        first += p.size
    row, column = np.concatenate(rows), np.concatenate(columns)
    kept = (column >= mesh.cells) | ~fixed[row]
    place = np.zeros((node.max() + 1, 3))
    place[node[node >= 0]] = mesh.points[node >= 0]
    distance = np.linalg.norm((np.concatenate(centres) - place[row])[:, list(axes)], axis=1)
    raw = coo_matrix((1 / np.maximum(distance[kept], 1e-30), (row[kept], column[kept])), shape=(node.max() + 1, first)).tocsr()
    return diags(1 / np.asarray(raw.sum(1)).ravel()) @ raw
