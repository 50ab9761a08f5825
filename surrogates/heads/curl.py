"""Velocities without divergence: the curl of a potential on a Box, the wind of a stream function on a Sphere.

    plane Box    u = (d psi/dy, -d psi/dx)
    Box          u = (dA_z/dy - dA_y/dz, dA_x/dz - dA_z/dx, dA_y/dx - dA_x/dy)
    Sphere       u = (1/(R cos phi) d psi/d lambda, -1/R d psi/d phi)    northward, eastward

Derivatives along different axes commute, so the divergence, with the same ones, cancels term by term for every potential. They are those
of the law `constraints.DivergenceFree`: on a periodic axis Fourier's, with nothing at the Nyquist index. On a walled axis a potential's
components parallel to the wall vanish there, so that nothing passes; they are series of sines in the cell centres, and where cells are
stretched their derivative is (D a)_i = (a_(i+1/2) - a_(i-1/2)) / h_i, interpolated linearly to faces and zero at walls. On a Sphere, with
c_lm of psi,

    u = sum over l, m of (i m P_lm / cos phi, -dP_lm/dphi) c_lm exp(i m lambda) / R,

from the vector harmonics of `constraints.divergence_sphere`, for all degrees that the grid holds.

Sources: Batchelor, An Introduction to Fluid Dynamics, 1967, sections 2.2 and 2.4; Swarztrauber, The vector harmonic transform method, 1993,
https://doi.org/10.1175/1520-0493(1993)121<3415:TVHTMF>2.0.CO;2.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.divergence_sphere import transforms
from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.harmonics import analyse, synthesise, transform


def planar(psi: Float[Tensor, "B 1 *X"], box: Box) -> Float[Tensor, "B 2 *X"]:
    """The flow of a stream function on a plane Box."""
    D = derivatives(box, psi.dtype, psi.device)
    return torch.cat([_along(psi, D[1], box, 1), -_along(psi, D[0], box, 0)], 1)


def spatial(A: Float[Tensor, "B 3 *X"], box: Box) -> Float[Tensor, "B 3 *X"]:
    """The curl of a vector potential on a Box in space."""
    D = derivatives(box, A.dtype, A.device)
    (z_by_x, y_by_x), (x_by_y, z_by_y), (y_by_z, x_by_z) = (
        _along(A[:, pair], D[axis], box, axis).unbind(1) for axis, pair in enumerate(([2, 1], [0, 2], [1, 0]))
    )
    return torch.stack([z_by_y - y_by_z, x_by_z - z_by_x, y_by_x - x_by_y], 1)


def wind(psi: Float[Tensor, "B 1 lat lon"], sphere: Sphere) -> Float[Tensor, "B 2 lat lon"]:
    """The flow of a stream function on a Sphere, northward and eastward."""
    north, east = transforms(sphere, psi.dtype, psi.device)
    plain = transform(sphere, north.cuts[-1], north.borders[-1], psi.dtype, psi.device)
    bands = analyse(psi[:, 0].permute(1, 2, 0) / sphere.radius, plain)
    c = []
    for (lo, hi), z in zip(pairwise(plain.cuts), bands, strict=True):  # their harmonics have the norm 1: sqrt(l(l+1)) is taken back
        degree = torch.arange(lo, hi, dtype=z.dtype, device=z.device)
        c.append(z * (degree * (degree + 1)).sqrt().reshape(-1, 1, 1, 1))
    turned = tuple(torch.stack([-z[:, :, 1], z[:, :, 0]], 2) for z in c)
    return torch.stack([synthesise(turned, east), -synthesise(tuple(c), north)]).permute(3, 0, 1, 2)


def _along(a: Tensor, D: Tensor, box: Box, axis: int) -> Tensor:
    """The derivative of what vanishes at the walls of `axis`, if it has any."""
    dim = 2 + axis
    if box.boundary[axis] == PERIODIC:
        made: Tensor = torch.fft.irfft(torch.fft.rfft(a, dim=dim) * D, n=box.shape[axis], dim=dim)
        return made
    along: Tensor = a.movedim(dim, -1) @ D.T
    return along.movedim(-1, dim)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def derivatives(box: Box, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """For each axis i k, to be multiplied with, where it is periodic (as in `Box.derivative`), else an n by n matrix; made once."""
    return _derivatives(box, dtype, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _derivatives(box: Box, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    made = []
    for axis, kind in enumerate(box.boundary):
        if kind == PERIODIC:
            made.append(_around(box, axis).to(device, dtype.to_complex()))
        else:
            made.append(_between_walls(box, axis).to(device, dtype))
    return tuple(made)


def _around(box: Box, axis: int) -> Tensor:
    n = box.shape[axis]
    k = torch.fft.rfftfreq(n, box.lengths[axis] / (2 * pi * n), dtype=torch.float64)
    if n % 2 == 0:
        k[-1] = 0
    return torch.complex(0 * k, k).reshape(-1, *(1,) * (box.dim - 1 - axis))


def _between_walls(box: Box, axis: int) -> Float[Tensor, "n n"]:
    n, h = box.shape[axis], box.widths(axis)
    if box.edges[axis] is None:
        k, i = torch.arange(1, n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64) + 0.5
        D = (pi / n * k * i).cos().T @ (2 * pi * k / (n * box.lengths[axis]) * (pi / n * k * i).sin())
    else:
        i = torch.arange(n - 1)
        faces = h.new_zeros(n + 1, n)
        faces[i + 1, i], faces[i + 1, i + 1] = h[1:] / (h[1:] + h[:-1]), h[:-1] / (h[1:] + h[:-1])
        D = faces.diff(dim=0) / h[:, None]
    return D
