"""Integrals in open domains: dI/dt = F(t) - rate I + J, where J flows in through the boundary.

`FluxedIntegral` is told what J(t) brings into each cell, and sums it. `OpenIntegral` computes the flux that a velocity v carries,

    J = - sum over the boundary of (v . n) u dA,

from the values of u and v there: linear extrapolation at the ends of a Box (`walls`), linear on the boundary facets of a Mesh (`facets`).
Of a Box that says which of its ends are open only those count, nothing passes the others; where it says nothing, all do. The values are
those given as a function of time (a limited area in a larger model), and J is then integrated by Gauss-Legendre quadrature; or those of
the field itself, known at both ends of a step, by the trapezoid of `budget`: the reference then holds the flux at the last frame beside
the integral, and the step's error is dt^3 J''/12.

Source: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, section 2.1, https://doi.org/10.1017/CBO9780511791253.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints import budget
from surrogates.constraints.channels import Channels
from surrogates.constraints.facets import boundary_facets
from surrogates.constraints.integral import ConservedIntegral
from surrogates.constraints.walls import sides, wall
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Mesh
from surrogates.fields import Fields
from surrogates.record import recorded


@recorded
class FluxedIntegral(ConservedIntegral):
    """`ConservedIntegral(inflow=True)`: with what flows in given, in each cell, by `conditions.inflow`."""

    def __init__(self, fields: Fields, field: str, *, decay: str | None = None, forced: bool = False) -> None:
        super().__init__(fields, field, decay=decay, forced=forced, inflow=True)


@recorded
class OpenIntegral(ConservedIntegral):
    """`ConservedIntegral` with the inflow that `velocity`, a vector field among `fields` in units of length a unit of time, carries.

    `given=True` reads the values at the boundary from `conditions.boundary(t)`, fields (B, C, *X), else from the frames themselves;
    `advance` then takes the frame at the end of its step. Raises KeyError for an unknown field, ValueError for a velocity without one
    component an axis and for domains without a boundary.
    """

    def __init__(
        self,
        fields: Fields,
        field: str,
        *,
        velocity: str = "velocity",
        given: bool = False,
        decay: str | None = None,
        forced: bool = False,
    ) -> None:
        super().__init__(fields, field, decay=decay, forced=forced)
        if fields[velocity].levels or not fields[velocity].components:
            raise ValueError(f"{velocity!r} must be a vector without levels, such as Field({velocity!r}, components=('x', 'y'))")
        self.velocity, self.given, self.follows = Channels.of(fields, velocity), given, not given
        self.kept = self.channels.size
        self.references = self.kept if given else 2 * self.kept

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The integrals and, unless given, what they gain in a unit of time, float64."""
        integrals = super().reference(u, conditions)
        return integrals if self.given else torch.cat([integrals, self._gain(u, conditions)], 1)

    def check_ends(self, domain: Domain) -> None:
        """What passes them is computed."""

    def source(self, conditions: Conditions) -> budget.Source:
        if conditions.boundary is None:
            raise ValueError("this law is given=True but the conditions have no boundary; pass Conditions(boundary=...) or drop given")
        boundary, inner = conditions.boundary, super().source(conditions)

        def gain(t: Tensor) -> Tensor:
            flux = self.inflow(boundary(t), conditions.domain)
            return flux if inner is None else flux + inner(t).to(flux.device)

        return gain

    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]:
        """The same one dt after `conditions.time`; u is the frame there."""
        if self.given:
            return super().advance(reference, u, conditions)
        (integrals, before), after = self._parts(reference), self._gain(u, conditions.after(1))
        moved = budget.trapezoid(integrals, before, after, conditions, budget.rate(conditions, self.decay))
        return torch.cat([moved, after], 1)

    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]:
        return super().defect(u, self._parts(reference)[0], conditions)

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        return super().__call__(u, self._parts(reference)[0], conditions, past)

    def inflow(self, u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "G c"]:
        """J of every channel of the field, float64."""
        q, v = self.channels.cut(u).double(), self.velocity.cut(u).double()
        if isinstance(domain, Box | Mesh) and v.shape[1] != domain.dim:
            raise ValueError(f"the velocity has {v.shape[1]} components but the domain {domain.dim} axes; one component an axis is needed")
        if isinstance(domain, Box) and not domain.all_periodic:
            return _through_walls(q, v, domain)
        if isinstance(domain, Mesh):
            return _through_facets(q, v, domain)
        raise ValueError(f"there is no boundary to flow through on {domain}; use ConservedIntegral")

    def _gain(self, u: Tensor, conditions: Conditions) -> Float[Tensor, "G c"]:
        flux, inner = self.inflow(u, conditions.domain), super().source(conditions)
        return flux if inner is None else flux + inner(conditions.time).to(flux.device)

    def _parts(self, reference: Float[Tensor, "G R"]) -> tuple[Float[Tensor, "G c"], Float[Tensor, "G gains"]]:
        return reference[:, : self.kept], reference[:, self.kept :]


def _through_walls(q: Tensor, v: Tensor, box: Box) -> Float[Tensor, "B c"]:
    found = q.new_zeros(q.shape[:2])
    for side in box.open_ends or sides(box):
        w = wall(box, side)
        area = torch.ones((), dtype=torch.float64, device=q.device)
        for axis in range(box.dim):
            area = area if axis == w.axis else area[..., None] * box.widths(axis).to(q.device)
        outward = w.outward * w.trace(v)[:, w.axis : w.axis + 1] * area
        found = found - (outward * w.trace(q)).reshape(*q.shape[:2], -1).sum(2)  # a wall of a line is one point
    return found


def _through_facets(q: Tensor, v: Tensor, mesh: Mesh) -> Float[Tensor, "G c"]:
    corners, areas = (part.to(q.device) for part in boundary_facets(mesh))
    carried = (q[:, :, None] * v[:, None])[..., corners].mean(-1)  # (B, c, D, facet)
    through = (carried * areas.T).sum(2)
    member = mesh.member.to(q.device)[corners[:, 0]]
    sums = through.new_zeros(*through.shape[:2], mesh.members).index_add(2, member, through)
    inflow: Tensor = -sums.permute(0, 2, 1).reshape(-1, q.shape[1])
    return inflow
