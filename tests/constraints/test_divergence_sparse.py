"""The nearest gradient by a shifted factorisation: singular and badly conditioned matrices, and derivatives of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from surrogates.constraints import divergence_sparse
from surrogates.constraints.divergence_sparse import Factors, factorise, gradient_part, ratio, squares


def chain(n: int, gaps: tuple[int, ...] = ()) -> Factors:
    """u_i = p_(i+1) - p_i on a line, cut at gaps: one constant a piece has no gradient. The measure grows a hundredfold."""
    jumps = sparse.diags([-np.ones(n), np.ones(n - 1)], [0, 1]).tolil()
    for gap in (*gaps, n - 1):
        jumps[gap] = 0
    return factorise([jumps.tocsr()], torch.logspace(-1, 1, n, dtype=torch.float64))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_field_on_a_line_is_a_gradient_but_for_what_lies_in_gaps() -> None:
    """20000 potentials: the least eigenvalue is 1e-8 of the largest, and one pass is not enough."""
    u, factors = random(2, 1, 20000), chain(20000, gaps=(5, 700))
    left = u - gradient_part(u, factors)
    expected = torch.zeros_like(u)
    expected[:, :, [5, 700, -1]] = u[:, :, [5, 700, -1]]
    torch.testing.assert_close(left, expected, rtol=0, atol=1e-9)


def test_the_second_pass_takes_what_the_first_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    u, factors = random(2, 1, 5000), chain(5000)
    twice = float((u - gradient_part(u, factors))[:, :, :-1].abs().max())
    monkeypatch.setattr(divergence_sparse, "PASSES", 1)
    assert twice < 1e-10 and float((u - gradient_part(u, factors))[:, :, :-1].abs().max()) > 100 * twice


def test_derivatives_are_the_projection_itself() -> None:
    u, factors = random(2, 1, 6), chain(6, gaps=(2,))
    v = u.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: gradient_part(v, factors), (v,))
    assert torch.autograd.gradgradcheck(lambda v: gradient_part(v, factors).square(), (v,))
    _, along = torch.func.jvp(lambda v: gradient_part(v, factors), (u,), (random(2, 1, 6, seed=1),))
    torch.testing.assert_close(along, gradient_part(random(2, 1, 6, seed=1), factors))
    jacobian = torch.func.jacrev(lambda v: gradient_part(v[None], factors)[0])(u[0])  # by vmap
    torch.testing.assert_close(torch.einsum("ijkl,kl->ij", jacobian, u[0]), gradient_part(u[:1], factors)[0])
    other = torch.func.vmap(lambda v: gradient_part(v[None], factors)[0], in_dims=2, out_dims=2)(u.permute(1, 2, 0))
    torch.testing.assert_close(other.permute(2, 0, 1), gradient_part(u, factors))


def test_squares_sum_to_the_norms_of_the_adjoint() -> None:
    factors, m = chain(6), torch.logspace(-1, 1, 6, dtype=torch.float64)
    u = random(1, 1, 6)
    divergence2, gradient2 = squares(u, factors)
    flow = torch.nn.functional.pad((m * u)[0, 0, :-1], (1, 1))
    torch.testing.assert_close(divergence2[0], flow.diff().square() / m)
    torch.testing.assert_close(gradient2, divergence2)  # one axis: the gradient is the divergence


def test_a_ratio_has_a_gradient_where_nothing_flows() -> None:
    zero = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    out = ratio(zero.square(), zero.square())
    out.sum().backward()
    assert float(out.detach()) == 0 and zero.grad is not None and float(zero.grad) == 0
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(ratio(4 * one, one)) == 2
