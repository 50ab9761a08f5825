"""Where the values of a case go: to cells as nodes of a mesh, to a grid, or to the points of the mesh.

cells     one node a cell                                              any mesh
box       cells whose centres are all points (x_i, y_j, z_k), or some of them: the others are dry (`Masked`)
points    interpolated as OpenFOAM does it, triangles between them     for pictures
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogates.data.foam.case import Case
from surrogates.data.foam.cells import cells_of
from surrogates.data.foam.field import About
from surrogates.data.foam.grid import grid_of
from surrogates.data.foam.points import OnPoints, field_like, points_of
from surrogates.domains.layout import AnyDomain


@dataclass(frozen=True, eq=False)
class OnCells:
    """The shape of the domain, and the place in it, flattened, of each cell; other places are NaN."""

    shape: tuple[int, ...]
    index: NDArray[np.int64] | None = None

    def take(self, case: Case, about: About, time: float) -> NDArray[np.float32]:
        """(*shape, k), float32."""
        values = field_like(about, case, time, boundary=False).internal(case.count)
        if self.index is None:
            return values.astype(np.float32)
        out = np.full((int(np.prod(self.shape)), values.shape[1]), np.nan, np.float32)
        out[self.index] = values
        return out.reshape(*self.shape, -1)


Placed = OnCells | OnPoints


@dataclass(frozen=True, eq=False)
class Place:
    """`axes` are those the case is not flat along; `patches` the type of each boundary that the domain names."""

    domain: AnyDomain
    placed: Placed
    axes: tuple[int, ...]
    patches: dict[str, str]

    def columns(self, about: About) -> tuple[int, ...]:
        """Which numbers of a value are kept: of a vector those along the axes, of all else each."""
        return self.axes if about.kind == "vector" else tuple(range(max(1, len(about.components))))

    def take(self, case: Case, about: About, time: float) -> NDArray[np.float32]:
        """(*shape, k), float32, all numbers of a value. Raises ValueError where a file is missing, unsound, or no field like `about`."""
        return self.placed.take(case, about, time)


def place(case: Case, kind: str, unjoined: tuple[str, ...] = ()) -> Place:
    """`kind` is "cells", "box" or "points". Raises ValueError where the mesh is not of that kind. The case lets go of its mesh."""
    where = _place(case, kind, unjoined)
    case.let_go()
    return where


def _place(case: Case, kind: str, unjoined: tuple[str, ...]) -> Place:
    if kind == "points":
        domain, placed = points_of(case)
        return Place(domain, placed, placed.axes, placed.patches)
    cells = cells_of(case, unjoined)
    if kind == "box":
        grid, index = grid_of(cells, str(case.path))
        return Place(grid, OnCells(grid.shape, index), cells.axes, cells.kinds)
    mesh = cells.mesh()
    return Place(mesh, OnCells(mesh.shape), cells.axes, cells.kinds)
