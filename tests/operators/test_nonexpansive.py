"""Bounds of matrix norms: above the largest singular value for every matrix, close to it, differentiable, and safe at zero."""

from __future__ import annotations

import pytest
import torch

from surrogates.operators.nonexpansive import nonexpansive, norm_bound

F64 = torch.float64


def orthogonal(n: int, c: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(n, c, c, dtype=F64))[0]


def test_the_bound_lies_above_the_norm_and_close() -> None:
    torch.manual_seed(0)
    for size in (1e-6, 1.0, 1e6):
        for w in (orthogonal(3, 32), torch.randn(3, 32, 32, dtype=F64), orthogonal(3, 32) * torch.logspace(0, -9, 32, dtype=F64)):
            ratio = norm_bound(size**2 * w.mT @ w) / (size * torch.linalg.matrix_norm(w, 2))
            assert (ratio >= 1 - 1e-12).all() and (ratio < 32 ** (1 / 64) + 1e-12).all()


def test_large_matrices_are_divided_and_small_ones_left() -> None:
    torch.manual_seed(0)
    stacks = [0.05 * torch.randn(2, 6, 6), torch.randn(1, 6, 18), torch.randn(3, 18, 6), torch.zeros(1, 6, 6)]
    answers = nonexpansive(*stacks)
    assert torch.equal(answers[0], stacks[0]) and torch.equal(answers[3], stacks[3])
    for w, stack in zip(answers[1:3], stacks[1:3], strict=True):
        assert (torch.linalg.matrix_norm(w, 2) <= 1 + 1e-6).all() and (torch.linalg.matrix_norm(w, 2) > 0.9).all()
        torch.testing.assert_close(w / w[:, :1, :1], stack / stack[:, :1, :1])


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_gradients_are_those_of_finite_differences(scale: float) -> None:
    torch.manual_seed(0)
    w = (scale * torch.randn(2, 3, 5, dtype=F64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: nonexpansive(w)[0], w)


def test_a_zero_matrix_has_gradients() -> None:
    w = torch.zeros(1, 3, 3, requires_grad=True)
    nonexpansive(w)[0].sum().backward()
    assert w.grad is not None and torch.equal(w.grad, torch.ones(1, 3, 3))
