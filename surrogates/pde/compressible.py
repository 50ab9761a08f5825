"""Compressible flow of an ideal gas in the plane, Euler's equations and with viscosity those of Navier and Stokes, by finite volumes:

    q_t + F(q)_x + G(q)_y = 0,     q = (rho, rho u, rho v, E) as averages over cells      (`surrogates.pde.gas`, `.viscous`)

Faces see the gas on their sides by WENO of fifth order on characteristic variables (`.faces`) and exchange the fluxes of HLLC, at their
middles: second order where the flow is smooth, with small constants, and fifth where flux and average commute (waves of density in a
uniform stream); first order in L1 with shocks. In time, the strongly stable method of Shu and Osher of three stages,

    q_1 = q + h L(q),   q_2 = 3/4 q + 1/4 (q_1 + h L(q_1)),   q(t + h) = 1/3 q + 2/3 (q_2 + h L(q_2)),

with steps h <= max_dt that also keep the Courant number h max(|u| + c)/dx at or below `courant`, and h (decay of the finest wave) too.
Where a stage would leave a cell without density or pressure, its faces fall back to first order, and those of the cells that this
touches, until none is left: what flows out of a cell still flows into its neighbour.

Sources: Shu and Osher, J. Comput. Phys. 77 (1988) 439, https://doi.org/10.1016/0021-9991(88)90177-5; falling back after the fact, Clain,
Diot and Loubere, J. Comput. Phys. 230 (2011) 4028, https://doi.org/10.1016/j.jcp.2011.02.026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box
from surrogates.errors import nearest
from surrogates.fields import Field, Fields
from surrogates.pde import faces, gas, viscous
from surrogates.pde.cells import SIDES, TRANSMISSIVE, kinds, padded, resampled
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.solver import Solver, check_dt, of_rows, points
from surrogates.record import recorded

DENSITY = Field("density", long_name="density")
MOMENTUM = Field("momentum", components=("x", "y"), long_name="momentum per volume")
ENERGY = Field("energy", long_name="total energy per volume")
SWAPPED = [0, 2, 1, 3]
ATTEMPTS = 6  # to keep density and pressure by falling back cell by cell, before whole rows do
Masks: TypeAlias = tuple[Tensor, Tensor]  # of faces across x, and across y


@recorded
class Compressible(Solver):
    """Density, momentum and energy in and out: (B, 4, x, y), averages over cells of a Box, periodic or with `sides` on its walled axes:
    "transmissive" or "reflecting" (slip, no heat). A `Step`, batched over rows, differentiable.

    Parameters by name: gamma > 1, viscosity nu >= 0 (kinematic), prandtl > 0. `resolution` is the solver's cells, multiples of the data's
    (None: as many). State: `q` (B, 4, *cells), and `step`, the number of calls made.
    """

    fields = Fields.of(DENSITY, MOMENTUM, ENERGY)

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        gamma: Constant = 1.4,
        viscosity: Constant = 0.0,
        prandtl: Constant = 0.72,
        sides: str = TRANSMISSIVE,
        courant: float = 0.4,
    ) -> None:
        super().__init__(max_dt, dtype, {"gamma": gamma, "viscosity": viscosity, "prandtl": prandtl})
        if sides not in SIDES:
            raise ValueError(f"sides {sides!r} are unknown; write one of {list(SIDES)}{nearest(sides, SIDES)}")
        if not 0 < courant <= 0.5:
            raise ValueError(f"courant must lie in (0, .5], beyond which nothing keeps the pressure positive, got {courant}")
        self.resolution, self.sides, self.courant = points(resolution, 2), sides, courant

    def box(self, domain: object) -> Box:
        """The solver's cells. Raises ValueError for a domain that is no plane Box in equal cells."""
        if not isinstance(domain, Box) or domain.dim != 2 or any(domain.edges):
            raise ValueError(f"{type(self).__name__} needs a Box of two axes in equal cells, got {domain}")
        box = domain if self.resolution is None else domain.with_shape(self.resolution)
        if min(box.shape) < faces.DEPTH:
            raise ValueError(f"{type(self).__name__} needs at least {faces.DEPTH} cells along each axis, got {box.shape}")
        return box

    def open_ends(self, box: Box) -> tuple[str, ...]:
        return box.ends if self.sides == TRANSMISSIVE else ()

    def parameters(self, conditions: Conditions) -> Parameters:
        """Raises ValueError for gamma <= 1 or a Prandtl number of 0."""
        p = super().parameters(conditions)
        for name, least in (("gamma", 1.0), ("prandtl", 0.0)):
            if not bool((p[name] > least).all()):
                raise ValueError(f"{name} must be larger than {least:g}, got {p[name].tolist()}")
        return p

    def begin(self, past: Float[Tensor, "B H C X Y"], conditions: Conditions) -> State:
        """The last frame on the solver's cells. Raises ValueError for other channels or another grid, and where density or pressure
        are not positive."""
        domain, box = conditions.domain, self.box(conditions.domain)
        assert isinstance(domain, Box)
        q = resampled(self.last(past, domain), domain, box)
        (gamma,) = columns(self.parameters(conditions), q, "gamma")
        if bool((lost(q, gamma) & q.isfinite().all(1)).any()):  # what is not finite blew up before, and goes on so
            raise ValueError("density and pressure must be positive everywhere: p = (gamma - 1) (energy - momentum^2/(2 density))")
        return {"q": q, "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 4 X Y"], State]:
        """One frame, `conditions.dt` later."""
        box, p, left = self.box(conditions.domain), self.parameters(conditions), conditions.dt.to(state["q"].device)
        check_dt(left)
        q = state["q"]
        while bool((left > 0).any()):
            rows = (left > 0).nonzero().flatten()
            own = of_rows(p, rows)
            steps = torch.ceil(left[rows] / self.longest(q[rows], box, own) * (1 - 1e-12)).clamp_min(1)
            h = left[rows] / steps
            q = q.index_copy(0, rows, self.advance(q[rows], h.to(q.dtype).reshape(-1, 1, 1, 1), box, own))
            left = left.index_copy(0, rows, torch.where(steps > 1, left[rows] - h, 0))
        assert isinstance(conditions.domain, Box)
        return resampled(q, box, conditions.domain)[:, None], {"q": q, "step": state["step"] + 1}

    def longest(self, q: gas.Gas, box: Box, p: Parameters) -> Float[Tensor, " B"]:
        """The longest step of each row, float64; without end for one that blew up."""
        gamma, nu, pr = columns(p, q, "gamma", "viscosity", "prandtl")
        w = gas.primitive(q.detach(), gamma)
        c = gas.sound(w, gamma)
        rates = [(w[:, 1 + a].abs() + c).flatten(1).amax(1).double() / h for a, h in enumerate(box.spacing)]
        both = (box.spacing[0], box.spacing[1])
        rate = torch.maximum(torch.maximum(*rates), viscous.rate(nu, pr, gamma, both).double().flatten() / 2)
        limit = (self.courant / rate).clamp_max(self.max_dt)
        return torch.where(limit.isfinite(), limit, torch.inf)

    def advance(self, q: gas.Gas, h: Float[Tensor, "B 1 1 1"], box: Box, p: Parameters) -> gas.Gas:
        """One step."""
        one = self.stage(q, h, box, p)
        two = 0.75 * q + 0.25 * self.stage(one, h, box, p)
        return q / 3 + 2 / 3 * self.stage(two, h, box, p)

    def stage(self, q: gas.Gas, h: Float[Tensor, "B 1 1 1"], box: Box, p: Parameters) -> gas.Gas:
        """q + h L(q), with density and pressure kept."""
        (gamma,) = columns(p, q, "gamma")
        first: Masks | None = None
        for attempt in range(ATTEMPTS):
            out = q + h * self.slope(q, box, p, first)
            bad = lost(out, gamma)
            if not bool(bad.any()):
                break
            if attempt == ATTEMPTS - 2:
                bad = bad | bad.flatten(1).any(1).reshape(-1, 1, 1)
            first = self.around(bad, box, first)
        return out

    def slope(self, q: gas.Gas, box: Box, p: Parameters, first: Masks | None = None) -> gas.Gas:
        """L(q): what flows in, over the size of the cells. Faces in `first` are of first order."""
        gamma, nu, pr = columns(p, q, "gamma", "viscosity", "prandtl")
        w, ends = gas.primitive(q, gamma), kinds(box, self.sides)
        rubbed = padded(padded(w, 0, 1, ends[0], 1), 1, 1, ends[1], 2) if bool((nu > 0).any()) else None
        parts = []
        for axis in (0, 1):
            across, along = box.spacing[axis], box.spacing[1 - axis]
            mask = None if first is None else turned(first[axis], axis)
            flow = faces.flux(swapped(padded(w, axis, faces.DEPTH, ends[axis], 1 + axis), axis), gamma, mask)
            if rubbed is not None:
                flow = flow - viscous.flux(swapped(rubbed, axis), (along, across), nu, pr, gamma)
            parts.append(swapped(flow.diff(dim=-1) / -across, axis))
        return parts[0] + parts[1]

    def around(self, bad: Bool[Tensor, "B X Y"], box: Box, before: Masks | None) -> Masks:
        """The faces of these cells, and those from before."""
        out = []
        for axis, kind in enumerate(kinds(box, self.sides)):
            cells = padded(bad[:, None], axis, 1, kind)
            n = cells.shape[2 + axis]
            out.append(cells.narrow(2 + axis, 0, n - 1) | cells.narrow(2 + axis, 1, n - 1))
        x, y = out
        return (x, y) if before is None else (x | before[0], y | before[1])

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """Averages over the cells of another grid of the same box."""
        return resampled(u, here, there)


def columns(p: Parameters, like: Tensor, *names: str) -> tuple[Float[Tensor, "R 1 1"], ...]:
    """Parameters as (R, 1, 1), in the type of the state and on its device."""
    return tuple(p[name].to(like).reshape(-1, 1, 1) for name in names)


def lost(q: gas.Gas, gamma: Tensor) -> Bool[Tensor, "B X Y"]:
    """Cells without density or pressure."""
    return ~((q[:, 0] > 0) & (gas.primitive(q, gamma)[:, 3] > 0))


def turned(u: Tensor, axis: int) -> Tensor:
    """With the axis last."""
    return u.mT if axis == 0 else u


def swapped(u: Tensor, axis: int) -> Tensor:
    """With the axis last, and the component along it first; twice is once."""
    return u.mT if axis == 0 else u[:, SWAPPED]
