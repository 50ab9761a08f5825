"""Drag and lift from what is stored in the cells beside a wall, so that a surrogate's forecast can be asked for them.

    F = sum over cells of  p S + nu |S| (U - n (n . U)) / d,      S = |S| n

S is the area of the wall beside a cell per depth, pointing into the body, d the distance of the cell's centre from it. The pressure at the
wall is that of the cell and the stress the one-sided difference, tangential because U vanishes on the wall: what OpenFOAM's `forces`
takes, but for the part of the gradient along the wall. Data sets of cases store S and d as static fields.

Source: OpenFOAM v1912, src/functionObjects/forces/forces/forces.C, https://develop.openfoam.com/Development/openfoam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from surrogates.domains import Mesh
from surrogates.fields import Field, Fields
from surrogates.interchange import domain_of

AREA = Field("body_area", "m", ("x", "y"), long_name="area of the body beside the cell, per depth, into the body")
DISTANCE = Field("body_distance", "m", long_name="distance of the cell from the body beside it, 0 where there is none")
STATIC = Fields((AREA, DISTANCE))
BODY = "obstacle"


@dataclass(frozen=True)
class Wall:
    """Where the cells of a mesh touch bodies: `cells`, areas S and distances d of each."""

    cells: Tensor
    area: Float[Tensor, "cell 2"]
    distance: Float[Tensor, " cell"]

    @classmethod
    def of(cls, part: xr.Dataset, body: str = "") -> Wall:
        """From the static fields of a data set of cases: of one body, such as "obstacle1", or of all together.

        Raises ValueError for a Dataset that lies on no mesh or has no such fields.
        """
        mesh = domain_of(part)
        missing = [v for f in STATIC for v in f.variables if v not in part]
        if missing or not isinstance(mesh, Mesh):
            raise ValueError(f"forces need the static fields {[f.name for f in STATIC]} on a mesh, and the Dataset lacks {missing}")
        area = torch.from_numpy(np.stack([_row(part, v) for v in AREA.variables], 1))
        distance = torch.from_numpy(_row(part, DISTANCE.name))
        near = distance > 0
        if body:
            near &= mesh.boundary(body)
        (cells,) = near.nonzero(as_tuple=True)
        return cls(cells, area[cells], distance[cells])

    def force(
        self, u: Float[Tensor, "*lead C node"], fields: Fields, viscosity: float | Float[Tensor, "*lead"]
    ) -> Float[Tensor, "*lead part 2"]:
        """The pressure and viscous parts, (x, y), of the force per depth and density, m3 s-2 in float64, for every state.

        `fields` names `velocity` (m s-1) and `pressure` (over the density, m2 s-2). Raises KeyError where they are not among them.
        """
        near = u.index_select(-1, self.cells.to(u.device)).double()
        area, distance = self.area.double().to(u.device), self.distance.double().to(u.device)
        size = area.norm(dim=1)
        normal = area / size[:, None]
        velocity, pressure = near[..., fields.slice("velocity"), :], near[..., fields.slice("pressure"), :]
        along = velocity - normal.T * (velocity * normal.T).sum(-2, keepdim=True)
        nu = torch.as_tensor(viscosity, dtype=torch.float64, device=u.device)[..., None, None]
        return torch.stack([(pressure * area.T).sum(-1), (nu * along * (size / distance)).sum(-1)], -2)


def coefficients(
    force: Float[Tensor, "*lead part 2"], speed: float | Float[Tensor, "*lead"], size: float | Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead 2"]:
    """Drag and lift: 2 F / (speed^2 size)."""
    scale = torch.as_tensor(speed, dtype=torch.float64) ** 2 * torch.as_tensor(size, dtype=torch.float64)
    return 2 * force.sum(-2) / scale[..., None].to(force.device)


def _row(part: xr.Dataset, name: str) -> NDArray[np.float32]:
    """A static variable of a part with one trajectory, or one that all share."""
    values = np.asarray(part[name].values, np.float32)
    row: NDArray[np.float32] = values.reshape(-1, values.shape[-1])[0]
    return row
