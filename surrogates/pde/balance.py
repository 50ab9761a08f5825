"""Flows on a rotating sphere whose height is in nonlinear balance: without divergence, and none beginning,

    lap(g h) = k . curl((zeta + f) u) - lap(|u|^2 / 2),    u = k x grad psi,  lap psi = zeta,

so that the gravity waves of a start are small. Random flows are Gaussian, isotropic stream functions with the amplitudes
exp(-3/4 (l/peak)^2): the energy of degree l goes as l^3 exp(-3/2 (l/peak)^2), largest at `peak`. They are drawn degree by degree, keyed by
trajectory, so that a trajectory is the same flow at any resolution and in any batch.

Source: Charney, The use of the primitive equations of motion in numerical prediction, 1955, https://doi.org/10.3402/tellusa.v7i1.8772.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.sphere import GAUSS
from surrogates.noise import SeededNoise
from surrogates.pde import spherical
from surrogates.pde.coefficients import Parameters


def random_vorticity(
    domain: Sphere, trajectories: Sequence[int], seed: int, *, peak: float | int, rms: float | int
) -> Complex[Tensor, "B 1 L M"]:
    """Vorticity, 1/s, of flows whose speed has this root mean square. Raises ValueError for peak < 1."""
    if not peak >= 1:
        raise ValueError(f"peak must be a degree of 1 or more, got {peak}")
    L = ceil(4 * peak) + 1
    like = torch.empty(len(trajectories), 1, L, L, 2, dtype=torch.float64)
    white = SeededNoise(seed, trajectories, [0] * len(trajectories))(like, step=0, draw=0)
    c = torch.complex(white[..., 0], white[..., 1] * (torch.arange(L) > 0)).tril()
    c = c * torch.where(torch.arange(L) > 0, 0.5**0.5, 1.0)
    degree = torch.arange(L, dtype=torch.float64)[:, None]
    psi = c * torch.exp(-0.75 * (degree / peak) ** 2) * (degree > 0)
    power = psi.abs().square() * degree * (degree + 1) * torch.where(torch.arange(L) > 0, 2.0, 1.0)  # of grad psi, by Parseval
    speed = (power.flatten(1).sum(1) / (4 * pi)).sqrt().reshape(-1, 1, 1, 1)
    return -degree * (degree + 1) * psi * rms / (speed * domain.radius)


def balanced(zeta: Complex[Tensor, "B 1 L M"], radius: float, p: Parameters) -> Complex[Tensor, "B 3 L2 M2"]:
    """The spectrum of vorticity, divergence (none) and height of mean H = `depth`, to twice the degrees: all that the balance has."""
    L = zeta.shape[-1]
    grid = Sphere((2 * L + 1, 4 * L + 1), GAUSS, radius=radius)
    t = spherical.tables(grid, 2 * L, zeta.real.dtype, zeta.device)
    zeta = spherical.fit(zeta, 2 * L)
    inverse = spherical.inverse_laplacian(2 * L, zeta.device)[:, None]
    north, east = spherical.flow(radius * inverse * zeta, torch.zeros_like(zeta), t).chunk(2, 1)
    f = 2 * _column(p["rotation"], zeta) * torch.deg2rad(grid.coordinate(0)).to(zeta.device).sin()[:, None]
    absolute = spherical.synthesise(zeta, t) + f
    _, curl = spherical.divergence_and_curl(absolute * north, absolute * east, t)
    energy = spherical.analyse((north.square() + east.square()) / 2, t)
    h = (radius * inverse * curl - energy) / _column(p["gravity"], zeta)
    h[..., 0, 0] = _column(p["depth"], zeta)[..., 0, 0] * (4 * pi) ** 0.5
    return torch.cat([zeta, torch.zeros_like(zeta), h], 1)


def _column(values: Float[Tensor, " R"], like: Tensor) -> Tensor:
    return values.to(like.device).reshape(-1, 1, 1, 1)
