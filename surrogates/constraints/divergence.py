"""Helmholtz-Hodge projection: u - grad p with div grad p = div u, the divergence-free field nearest to u, on every kind of domain.

div is everywhere the adjoint of -grad under the domain's measure. Then grad p is the gradient nearest to u, what stays is orthogonal to
all gradients, and the projection is orthogonal: applied twice it is itself, and nothing nearer to u is free of divergence. Nothing flows
through walls, coasts and the boundary of a mesh, as there no gradient is left out. Flows without divergence and without vorticity stay:
the mean flow of a periodic box, through a channel, around an island. How derivatives are taken is said in

    divergence_periodic   Box, periodic on every axis    Fourier series
    divergence_walls      Box with walls                 sine and cosine series, flows through faces where cells are stretched
    divergence_masked     Masked                         flows through the faces between wet cells
    divergence_sphere     Sphere                         vector spherical harmonics
    divergence_mesh       Mesh of cells                  finite elements, linear in each cell

Only the correction is computed, so a field that holds the law is changed by the rounding of its defect, not of itself.
Source: Chorin and Marsden, A Mathematical Introduction to Fluid Mechanics, 1993, section 1.3, https://doi.org/10.1007/978-1-4612-0883-9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints import divergence_masked, divergence_mesh, divergence_periodic, divergence_sphere, divergence_walls
from surrogates.constraints.channels import Channels
from surrogates.constraints.fixed import Fixed
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.domains.ends import check_closed
from surrogates.fields import Fields
from surrogates.record import recorded


class Method(NamedTuple):
    """(v, domain, names of open boundaries) -> v (B, D, *X) less its gradient part, and ||div v|| / ||grad v|| (G, 1)."""

    project: Callable[[Tensor, Any, tuple[str, ...]], Tensor]
    defect: Callable[[Tensor, Any, tuple[str, ...]], Tensor]


PERIODIC = Method(lambda v, box, _: v - divergence_periodic.compressive(v, box), lambda v, box, _: divergence_periodic.defect(v, box))
WALLS = Method(lambda v, box, _: v - divergence_walls.compressive(v, box), lambda v, box, _: divergence_walls.defect(v, box))
MASKED = Method(lambda v, sea, _: divergence_masked.project(v, sea), lambda v, sea, _: divergence_masked.defect(v, sea))
SPHERE = Method(lambda v, globe, _: v - divergence_sphere.compressive(v, globe), lambda v, globe, _: divergence_sphere.defect(v, globe))
MESH = Method(lambda v, mesh, names: v - divergence_mesh.compressive(v, mesh, names), divergence_mesh.defect)
METHODS: dict[type, Method] = {Box: WALLS, Masked: MASKED, Sphere: SPHERE, Mesh: MESH}

EAST_FIRST = {"u", "x", "e", "east", "eastward", "zonal", "lon", "longitude"}


@recorded
class DivergenceFree(Fixed):
    """div u = 0 for the vector field named `field` of `fields`: one component an axis, two or three, in the order of the axes.

    On a sphere that is northward, then eastward. Fluid may pass the boundaries of a mesh that `open_boundaries` names (inlet, outlet);
    walls, coasts and other boundaries are closed, and a Box with open ends, through which the mean flow goes, is refused. Other channels
    come back as they went in.

    Raises KeyError for an unknown field and ValueError for one that is not a vector of two or three components on a single level, or, when
    called, for a domain of another dimension, for open boundaries that it does not name, and for an eastward component that comes first.
    """

    def __init__(self, fields: Fields, field: str = "velocity", *, open_boundaries: tuple[str, ...] = ()) -> None:
        entry = fields[field]
        if len(entry.components) not in (2, 3) or entry.levels:
            raise ValueError(
                f"{field!r} has components {entry.components} and levels {entry.levels}; a divergence needs the two or three components "
                f"of a vector, such as Field({field!r}, components=('x', 'y')), without levels"
            )
        self.field, self.components, self.channels = field, entry.components, Channels.of(fields, field)
        self.open_boundaries = tuple(open_boundaries)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G 0"], conditions: Conditions) -> Float[Tensor, "G 1"]:
        """||div u|| / ||grad u|| with the derivatives of the projection: dimensionless, float64; 0 for a uniform flow that may pass."""
        v, method = self._given(u, conditions.domain)
        return method.defect(v, conditions.domain, self.open_boundaries)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G 0"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The nearest field that holds the law; transforms in u's own precision (float32 for half types), sparse solves in float64."""
        v, method = self._given(u, conditions.domain)
        return self.channels.put(u, method.project(v, conditions.domain, self.open_boundaries))

    def _given(self, u: Tensor, domain: Domain) -> tuple[Tensor, Method]:
        """The vector, half types as float32, and how it is differentiated, all checked."""
        v, d = self.channels.cut(u), len(self.components)
        v = v if v.dtype in (torch.float32, torch.float64) else v.float()
        if not isinstance(domain, Box | Masked | Sphere | Mesh):
            raise ValueError(f"no divergence is known on a {type(domain).__name__}; there is one on {[t.__name__ for t in METHODS]}")
        if isinstance(domain, Masked) and not isinstance(domain.box, Box):
            raise ValueError(f"no divergence is known on the wet part of a {type(domain.box).__name__}; there is one on that of a Box")
        if domain.dim != d:
            raise ValueError(f"{self.field!r} has {d} components but the domain has {domain.dim} axes; one component an axis is needed")
        if isinstance(domain, Sphere) and self.components[0].lower() in EAST_FIRST:
            raise ValueError(
                f"{self.field!r} has components {self.components}, but on a Sphere they go with the axes: northward, then eastward; "
                f"reorder the channels and name them, such as Field({self.field!r}, components=('north', 'east'))"
            )
        if self.open_boundaries and not isinstance(domain, Mesh):
            raise ValueError(f"open_boundaries {self.open_boundaries} are names of a Mesh's boundaries; a {type(domain).__name__} has none")
        check_closed(
            domain,
            "DivergenceFree lets nothing pass the ends of a Box",
            "leave it out here, or forecast on a Mesh of cells and name its open_boundaries",
        )
        domain.check(u)
        if isinstance(domain, Box) and domain.all_periodic:
            return v, PERIODIC
        return v, next(method for kind, method in METHODS.items() if isinstance(domain, kind))
