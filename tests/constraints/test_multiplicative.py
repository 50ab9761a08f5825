"""Scaling: positivity and zeros stay, the nearest field in relative entropy, a special case of ProbConserv, and an honest way out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surrogates.constraints import ConservedIntegral, ScaledIntegral
from surrogates.constraints.weighted import correct, diagonal
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("density", "kg m-3"))
LINE = Box((5,), (0.0,), (2.0,), ("wall",), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0),))
LAW = ScaledIntegral(FIELDS, "density", decay="decay")


def at(rows: int = 2) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(LINE, 0 * ones, ones, 0.3 * ones[:, None], ("decay",))


def random(seed: int) -> Tensor:
    return torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_zeros_stay_and_nothing_turns_negative() -> None:
    u = random(0).abs() * torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-9], dtype=torch.float64)
    target = torch.tensor([[1e-3], [7.0]], dtype=torch.float64)
    held = LAW(u, target, at())
    assert (held[u == 0] == 0).all() and (held[u > 0] > 0).all()
    torch.testing.assert_close(LINE.integral(held), target)
    assert (ConservedIntegral(FIELDS, "density")(u, target, at()) < 0).any(), "a shift would have done as well: this tests nothing"


def test_it_is_the_nearest_field_in_relative_entropy() -> None:
    """integral(v log(v/u) - v + u) grows along every direction that keeps the integral."""
    u, target = random(0).abs() + 0.1, torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    held = LAW(u, target, at())

    def entropy(v: Tensor) -> Tensor:
        return LINE.integral(v * (v / u).log() - v + u)

    for seed in range(4):
        along = ConservedIntegral(FIELDS, "density")(random(seed + 5), torch.zeros(2, 1, dtype=torch.float64), at())
        for size in (-1e-3, 1e-3):
            assert (entropy(held + size * along) > entropy(held)).all()


def test_it_is_probconserv_with_the_variance_u_over_measure() -> None:
    u, target = random(0).abs() + 0.1, torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    weighted, _ = correct(u[:, 0], diagonal(u[:, 0] / LINE.measure), LINE.measure[None], target)
    torch.testing.assert_close(LAW(u, target, at())[:, 0], weighted)


def test_it_has_the_budgets_of_conserved_integral() -> None:
    target = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(LAW.advance(target, random(0), at()), target * math.exp(-0.3))


def test_what_cannot_be_scaled_is_shifted() -> None:
    """Nothing, a sum that cancels, and an integral of the other sign: no factor reaches I, so a shift does."""
    cancels = torch.tensor([1.0, 0.0, 0.0, 0.0, -0.2 * (1 - 1e-9)], dtype=torch.float64)
    for u in (torch.zeros(5, dtype=torch.float64), cancels, -random(0)[0, 0].abs()):
        v = u.expand(2, 1, 5)
        target = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
        held = LAW(v, target, at())
        torch.testing.assert_close(held, ConservedIntegral(FIELDS, "density")(v, target, at()))
        assert LAW.defect(held, target, at()).abs().max() < 1e-14


def test_an_empty_budget_empties_the_field_with_finite_gradients() -> None:
    u = (random(0).abs() + 0.1).requires_grad_()
    held = LAW(u, torch.zeros(2, 1, dtype=torch.float64), at())
    (gradient,) = torch.autograd.grad(held.sum() + LAW(0 * u, torch.ones(2, 1, dtype=torch.float64), at()).sum(), u)
    assert not held.any() and gradient.isfinite().all()
