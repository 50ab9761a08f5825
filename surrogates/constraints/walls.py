"""Values at the walls of a Box, half a cell from the nearest points: with two cell centres at the distances a < b from the wall,

    u_wall = (b u_0 - a u_1) / (b - a),

exact for linear fields. The nearest field with u_wall = g, in the norm of the domain's measure, moves these two layers by
c_i / h_i (g - u_wall) / (c_0^2/h_0 + c_1^2/h_1), with c = (b, -a)/(b - a) and h the widths of the cells across the wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Box


@dataclass(frozen=True)
class Wall:
    """One side of a Box: the layers (first, second) of `axis`, their weights c and widths h; `outward` is -1 below and +1 above."""

    axis: int
    outward: int
    layers: tuple[int, int]
    weights: tuple[float, float]
    widths: tuple[float, float]

    def trace(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *face"]:
        """u at the wall, without its axis."""
        first, second = (u.select(2 + self.axis, layer) for layer in self.layers)
        return self.weights[0] * first + self.weights[1] * second

    def imposed(self, u: Float[Tensor, "B C *X"], values: Float[Tensor, "B C *face"]) -> Float[Tensor, "B C *X"]:
        """The nearest field with these values at the wall."""
        dim, n = 2 + self.axis, u.shape[2 + self.axis]
        moves = [c / h for c, h in zip(self.weights, self.widths, strict=True)]
        missing = (values - self.trace(u)) / sum(c * m for c, m in zip(self.weights, moves, strict=True))
        first, second = ((u.select(dim, i) + m * missing).unsqueeze(dim) for i, m in zip(self.layers, moves, strict=True))
        if self.outward < 0:
            return torch.cat([first, second, u.narrow(dim, 2, n - 2)], dim)
        return torch.cat([u.narrow(dim, 0, n - 2), second, first], dim)


def sides(box: Box) -> tuple[str, ...]:
    """The names of its walls: x_lower, x_upper, y_lower and so on, of the axes that do not repeat, open or not."""
    return box.ends


def wall(box: Box, side: str) -> Wall:
    """A wall by name. Raises ValueError with the names that exist, and for fewer than four cells between two walls."""
    if side not in sides(box):
        raise ValueError(f"wall {side!r} is not among those of this Box: {', '.join(sides(box)) or 'it repeats on every axis'}")
    name, _, end = side.rpartition("_")
    axis = box.axes.index(name)
    n, upper = box.shape[axis], end == "upper"
    if n < 4:
        raise ValueError(f"values at walls need at least 4 cells between them, axis {name!r} has {n}")
    layers = (n - 1, n - 2) if upper else (0, 1)
    edges = box.edges[axis]
    h, k = (box.spacing[axis] if edges is None else edges[i + 1] - edges[i] for i in layers)
    a, b = h / 2, h + k / 2  # in numbers, not tensors: a compiler sees through them
    return Wall(axis, 1 if upper else -1, layers, (b / (b - a), -a / (b - a)), (h, k))
