"""Richtmyer-Meshkov: a shock runs from a light gas through a rippled interface into a heavy one, and the ripples grow.

    x < shock      behind a shock of Mach number M: Rankine and Hugoniot's p_1, rho_1, u_1 for (1, 1, 0) before it
    x > shock      at rest, p = 1:  rho = 1 + (ratio - 1) (1 + tanh((x - x_i - a(y))/thickness))/2,  a(y) random waves

shock and x_i at .15 and .25 of the box, whose sides along x let waves out and along y repeat. Small ripples grow at a steady rate,
Richtmyer's impulsive model: da/dt = k A u a', with the Atwood number A, the speed u of the interface and the amplitude a' after the
shock. Viscosity gives the flow a limit on fine grids.

Source: Richtmyer, Comm. Pure Appl. Math. 13 (1960) 297, https://doi.org/10.1002/cpa.3160130207.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC, WALL
from surrogates.pde import gas
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.compressible import Compressible, columns
from surrogates.pde.kelvin_helmholtz import rippled
from surrogates.record import recorded

SHOCK, INTERFACE = 0.15, 0.25  # of the length of the box


@recorded
class RichtmyerMeshkov(Compressible):
    """`Compressible` from a shock before an interface. Further parameters by name, which only initial states see: mach, ratio."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        gamma: Constant = 1.4,
        viscosity: Constant = None,
        prandtl: Constant = 0.72,
        mach: Constant = 1.3,
        ratio: Constant = 3.0,
        courant: float = 0.4,
    ) -> None:
        super().__init__(resolution, max_dt=max_dt, dtype=dtype, gamma=gamma, viscosity=viscosity, prandtl=prandtl, courant=courant)
        self.constants |= {"mach": mach, "ratio": ratio}

    def parameters(self, conditions: Conditions) -> Parameters:
        """Raises ValueError for a Mach number that is no shock's, and for no second gas."""
        p = super().parameters(conditions)
        if not bool((p["mach"] > 1).all() & (p["ratio"] > 0).all()):
            raise ValueError(f"mach must be larger than 1 and ratio than 0, got {p['mach'].tolist()} and {p['ratio'].tolist()}")
        return p

    def initial(
        self,
        domain: Box,
        trajectories: Sequence[int],
        seed: int,
        *,
        amplitude: float | int = 0.02,
        thickness: float | int = 0.02,
        waves: float | int = 2,
        conditions: Conditions | None = None,
    ) -> Float[Tensor, "B 4 X Y"]:
        """Values at the points, float64, the same for a trajectory in any batch and at any resolution. `amplitude` and `thickness` are in
        widths of the box. Raises ValueError for a box without walls along x or with walls along y, and for no waves."""
        if domain.boundary != (WALL, PERIODIC) or waves < 1 or waves % 1 or not thickness > 0:
            raise ValueError(f"a shock needs a Box between walls along x, periodic along y, and waves >= 1, got {domain} and {waves}")
        time = torch.zeros(len(trajectories), dtype=torch.float64)
        at = conditions or Conditions(domain, time, time + 1, torch.zeros(len(time), 0, dtype=torch.float64))
        gamma, mach, ratio = columns(self.parameters(at), time, "gamma", "mach", "ratio")
        length, width = domain.lengths
        x, y = domain.grid()
        x, y = x - domain.lower[0], (y - domain.lower[1]) / width
        a = amplitude * width * torch.stack([rippled(y, seed, i, int(waves)) for i in trajectories])
        rho = 1 + (ratio - 1) * (1 + torch.tanh((x - INTERFACE * length - a) / (thickness * width))) / 2
        p1, rho1, u1 = behind(mach, gamma)
        shocked = x < SHOCK * length
        w = [torch.where(shocked, after, before) for after, before in ((rho1, rho), (u1, 0 * rho), (p1, 1 + 0 * rho))]
        return gas.conserved(torch.stack([w[0], w[1], 0 * rho, w[2]], 1), gamma)


def behind(mach: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pressure, density and speed behind a shock that runs into a gas at rest of pressure and density 1."""
    m2 = mach**2
    p = 1 + 2 * gamma / (gamma + 1) * (m2 - 1)
    rho = (gamma + 1) * m2 / ((gamma - 1) * m2 + 2)
    return p, rho, 2 * gamma.sqrt() / (gamma + 1) * (mach - 1 / mach)
