"""Exponential time differencing: phi functions against exact arithmetic, schemes against exact solutions and their orders."""

from __future__ import annotations

import cmath
from itertools import pairwise
from math import exp, log2

import pytest
import torch

from surrogates.pde import etdrk2, etdrk4, rk4_crank_nicolson
from surrogates.pde.etd import phi

DOUBLE, COMPLEX = torch.float64, torch.complex128


def exact_phi(z: complex, order: int) -> complex:
    """The series sum z^j/(j + order)! near zero, the closed form away from it."""
    if abs(z) < 1:
        term, total = 1 / [1, 1, 2, 6][order], 0j
        for j in range(40):
            total += term * z**j
            term /= j + order + 1
        return total
    value = cmath.exp(z)
    for k in range(order):
        value = (value - (1, 1, 0.5)[k]) / z
    return value


@pytest.mark.parametrize("z", [0, 1e-9, -1e-3, -0.3, -1, -20, 1e-6j, 0.5j, 1j, -30j, -1 + 2j])
def test_phi_is_right_on_the_whole_plane(z: complex) -> None:
    given = torch.tensor([z], dtype=COMPLEX if isinstance(z, complex) else DOUBLE)
    for order, value in enumerate(phi(given), start=1):
        assert value.is_complex() == given.is_complex()
        assert abs(complex(value) - exact_phi(z, order)) < 2e-14


def logistic_error(scheme, steps: int, L: float = -1.0) -> float:
    """|y(1) - exact| of y' = -y + y^2, y(0) = 1/2, with the part L y of -y taken as linear."""
    h = 1 / steps
    advance = scheme(torch.full((1, 1, 1), L, dtype=DOUBLE), torch.tensor([h], dtype=DOUBLE), COMPLEX)
    y = torch.full((1, 1, 1), 0.5, dtype=COMPLEX)
    for _ in range(steps):
        y = advance(y, lambda y: y * y - (1 + L) * y)
    return abs(complex(y) - 1 / (1 + exp(1)))


@pytest.mark.parametrize(("scheme", "order"), [(etdrk2, 2), (etdrk4, 4), (rk4_crank_nicolson, 2)])
def test_order(scheme, order: int) -> None:
    errors = [logistic_error(scheme, n) for n in (8, 16, 32)]
    for coarse, fine in pairwise(errors):
        assert abs(log2(coarse / fine) - order) < 0.25


def test_runge_kutta_crank_nicolson_is_of_order_four_without_a_linear_part() -> None:
    assert abs(log2(logistic_error(rk4_crank_nicolson, 8, L=0.0) / logistic_error(rk4_crank_nicolson, 16, L=0.0)) - 4) < 0.25


@pytest.mark.parametrize("scheme", [etdrk2, etdrk4])
def test_a_constant_force_is_integrated_exactly_at_any_step(scheme) -> None:
    L = torch.tensor([-3.0, 0.0, 2j, -1e-7 + 1e-7j], dtype=COMPLEX).reshape(1, 1, 4)
    y, f, h = torch.full_like(L, 0.7), torch.full_like(L, 1.3 - 0.2j), 2.5
    out = scheme(L, torch.tensor([h], dtype=DOUBLE), COMPLEX)(y, lambda _: f)
    expected = [cmath.exp(h * z) * 0.7 + h * exact_phi(h * z, 1) * (1.3 - 0.2j) for z in L.flatten().tolist()]
    torch.testing.assert_close(out.flatten(), torch.tensor(expected, dtype=COMPLEX), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scheme", [etdrk2, etdrk4, rk4_crank_nicolson])
def test_rows_have_their_own_coefficients(scheme) -> None:
    L, h = torch.tensor([-1.0, -4.0], dtype=DOUBLE).reshape(2, 1, 1), torch.tensor([0.1, 0.3], dtype=DOUBLE)
    y = torch.full((2, 1, 1), 0.5, dtype=COMPLEX)
    both = scheme(L, h, COMPLEX)(y, lambda y: y * y)
    alone = [scheme(L[i : i + 1], h[i : i + 1], COMPLEX)(y[i : i + 1], lambda y: y * y) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-15)
