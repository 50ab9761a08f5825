"""What mirrors and right angles do to points and components: (a, b) -> (-a, b) where the first axis is mirrored, (-b, a) in a turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.fields import Fields

Grid = Box | Sphere


def repeats(grid: Grid, axis: int) -> bool:
    """Whether an axis is a circle."""
    return axis == 1 if isinstance(grid, Sphere) else grid.boundary[axis] == PERIODIC


def mirrored(u: Tensor, axis: int, grid: Grid) -> Tensor:
    """The points of an axis in the other order: about point 0 of a circle, else about the middle."""
    dim = u.ndim - grid.dim + axis
    turned = u.flip(dim)
    return turned.roll(1, dim) if repeats(grid, axis) else turned


def quarter(u: Tensor, fields: Fields, grid: Grid) -> Tensor:
    """By a right angle from x to y: v(x, y) = R u(R^-1 (x, y)), with R (a, b) = (-b, a). Raises ValueError for tensors."""
    first = u.ndim - grid.dim
    u = mirrored(u.transpose(first, first + 1), 0, grid)
    parts = list(u.unbind(first - 1))
    for f in fields:
        span, levels = fields.slice(f.name), max(1, len(f.levels))
        if len(f.components) not in (0, grid.dim):
            raise ValueError(f"field {f.name!r} has components {f.components}; vectors and scalars turn here, tensors do not")
        for n in range(levels if f.components else 0):
            x, y = span.start + n, span.start + levels + n
            parts[x], parts[y] = -parts[y], parts[x]
    return torch.stack(parts, first - 1)


def signs(fields: Fields, axis: int, dim: int, flips: Sequence[str] = ()) -> Float[Tensor, " C"]:
    """What a reflection multiplies each channel with. Raises ValueError for components that are neither a vector's nor a tensor's."""
    out: list[float] = []
    for f in fields:
        levels, n = max(1, len(f.levels)), len(f.components)
        if n not in (0, dim, dim**2):
            raise ValueError(f"field {f.name!r} has {n} components in {dim} dimensions, of which it is not known how they reflect")
        own = [-1.0 if f.name in flips else 1.0] if not n else []
        for i in range(n):
            odd = (i == axis) if n == dim else (i // dim == axis) != (i % dim == axis)
            own.append(-1.0 if odd else 1.0)
        out += [s for s in own for _ in range(levels)]
    return torch.tensor(out, dtype=torch.float64)
