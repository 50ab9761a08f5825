"""Values at walls: exact for linear fields on unequal cells, and imposed with the least change."""

from __future__ import annotations

import pytest
import torch

from surrogates.constraints.walls import sides, wall
from surrogates.domains import Box

ROOM = Box((5, 4, 6), (-1.0, 0.0, 2.0), (2.0, 1.0, 3.0), ("wall", "periodic", "wall"), ((-1.0, -0.8, 0.0, 0.5, 1.7, 2.0), None, None))


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("side", "x", "z"), [("x_lower", -1.0, None), ("x_upper", 2.0, None), ("z_lower", None, 2.0), ("z_upper", None, 3.0)]
)
def test_linear_fields_are_known_at_the_wall(side: str, x: float | None, z: float | None) -> None:
    X, Y, Z = ROOM.grid()
    u = (3 * X - 2 * Z + torch.sin(Y))[None, None]
    at = wall(ROOM, side)
    X, Y, Z = (g.select(at.axis, 0) for g in ROOM.grid())
    expected = 3 * (X if x is None else x) - 2 * (Z if z is None else z) + torch.sin(Y)
    torch.testing.assert_close(at.trace(u)[0, 0], expected)


def test_imposed_values_are_reached_with_the_least_change() -> None:
    """Against the optimality conditions of one line of cells: min sum h |v - u|^2 / 2 under c . v = g."""
    line = Box((5,), (-1.0,), (2.0,), ("wall",), ((-1.0, -0.8, 0.0, 0.5, 1.7, 2.0),))
    for side in ("x_lower", "x_upper"):
        at, u, g = wall(line, side), random(0, 1, 1, 5), random(1, 1, 1)
        c = torch.zeros(5, dtype=torch.float64)
        c[list(at.layers)] = torch.tensor(at.weights, dtype=torch.float64)
        h = line.measure
        expected = u[0, 0] + c / h * (g[0, 0] - c @ u[0, 0]) / (c.square() / h).sum()
        torch.testing.assert_close(at.imposed(u, g)[0, 0], expected)
        torch.testing.assert_close(at.trace(at.imposed(u, g)), g)


def test_walls_that_do_not_exist_are_refused() -> None:
    assert sides(ROOM) == ("x_lower", "x_upper", "z_lower", "z_upper")
    with pytest.raises(ValueError, match="'y_lower' is not among those of this Box: x_lower, x_upper, z_lower, z_upper"):
        wall(ROOM, "y_lower")
    with pytest.raises(ValueError, match="repeats on every axis"):
        wall(Box.periodic((4,), 1.0), "x_lower")
    with pytest.raises(ValueError, match="at least 4 cells"):
        wall(Box((3,), (0.0,), (1.0,), ("wall",)), "x_lower")
