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


def test_the_trapezoid_is_exact_for_linear_sources_without_decay() -> None:
    moved = budget.trapezoid(scalar(2.0), scalar(1.0), scalar(4.0), at(0.0, 0.5), torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(moved, scalar(2.0 + 0.5 * 2.5))


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
    with pytest.raises(ValueError, match="no forcing"):
        budget.forcing(at(0.0, 1.0))
