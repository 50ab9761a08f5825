"""Values in cells of one mesh, as they are at the centres of another: linear in triangles, which is second order as the values are.

The triangles (Delaunay) lie between the centres of cells and points on the boundary, the *rim*, where the values are the boundary's: a
velocity falls to zero on a wall, and a place beside the wall sees that. Triangles within a body join what the body parts: a place in one
has the value of the nearest point, as have places outside of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from surrogates.data.cases.outline import inside

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scattered:
    """Centres of cells, points of the rim, and the outlines of bodies."""

    centres: Float[np.ndarray, "cell 2"]
    rim: Float[np.ndarray, "rim 2"]
    bodies: Sequence[Array] = ()

    def at(
        self, wanted: Float[np.ndarray, "place 2"], values: Float[np.ndarray, "cell k"], on_rim: Float[np.ndarray, "rim k"]
    ) -> Float[np.ndarray, "place k"]:
        """Linear between centres and rim; exact for what is linear up to the boundary."""
        from scipy.spatial import Delaunay, cKDTree

        points, every = np.concatenate([self.centres, self.rim]), np.concatenate([values, on_rim])
        triangles = Delaunay(points)
        found = triangles.find_simplex(wanted)
        corners = triangles.simplices[found]
        middle = points[corners].mean(1)
        gone = found < 0
        for outline in self.bodies:
            gone |= inside(middle, outline)
        affine = triangles.transform[found]
        first = np.einsum("nij,nj->ni", affine[:, :2], wanted - affine[:, 2])
        weights = np.concatenate([first, 1 - first.sum(1, keepdims=True)], 1)
        gone |= ~np.isfinite(weights).all(1)  # a triangle without area
        out: Array = np.einsum("ni,nik->nk", np.where(gone[:, None], 0.0, weights), every[corners])
        if gone.any():
            out[gone] = every[cKDTree(points).query(wanted[gone])[1]]
        return out
