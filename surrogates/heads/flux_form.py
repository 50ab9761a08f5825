"""Finite volumes: the network says what passes the faces between cells, and the cells change by it,

    u' = u + dt (S + J/V) - dt/V sum over the faces of A f,

with V the domain's measure, f the flux density through a face (in units of u times length a unit of time), A its area. What leaves a cell
enters its neighbour, so the integral of u changes by the sources S and by what passes open ends alone: by nothing on a periodic or closed
domain, whatever the network says. `forced` takes S from `conditions.source_term` by the quadrature in time of
`constraints.ConservedIntegral`, so that budgets agree to rounding.

Nothing passes walls. What passes the open ends of a Box (`Box.open_ends`), or the boundaries of a Mesh that `open_boundaries` names, is
one of two: the network says it too, a flux for each face there, and `entered` tells how much came in; or it is known, and `inflow` takes
it, as J, from `conditions.inflow`. Then the integral changes by exactly that, once more by the law's quadrature, and the ends have no
fluxes of their own. `lower` and `upper` limit the fluxes so that no cell leaves its bounds (`limiter`), those through ends too; sources
come first, and a sink that takes more than there is is not undone.

    Box, Masked, Sphere    D outputs: f at the upper face of the cell along each axis, in the order of the grid. One more for each axis
                           whose lower end is open, f at its lower face; what cells other than the first say there does not matter
    Mesh                   D + 1 outputs at the nodes: a flux density q and a potential P, that pass from i to its neighbour j
                           S_ij . (q_i + q_j)/2 + w_ij (P_i - P_j) = -(what passes from j to i), and out of an open boundary S_i . q_i

q alone would not move what alternates from node to node; P does. Outputs are in units of s l/dt, P of s l^2/dt, with s the fitted
standard deviation of the channel's increments between frames, dt the trained step and l the length of the domain over 2 pi (a Sphere's
radius): an output of 1 on the scale of the domain changes u by s in a step, n times finer one of 1/n does. Fluxes are taken in the
network's type, all sums in float64, rounded once to the type of u.

Source: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, section 4.1, https://doi.org/10.1017/CBO9780511791253.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.budget import NODES, WEIGHTS
from surrogates.constraints.channels import Channels
from surrogates.constraints.integral import total
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Mesh
from surrogates.domains.ends import ends_of_grid
from surrogates.fields import Fields
from surrogates.heads.decode import check, length_of
from surrogates.heads.faces import GridFaces, MeshFaces, faces
from surrogates.heads.limiter import limited
from surrogates.normalise import Normaliser
from surrogates.record import recorded


@recorded
class FluxForm:
    """A Head for every channel of `field`, each conserved by itself, on a Box, a Masked box, a Sphere or a Mesh.

    y: for each channel its fluxes in the order above. `conditions.source_term(t)` and `conditions.inflow(t)` are (B, C, *X) for all
    channels of `fields`: du/dt, and what enters each cell through the boundary of the domain in units of the field times volume a unit of
    time. Raises KeyError for an unknown field, ValueError where lower >= upper or for `open_boundaries` with an inflow that is given, and,
    when called, for conditions without the source term or inflow that was asked for, for another domain or number of channels, and for
    boundaries that the mesh does not name.
    """

    def __init__(
        self,
        fields: Fields,
        field: str,
        *,
        forced: bool = False,
        inflow: bool = False,
        lower: float | None = None,
        upper: float | None = None,
        open_boundaries: tuple[str, ...] = (),
    ) -> None:
        if lower is not None and upper is not None and not lower < upper:
            raise ValueError(f"lower must lie below upper, got {lower} and {upper}")
        if inflow and open_boundaries:
            raise ValueError(
                f"what passes {', '.join(open_boundaries)} is either given (inflow=True) or the network's (open_boundaries); drop one"
            )
        self.channels, self.forced, self.inflow, self.lower, self.upper = Channels.of(fields, field), forced, inflow, lower, upper
        self.open_boundaries = tuple(open_boundaries)

    @property
    def made(self) -> tuple[int, ...]:
        """The channels of the state that it makes."""
        return tuple(range(self.channels.start, self.channels.stop))

    def outputs(self, domain: Domain) -> int:
        """D a channel and one for each lower end that is open, on a Mesh D + 1."""
        return self.channels.size * self._each(domain)

    def sizes(self, normaliser: Normaliser, domain: Domain, dt: float) -> Float[Tensor, " Cy"]:
        """What an output of 1 stands for: the field times length a unit of time, times length for P."""
        s, length = normaliser.tendency_std.flatten()[self.channels.start : self.channels.stop], length_of(domain)
        each = torch.full((self._each(domain),), length / dt)
        if isinstance(domain, Mesh):
            each[-1] = length**2 / dt
        return (s[:, None] * each.to(s)).flatten()

    def __call__(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        """The last frame with its field moved on by one dt."""
        last, (u, F, between) = past[:, -1], self._fluxes(y, past, conditions)
        return self.channels.put(last, u - self._dt(y, conditions) * between.sums(F, -F) / between.volume)

    def entered(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "G c"]:
        """What the step from the same y lets in through the ends, less what it lets out, of every channel of the field: given or by the
        network's fluxes, as limited; float64, in units of the field times volume. Without sources it is the change of the integral."""
        domain = conditions.domain
        _, F, between = self._fluxes(y, past, conditions)
        came = self._dt(y, conditions) * between.entering(F)
        for rate, weight in self._given(conditions, came, "inflow") if self.inflow else ():
            came = came + weight * rate
        return total(came, domain)

    def _fluxes(self, y: Tensor, past: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor, GridFaces | MeshFaces]:
        """The field with its sources, and what then passes the faces in a unit of time; float64."""
        domain, last = conditions.domain, past[:, -1]
        check("FluxForm", y, self.outputs(domain), last, self.channels.count)
        between = faces(domain, y.device, self._ends(domain))
        F = through(y.reshape(len(y), self.channels.size, -1, *y.shape[2:]), between).double()
        u = self._with_sources(self.channels.cut(last).double(), conditions, between)
        if self.lower is not None or self.upper is not None:
            F = limited(F, u, between, self._dt(y, conditions), self.lower, self.upper)
        return u, F, between

    def _ends(self, domain: Domain) -> tuple[str, ...]:
        """Those through which the network's fluxes pass."""
        if isinstance(domain, Mesh):
            return self.open_boundaries
        if self.open_boundaries:
            raise ValueError(
                f"open_boundaries {self.open_boundaries} are names of a Mesh's boundaries; a {type(domain).__name__} says itself which of "
                "its ends are open, such as Box(..., open_ends=('x_lower', 'x_upper'))"
            )
        return () if self.inflow else ends_of_grid(domain)

    def _each(self, domain: Domain) -> int:
        ends = self._ends(domain)
        return domain.dim + 1 if isinstance(domain, Mesh) else len(domain.shape) + sum(end.endswith("_lower") for end in ends)

    @staticmethod
    def _dt(y: Tensor, conditions: Conditions) -> Tensor:
        return conditions.domain.expand(conditions.dt.to(y.device)[:, None])

    def _with_sources(self, u: Tensor, conditions: Conditions, between: GridFaces | MeshFaces) -> Tensor:
        for asked, name, factor in ((self.forced, "source_term", 1.0), (self.inflow, "inflow", 1 / between.volume)):
            for rate, weight in self._given(conditions, u, name) if asked else ():
                u = u + weight * factor * rate
        return u

    def _given(self, conditions: Conditions, like: Tensor, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """A function of time at the nodes of the quadrature, and their weights (B, 1, *X) in units of time."""
        source = getattr(conditions, name)
        if source is None:
            option = {"source_term": "forced", "inflow": "inflow"}[name]
            raise ValueError(f"this FluxForm has {option}=True but the conditions have no {name}; pass Conditions({name}=...)")
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            rate = self.channels.cut(source(conditions.time + node * conditions.dt).to(like))
            yield rate, conditions.domain.expand((weight * conditions.dt).to(like.device)[:, None])


def through(y: Float[Tensor, "B C n *X"], between: GridFaces | MeshFaces) -> Float[Tensor, "B C *F"]:
    """What passes each face from left to right in a unit of time."""
    if isinstance(between, GridFaces):
        return y * between.area.to(y.dtype)
    q, P = y[:, :, :-1], y[:, :, -1]
    i, j = between.pairs
    mean = (q.index_select(3, i) + q.index_select(3, j)) / 2
    driven = (P.index_select(2, i) - P.index_select(2, j)) * between.conductance.to(y.dtype)
    passed = (mean * between.area.T.to(y.dtype)).sum(2) + driven
    out = (q.index_select(3, between.rim) * between.outward.T.to(y.dtype)).sum(2)
    return torch.cat([passed, out], 2)
