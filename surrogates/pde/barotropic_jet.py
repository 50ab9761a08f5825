"""The barotropically unstable jet: a zonal wind between two latitudes p0 < p1, in balance, and a small hump of height upon it,

    u = U/e exp(1/((phi - p0)(phi - p1))),  e = exp(-4/(p1 - p0)^2);       g dh/dphi = -u (2 a Omega sin phi + u tan phi),
    h' = B cos phi exp(-((lambda - lambda_B)/alpha)^2) exp(-((phi - phi_B)/beta)^2),    alpha = 1/3, beta = 1/15.

Without the hump the jet is a steady state, though an unstable one; with it, gravity waves leave at once and the jet rolls up into
vortices within a week. Published: U = 80 m/s, p0 = pi/7, p1 = pi/2 - p0, B = 120 m at phi_B = pi/4, lambda_B = 0, mean depth 10 km.

Both parts are products of functions of latitude and longitude, so their harmonics are integrals over latitude alone (and the hump's
Fourier coefficients are known): the same at any resolution, whatever a grid would resolve of them.

Source: Galewsky, Scott and Polvani, An initial-value problem for testing numerical models of the global shallow-water equations, 2004,
https://doi.org/10.3402/tellusa.v56i5.14436.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Sphere
from surrogates.domains.legendre import legendre
from surrogates.domains.sphere import GAUSS
from surrogates.noise import AtStep, SeededNoise, uniform
from surrogates.pde import spherical
from surrogates.pde.coefficients import Parameters
from surrogates.pde.shallow_water import ShallowWater, nowhere
from surrogates.record import recorded

LATITUDES = 512  # of the integrals; the jet's edges are smooth but not analytic
WIDTH = pi / 2 - 2 * pi / 7
ALPHA, BETA = 1 / 3, 1 / 15


@recorded
class BarotropicJet(ShallowWater):
    """Shallow water whose initial states are jets; everything else is that of `ShallowWater`."""

    def initial(  # type: ignore[override]  # what states take is each equation's own
        self,
        domain: Sphere,
        trajectories: Sequence[int],
        seed: int,
        *,
        speed: float | int = 80.0,
        speed_spread: float | int = 0.0,
        latitude: float | int = 45.0,
        latitude_spread: float | int = 0.0,
        hump: float | int = 120.0,
        hump_spread: float | int = 0.0,
        turned: float | int = 0.0,
        conditions: Conditions | None = None,
    ) -> Float[Tensor, "B 3 lat lon"]:
        """Jets and humps, float64, one a trajectory: each value is drawn evenly within its spread of the middle one.

        Speeds in m/s, latitudes of the axis (the hump's too) in degrees, the hump in m, its longitude within `turned` degrees of 0.
        The published state is the default.
        """
        draws = AtStep(SeededNoise(seed, trajectories, [0] * len(trajectories)), 0)
        even = 2 * uniform(draws, torch.empty(len(trajectories), 4, dtype=torch.float64), draw=0) - 1
        middle = torch.tensor([speed, latitude, hump, 0.0], dtype=torch.float64)
        drawn = middle + even * torch.tensor([speed_spread, latitude_spread, hump_spread, turned], dtype=torch.float64)
        U, axis, B, east = drawn[:, 0], torch.deg2rad(drawn[:, 1]), drawn[:, 2], torch.deg2rad(drawn[:, 3])
        p, L = self.parameters(conditions or nowhere(domain)), spherical.most(domain)
        spectrum = zonal(profile(U, axis), L, domain.radius, p)
        spectrum[:, 2:] += humps(B, axis, east, L)
        return self.synthesised(spectrum, domain, domain)


def latitudes() -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Radians, and the weights of integrals over sin(phi)."""
    fine = Sphere((LATITUDES, 1), GAUSS)
    return torch.deg2rad(fine.coordinate(0)), fine.quadrature


def profile(speed: Float[Tensor, " B"], axis: Float[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """The jet's wind to the east, m/s, at `latitudes`. Raises ValueError for one that reaches a pole."""
    if bool((axis.abs() + WIDTH / 2 >= pi / 2).any()):
        raise ValueError(
            f"jets are {180 / pi * WIDTH:.1f} degrees wide and must not reach a pole, got axes at {torch.rad2deg(axis).tolist()}"
        )
    y = latitudes()[0] - axis[:, None]
    inside = WIDTH**2 / 4 - y.square()  # -(phi - p0)(phi - p1)
    return torch.where(inside > 0, speed[:, None] * torch.exp(4 / WIDTH**2 - 1 / inside.where(inside > 0, 1.0)), 0.0)


def zonal(wind: Float[Tensor, "B K"], degrees: int, radius: float, p: Parameters) -> Complex[Tensor, "B 3 L L"]:
    """Vorticity, divergence (none) and height of a steady wind to the east given at `latitudes`."""
    phi, weight = latitudes()
    degree = torch.arange(degrees, dtype=torch.float64)[:, None]
    slope = -(degree * (degree + 1)).sqrt() * legendre(phi, degrees, 0, 2)[1]  # dP_l0/dphi
    around = 2 * pi * weight * slope
    f = 2 * p["rotation"].reshape(-1, 1) * phi.sin()
    pressure = wind * (radius * f + wind * phi.tan()) / p["gravity"].reshape(-1, 1)
    out = torch.zeros(len(pressure), 3, degrees, degrees, dtype=torch.complex128)
    out[:, 0, :, 0] = (wind @ around.T / radius).to(out.dtype)
    out[:, 2, :, 0] = (pressure @ around.T * spherical.inverse_laplacian(degrees)).to(out.dtype)
    out[:, 2, 0, 0] = p["depth"] * (4 * pi) ** 0.5
    return out


def humps(height: Float[Tensor, " B"], axis: Float[Tensor, " B"], east: Float[Tensor, " B"], degrees: int) -> Complex[Tensor, "B 1 L L"]:
    """Humps of height, m, at these latitudes and longitudes in radians."""
    phi, weight = latitudes()
    orders = min(degrees, 48)  # exp(-(m alpha)^2 / 4) is below rounding from there on
    m = torch.arange(orders, dtype=torch.float64)
    across = height[:, None] * phi.cos() * torch.exp(-(((phi - axis[:, None]) / BETA) ** 2)) * weight
    along = torch.polar(ALPHA * pi**0.5 * torch.exp(-((m * ALPHA) ** 2) / 4).expand(len(east), -1), -m * east[:, None])
    c = torch.einsum("mlk,bk->blm", legendre(phi, degrees, 0, orders), across) * along[:, None]
    return torch.nn.functional.pad(c, (0, degrees - orders))[:, None]
