"""Where a coordinate lies among the points of a domain: the K points around it and their weights, which add up to one.

Box      the 2^D corners of the cell between points, multilinear; a periodic axis wraps, a walled one is constant
         between its last point and the wall
Sphere   the same in latitude and longitude, in degrees; constant beyond the last rows
Mesh     the corners of the simplex that holds it, by barycentric coordinates (linear functions are exact); without cells
         the nearest node, at most the longest edge away
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box, Mesh, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.domains.mesh_edges import nearest_image

Located = tuple[Int[Tensor, "N K"], Float[Tensor, "N K"]]
Line = tuple[Int[Tensor, " N"], Int[Tensor, " N"], Float[Tensor, " N"]]
"""The point before, the point after, and the weight of the one after."""
ROUNDING = 1e-9


def locate(domain: Domain, where: Float[Tensor, "N D"]) -> Located:
    """Points (row-major) and weights, for coordinates in the units of the domain.

    Raises ValueError for coordinates that are not finite, too few, or off the domain, and TypeError for a domain without coordinates.
    """
    if not isinstance(domain, Box | Sphere | Mesh):
        raise TypeError(f"coordinates need a Box, a Sphere or a Mesh, got {type(domain).__name__}; give points by index")
    if where.shape[1] != domain.dim or not bool(where.isfinite().all()):
        raise ValueError(f"a sensor here has {domain.dim} finite coordinates, got {where.tolist()}")
    if isinstance(domain, Mesh):
        return _among_nodes(domain, where)
    lines = [_along(domain, axis, where[:, axis].contiguous()) for axis in range(domain.dim)]
    index, weights = [], []
    for corner in product((0, 1), repeat=domain.dim):
        flat, weight = torch.zeros(len(where), dtype=torch.long), torch.ones(len(where), dtype=torch.float64)
        for side, (before, after, t), n in zip(corner, lines, domain.shape, strict=True):
            flat = flat * n + (after if side else before)
            weight = weight * (t if side else 1 - t)
        index.append(flat)
        weights.append(weight)
    return torch.stack(index, 1), torch.stack(weights, 1)


def _along(domain: Box | Sphere, axis: int, x: Float[Tensor, " N"]) -> Line:
    n, points = domain.shape[axis], domain.coordinate(axis)
    repeats = axis == 1 if isinstance(domain, Sphere) else domain.boundary[axis] == PERIODIC
    if repeats:
        length = 360.0 if isinstance(domain, Sphere) else domain.lengths[axis]
        position = torch.remainder(x - points[0], length) * (n / length)
        before = position.floor().long().clamp(max=n - 1)
        return before, (before + 1) % n, position - before
    lower, upper = (-90.0, 90.0) if isinstance(domain, Sphere) else (domain.lower[axis], domain.upper[axis])
    off = (x < lower) | (x > upper)
    if bool(off.any()):
        raise ValueError(
            f"sensors at {x[off].tolist()} along axis {domain.axes[axis]!r} lie off the domain, which reaches from {lower} to {upper}"
        )
    rising = points if n == 1 or points[1] > points[0] else points.flip(0)
    after = torch.searchsorted(rising, x).clamp(1, max(n - 1, 1))
    before = after - 1
    after = after.clamp(max=n - 1)
    span = torch.where(after > before, rising[after] - rising[before], 1.0)
    t = ((x - rising[before]) / span).clamp(0, 1)
    if rising is points:
        return before, after, t
    return n - 1 - before, n - 1 - after, t


def _among_nodes(mesh: Mesh, where: Float[Tensor, "N D"]) -> Located:
    points, x = mesh.points.cpu(), where[:, None]
    if mesh.cells is None:
        distance = nearest_image(x - points, mesh.periods).norm(dim=2)
        near, index = distance.min(1)
        reach = float(mesh.relative.norm(dim=1).max())
        _refuse(where, near > reach, f"farther than the longest edge, {reach:.3g}, from every node")
        return index[:, None], torch.ones(len(where), 1, dtype=torch.float64)
    corners = mesh.cells.cpu()
    if corners.shape[1] != mesh.dim + 1:
        raise ValueError(f"cells of {corners.shape[1]} corners in {mesh.dim}-D hold no points by coordinates; give nodes by index")
    first = points[corners[:, 0]]
    sides = nearest_image(points[corners[:, 1:]] - first[:, None], mesh.periods)
    rest = torch.einsum("nce,ced->ncd", nearest_image(x - first, mesh.periods), torch.linalg.inv(sides))
    barycentric = torch.cat((1 - rest.sum(2, keepdim=True), rest), 2)
    inside, cell = barycentric.min(2).values.max(1)
    _refuse(where, inside < -ROUNDING, "inside no cell")
    return corners[cell], barycentric[torch.arange(len(where)), cell]


def _refuse(where: Tensor, off: Tensor, why: str) -> None:
    if bool(off.any()):
        raise ValueError(f"sensors at {where[off].tolist()} lie off the mesh, {why}")
