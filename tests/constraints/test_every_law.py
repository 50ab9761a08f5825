"""What every constraint must pass: identity where the law holds, idempotence, the nearest point, gradients, row independence, storage."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from surrogates.constraints import ConservedIntegral, DivergenceFree, InOrder, Law
from surrogates.contracts import Conditions, Constraint
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

PLANE = Fields.of(Field("dye"), Field("velocity", "m s-1", ("x", "y")))
SPACE = Fields.of(Field("velocity", "m s-1", ("x", "y", "z")), Field("dye"))
EDGES = (0.0, 0.1, 0.4, 0.5, 1.5, 2.0)


@dataclass(frozen=True)
class Case:
    law: Law
    fields: Fields
    box: Box


def both(fields: Fields) -> InOrder:
    return InOrder((DivergenceFree(fields), ConservedIntegral(fields, "velocity"), ConservedIntegral(fields, "dye")))


CASES = {
    "divergence-even": Case(DivergenceFree(PLANE), PLANE, Box.periodic((8, 6), (2.0, 5.0))),
    "divergence-odd": Case(DivergenceFree(PLANE), PLANE, Box.periodic((7, 9), (3.0, 1.0))),
    "divergence-3d": Case(DivergenceFree(SPACE), SPACE, Box.periodic((6, 5, 4), (1.0, 2.0, 3.0))),
    "mass": Case(ConservedIntegral(PLANE, "dye"), PLANE, Box.periodic((8, 6), (2.0, 5.0))),
    "momentum-stretched": Case(
        ConservedIntegral(PLANE, "velocity"), PLANE, Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), (EDGES, None))
    ),
    "all-2d": Case(both(PLANE), PLANE, Box.periodic((8, 6), (2.0, 5.0))),
    "all-3d": Case(both(SPACE), SPACE, Box.periodic((6, 5, 4), (1.0, 2.0, 3.0))),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def conditions(box: Box, rows: int) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, 0 * ones, 0.5 * ones, torch.zeros(rows, 0))


def states(case: Case, seed: int, rows: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, case.fields.count, *case.box.shape, generator=generator, dtype=torch.float64).to(dtype) + 0.3


def given(case: Case, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    """A field, the reference of another one, and the conditions."""
    at = conditions(case.box, 3)
    return states(case, 0, dtype=dtype), case.law.reference(states(case, 1, dtype=dtype), at), at


@every
def test_is_a_constraint(case: Case) -> None:
    assert isinstance(case.law, Constraint)


@every
def test_a_field_that_violates_the_law_then_holds_it(case: Case) -> None:
    u, reference, at = given(case)
    assert (case.law.defect(u, reference, at).abs().amax(0) > 1e-2).all()
    assert case.law.defect(case.law(u, reference, at), reference, at).abs().max() < 1e-14


@every
def test_float32_fields_reach_float32_rounding_under_float64_budgets(case: Case) -> None:
    u, reference, at = given(case, torch.float32)
    held = case.law(u, reference, at)
    assert held.dtype == torch.float32 and reference.dtype == torch.float64
    assert case.law.defect(held, reference, at).abs().max() < 2e-7


@every
def test_identity_on_fields_that_hold(case: Case) -> None:
    u, reference, at = given(case)
    held = case.law(u, reference, at)
    torch.testing.assert_close(case.law(held, reference, at), held, rtol=0, atol=1e-14)


@every
def test_the_reference_of_a_field_is_held_by_its_projection(case: Case) -> None:
    u, _, at = given(case)
    own = case.law.reference(u, at)
    assert own.shape == (3, case.law.references)
    torch.testing.assert_close(case.law.reference(case.law(u, own, at), at), own)


@every
def test_the_correction_is_orthogonal_to_the_feasible_set(case: Case) -> None:
    u, reference, at = given(case)
    held = case.law(u, reference, at)
    for seed in (5, 6):
        other = case.law(states(case, seed), reference, at)
        inner = case.box.integral((u - held) * (other - held)).sum(1)
        norms = case.box.integral((u - held).square()).sum(1) * case.box.integral((other - held).square()).sum(1)
        assert (inner.abs() / norms.sqrt()).max() < 1e-14


@every
def test_gradcheck(case: Case) -> None:
    u, reference, at = given(case)
    u = u[:1].requires_grad_()
    at = at.rows(torch.tensor([0]))
    assert torch.autograd.gradcheck(lambda v: case.law(v, reference[:1], at), (u,))
    assert torch.autograd.gradcheck(lambda v: case.law.defect(v, reference[:1], at), (u,))


@every
def test_gradients_along_the_feasible_set_pass_straight_through(case: Case) -> None:
    """The law is an affine projection: its Jacobian leaves differences of feasible fields as they are."""
    u, reference, at = given(case)
    along = case.law(states(case, 5), reference, at) - case.law(states(case, 6), reference, at)
    _, tangent = torch.func.jvp(lambda v: case.law(v, reference, at), (u,), (along,))
    torch.testing.assert_close(tangent, along, rtol=0, atol=1e-13)


@every
def test_rows_do_not_see_their_neighbours(case: Case) -> None:
    u, reference, at = given(case)
    alone = case.law(u[1:2], reference[1:2], at.rows(torch.tensor([1])))
    torch.testing.assert_close(case.law(u, reference, at)[1:2], alone, rtol=0, atol=1e-15)


@every
def test_the_input_is_left_as_it_was(case: Case) -> None:
    u, reference, at = given(case)
    copies = u.clone(), reference.clone()
    case.law(u, reference, at)
    case.law.advance(reference, u, at)
    assert torch.equal(u, copies[0]) and torch.equal(reference, copies[1])


@every
def test_is_rebuilt_from_its_description(case: Case) -> None:
    u, reference, at = given(case)
    again = construct(json.loads(json.dumps(describe(case.law))))
    assert torch.equal(again(u, reference, at), case.law(u, reference, at))


@every
def test_works_after_a_first_call_under_inference_mode(case: Case) -> None:
    box = case.box.with_shape(case.box.shape) if case.box.all_periodic else case.box
    u, reference, at = given(Case(case.law, case.fields, box))
    with torch.inference_mode():
        case.law(u, reference, at)
    u = u.clone().requires_grad_()
    case.law(u, reference, at).square().sum().backward()
    assert u.grad is not None and u.grad.isfinite().all()


@every
def test_channels_that_do_not_match_are_refused(case: Case) -> None:
    u, reference, at = given(case)
    with pytest.raises(ValueError, match="channels"):
        case.law(u[:, 1:], reference, at)
