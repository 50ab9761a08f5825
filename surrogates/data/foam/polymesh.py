"""constant/polyMesh: points, faces as loops of points, the cells on both sides of each face, and patches of the boundary.

    points      (P, 3) m                 faces      loops of points, normals from owner to neighbour
    owner       (F,) cell                neighbour  (I,) cell, of the I faces inside, which come first
    boundary    patches: type, nFaces, startFace; they fill the faces from I to F without a gap

Source: OpenFOAM User Guide v1912, 4.1 "Mesh description".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam import geometry, lists, source
from surrogates.data.foam.header import Header, read_header
from surrogates.data.foam.patches import Patch, read_patches
from surrogates.data.foam.tokens import Cursor

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
FEWEST = 4
"""Faces of the smallest cell."""


@dataclass(frozen=True, eq=False)
class PolyMesh:
    """A mesh of polyhedra. Lengths are in metres. Raises ValueError, with the folder, for parts that do not belong together."""

    points: Floats
    begins: Whole
    corners: Whole
    owner: Whole
    neighbour: Whole
    patches: tuple[Patch, ...]
    path: Path

    def __post_init__(self) -> None:
        faces, inside, points = len(self.begins) - 1, len(self.neighbour), len(self.points)
        if len(self.owner) != faces or inside > faces:
            self._fail(f"{faces} faces, {len(self.owner)} owners and {inside} neighbours do not belong together")
        if not faces or not points or not np.isfinite(self.points).all():
            self._fail("a mesh needs faces, and points that are finite")
        if (np.diff(self.begins) < 3).any() or self.corners.min() < 0 or self.corners.max() >= points:
            self._fail(f"every face needs 3 corners or more among the points 0 to {points - 1}")
        both = np.concatenate([self.owner, self.neighbour])
        if both.min() < 0 or FEWEST * (int(both.max()) + 1) > len(both):
            self._fail(f"cells {both.min()} to {both.max()} are named, and {len(both)} sides of faces make {len(both) // FEWEST} at most")
        if (np.bincount(both) < FEWEST).any() or (self.owner[:inside] == self.neighbour).any():
            self._fail(f"every cell needs {FEWEST} faces or more, each with another cell or the boundary behind it")
        at = inside
        for patch in self.patches:
            if patch.start != at or patch.size < 0:
                self._fail(f"patch {patch.name!r} begins at face {patch.start} with {patch.size} faces; {at} is where the last one ends")
            at += patch.size
        if at != faces:
            self._fail(f"the patches end at face {at} and the mesh at {faces}")

    def _fail(self, message: str) -> None:
        raise ValueError(f"{self.path}: {message}; was the mesh copied whole, and while nothing wrote it?")

    @property
    def cells(self) -> int:
        """The number of cells."""
        return int(self.owner.max()) + 1

    @property
    def inside(self) -> int:
        """The number of faces between two cells."""
        return len(self.neighbour)

    @cached_property
    def faces(self) -> geometry.Faces:
        """Centres (F, 3) in m and areas (F, 3) in m2, normal to the face."""
        return geometry.faces(self.points, self.begins, self.corners)

    @cached_property
    def _solid(self) -> tuple[Floats, Floats]:
        return geometry.cells(self.faces, self.owner, self.neighbour, self.cells)

    @property
    def centres(self) -> Floats:
        """(N, 3), m."""
        return self._solid[0]

    @property
    def volumes(self) -> Floats:
        """(N,), m3."""
        return self._solid[1]

    def patch(self, name: str) -> Patch:
        """Raises ValueError with the names that exist."""
        for patch in self.patches:
            if patch.name == name:
                return patch
        raise ValueError(f"{self.path}: there is no patch {name!r} among {[p.name for p in self.patches]}")

    @cached_property
    def flat(self) -> tuple[int, ...]:
        """The axes along which the mesh is one cell thick, of type `empty`. Raises ValueError where they are no axes of x, y, z."""
        normals = [np.abs(self.faces.areas[p.faces]).sum(0) for p in self.patches if p.type == "empty" and p.size]
        total = np.sum(normals, 0) if normals else np.zeros(3)
        axes = tuple(int(a) for a in np.flatnonzero(total > 1e-6 * max(float(total.sum()), np.finfo(float).tiny)))
        sides = np.concatenate([np.zeros(0, np.int64), *(self.owner[p.faces] for p in self.patches if p.type == "empty")])
        if axes and (len(axes) > 2 or (np.bincount(sides, minlength=self.cells) != 2 * len(axes)).any()):
            self._fail(f"its empty patches have normals along the axes {axes}; they must lie across one axis, two faces to each cell")
        return axes


def read_mesh(folder: Path, points: Path | None = None) -> PolyMesh:
    """The mesh in a folder polyMesh, with `points` from elsewhere where they moved. Raises ValueError for what is missing or not sound."""
    begins, corners = _raw(folder / "faces", ("faceList", "faceCompactList"))
    owner, neighbour = (_raw(folder / name, ("labelList",)) for name in ("owner", "neighbour"))
    inside = np.asarray(neighbour, np.int64)
    outside = np.flatnonzero(inside < 0)  # old files give -1 for the faces of the boundary
    return PolyMesh(
        np.asarray(_raw(points or folder / "points", ("vectorField",)), np.float64),
        begins,
        corners,
        np.asarray(owner, np.int64),
        inside[: outside[0]] if len(outside) and (inside[outside[0] :] == -1).all() else inside,
        read_patches(folder / "boundary"),
        folder,
    )


def read_labels(path: Path) -> Whole:
    """A file of whole numbers, such as cellProcAddressing."""
    return np.asarray(_raw(path, ("labelList", "labelIOList")), np.int64)


def _raw(path: Path, kinds: tuple[str, ...]) -> Any:
    """A file that is one list."""
    cursor = Cursor(source.load(path), path)
    header: Header = read_header(cursor)
    if header.kind not in kinds:
        cursor.fail(f"class is {header.kind!r}, and {' or '.join(kinds)} is needed", 0)
    if kinds[0] == "faceList":
        found: Any = lists.faces(cursor, header)
    else:
        found = lists.read(cursor, "vector" if kinds[0] == "vectorField" else "label", header)
    if cursor.peek():
        cursor.fail(f"the list is over and {cursor.shown()} follows")
    return found
