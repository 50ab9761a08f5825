"""A straight-through law has the value of the law and the gradient of none."""

from __future__ import annotations

import torch

from surrogates.constraints import Clipped, ConservedIntegral, StraightThrough
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS, BOX = Fields.of(Field("q")), Box.periodic((6,), 1.0)
ONE = torch.ones(2, dtype=torch.float64)
HERE = Conditions(BOX, ONE, ONE, torch.zeros(2, 0))


def test_a_clipped_output_still_learns() -> None:
    u = torch.linspace(-3, 3, 12, dtype=torch.float32).reshape(2, 1, 6).requires_grad_()
    clip, none = Clipped(FIELDS, "q", 0.1, 1.0), torch.zeros(2, 0, dtype=torch.float64)
    law = StraightThrough(clip)
    assert torch.equal(law(u, none, HERE), clip(u, none, HERE))
    (stalled,) = torch.autograd.grad(clip(u, none, HERE).sum(), u)
    (gradient,) = torch.autograd.grad(law(u, none, HERE).sum(), u)
    assert (stalled == 0).any() and torch.equal(gradient, torch.ones_like(u))


def test_budgets_are_those_of_the_law() -> None:
    inner = ConservedIntegral(FIELDS, "q")
    law, u = StraightThrough(inner), torch.rand(2, 1, 6, dtype=torch.float64)
    reference = law.reference(u, HERE)
    assert law.references == 1 and torch.equal(reference, inner.reference(u, HERE))
    assert torch.equal(law.advance(reference, u, HERE), reference)
    assert torch.equal(law.defect(2 * u, reference, HERE), inner.defect(2 * u, reference, HERE))
