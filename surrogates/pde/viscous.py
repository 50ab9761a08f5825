"""Viscous stress and conduction in a gas, through the faces of cells:

    tau = rho nu (grad u + grad u^T - 2/3 div u),    heat = rho (nu/Pr) gamma/(gamma - 1) grad(p/rho)
    G = (0, tau_n, u . tau_n + heat_n)      which is taken away from the flux of the gas

nu is the kinematic viscosity, uniform; rho nu that of the gas on the spot. Second-order differences: across a face of its two cells,
along it the mean of the central differences in both. A wall is a plane of symmetry: free slip, and no heat crosses it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.pde.gas import Ratio


def flux(w: Float[Tensor, "B 4 m n"], spacing: tuple[float, float], nu: Tensor, pr: Tensor, gamma: Ratio) -> Float[Tensor, "B 4 k l"]:
    """G through the faces along the last axis, of primitive variables with one cell more at each end of both axes; the velocity normal
    to the faces comes first. `spacing` is that of the last axis but one, and of the last."""
    along, across = spacing
    rho, u, v, p = w.unbind(1)
    t = p / rho
    du, dv, dt = (difference(f, across) for f in (u, v, t))
    u_along, v_along = (tangential(f, along) for f in (u, v))
    mu = nu * middle(rho)
    normal = mu * (4 / 3 * du - 2 / 3 * v_along)
    shear = mu * (dv + u_along)
    heat = mu / pr * gamma / (gamma - 1) * dt
    return torch.stack([torch.zeros_like(mu), normal, shear, middle(u) * normal + middle(v) * shear + heat], 1)


def middle(f: Float[Tensor, "B m n"]) -> Float[Tensor, "B k l"]:
    """On faces."""
    inner = f[:, 1:-1]
    return (inner[..., 1:] + inner[..., :-1]) / 2


def difference(f: Float[Tensor, "B m n"], spacing: float) -> Float[Tensor, "B k l"]:
    """Across faces."""
    return f[:, 1:-1].diff(dim=-1) / spacing


def tangential(f: Float[Tensor, "B m n"], spacing: float) -> Float[Tensor, "B k l"]:
    """Along faces."""
    central = (f[:, 2:] - f[:, :-2]) / (2 * spacing)
    return (central[..., 1:] + central[..., :-1]) / 2


def rate(nu: Tensor, pr: Tensor, gamma: Ratio, spacing: tuple[float, float]) -> Tensor:
    """The largest rate of decay on the grid: 4 (1/dx^2 + 1/dy^2) times the larger of 4/3 nu and gamma nu/Pr."""
    over = sum(1 / h**2 for h in spacing)
    return 4 * over * torch.maximum(4 / 3 * nu, gamma * nu / pr)
