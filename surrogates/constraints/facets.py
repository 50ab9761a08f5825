"""The boundary of a mesh of simplices: facets that belong to one cell only, with their outward area vectors.

The area vector n of a facet with corners x_1..x_D is normal to x_2 - x_1, .., x_D - x_1, as long as the facet is large, and points away
from the corner of its cell that it lacks: n = -D V grad(lambda), with V the volume of the cell and lambda the barycentric coordinate of
that corner. Those of a whole closed boundary sum to zero, and the sum of n . v over it is the integral of div v for linear v.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.domains import Mesh
from surrogates.domains.kept import kept
from surrogates.domains.mesh_edges import nearest_image


class Facets(NamedTuple):
    """Corners and outward area vectors, in units^(D-1)."""

    corners: Int[Tensor, "facet D"]
    areas: Float[Tensor, "facet D"]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def boundary_facets(mesh: Mesh) -> Facets:
    """The boundary of a mesh whose cells fill its space. Raises ValueError for a cloud, a surface or a curve."""
    return _facets(mesh)


@lru_cache(maxsize=16)
def _facets(mesh: Mesh) -> Facets:
    if mesh.cells is None or mesh.cells.shape[1] != mesh.dim + 1:
        raise ValueError(f"a boundary with normals needs cells of {mesh.dim + 1} corners that fill the {mesh.dim}-D space of {mesh}")
    with kept():
        d, cells = mesh.dim, mesh.cells
        parts = [(cells[:, [j for j in range(d + 1) if j != i]], cells[:, i]) for i in range(d + 1)]
        corners = torch.cat([facet.sort(1).values for facet, _ in parts])
        opposite = torch.cat([lone for _, lone in parts])
        _, which, counts = torch.unique(corners, dim=0, return_inverse=True, return_counts=True)
        alone = counts[which] == 1
        corners, opposite = corners[alone], opposite[alone]
        return Facets(corners, _outward(mesh, corners, opposite))


def _outward(mesh: Mesh, corners: Tensor, opposite: Tensor) -> Float[Tensor, "facet D"]:
    """-D V grad(lambda): row 0 of the inverse of the edge vectors from the first corner, the opposite corner's first."""
    x, d = mesh.points, mesh.dim
    others = torch.cat([opposite[:, None], corners[:, 1:]], 1)
    spans = nearest_image(x[others] - x[corners[:, :1]], mesh.periods)  # (facet, D, D), rows are vectors
    volumes = torch.linalg.det(spans).abs() / factorial(d)
    gradient = torch.linalg.inv(spans)[:, :, 0]  # spans @ gradient = (1, 0, ..)
    areas: Tensor = -d * volumes[:, None] * gradient
    return areas
