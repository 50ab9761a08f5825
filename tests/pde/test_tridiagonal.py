"""Cyclic reduction against dense solves, at every size, with gradients."""

from __future__ import annotations

import pytest
import torch

from surrogates.pde import tridiagonal


def dense(a, b, c):
    return torch.diag_embed(b) + torch.diag_embed(a[..., 1:], -1) + torch.diag_embed(c[..., :-1], 1)


def system(n: int, by: str, rows: int = 3):
    generator = torch.Generator().manual_seed(n)
    a, c, d = torch.randn(3, rows, n, dtype=torch.float64, generator=generator)
    edge = torch.zeros(rows, 1, dtype=torch.float64)
    below, above = torch.cat([edge, a[:, 1:]], 1).abs(), torch.cat([c[:, :-1], edge], 1).abs()
    if by == "columns":
        below, above = torch.cat([a[:, 1:], edge], 1).abs(), torch.cat([edge, c[:, :-1]], 1).abs()
    return a, 0.01 + below + above, c, d


@pytest.mark.parametrize("by", ["rows", "columns"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
def test_solves_what_is_diagonally_dominant(n: int, by: str) -> None:
    a, b, c, d = system(n, by)
    expected = torch.linalg.solve(dense(a, b, c), d[..., None])[..., 0]
    torch.testing.assert_close(tridiagonal.solve(a, b, c, d), expected, rtol=1e-9, atol=1e-9)


def test_gradients() -> None:
    inputs = [t.requires_grad_(True) for t in system(5, "rows", rows=1)]
    assert torch.autograd.gradcheck(tridiagonal.solve, inputs)
