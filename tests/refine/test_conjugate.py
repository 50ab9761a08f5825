"""The update by products alone: equal to the dense solution, the better the more iterations, and bounded where V is no covariance."""

import itertools

import pytest
import torch

from surrogates.refine.conjugate import linearised, update

F64 = {"dtype": torch.float64}


def problem(rank=8, seed=0):
    """(x, misfit, G, V as matrices over 8 channels): r = y - G x of 5 numbers, two rows."""
    g = torch.Generator().manual_seed(seed)
    G, root = torch.randn(5, 8, generator=g, **F64), torch.randn(8, rank, generator=g, **F64)
    y, x = torch.randn(2, 5, generator=g, **F64), torch.randn(2, 8, 1, generator=g, **F64)
    return x, lambda u: y - u[..., 0] @ G.T, G, root @ root.T


def product(matrix):
    return lambda w: torch.einsum("ij,bjx->bix", matrix, w)


def dense(x, misfit, G, V):
    S = torch.eye(5, **F64) + G @ V @ G.T
    return (torch.linalg.solve(S, misfit(x).T).T @ G @ V.T)[..., None]


@pytest.mark.parametrize(("rank", "iterations"), [(8, 5), (2, 3), (1, 2)])
def test_it_is_the_dense_solution_in_as_many_iterations_as_eigenvalues(rank, iterations):
    x, misfit, G, V = problem(rank)
    exact = dense(x, misfit, G, V)
    torch.testing.assert_close(update(misfit, x, product(V), iterations), exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(update(misfit, x, product(V), iterations + 3), exact, rtol=1e-9, atol=1e-9)
    assert (update(misfit, x, product(V), iterations - 1) - exact).abs().max() > 1e-4


def test_more_iterations_leave_less():
    x, misfit, G, V = problem()
    exact = dense(x, misfit, G, V)
    errors = [(update(misfit, x, product(V), k) - exact).norm() for k in range(1, 6)]
    assert all(b < a for a, b in itertools.pairwise(errors))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_no_covariance_never_asks_for_more_than_the_misfit(seed):
    """V neither symmetric nor positive, and invertible, so that w can be read from the update: V G^T w with G = 1."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.eye(8, **F64) + 0.2 * torch.randn(8, 8, generator=g, **F64)
    V = basis @ torch.linspace(-1.02, 2.0, 8, **F64).diag() @ torch.linalg.inv(basis)
    x = torch.randn(4, 8, 1, generator=g, **F64)
    for iterations in (1, 2, 4, 8, 12):
        w = torch.linalg.solve(V, update(lambda u: 1 - u[..., 0], x, product(V), iterations)[..., 0].T).T
        assert (w.norm(dim=1) <= 1.0001 * (1 - x[..., 0]).norm(dim=1)).all()
    assert (torch.linalg.solve(torch.eye(8, **F64) + V, (1 - x[..., 0]).T).norm(dim=0) > (1 - x[..., 0]).norm(dim=1)).any()


def test_rows_do_not_see_each_other_and_none_needs_a_misfit():
    x, misfit, _, V = problem()
    alone = update(lambda u: misfit(torch.cat([u, u]))[:1], x[:1], product(V), 3)
    torch.testing.assert_close(alone, update(misfit, x, product(V), 3)[:1], rtol=1e-12, atol=1e-12)
    assert torch.equal(update(lambda u: 0 * u[..., 0], x, product(V), 3), 0 * x)


def test_the_linear_maps_are_each_other_s_transpose_and_true_derivatives():
    x, _, _, _ = problem()

    def bent(u):
        return (u[..., 0] * u[:, :1, 0]).sin()

    r, push, pull = linearised(bent, x)
    v, w = x.flip(0), r.flip(1)
    assert torch.equal(r, bent(x)) and not r.requires_grad
    torch.testing.assert_close((push(v) * w).sum(), (v * pull(w)).sum())
    torch.testing.assert_close(push(v), -(bent(x + 1e-6 * v) - bent(x - 1e-6 * v)) / 2e-6, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="does not depend on the state"):
        linearised(lambda u: torch.ones(2, 3, **F64), x)
