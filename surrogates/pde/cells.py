"""Averages over the cells of a Box: what lies beyond its sides, and the same field on finer or coarser cells.

Periodic axes have cells around their points, so that twice as many points cut every other cell in half; walled axes have whole ones.
Coarsening is the exact average. Refining takes a straight line in each cell, its slope the least of three (monotonised central):

    slope = minmod(2 (u_i - u_{i-1}), (u_{i+1} - u_{i-1})/2, 2 (u_{i+1} - u_i))

so that integrals are kept, no new extremes arise, and coarsening afterwards gives back the field wherever cells are whole.

Source of the slope: van Leer, J. Comput. Phys. 23 (1977) 276, https://doi.org/10.1016/0021-9991(77)90095-X.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC

TRANSMISSIVE, REFLECTING = "transmissive", "reflecting"
SIDES = (TRANSMISSIVE, REFLECTING)


def padded(u: Shaped[Tensor, "B C *X"], axis: int, depth: int, kind: str, odd: int | None = None) -> Shaped[Tensor, "B C *Y"]:
    """With `depth` cells more at both ends of an axis: of the other end where it is periodic, copies of the last cell where it is
    transmissive, mirror images where it reflects, in which channel `odd` has the other sign."""
    dim = 2 + axis
    n = u.shape[dim]
    if kind == PERIODIC:
        index = torch.arange(-depth, n + depth) % n
        return u.index_select(dim, index.to(u.device))
    index = torch.arange(-depth, n + depth)
    if kind == TRANSMISSIVE:
        return u.index_select(dim, index.clamp(0, n - 1).to(u.device))
    mirrored = torch.where(index < 0, -1 - index, torch.where(index >= n, 2 * n - 1 - index, index))
    out = u.index_select(dim, mirrored.to(u.device))
    if odd is None:
        return out
    outside = ((index < 0) | (index >= n)).to(u.device).reshape(-1, *(1,) * (u.ndim - 1 - dim))
    sign = torch.ones(u.shape[1], *(1,) * (u.ndim - 2), dtype=u.dtype, device=u.device)
    sign[odd] = -1
    return torch.where(outside, sign * out, out)


def resampled(u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
    """Averages over the cells of another grid of the same box. Raises ValueError where neither number of cells divides the other."""
    for axis, (n, m) in enumerate(zip(here.shape, there.shape, strict=True)):
        if n % m and m % n:
            raise ValueError(f"{n} cells and {m} do not divide each other along axis {axis}; choose a resolution that is a multiple")
        periodic = here.boundary[axis] == PERIODIC
        moved = u.movedim(2 + axis, -1)
        u = (coarser(moved, n // m, periodic) if n > m else finer(moved, m // n, periodic) if m > n else moved).movedim(-1, 2 + axis)
    return u


def coarser(u: Float[Tensor, "*B n"], ratio: int, periodic: bool) -> Float[Tensor, "*B m"]:
    """Averages over `ratio` cells; around points, of halves of cells."""
    if periodic:
        u = u.repeat_interleave(2, -1).roll(ratio - 1, -1)
        ratio *= 2
    return u.reshape(*u.shape[:-1], -1, ratio).mean(-1)


def finer(u: Float[Tensor, "*B n"], ratio: int, periodic: bool) -> Float[Tensor, "*B m"]:
    """Averages over parts of cells, of a line in each."""
    parts = 2 * ratio if periodic else ratio
    at = (torch.arange(parts, dtype=u.dtype, device=u.device) + 0.5) / parts - 0.5
    split = (u[..., None] + slope(u, periodic)[..., None] * at).flatten(-2)
    return split.roll(1 - ratio, -1).reshape(*u.shape[:-1], -1, 2).mean(-1) if periodic else split


def slope(u: Float[Tensor, "*B n"], periodic: bool) -> Float[Tensor, "*B n"]:
    """Of the line in each cell, a cell wide; none in the last cells of a walled axis."""
    back, ahead = u - u.roll(1, -1), u.roll(-1, -1) - u
    least = torch.minimum(torch.minimum(2 * back.abs(), 2 * ahead.abs()), (back + ahead).abs() / 2)
    out = torch.where(back * ahead > 0, least * back.sign(), 0)
    return out if periodic else torch.nn.functional.pad(out[..., 1:-1], (1, 1))


def kinds(box: Box, sides: str) -> tuple[str, ...]:
    """What lies beyond the ends of each axis: itself where it is periodic, else what `sides` says."""
    return tuple(kind if kind == PERIODIC else sides for kind in box.boundary)
