"""Values at boundaries: the least change that reaches them, corners, and surroundings that move with time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.constraints import BoundaryValues
from surrogates.constraints.walls import wall
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y")))
CAVITY = Box((5, 4), (0.0, 0.0), (1.0, 2.0), ("wall", "wall"), ((0.0, 0.1, 0.3, 0.5, 0.8, 1.0), None))
NONE = torch.zeros(2, 0, dtype=torch.float64)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(domain: Domain, time: float = 0.0, boundary: object = None) -> Conditions:
    ones = torch.ones(2, dtype=torch.float64)
    return Conditions(domain, time * ones, ones, torch.zeros(2, 0), boundary=boundary)  # type: ignore[arg-type]


def test_walls_that_agree_at_their_corners_all_hold_with_the_least_change() -> None:
    """Against the optimality conditions, solved densely: min sum m |v - u|^2 / 2 under T v = 0 at all four walls."""
    law = BoundaryValues(FIELDS, "q", dict.fromkeys(("x_lower", "x_upper", "y_lower", "y_upper"), 0.0))
    u = random(0, 2, 3, 5, 4)
    held = law(u, NONE, at(CAVITY))
    unit = torch.eye(20, dtype=torch.float64).reshape(20, 1, 5, 4)
    traces = torch.cat([wall(CAVITY, name).trace(unit).flatten(1) for name in law.values], 1).T
    m = CAVITY.measure.flatten()
    s = traces / m
    expected = u[:, 0].flatten(1) - (s.T @ torch.linalg.pinv(traces @ s.T) @ traces @ u[:, 0].flatten(1).T).T
    torch.testing.assert_close(held[:, 0].flatten(1), expected, rtol=0, atol=1e-12)
    assert (held - u)[:, 0].abs().max() > 0.1


def test_a_sliding_lid_wins_its_corners_when_it_is_named_last() -> None:
    sides = {"x_lower": 0.0, "x_upper": 0.0, "y_lower": 0.0, "y_upper": (1.0, 0.0)}
    law = BoundaryValues(FIELDS, "velocity", sides)  # type: ignore[arg-type]
    held = law(random(0, 2, 3, 5, 4), NONE, at(CAVITY))
    lid = wall(CAVITY, "y_upper").trace(held[:, 1:])
    torch.testing.assert_close(lid, torch.tensor([1.0, 0.0]).double()[:, None].expand(2, 2, 5))
    side = wall(CAVITY, "x_lower").trace(held[:, 1:])
    assert side[:, :, :2].abs().max() < 1e-14 and side[:, 0, -1].abs().min() > 0.1  # the lower half, and the cell under the lid
    torch.testing.assert_close(law(held, NONE, at(CAVITY)), held)


def test_surroundings_are_read_at_the_frames_own_time() -> None:
    """u = t at the walls: a field that is t everywhere holds the law at t and at no other time."""

    def boundary(t: Tensor) -> Tensor:
        return t[:, None, None, None].expand(2, 3, 5, 4)

    law, u = BoundaryValues(FIELDS, "q", {"x_lower": None, "y_upper": 3.0}), torch.full((2, 3, 5, 4), 3.0)
    assert law.defect(u, NONE, at(CAVITY, 3.0, boundary)).max() < 1e-15
    assert law.defect(u, NONE, at(CAVITY, 2.0, boundary)).min() > 0.05
    held = law(u, NONE, at(CAVITY, 2.0, boundary))
    torch.testing.assert_close(wall(CAVITY, "x_lower").trace(held[:, :1])[:, :, :2], torch.full((2, 1, 2), 2.0))


def test_nodes_of_a_named_boundary_take_their_values_and_no_other() -> None:
    mesh = Mesh.from_cells(random(3, 3, 2).numpy(), [[0, 1, 2]], {"inflow": [0], "wall": [2]})
    u, given = random(0, 2, 3, 3), random(1, 2, 3, 3)
    law = BoundaryValues(FIELDS, "velocity", {"inflow": None, "wall": 0.0})
    held = law(u, NONE, at(mesh, boundary=lambda t: given))
    assert torch.equal(held[:, 1:, 0], given[:, 1:, 0]) and not held[:, 1:, 2].any()
    assert torch.equal(held[:, :, 1], u[:, :, 1]) and torch.equal(held[:, 0], u[:, 0])


def test_bad_input_is_refused() -> None:
    u = random(0, 2, 3, 5, 4)
    with pytest.raises(ValueError, match="at least one boundary"):
        BoundaryValues(FIELDS, "q", {})
    with pytest.raises(ValueError, match="has 3 values but 'velocity' 2 channels"):
        BoundaryValues(FIELDS, "velocity", {"x_lower": (1.0, 2.0, 3.0)})
    with pytest.raises(ValueError, match="'top' is not among those of this Box"):
        BoundaryValues(FIELDS, "q", {"top": 0.0})(u, NONE, at(CAVITY))
    with pytest.raises(ValueError, match="a Sphere has no boundary"):
        BoundaryValues(FIELDS, "q", {"x_lower": 0.0})(u, NONE, at(Sphere((5, 4))))
    with pytest.raises(ValueError, match="conditions have no boundary"):
        BoundaryValues(FIELDS, "q", {"x_lower": None})(u, NONE, at(CAVITY))
    with pytest.raises(ValueError, match=r"shape \(2, 1, 4, 4\) where \(2, 1, 5, 4\) is needed"):
        BoundaryValues(FIELDS, "q", {"x_lower": None})(u, NONE, at(CAVITY, boundary=lambda t: u[:, :, :4]))
