"""Projection between walls: on each walled axis the normal velocity is a sine series and all else a cosine series,

    normal        sum_k a_k sin(pi k x / L),  k = 1..N            d/dx sin = + (pi k / L) cos
    tangential, p sum_k b_k cos(pi k x / L),  k = 0..N-1          d/dx cos = - (pi k / L) sin

in N cell centres x = (i + 1/2) L/N. No velocity of this form passes the walls. Divergence takes (sine, cosine) to cosines, the gradient is
minus its adjoint, and the projection is the periodic one, u_hat - k (k . u_hat) / |k|^2: it is that of the periodic box twice as wide
in which the flow is mirrored. k = N is the Nyquist mode (-1)^i, whose derivative is zero and which stays.

Where cells are stretched, the derivative of the normal velocity is the difference of flows through faces over the width of the cell: linear
interpolation between centres, nothing through the walls. Weighted by widths h, S = h^(1/2) D h^(-1/2) = U diag(k) V^T takes the place
of cosines U, sines V and wavenumbers k: the singular vectors make the projection exact, without a solve (fast diagonalisation).

Transforms between walls are products with N x N matrices, made once. Periodic axes are transformed by FFT.

Sources: Martucci, Symmetric convolution and the discrete sine and cosine transforms, 1994, https://doi.org/10.1109/78.295213; Lynch, Rice
and Thomas, Direct solution of partial difference equations by tensor product methods, 1964, https://doi.org/10.1007/BF01386067.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.divergence_periodic import Waves, gradient_part, made, ratio
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC


class Wall(NamedTuple):
    """Transforms of one walled axis, there and back, of the normal component and of everything else."""

    axis: int
    normal: tuple[Float[Tensor, "K N"], Float[Tensor, "N K"]]
    other: tuple[Float[Tensor, "K N"], Float[Tensor, "N K"]]


class Channel(NamedTuple):
    """All that is known of a box with walls, for one type and device."""

    walls: tuple[Wall, ...]
    periodic: tuple[int, ...]
    waves: Waves


def compressive(u: Float[Tensor, "B D *X"], box: Box) -> Float[Tensor, "B D *X"]:
    """The part of a vector field that is a gradient."""
    c = channel(box, u.dtype, u.device)
    return _back(gradient_part(_there(u, c), c.waves), box, c)


def defect(u: Float[Tensor, "B D *X"], box: Box) -> Float[Tensor, "B 1"]:
    """||div u|| / ||grad u|| of these series, float64."""
    c = channel(box, u.dtype, u.device)
    return ratio(_there(u, c), c.waves)


def _there(u: Tensor, c: Channel) -> Tensor:
    u = _by_walls(u, c, 0)
    return torch.fft.rfftn(u, dim=[2 + a for a in c.periodic]) if c.periodic else u


def _back(u_hat: Tensor, box: Box, c: Channel) -> Tensor:
    dims, sizes = [2 + a for a in c.periodic], [box.shape[a] for a in c.periodic]
    return _by_walls(torch.fft.irfftn(u_hat, s=sizes, dim=dims) if c.periodic else u_hat, c, 1)


def _by_walls(u: Tensor, c: Channel, way: int) -> Tensor:
    """Every component by its own matrices along every walled axis."""
    parts = []
    for component, v in enumerate(u.unbind(1)):
        for wall in c.walls:
            m = (wall.normal if component == wall.axis else wall.other)[way]
            v = (v.movedim(1 + wall.axis, -1) @ m.T).movedim(-1, 1 + wall.axis)
        parts.append(v)
    return torch.stack(parts, 1)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def channel(box: Box, dtype: torch.dtype, device: torch.device) -> Channel:
    """Of a box with walls, made once."""
    return _channel(box, dtype, device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _channel(box: Box, dtype: torch.dtype, device: torch.device) -> Channel:
    periodic = tuple(a for a in range(box.dim) if box.boundary[a] == PERIODIC)
    walls, k, weight = [], [], torch.ones((), dtype=torch.float64)
    for a, n in enumerate(box.shape):
        if a in periodic:
            half = a == periodic[-1]
            numbers = torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64) if half else torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
            twice = torch.full_like(numbers, 2.0 if half else 1.0)
            twice[0] = 1
            if n % 2 == 0:
                numbers[n // 2], twice[n // 2] = 0, 1
            axis, many = 2j * pi / box.lengths[a] * numbers, twice
        else:
            normal, other, axis = _series(n, box.lengths[a]) if box.edges[a] is None else _faces(box.widths(a))
            final = [tuple(m.to(device, dtype).contiguous() for m in pair) for pair in (normal, other)]
            walls.append(Wall(a, (final[0][0], final[0][1]), (final[1][0], final[1][1])))
            many = torch.ones(n, dtype=torch.float64)
        k.append(axis.reshape(-1, *(1,) * (box.dim - 1 - a)).to(device))
        weight = weight[..., None] * many
    return Channel(tuple(walls), periodic, made(tuple(k), weight.to(device), dtype))


Pair = tuple[Tensor, Tensor]


def _series(n: int, length: float) -> tuple[Pair, Pair, Tensor]:
    """Sines (k = N first, whose derivative is zero), cosines, and their wavenumbers; orthonormal, float64."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64) + 0.5
    scale = ((2.0 - (k == 0).double()) / n).sqrt()
    sine, cosine = scale * torch.sin(pi / n * torch.where(k == 0, n, k) * i), scale * torch.cos(pi / n * k * i)
    return (sine, sine.T), (cosine, cosine.T), pi / length * k[:, 0]


def _faces(h: Float[Tensor, " N"]) -> tuple[Pair, Pair, Tensor]:
    """The same of stretched cells of widths h."""
    n, root = len(h), h.sqrt()
    i = torch.arange(n - 1)
    flow = h.new_zeros(n + 1, n)  # at the faces, by linear interpolation; none at the walls
    flow[i + 1, i], flow[i + 1, i + 1] = h[1:] / (h[1:] + h[:-1]), h[:-1] / (h[1:] + h[:-1])
    left, k, right = torch.linalg.svd(flow.diff(dim=0) / root[:, None] / root)
    k[-1] = 0  # to the last bit: n - 1 faces between n cells
    return (right * root, (right / root).T), (left.T * root, left / root[:, None]), k
