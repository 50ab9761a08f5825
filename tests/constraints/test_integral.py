"""Budgets of integrals: exact solutions of dI/dt = F - rate I, and shifts under a measure that is not uniform."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("velocity", "1", ("x", "y")), Field("heat", "K"))
BOX = Box.periodic((4, 6), (1.0, 3.0))


def at(
    box: Box = BOX,
    time: float = 0.0,
    dt: float = 0.5,
    rate: tuple[float, ...] = (0.1, 0.4),
    forcing: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Conditions:
    ones = torch.ones(len(rate), dtype=torch.float64)
    return Conditions(box, time * ones, dt * ones, torch.tensor(rate, dtype=torch.float64)[:, None], ("drag",), source_term=forcing)


def heating(t: torch.Tensor) -> torch.Tensor:
    """sin(t) of heat everywhere, none of momentum."""
    out = torch.zeros(len(t), 3, *BOX.shape, dtype=torch.float64)
    out[:, 2] = torch.sin(t)[:, None, None]
    return out


def test_cells_of_unequal_size_are_shifted_alike() -> None:
    """Cells 1, 1, 10 and a mass short by 12: every cell rises by one. Weighting cells alike would lift the large one tenfold."""
    box = Box((3,), (0.0,), (12.0,), ("wall",), ((0.0, 1.0, 2.0, 12.0),))
    law = ConservedIntegral(Fields.of(Field("mass")), "mass")
    here = Conditions(box, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), torch.zeros(1, 0))
    u = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    target = law.reference(u, here) + 12
    torch.testing.assert_close(law(u, target, here), u + 1)


def test_without_decay_or_source_the_budget_stays() -> None:
    law = ConservedIntegral(FIELDS, "velocity")
    reference = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    assert torch.equal(law.advance(reference, torch.zeros(2, 3, 4, 6), at()), reference)


def test_mean_flow_decays_with_drag_per_row() -> None:
    law = ConservedIntegral(FIELDS, "velocity", decay="drag")
    reference = torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=torch.float64)
    expected = reference * torch.tensor([[math.exp(-0.05)], [math.exp(-0.2)]], dtype=torch.float64)
    torch.testing.assert_close(law.advance(reference, torch.zeros(2, 3, 4, 6), at()), expected, rtol=1e-14, atol=0)


def test_advance_composes_over_time() -> None:
    """A step of 2 dt is two steps of dt, with decay and a source that depends on time."""
    law = ConservedIntegral(FIELDS, "heat", decay="drag", forced=True)
    reference, u = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 3, 4, 6)
    half = law.advance(reference, u, at(time=1.0, dt=0.1, forcing=heating))
    twice = law.advance(half, u, at(time=1.1, dt=0.1, forcing=heating))
    torch.testing.assert_close(twice, law.advance(reference, u, at(time=1.0, dt=0.2, forcing=heating)), rtol=1e-10, atol=0)


def test_source_follows_the_exact_solution_at_order_six() -> None:
    """dI/dt = V sin(t) - r I: three-point Gauss has a local error of order 7, so one of order 6 after a fixed time."""
    law, (r, volume, end) = ConservedIntegral(FIELDS, "heat", decay="drag", forced=True), (0.4, 3.0, 4.0)
    exact = math.exp(-r * end) + volume * (r * math.sin(end) - math.cos(end) + math.exp(-r * end)) / (1 + r * r)
    errors = []
    for steps in (2, 4):
        budget = torch.ones(1, 1, dtype=torch.float64)
        for n in range(steps):
            here = at(time=n * end / steps, dt=end / steps, rate=(r,), forcing=heating)
            budget = law.advance(budget, torch.zeros(1, 3, 4, 6), here)
        errors.append(abs(budget.item() - exact))
    assert errors[1] < 1e-4 and math.log2(errors[0] / errors[1]) > 5.5


def test_other_channels_are_not_touched() -> None:
    law = ConservedIntegral(FIELDS, "heat")
    u = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    held = law(u, torch.full((2, 1), 30.0, dtype=torch.float64), at())
    assert torch.equal(held[:, :2], u[:, :2])
    torch.testing.assert_close(held[:, 2].mean((1, 2)), torch.full((2,), 10.0))


def test_sums_are_taken_in_float64() -> None:
    """65536 float32 values of 300 and a bit: the budget agrees with an exactly rounded sum to 1e-15, float32 sums do not."""
    box = Box.periodic((256, 256), 256.0)
    u = 300 + torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    law = ConservedIntegral(Fields.of(Field("heat", "K")), "heat")
    here = Conditions(box, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), torch.zeros(1, 0))
    assert law.reference(u, here).item() == pytest.approx(math.fsum(u.flatten().tolist()), rel=1e-15)


def test_the_defect_of_nothing_is_zero_and_has_a_gradient() -> None:
    law, u = ConservedIntegral(FIELDS, "heat"), torch.zeros(2, 3, 4, 6, requires_grad=True)
    defect = law.defect(u, torch.zeros(2, 1, dtype=torch.float64), at())
    defect.square().sum().backward()
    assert not defect.any() and u.grad is not None and u.grad.isfinite().all()


def test_bad_input_is_refused() -> None:
    u, reference = torch.zeros(2, 3, 4, 6), torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(KeyError, match="did you mean 'heat'"):
        ConservedIntegral(FIELDS, "heatt")
    with pytest.raises(KeyError, match="'friction' is not among the conditions"):
        ConservedIntegral(FIELDS, "heat", decay="friction").advance(reference, u, at())
    with pytest.raises(ValueError, match="non-negative"):
        ConservedIntegral(FIELDS, "heat", decay="drag").advance(reference, u, at(rate=(0.1, -0.1)))
    with pytest.raises(ValueError, match="no source term"):
        ConservedIntegral(FIELDS, "heat", forced=True).advance(reference, u, at())
