"""Triangular spherical harmonic transforms of scalars and of tangent vectors, for solvers on a `Sphere`:

    h = sum c_lm Y_lm,     u = k x grad psi + grad chi,     grad = (d/dphi, 1/cos(phi) d/dlambda) on the unit sphere,

of degrees l and orders m = 0, ..., L - 1, with Y_lm orthonormal (`surrogates.domains.legendre`) and c_l(-m) from c_lm, the fields being
real. Vectors need the slopes of P_lm and P_lm/cos(phi), `surrogates.domains.legendre.tangent`.

Divergence and curl of a vector are analysed weakly, div_lm = -integral u . grad Y_lm*, which differentiates no data and has no mode 0: what
is a divergence has no mean, to the last bit. On a Gauss grid of K circles all is exact for products up to degree 2K - 1. On equiangular
grids components of a vector continue over a pole with the other sign than scalars, which interpolates them to Gauss latitudes exactly.

Spectra are (B, F, L, M) complex and zero below l = m; fields (B, F, lat, lon).
Source: Swarztrauber, The approximation of vector functions and their derivatives on the sphere, 1981, https://doi.org/10.1137/0718015
(vector harmonics; continuation over the poles); the recurrences are those of the angular momentum operators.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.legendre import analysis, held, interpolation, legendre, tangent
from surrogates.domains.sphere import GAUSS


class Tables(NamedTuple):
    """The matrices of one grid and truncation, an order at a time; for vectors, those of dP and of mP/cos are stacked."""

    shape: tuple[int, int]
    synthesis: Float[Tensor, "M K L"]
    analysis: Float[Tensor, "M L K"]
    synthesis_of_vectors: Float[Tensor, "M K2 L"]
    analysis_of_vectors: Float[Tensor, "M L2 K"]
    turn: Complex[Tensor, " M"] | None  # exp(-i m west)


def most(sphere: Sphere) -> int:
    """How many degrees, with as many orders, a grid tells apart."""
    return min(held(sphere))


def tables(sphere: Sphere, degrees: int, dtype: torch.dtype, device: torch.device) -> Tables:
    """The tables of degrees 0, ..., degrees - 1, made once. Raises ValueError for more than the grid holds."""
    if not 1 <= degrees <= most(sphere):
        raise ValueError(f"a grid {sphere.grid!r} of {sphere.shape} holds 1 to {most(sphere)} degrees, not {degrees}")
    return _tables(replace(sphere, radius=1.0, units="1"), degrees, dtype, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _tables(sphere: Sphere, degrees: int, dtype: torch.dtype, device: torch.device) -> Tables:
    gauss = sphere if sphere.grid == GAUSS else Sphere(sphere.shape, GAUSS)
    back = torch.cat(tangent(gauss, degrees, 0, degrees), 1) * (2 * torch.pi * gauss.quadrature)
    if sphere.grid != GAUSS:  # components of even order are odd about a pole
        across = torch.stack([interpolation(sphere, gauss, odd=odd) for odd in (True, False)])
        back = back @ across[torch.arange(degrees) % 2]
    west = torch.deg2rad(torch.tensor(sphere.west, dtype=torch.float64)) * torch.arange(degrees)

    def final(t: Tensor) -> Tensor:
        return t.to(device, dtype).contiguous()

    return Tables(
        (sphere.shape[0], sphere.shape[1]),
        final(legendre(torch.deg2rad(sphere.coordinate(0)), degrees, 0, degrees).mT),
        final(analysis(sphere, degrees, 0, degrees)),
        final(torch.cat([t.mT for t in tangent(sphere, degrees, 0, degrees)], 1)),
        final(back),
        torch.polar(torch.ones_like(west), -west).to(device, dtype.to_complex()) if sphere.west else None,
    )


# -- Fourier along the circles, Legendre along the meridians -----------------------------------------------------------


def to_fields(circles: Complex[Tensor, "B F K M"], t: Tables) -> Float[Tensor, "B F K N"]:
    """Fields of the Fourier coefficients of their circles."""
    z = circles if t.turn is None else circles * t.turn.conj()
    field: Tensor = torch.fft.irfft(z, n=t.shape[1], norm="forward")
    return field


def to_circles(u: Float[Tensor, "B F K N"], t: Tables) -> Complex[Tensor, "B F K M"]:
    """The Fourier coefficients of circles, orders 0, ..., M - 1."""
    z: Tensor = torch.fft.rfft(u, norm="forward")[..., : len(t.synthesis)]
    return z if t.turn is None else z * t.turn


def along(table: Float[Tensor, "M R S"], z: Complex[Tensor, "B F S M"]) -> Complex[Tensor, "B F R M"]:
    """A table applied to every order. Of order 0 the real part alone has a meaning."""
    rows, fields = z.shape[:2]
    columns = torch.view_as_real(z).permute(3, 2, 0, 1, 4).flatten(2)
    out = torch.bmm(table, columns).reshape(*table.shape[:2], rows, fields, 2).permute(2, 3, 1, 0, 4)
    return torch.view_as_complex(out.contiguous())


# -- the transforms ---------------------------------------------------------------------------------------------------


def synthesise(spectrum: Complex[Tensor, "B F L M"], t: Tables) -> Float[Tensor, "B F K N"]:
    """Scalars of their coefficients."""
    return to_fields(along(t.synthesis, spectrum), t)


def analyse(u: Float[Tensor, "B F K N"], t: Tables) -> Complex[Tensor, "B F L M"]:
    """The coefficients of scalars."""
    return along(t.analysis, to_circles(u, t))


def flow(psi: Complex[Tensor, "B 1 L M"], chi: Complex[Tensor, "B 1 L M"], t: Tables) -> Float[Tensor, "B 2 K N"]:
    """The vector k x grad psi + grad chi on the unit sphere, components to the north and to the east."""
    return to_fields(circles_of_flow(torch.cat([psi, chi], 1), t), t)


def circles_of_flow(potentials: Complex[Tensor, "B 2 L M"], t: Tables) -> Complex[Tensor, "B 2 K M"]:
    """The same before the Fourier transform, of psi and chi."""
    slope, over = along(t.synthesis_of_vectors, potentials).chunk(2, 2)
    return torch.stack([slope[:, 1] + 1j * over[:, 0], 1j * over[:, 1] - slope[:, 0]], 1)


def divergence_and_curl(
    north: Float[Tensor, "B F K N"], east: Float[Tensor, "B F K N"], t: Tables
) -> tuple[Complex[Tensor, "B F L M"], Complex[Tensor, "B F L M"]]:
    """div u and k . curl u of vectors on the unit sphere, by their coefficients."""
    return of_circles(to_circles(torch.cat([north, east], 1), t), t)


def of_circles(vectors: Complex[Tensor, "B F2 K M"], t: Tables) -> tuple[Complex[Tensor, "B F L M"], Complex[Tensor, "B F L M"]]:
    """The same after the Fourier transform, all components to the north and then all to the east."""
    slope, over = along(t.analysis_of_vectors, vectors).chunk(2, 2)
    (slope_n, slope_e), (over_n, over_e) = slope.chunk(2, 1), over.chunk(2, 1)
    return 1j * over_e - slope_n, 1j * over_n + slope_e


def inverse_laplacian(degrees: int, device: torch.device | str = "cpu") -> Float[Tensor, " L"]:
    """-1/(l (l + 1)) on the unit sphere, and 0 for the mean; float64."""
    degree = torch.arange(degrees, dtype=torch.float64, device=device)
    return torch.where(degree > 0, -1 / (degree * (degree + 1)).clamp_min(1), 0)


def fit(spectrum: Complex[Tensor, "B F L M"], degrees: int) -> Complex[Tensor, "B F L2 L2"]:
    """Cut to so many degrees and orders, or padded with zeros."""
    have = spectrum.shape[-1]
    if degrees <= have:
        return spectrum[..., :degrees, :degrees]
    return torch.nn.functional.pad(spectrum, (0, degrees - have, 0, degrees - have))
