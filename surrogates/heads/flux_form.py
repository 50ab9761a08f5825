"""Finite volumes: the network says what passes the faces between cells, and the cells change by it,

    u' = u + dt (S + J/V) - dt/V sum over the faces of A f,

with V the domain's measure, f the flux density through a face (in units of u times length a unit of time), A its area. What leaves a cell
enters its neighbour, so the integral of u changes by the sources S and the inflow J alone: by nothing on a periodic or closed domain,
whatever the network says. `forced` takes S from `conditions.source_term`, `inflow` takes J through the boundary from `conditions.inflow`,
both by the quadrature in time of `constraints.ConservedIntegral`, so that budgets agree to rounding. `lower` and `upper` limit the fluxes
so that no cell leaves its bounds (`limiter`); sources come first, and a sink that takes more than there is is not undone.

    Box, Masked, Sphere    D outputs: f at the upper face of the cell along each axis, in the order of the grid
    Mesh                   D + 1 outputs at the nodes: a flux density q and a potential P, that pass from i to its neighbour j
                           S_ij . (q_i + q_j)/2 + w_ij (P_i - P_j) = -(what passes from j to i)

q alone would not move what alternates from node to node; P does. Outputs are in units of s l/dt, P of s l^2/dt, with s the fitted
standard deviation of the channel's increments between frames, dt the trained step and l the length of the domain over 2 pi (a Sphere's
radius): an output of 1 on the scale of the domain changes u by s in a step, n times finer one of 1/n does. Fluxes are taken in the
network's type, all sums in float64, rounded once to the type of u.

Source: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, section 4.1, https://doi.org/10.1017/CBO9780511791253.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.budget import NODES, WEIGHTS
from surrogates.constraints.channels import Channels
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Mesh
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
    time. Raises KeyError for an unknown field, ValueError where lower >= upper, and, when called, for conditions without the source term
    or inflow that was asked for, for another domain or number of channels.
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
    ) -> None:
        if lower is not None and upper is not None and not lower < upper:
            raise ValueError(f"lower must lie below upper, got {lower} and {upper}")
        self.channels, self.forced, self.inflow, self.lower, self.upper = Channels.of(fields, field), forced, inflow, lower, upper

    @property
    def made(self) -> tuple[int, ...]:
        """The channels of the state that it makes."""
        return tuple(range(self.channels.start, self.channels.stop))

    def outputs(self, domain: Domain) -> int:
        """D a channel, on a Mesh D + 1."""
        return self.channels.size * _each(domain)

    def sizes(self, normaliser: Normaliser, domain: Domain, dt: float) -> Float[Tensor, " Cy"]:
        """What an output of 1 stands for: the field times length a unit of time, times length for P."""
        s, length = normaliser.tendency_std.flatten()[self.channels.start : self.channels.stop], length_of(domain)
        each = torch.full((_each(domain),), length / dt)
        if isinstance(domain, Mesh):
            each[-1] = length**2 / dt
        return (s[:, None] * each.to(s)).flatten()

    def __call__(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        """The last frame with its field moved on by one dt."""
        domain, last = conditions.domain, past[:, -1]
        check("FluxForm", y, self.outputs(domain), last, self.channels.count)
        between = faces(domain, y.device)
        F = through(y.reshape(len(y), self.channels.size, -1, *y.shape[2:]), between).double()
        dt = domain.expand(conditions.dt.to(y.device)[:, None])
        u = self._with_sources(self.channels.cut(last).double(), conditions, between)
        if self.lower is not None or self.upper is not None:
            F = limited(F, u, between, dt, self.lower, self.upper)
        return self.channels.put(last, u - dt * between.sums(F, -F) / between.volume)

    def _with_sources(self, u: Tensor, conditions: Conditions, between: GridFaces | MeshFaces) -> Tensor:
        given = ((self.forced, "forced", "source_term", 1.0), (self.inflow, "inflow", "inflow", 1 / between.volume))
        for asked, option, name, factor in given:
            source = getattr(conditions, name)
            if asked and source is None:
                raise ValueError(f"this FluxForm has {option}=True but the conditions have no {name}; pass Conditions({name}=...)")
            for node, weight in zip(NODES, WEIGHTS, strict=True) if asked else ():
                part = self.channels.cut(source(conditions.time + node * conditions.dt).to(u))
                u = u + conditions.domain.expand((weight * conditions.dt).to(u.device)[:, None]) * factor * part
        return u


def through(y: Float[Tensor, "B C n *X"], between: GridFaces | MeshFaces) -> Float[Tensor, "B C *F"]:
    """What passes each face from left to right in a unit of time."""
    if isinstance(between, GridFaces):
        return y * between.area.to(y.dtype)
    q, P = y[:, :, :-1], y[:, :, -1]
    i, j = between.pairs
    mean = (q.index_select(3, i) + q.index_select(3, j)) / 2
    passed: Tensor = (mean * between.area.T.to(y.dtype)).sum(2) + (between.left(P) - between.right(P)) * between.conductance.to(y.dtype)
    return passed


def _each(domain: Domain) -> int:
    return len(domain.shape) if not isinstance(domain, Mesh) else domain.dim + 1
