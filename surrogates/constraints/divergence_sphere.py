"""Helmholtz decomposition on a sphere: u = grad chi + r x grad psi, of which the gradient goes and the flow of the stream function stays.

Vector spherical harmonics, with components to the north and to the east, are orthonormal for degrees l >= 1:

    Psi_lm = grad Y_lm / sqrt(l(l+1)) = (dP_lm/dphi, i m P_lm / cos phi) exp(i m lambda) / sqrt(l(l+1)),    Phi_lm = r x Psi_lm,
    div u = sum of -sqrt(l(l+1)) / R <Psi_lm, u> Y_lm,                                                     vorticity with Phi_lm.

u - sum Psi_lm <Psi_lm, u> is the projection. What lies beyond the degrees and orders that the grid holds stays, as does a Nyquist mode.
There is no uniform flow on a sphere; solid rotation, degree 1 of psi, stays.

Exactly, up to rounding, on every grid: the projection is idempotent, removes gradients and keeps flows of stream functions of any degree
that the grid holds. On a Gauss grid the products above are exact in the domain's measure too, so the projection is orthogonal and the
result the nearest; on equiangular grids, whose measure is cell areas, it is so to second order in the spacing. (The transform is exact
there because components continue over the poles as series of sines (even m) and cosines (odd m), the reverse of scalars.)

The slopes of the harmonics hold at the poles too (`domains.legendre.tangent`). Source: Swarztrauber, The vector harmonic transform
method for solving partial differential equations in spherical
geometry, 1993, https://doi.org/10.1175/1520-0493(1993)121<3415:TVHTMF>2.0.CO;2.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.harmonics import Spectrum, Transform, analyse, synthesise, transform
from surrogates.domains.legendre import NEGLIGIBLE, held, interpolation, tangent
from surrogates.domains.sphere import GAUSS, POLES


def compressive(u: Float[Tensor, "B 2 lat lon"], sphere: Sphere) -> Float[Tensor, "B 2 lat lon"]:
    """The part of a vector field that is a gradient."""
    north, east = transforms(sphere, u.dtype, u.device)
    psi = _analyse(u.unbind(1), (north, east))
    found = torch.stack([synthesise(psi, north), synthesise(_turn(psi, 1), east)])
    return found.permute(3, 0, 1, 2)


def defect(u: Float[Tensor, "B 2 lat lon"], sphere: Sphere) -> Float[Tensor, "B 1"]:
    """||div u|| / (||div u||^2 + ||vorticity||^2)^(1/2), float64; 0 for solid rotation."""
    pair = transforms(sphere, u.dtype, u.device)
    divergence, vorticity = (_norm(_analyse(v, pair), pair[0]) for v in ((u[:, 0], u[:, 1]), (-u[:, 1], u[:, 0])))
    whole: Tensor = torch.linalg.vector_norm(torch.cat([divergence, vorticity], 1), dim=1, keepdim=True)
    return divergence / whole.clamp_min(1e-300)


def _analyse(components: tuple[Tensor, ...], pair: tuple[Transform, Transform]) -> Spectrum:
    """<Psi_lm, u> of (B, lat, lon) components to the north and to the east; <Phi_lm, u> of those of -r x u."""
    north, east = (analyse(v.permute(1, 2, 0), t) for v, t in zip(components, pair, strict=True))
    return tuple(a + b for a, b in zip(north, _turn(east, -1), strict=True))


def _turn(spectrum: Spectrum, sign: int) -> Spectrum:
    """i sign times a spectrum."""
    return tuple(torch.stack([-sign * z[:, :, 1], sign * z[:, :, 0]], 2) for z in spectrum)


def _norm(spectrum: Spectrum, t: Transform) -> Float[Tensor, "B 1"]:
    """sqrt(sum l(l+1) |c_lm|^2), orders m > 0 twice."""
    parts = []
    for (lo, hi), z in zip(pairwise(t.cuts), spectrum, strict=True):
        degree = torch.arange(lo, hi, dtype=torch.float64, device=z.device)
        order = torch.tensor(t.rows[: z.shape[1]], device=z.device)
        scale = (degree * (degree + 1))[:, None] * torch.where(order > 0, 2, 1)
        parts.append((z.double() * scale.sqrt()[:, :, None, None]).flatten(0, 2))
    out: Tensor = torch.linalg.vector_norm(torch.cat(parts), dim=0)
    return out[:, None]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def transforms(sphere: Sphere, dtype: torch.dtype, device: torch.device) -> tuple[Transform, Transform]:
    """Like `harmonics.transform`, with dP_lm/dphi and m P_lm / cos phi over sqrt(l(l+1)) in place of P_lm; made once."""
    return _transforms(replace(sphere, radius=1.0, units="1"), dtype, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _transforms(sphere: Sphere, dtype: torch.dtype, device: torch.device) -> tuple[Transform, Transform]:
    degrees, orders = held(sphere)
    plain = transform(sphere, degrees, min(degrees, orders), dtype, device)
    up: tuple[list[Tensor], ...] = ([], [])
    down: tuple[list[Tensor], ...] = ([], [])
    for lo, hi in pairwise(plain.borders):
        for i, (there, back) in enumerate(zip(_analysis(sphere, degrees, lo, hi), of_vectors(sphere, degrees, lo, hi), strict=True)):
            for c in range(plain.classes):
                rows = slice((c - lo) % plain.classes, None, plain.classes)
                for out, m in ((up[i], there[rows]), (down[i], back[rows].mT)):
                    out.append(m.where(m.abs() > NEGLIGIBLE, 0.0).to(device, dtype).contiguous())
    north, east = (plain._replace(analysis=tuple(up[i]), synthesis=tuple(down[i])) for i in (0, 1))
    return north, east


def _analysis(sphere: Sphere, degrees: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """What takes a component, order by order, to its share of <Psi_lm, u>."""
    n = sphere.shape[0]
    fine = sphere if sphere.grid == GAUSS else sphere.with_shape((2 * n - (sphere.grid == POLES), sphere.shape[1]))
    tables = [2 * pi * fine.quadrature * p for p in of_vectors(fine, degrees, first, last)]
    if fine is sphere:
        return tables[0], tables[1]
    found = [p.new_empty(*p.shape[:2], n) for p in tables]
    for parity in {first % 2, (first + 1) % 2}:
        rows, across = slice((parity - first) % 2, None, 2), interpolation(sphere, fine, odd=not parity)
        for out, p in zip(found, tables, strict=True):
            out[rows] = p[rows] @ across
    return found[0], found[1]


def of_vectors(sphere: Sphere, degrees: int, first: int, last: int) -> tuple[Float[Tensor, "M L K"], Float[Tensor, "M L K"]]:
    """dP_lm/dphi and m P_lm / cos phi over sqrt(l(l+1)), first <= m < last and first <= l < degrees; float64."""
    degree = torch.arange(first, degrees, dtype=torch.float64)[:, None]
    scale = torch.where(degree > 0, 1 / (degree * (degree + 1)).clamp_min(1).sqrt(), 0.0)
    slope, over = tangent(sphere, degrees, first, last)
    return slope * scale, over * scale
