"""A sphere of radius R on a grid of K latitudes phi by N longitudes west + 360 n/N degrees, from the north or from the south:

    poles             phi = 90 - 180 k/(K-1): equiangular, both poles on the grid (721 x 1440)
    cells             phi = 90 - 180 (k + 1/2)/K: equiangular, the centres of cells (32 x 64)
    legendre-gauss    sin phi: the roots of the Legendre polynomial of degree K

The measure of a point is the area of its cell, R^2 dlambda (sin phi_upper - sin phi_lower) with borders halfway between equiangular
latitudes, and the quadrature weight on a Gauss grid; it sums to 4 pi R^2. A budget of cell averages adds up exactly with it, a smooth
function is integrated to second order (on Gauss grids exactly up to degree 2K-1). `quadrature` has weights that are exact for smooth
functions on all three grids: Clenshaw-Curtis, Fejer's first rule and Gauss.

Source of the weights: Waldvogel, Fast Construction of the Fejer and Clenshaw-Curtis Quadrature Rules, BIT 46 (2006),
https://doi.org/10.1007/s10543-006-0045-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains.regular import Regular

POLES, CELLS, GAUSS = "poles", "cells", "legendre-gauss"
GRIDS = (POLES, CELLS, GAUSS)


@dataclass(frozen=True)
class Sphere(Regular):
    """Geometry of fields (B, C, lat, lon). `west` is the first longitude in degrees, `radius` in `units` (of the Earth: 6.37122e6 m)."""

    shape: tuple[int, ...]
    grid: str = CELLS
    north_first: bool = True
    west: float = 0.0
    radius: float = 1.0
    units: str = "1"

    def __post_init__(self) -> None:
        if self.grid not in GRIDS:
            raise ValueError(f"grid {self.grid!r} is unknown; write one of {', '.join(map(repr, GRIDS))}")
        least = 2 if self.grid == POLES else 1
        if len(self.shape) != 2 or self.shape[0] < least or self.shape[1] < 1:
            raise ValueError(f"a Sphere with grid {self.grid!r} has shape (lat, lon), at least ({least}, 1), got {self.shape}")
        if not (self.radius > 0 and isfinite(self.radius) and isfinite(self.west)):
            raise ValueError(f"a Sphere needs a positive radius and a finite west, got {self.radius} and {self.west}")

    def measured(self, device: torch.device) -> Float[Tensor, "lat lon"]:
        """Cell areas, float64, in units^2; made once for a device, and not to be written to."""
        return _measure(self, device)

    @property
    def total(self) -> float:
        return self.area

    # -- geometry ----------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        return ("lat", "lon")

    @property
    def area(self) -> float:
        return 4 * pi * self.radius**2

    def coordinate(self, axis: int) -> Float[Tensor, " n"]:
        """Latitudes (axis 0) or longitudes (axis 1) in degrees, float64; longitudes go on from `west` and are not wrapped."""
        if axis % 2:
            return self.west + torch.arange(self.shape[1], dtype=torch.float64) * (360 / self.shape[1])
        return torch.rad2deg(_latitudes(self))

    @property
    def quadrature(self) -> Float[Tensor, " lat"]:
        """Weights in sin(latitude), float64, that sum to 2: exact below degree K = shape[0], on a Gauss grid below 2K."""
        return _rule(self.grid, self.shape[0])[1]  # symmetric, so the same either way up

    def with_shape(self, shape: Sequence[int]) -> Sphere:
        """The same sphere at another resolution."""
        return replace(self, shape=tuple(shape))

    # -- calculus ----------------------------------------------------------------------------------------------

    def derivative(self, u: Float[Tensor, "B C lat lon"], axis: int) -> Float[Tensor, "B C lat lon"]:
        """The component of a scalar's gradient to the north (axis 0) or to the east (axis 1), a length.

        Spectral along longitude, second order along meridians, which go on over the poles. At a pole itself north is along each
        point's own meridian.
        """
        self.check(u)
        phi = _latitudes(self).to(u.device)
        if axis % 2 == 0:
            return _northward(self, u, phi) / self.radius
        east = _along_circle(u) / (self.radius * phi.cos().clamp_min(1e-9).to(u.dtype)[:, None])
        if self.grid == POLES:  # l'Hopital's rule: d(phi) of both, at the poles
            ends = [0, -1]
            turned = _along_circle(_northward(self, u, phi)[:, :, ends]) / (-self.radius * phi[ends].sin().to(u.dtype)[:, None])
            east = torch.cat([turned[:, :, :1], east[:, :, 1:-1], turned[:, :, 1:]], 2)
        return east

    def gradient(self, u: Float[Tensor, "B 1 lat lon"]) -> Float[Tensor, "B 2 lat lon"]:
        """The gradient of a scalar: northward, then eastward, in the order of the axes."""
        return torch.cat([self.derivative(u, 0), self.derivative(u, 1)], dim=1)

    # -- storage -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "sphere",
            "shape": list(self.shape),
            "grid": self.grid,
            "north_first": self.north_first,
            "west": self.west,
            "radius": self.radius,
            "units": self.units,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Sphere:
        if entry.get("type") != "sphere":
            raise ValueError(f"a Sphere is stored with type 'sphere', got {entry.get('type')!r}")
        return cls(
            tuple(entry["shape"]),
            entry["grid"],
            bool(entry["north_first"]),
            float(entry["west"]),
            float(entry["radius"]),
            entry["units"],
        )


def _along_circle(u: Tensor) -> Tensor:
    """du/dlambda, without the Nyquist mode of an even circle."""
    n = u.shape[-1]
    m = torch.arange(n // 2 + 1, device=u.device, dtype=u.dtype)
    if n % 2 == 0:
        m[-1] = 0
    derivative: Tensor = torch.fft.irfft(torch.fft.rfft(u) * (1j * m), n=n)
    return derivative


def _northward(sphere: Sphere, u: Tensor, phi: Tensor) -> Tensor:
    """du/dphi by second-order differences of rows that continue over both poles: the row there, half a turn away."""
    rows = [1, -2] if sphere.grid == POLES else [0, -1]
    half_turn = 1.0 - 2.0 * (torch.arange(u.shape[-1] // 2 + 1, device=u.device, dtype=u.dtype) % 2)
    over = torch.fft.irfft(torch.fft.rfft(u[:, :, rows]) * half_turn, n=u.shape[-1])
    top = pi / 2 if sphere.north_first else -pi / 2
    line = torch.cat([2 * top - phi[rows[0]][None], phi, -2 * top - phi[rows[1]][None]])
    (slope,) = torch.gradient(torch.cat([over[:, :, :1], u, over[:, :, 1:]], 2), spacing=(line.to(u.dtype),), dim=2)
    return slope[:, :, 1:-1]


def _latitudes(sphere: Sphere) -> Tensor:
    """Radians, float64, in the order of the grid."""
    phi = _rule(sphere.grid, sphere.shape[0])[0]
    return phi if sphere.north_first else phi.flip(0)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _rule(grid: str, n: int) -> tuple[Tensor, Tensor]:
    """Latitudes in radians from the north, and weights that sum to 2."""
    k = torch.arange(n, dtype=torch.float64)
    if grid == GAUSS:
        from scipy.special import roots_legendre

        phi = torch.from_numpy(roots_legendre(n)[0]).flip(0).asin()
        return phi, 2 / _christoffel(phi.sin(), n)
    theta = k * (pi / (n - 1)) if grid == POLES else (k + 0.5) * (pi / n)
    phi = (theta.flip(0) - theta) / 2  # symmetric to the last bit
    intervals = n - 1 if grid == POLES else n
    j = torch.arange(1, intervals // 2 + 1, dtype=torch.float64)
    share = 2 / (4 * j.square() - 1)
    if grid == POLES and intervals % 2 == 0:
        share[-1] /= 2
    weight = (1 - torch.cos(2 * torch.outer(theta, j)) @ share) * (2 / intervals)
    if grid == POLES:
        weight[[0, -1]] /= 2
    return phi, weight


def _christoffel(x: Tensor, n: int) -> Tensor:
    """sum (2l+1) P_l(x)^2 over l < n. Weights from it are a hundred times nearer to exact at n = 128 than those of tables or roots."""
    before, p, total = torch.zeros_like(x), torch.ones_like(x), torch.zeros_like(x)
    for degree in range(n):
        total += (2 * degree + 1) * p.square()
        before, p = p, ((2 * degree + 1) * x * p - degree * before) / (degree + 1)
    return total


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _measure(sphere: Sphere, device: torch.device) -> Tensor:
    n, circle = sphere.shape
    if sphere.grid == GAUSS:
        band = sphere.quadrature
    else:
        phi = _rule(sphere.grid, n)[0]
        pole = phi.new_tensor([pi / 2])
        border = torch.cat([pole, (phi[1:] + phi[:-1]) / 2, -pole]).sin()
        band = border[:-1] - border[1:]
    return (band * (sphere.radius**2 * 2 * pi / circle))[:, None].expand(n, circle).contiguous().to(device)
