"""Equations without a nonlinear term, exact for every field that a grid carries and every time: advection, and waves.

    u_t + c u_x = nu u_xx                    each mode times exp(-(i c k + nu k^2) t), c, nu >= 0
    u_tt = c^2 lap u, with u_t = v           u <- u cos(w t) + v sin(w t)/w,  v <- v cos(w t) - u w sin(w t),  w = c|k|

All modes below the Nyquist are carried: nothing aliases. Frames need no substeps, whatever dt. The energy of the waves,
<v^2 + c^2 |grad u|^2>/2, is kept, and so is the mean of v, with which that of u grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.etd import Advance, Nonlinear, Scheme, rows
from surrogates.pde.initial import scalar
from surrogates.pde.spectral import Spectral, column
from surrogates.record import recorded


def exact(L: Tensor, h: Float[Tensor, " S"], dtype: torch.dtype) -> Advance:
    """w' = L w."""
    E = torch.exp(rows(h, L).to(L.device) * L).to(dtype)

    def advance(w: Tensor, N: Nonlinear) -> Tensor:
        return E * w

    return advance


def oscillation(L: Tensor, h: Float[Tensor, " S"], dtype: torch.dtype) -> Advance:
    """(u, v)' = (v, -w^2 u), w being L."""
    h = rows(h, L).to(L.device)
    angle = h * L[:, :1]
    cos, sin, turn = torch.cos(angle), h * torch.sinc(angle / torch.pi), -L[:, :1] * torch.sin(angle)
    cos, sin, turn = (c.to(dtype) for c in (cos, sin, turn))

    def advance(w: Tensor, N: Nonlinear) -> Tensor:
        u, v = w.chunk(2, 1)
        return torch.cat([torch.addcmul(cos * u, sin, v), torch.addcmul(cos * v, turn, u)], 1)

    return advance


class Linear(Spectral):
    """State: the modes (B, F, *K) of an rfftn on an odd number of points, which have no Nyquist mode."""

    turnover_time = None  # type: ignore[assignment]  # nothing turns over

    def __init__(
        self, resolution: int | Sequence[int] | None, max_dt: float, scheme: Scheme, dtype: torch.dtype | str | None, **constants: Constant
    ) -> None:
        super().__init__(resolution, max_dt, scheme, dtype, constants)

    def substeps(self, dt: Float[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """One."""
        return torch.ones_like(dt, dtype=torch.int64)

    def encode(self, u: Float[Tensor, "B C *Y"], box: Box) -> Complex[Tensor, "B F *K"]:
        here = box.with_shape(u.shape[2:])
        spectrum: Tensor = torch.fft.rfftn(here.resample(u, odd(box)), dim=self.axes, norm="forward")
        return spectrum

    def decode(self, spectrum: Complex[Tensor, "B F *K"], box: Box, shape: tuple[int, ...]) -> Float[Tensor, "B C *Y"]:
        u: Tensor = torch.fft.irfftn(spectrum, s=odd(box), dim=self.axes, norm="forward")
        return box.with_shape(odd(box)).resample(u, shape)

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dim, 0))

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B C *X"]:
        """Random smooth states of zero mean, float64, one a trajectory."""
        return scalar(domain, trajectories, seed, peak=peak, rms=rms)


def odd(box: Box) -> tuple[int, ...]:
    """As many points as modes below the Nyquist."""
    return tuple(n - 1 + n % 2 for n in box.shape)


def nothing(w: Tensor) -> Tensor:
    """N = 0."""
    return torch.zeros_like(w)


@recorded
class Advection(Linear):
    """A scalar on a line, (B, 1, x). Parameters by name: speed c, viscosity nu."""

    fields: ClassVar[Fields] = Fields.of(Field("u"))
    dim = 1

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float = 1.0,
        dtype: torch.dtype | str | None = None,
        speed: Constant = None,
        viscosity: Constant = 0.0,
    ) -> None:
        super().__init__(resolution, max_dt, exact, dtype, speed=speed, viscosity=viscosity)

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        (k,) = box.with_shape(odd(box)).wavenumbers(device)
        return -1j * column(p["speed"], k) * k - column(p["viscosity"], k) * k**2, nothing


@recorded
class Wave(Linear):
    """Displacement and its rate in the plane, (B, 2, x, y). Parameter by name: speed c."""

    fields: ClassVar[Fields] = Fields.of(Field("displacement"), Field("rate"))
    dim = 2

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float = 1.0,
        dtype: torch.dtype | str | None = None,
        speed: Constant = None,
    ) -> None:
        super().__init__(resolution, max_dt, oscillation, dtype, speed=speed)

    def terms(self, box: Box, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        kx, ky = box.with_shape(odd(box)).wavenumbers(device)
        k = (kx.square() + ky.square()).sqrt()
        return (column(p["speed"], k) * k).expand(-1, 2, -1, -1), nothing

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, peak: float | int = 4.0, rms: float | int = 1.0
    ) -> Float[Tensor, "B C *X"]:
        """Random smooth displacements of zero mean and rates drawn by themselves, as large as unit speed makes them at `peak`."""
        swing = 2 * torch.pi * peak / min(domain.lengths) * rms
        parts = [scalar(domain, trajectories, seed, peak=peak, rms=size, draw=draw) for draw, size in enumerate((rms, swing))]
        return torch.cat(parts, 1)

    def energy(self, u: Float[Tensor, "B 2 X Y"], domain: Box, speed: float) -> Float[Tensor, " B"]:
        """<v^2 + c^2 |grad u|^2>/2."""
        gradient = domain.average(domain.gradient(u[:, :1]).square()).sum(1)
        return (domain.average(u[:, 1:].square())[:, 0] + speed**2 * gradient) / 2
