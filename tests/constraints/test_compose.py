"""Laws in order: what each keeps lies in its own columns, and commuting projections all hold at once."""

from __future__ import annotations

import pytest
import torch

from surrogates.constraints import ConservedIntegral, DivergenceFree, InOrder
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("velocity", "1", ("x", "y")), Field("dye"))
BOX = Box.periodic((8, 6), (1.0, 3.0))
DIVERGENCE, MOMENTUM = DivergenceFree(FIELDS), ConservedIntegral(FIELDS, "velocity", decay="drag")
MASS = ConservedIntegral(FIELDS, "dye")


def at() -> Conditions:
    ones = torch.ones(2, dtype=torch.float64)
    return Conditions(BOX, ones, ones, 0.3 * torch.ones(2, 1, dtype=torch.float64), ("drag",))


def test_references_and_defects_lie_side_by_side() -> None:
    u = torch.randn(2, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    laws = InOrder((MASS, DIVERGENCE, MOMENTUM))
    reference = laws.reference(u, at())
    torch.testing.assert_close(reference, BOX.integral(u)[:, [2, 0, 1]])
    torch.testing.assert_close(laws.advance(reference, u, at())[:, 1:], MOMENTUM.advance(reference[:, 1:], u, at()))
    defect = laws.defect(u, reference, at())
    torch.testing.assert_close(defect[:, 1:2], DIVERGENCE.defect(u, reference[:, :0], at()))
    assert defect.shape == (2, 4)


def test_laws_that_commute_give_the_same_field_in_any_order() -> None:
    u = torch.randn(2, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one = InOrder((DIVERGENCE, MOMENTUM, MASS))(u, target, at())
    torch.testing.assert_close(InOrder((MOMENTUM, DIVERGENCE, MASS))(u, target, at()), one, rtol=0, atol=1e-14)


def test_one_law_alone_is_itself() -> None:
    u = torch.randn(2, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(2, 0, dtype=torch.float64)
    assert torch.equal(InOrder((DIVERGENCE,))(u, empty, at()), DIVERGENCE(u, empty, at()))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one law"):
        InOrder(())
    with pytest.raises(ValueError, match="1 references but the laws keep 2"):
        InOrder((MOMENTUM,))(torch.zeros(2, 3, 8, 6), torch.zeros(2, 1, dtype=torch.float64), at())
