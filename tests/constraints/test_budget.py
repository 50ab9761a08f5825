"""Budgets between frames, against dI/dt = S - r I solved by hand; Gauss-Legendre in time is tested with ConservedIntegral."""

from __future__ import annotations

import math

import pytest
import torch

from surrogates.constraints import budget
from surrogates.contracts import Conditions
from surrogates.domains import Box

BOX = Box.periodic((4,), 1.0)


def at(time: float, dt: float, rate: float = 0.4) -> Conditions:
    one = torch.ones(1, dtype=torch.float64)
    return Conditions(BOX, time * one, dt * one, rate * one[:, None], ("drag",))


def scalar(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1e-5, 0.0199, 0.0201, 0.5, 30.0, 300.0])
def test_the_trapezoid_is_exact_for_linear_sources(rate: float) -> None:
    """S = a + b s on 0..dt: I = exp(-r dt) I(0) + integral of exp(-r (dt - s)) S, here by Gauss quadrature on many pieces."""
    here, r = at(0.0, 0.5, rate), torch.full((1,), rate, dtype=torch.float64)
    moved = budget.trapezoid(scalar(2.0), scalar(1.0), scalar(4.0), here, r)
    fine, pieces = scalar(2.0), 2000
    for n in range(pieces):
        piece = at(n * 0.5 / pieces, 0.5 / pieces, rate)
        fine = budget.advance(fine, piece, r, lambda t: 1.0 + 6.0 * t[:, None])
    torch.testing.assert_close(moved, fine, rtol=1e-11, atol=0)


def test_a_steady_balance_stays_exactly() -> None:
    for dt in (0.1, 3.0, 100.0):
        here, source = at(0.0, dt), scalar(0.4 * 5.0)
        torch.testing.assert_close(budget.trapezoid(scalar(5.0), source, source, here, budget.rate(here, "drag")), scalar(5.0))


def test_the_trapezoid_follows_a_decaying_budget_at_order_two() -> None:
    """S = sin(t): I = exp(-r t) + (r sin t - cos t + exp(-r t))/(1 + r^2) from I = 1."""
    r, end, errors = 0.4, 4.0, []
    exact = math.exp(-r * end) + (r * math.sin(end) - math.cos(end) + math.exp(-r * end)) / (1 + r * r)
    for steps in (20, 40):
        found, dt = scalar(1.0), end / steps
        for n in range(steps):
            here = at(n * dt, dt)
            found = budget.trapezoid(found, scalar(math.sin(n * dt)), scalar(math.sin((n + 1) * dt)), here, budget.rate(here, "drag"))
        errors.append(abs(found.item() - exact))
    assert errors[1] < 1e-3 and math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_a_budget_without_sources_decays_exactly_both_ways() -> None:
    here, zero = at(0.0, 3.0), scalar(0.0)
    exact = scalar(5.0 * math.exp(-1.2))
    torch.testing.assert_close(budget.trapezoid(scalar(5.0), zero, zero, here, budget.rate(here, "drag")), exact)
    torch.testing.assert_close(budget.advance(scalar(5.0), here, budget.rate(here, "drag"), None), exact)


def test_bad_rates_and_missing_forcing_are_refused() -> None:
    with pytest.raises(ValueError, match="'drag' is a rate or a viscosity and must be non-negative, got -1"):
        budget.rate(at(0.0, 1.0, rate=-1.0), "drag")
    with pytest.raises(ValueError, match="no source term"):
        budget.source_term(at(0.0, 1.0))
