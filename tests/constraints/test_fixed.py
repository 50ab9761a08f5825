"""The distance between two fields: symmetric, without units, weighted by cells, and flat where it is zero."""

from __future__ import annotations

import math

import torch

from surrogates.constraints.fixed import distance
from surrogates.domains import Box

LINE = Box((3,), (0.0,), (12.0,), ("wall",), ((0.0, 1.0, 2.0, 12.0),))


def test_by_hand() -> None:
    """u = (0, 0, 1), v = (1, 1, 1) on cells 1, 1, 10: sqrt(2 / 12)."""
    u, v = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.ones(1, 1, 3)
    torch.testing.assert_close(distance(u, v, LINE), torch.tensor([[math.sqrt(2 / 12)]], dtype=torch.float64))
    assert torch.equal(distance(u, v, LINE), distance(v, u, LINE))
    torch.testing.assert_close(distance(1e-9 * u, 1e-9 * v, LINE), distance(u, v, LINE))


def test_where_it_is_zero_its_gradient_is_too() -> None:
    u = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    found = distance(u, u.detach(), LINE) + distance(0 * u, 0 * u, LINE)
    (gradient,) = torch.autograd.grad(found.sum(), u)
    assert not found.any() and not gradient.any()
