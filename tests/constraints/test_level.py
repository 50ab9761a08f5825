"""The shift that fills cells to a given integral, against a sorted exact solution, where it is easy and where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surrogates.constraints.level import extreme, level
from surrogates.domains import Box, Mesh, Sphere

LINE = Box((6,), (0.0,), (3.0,), ("wall",), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0, 3.0),))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(u: Tensor, m: Tensor, goal: float, lower: float, upper: float) -> float:
    """Walk along the breakpoints lower - u and upper - u in order, on each of which the integral is known."""
    points = torch.cat([lower - u, upper - u]).sort().values
    values = ((u + points[:, None]).clamp(lower, upper) * m).sum(1)
    i = int(torch.searchsorted(values, goal)) - 1
    share = (goal - values[i]) / (values[i + 1] - values[i])
    return float(points[i] + share * (points[i + 1] - points[i]))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_it_is_the_exact_shift(scale: float) -> None:
    lower, upper = -0.7 * scale, 0.4 * scale
    u = scale * random(0, 50, 1, 6)
    share = torch.rand(50, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    goals = 3 * (lower + share * (upper - lower))
    found = level(u, goals, lower, upper, LINE)
    expected = [exact(x, LINE.measure, float(g), lower, upper) for x, g in zip(u[:, 0], goals[:, 0], strict=True)]
    torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize(("lower", "upper"), [(0.0, None), (None, 0.0), (0.0, 1.0)])
def test_the_integral_is_met_to_rounding_on_wild_fields(lower: float | None, upper: float | None) -> None:
    """Values over thirty decades, ties, spikes and single cells with room."""
    wild = random(0, 20, 2, 6) * 10.0 ** (15 * random(1, 20, 2, 6)).clamp(-15, 15)
    tied = torch.randint(-2, 3, (20, 2, 6), generator=torch.Generator().manual_seed(2)).double()
    spike = torch.zeros(20, 2, 6, dtype=torch.float64)
    spike[:, :, 3] = 1e12
    low, high = -2.0 if lower is None else 0.0, 2.0 if upper is None else min(upper, 2.0)
    goals = 3 * (low + (high - low) * torch.rand(20, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    for u in (wild, tied, spike, -spike):
        held = (u + LINE.expand(level(u, goals, lower, upper, LINE))).clamp(lower, upper)
        resolution = 1e-15 * u.abs().amax(2)  # a shift cannot be written down finer than this
        assert ((LINE.integral(held) - goals).abs() <= 1e-14 + 3 * resolution).all()


def test_a_member_does_not_see_how_long_its_neighbours_take() -> None:
    u, goals = random(0, 3, 1, 6), torch.tensor([[0.1], [1.0], [2.0]], dtype=torch.float64)
    u[0] *= 1e8
    together = level(u, goals, 0.0, None, LINE)
    for i in range(3):
        assert torch.equal(level(u[i : i + 1], goals[i : i + 1], 0.0, None, LINE), together[i : i + 1])


def test_out_of_reach_the_fullest_or_emptiest_field_is_next() -> None:
    u = random(0, 2, 1, 6)
    shift = level(u, torch.tensor([[-5.0], [50.0]], dtype=torch.float64), 0.0, 2.0, LINE)
    held = (u + LINE.expand(shift)).clamp(0.0, 2.0)
    torch.testing.assert_close(held, torch.tensor([0.0, 2.0], dtype=torch.float64)[:, None, None].expand(2, 1, 6))


def test_the_greatest_value_of_every_member() -> None:
    meshes = [Mesh.from_nearest(random(s, 5 + s, 2).numpy(), 2) for s in range(3)]
    parts = [random(10 + s, 2, 3, 5 + s) for s in range(3)]
    expected = torch.stack([p.amax(2) for p in parts], 1).reshape(6, 3)
    assert torch.equal(extreme(torch.cat(parts, 2), Mesh.batch(meshes)), expected)
    u = random(0, 2, 3, 2, 4)
    assert torch.equal(extreme(u, Sphere((2, 4))), u.amax((2, 3)))
