"""Forces from cells: Archimedes' principle, uniform pressure, and the shear of a known flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surrogates.data.cases.forces import Wall, coefficients
from surrogates.data.cases.outline import Obstacle, area
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("pressure", "m2 s-2"))


def around(points: np.ndarray, distance: float) -> tuple[Wall, torch.Tensor]:
    """Cells beside the sides of a body, and where their walls are."""
    after = np.roll(points, -1, axis=0)
    span = after - points
    into = np.stack([-span[:, 1], span[:, 0]], 1)  # counter-clockwise: the body lies to the left
    wall = Wall(torch.arange(len(points)), torch.from_numpy(into), torch.full((len(points),), distance, dtype=torch.float64))
    return wall, torch.from_numpy((points + after) / 2)


@pytest.mark.parametrize("corners", [0, 3, 4])
def test_archimedes(corners: int) -> None:
    """In a pressure that grows along g the body is pushed along -g by its area, and not at all where the pressure is uniform."""
    points = Obstacle(0.3, 0.2, 0.1, 1.4, corners, 30.0).outline(0.005)
    wall, at = around(points, 1e-3)
    u = torch.zeros(2, 3, len(points), dtype=torch.float64)
    u[0, 2] = 3.0 * at[:, 0] - 2.0 * at[:, 1]
    u[1, 2] = 7.0
    force = wall.force(u, FIELDS, 1e-3)
    assert torch.allclose(force[0, 0], area(points) * torch.tensor([-3.0, 2.0], dtype=torch.float64), atol=1e-12)
    assert force[1].abs().max() < 1e-12 and force[:, 1].abs().max() == 0


def test_shear_drags_along_and_flow_across_the_wall_does_not() -> None:
    wall = Wall(torch.tensor([1]), torch.tensor([[0.0, -2.0]]), torch.tensor([0.1]))  # a wall below the cell, 2 m long
    u = torch.zeros(3, 4)
    u[0, 1], u[1, 1] = 0.5, 0.3
    pressure, viscous = wall.force(u, FIELDS, 0.01)
    assert viscous.tolist() == pytest.approx([0.01 * 0.5 / 0.1 * 2, 0.0]) and pressure.tolist() == [0, 0]
    assert coefficients(torch.stack([pressure, viscous]), 2.0, 0.5).tolist() == pytest.approx([2 * 0.1 / (4 * 0.5), 0.0])


def test_viscosities_belong_to_rows() -> None:
    wall = Wall(torch.tensor([0]), torch.tensor([[0.0, -1.0]]), torch.tensor([0.5]))
    u = torch.ones(2, 5, 3, 1)
    force = wall.force(u, FIELDS, torch.tensor([[0.1], [0.3]]).expand(2, 5))
    assert force.shape == (2, 5, 2, 2) and (force[1, :, 1] / force[0, :, 1])[:, 0].tolist() == pytest.approx([3.0] * 5)
