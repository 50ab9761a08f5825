"""Kelvin-Helmholtz: two smooth shear layers in a periodic box that roll up, with the viscosity that lets them converge.

    u = U (tanh((y - y_1)/a) - tanh((y - y_2)/a) - 1),    rho = 1 + jump/2 (tanh((y - y_1)/a) - tanh((y - y_2)/a)),    p = p_0
    v = A sum_k c_k sin(2 pi k x/L_x + phi_k) (exp(-(y - y_1)^2/s^2) + exp(-(y - y_2)^2/s^2)),    y_1, y_2 = L_y/4, 3 L_y/4

with a = thickness L_x, s = .2 L_x, U = 1. The waves k = 1..`waves` have random phases and amplitudes c_k, of sum of squares one. As the
layers are smooth and viscosity is explicit, the flow has a limit on fine grids; without viscosity every grid has a flow of its own.
Lecoanet and others have one wave, A = .01, p_0 = 10, gamma = 5/3, thickness .05 and jump 0 or 1; their Reynolds number is L_x 2U/nu.

Source: Lecoanet et al., A validated non-linear Kelvin-Helmholtz benchmark for numerical hydrodynamics, MNRAS 455 (2016) 4274,
https://doi.org/10.1093/mnras/stv2564.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.noise import splitmix
from surrogates.pde import gas
from surrogates.pde.coefficients import Constant
from surrogates.pde.compressible import Compressible, columns
from surrogates.record import recorded

KEY = 0x6B68  # of these draws
REACH = 0.2  # of the perturbation, in widths of the box


@recorded
class KelvinHelmholtz(Compressible):
    """`Compressible` from two shear layers. Further parameters by name, which only initial states see: jump, pressure."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float,
        dtype: torch.dtype | str | None = None,
        gamma: Constant = 5 / 3,
        viscosity: Constant = None,
        prandtl: Constant = 1.0,
        jump: Constant = 0.0,
        pressure: Constant = 10.0,
        courant: float = 0.4,
    ) -> None:
        super().__init__(resolution, max_dt=max_dt, dtype=dtype, gamma=gamma, viscosity=viscosity, prandtl=prandtl, courant=courant)
        self.constants |= {"jump": jump, "pressure": pressure}

    def initial(
        self,
        domain: Box,
        trajectories: Sequence[int],
        seed: int,
        *,
        amplitude: float | int = 0.01,
        thickness: float | int = 0.05,
        waves: float | int = 3,
        conditions: Conditions | None = None,
    ) -> Float[Tensor, "B 4 X Y"]:
        """Values at the points, float64, the same for a trajectory in any batch and at any resolution. Raises ValueError for a box that is
        not periodic, or no waves."""
        if not domain.all_periodic or waves < 1 or waves % 1 or not thickness > 0:
            raise ValueError(f"two shear layers need a periodic Box, waves >= 1 and a thickness, got {domain}, {waves} and {thickness}")
        time = torch.zeros(len(trajectories), dtype=torch.float64)
        at = conditions or Conditions(domain, time, time + 1, torch.zeros(len(time), 0, dtype=torch.float64))
        gamma, jump, p0 = columns(self.parameters(at), time, "gamma", "jump", "pressure")
        width, height = domain.lengths
        x, y = (c - lo for c, lo in zip(domain.grid(), domain.lower, strict=True))
        first, second = (torch.tanh((y - part * height) / (thickness * width)) for part in (0.25, 0.75))
        near = sum(torch.exp(-(((y - part * height) / (REACH * width)) ** 2)) for part in (0.25, 0.75))
        rows = [rippled(x / width, seed, i, int(waves)) for i in trajectories]
        v = amplitude * torch.stack(rows) * near
        u = (first - second - 1).expand_as(v)
        return gas.conserved(torch.stack([1 + jump / 2 * (first - second) + 0 * v, u, v, p0 + 0 * v], 1), gamma)


def rippled(x: Float[Tensor, "X Y"], seed: int, trajectory: int, waves: int) -> Float[Tensor, "X Y"]:
    """A sum of waves along x in [0, 1], of random phases and amplitudes."""
    generator = torch.Generator().manual_seed(splitmix(seed, KEY, trajectory) >> 1)
    size = torch.randn(waves, generator=generator, dtype=torch.float64)
    phase = torch.rand(waves, generator=generator, dtype=torch.float64)
    k = torch.arange(1, waves + 1, dtype=torch.float64)
    angle = 2 * torch.pi * (k * x[..., None] + phase)
    out: Tensor = (size / size.square().sum().sqrt() * torch.sin(angle)).sum(-1)
    return out
