"""Dykstra: the nearest point of a polyhedron against its dual by bisection and against the law written by hand, where alternating
projection ends elsewhere."""

from __future__ import annotations

import json

import pytest
import torch
from laws import constraint_laws
from torch import Tensor

from surrogates.constraints import Alternating, BoundedIntegral, Clipped, ConservedIntegral, Dykstra, InOrder
from surrogates.constraints.compose import asked
from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

FIELDS = Fields.of(Field("dye"), Field("heat", "K"))
EDGES = (0.0, 0.1, 0.4, 0.5, 1.5, 2.0)
BOX = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), (EDGES, None))
LAWS = (Clipped(FIELDS, "dye", lower=0.0), ConservedIntegral(FIELDS, "dye"))
LAW = Dykstra(LAWS)


def at(rows: int = 3) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * ones, ones, torch.zeros(rows, 0))


def random(seed: int = 0, rows: int = 3) -> Tensor:
    return torch.randn(rows, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.3


def wanted(rows: int = 3) -> Tensor:
    return torch.tensor([[0.4], [1.0], [3.0]], dtype=torch.float64)[:rows]


def dual(u: Tensor, total: float) -> Tensor:
    """max(u - theta, 0) with the integral `total`: the conditions of Karush, Kuhn and Tucker leave one number, found by bisection."""
    low, high = float(u.min()) - 10.0, float(u.max())
    for _ in range(200):
        middle = (low + high) / 2
        if float(((u - middle).clamp(min=0) * BOX.measure).sum()) > total:
            low = middle
        else:
            high = middle
    return (u - low).clamp(min=0)


def test_the_nearest_field_is_that_of_the_dual() -> None:
    u = random()
    held = LAW(u, wanted(), at())
    for row in range(3):
        torch.testing.assert_close(held[row, 0], dual(u[row, 0], float(wanted()[row])), rtol=0, atol=1e-9)
    assert torch.equal(held[:, 1], u[:, 1])


def test_the_law_that_is_written_by_hand_agrees() -> None:
    peer = BoundedIntegral(FIELDS, "dye", lower=0.0)
    torch.testing.assert_close(LAW(random(), wanted(), at()), peer(random(), wanted(), at()), rtol=0, atol=1e-9)


def test_alternating_projection_holds_both_laws_farther_away() -> None:
    u = random()
    nearest, other = LAW(u, wanted(), at()), Alternating(LAWS, sweeps=2000)(u, wanted(), at())
    for held in (nearest, other):
        assert LAW.defect(held, wanted(), at()).abs().max() < 1e-11
    near, far = (BOX.integral((held - u)[:, :1].square()) for held in (nearest, other))
    assert (far > 1.001 * near).any() and (far >= near - 1e-12).all()


def test_laws_without_bounds_are_met_as_by_alternating_projection() -> None:
    planes = (ConservedIntegral(FIELDS, "dye"), ConservedIntegral(FIELDS, "heat"))
    both = torch.cat([wanted(), -wanted()], 1)
    torch.testing.assert_close(Dykstra(planes)(random(), both, at()), InOrder(planes)(random(), both, at()), rtol=0, atol=1e-13)


def test_it_is_a_constraint() -> None:
    constraint_laws(LAW, random(), at(), rounding=1e-10)


def test_a_field_that_holds_stays_and_takes_one_sweep() -> None:
    u = random().abs()
    found = LAW.reach(u, LAW.reference(u, at()), at())
    assert found.sweeps == 1
    torch.testing.assert_close(found.u, u, rtol=0, atol=1e-15)


def test_rows_are_alone() -> None:
    held = LAW(random(), wanted(), at())
    for row in range(3):
        rows = torch.tensor([row])
        assert torch.equal(LAW(random()[rows], wanted()[rows], at(1)), held[rows])


def test_gradcheck() -> None:
    law = Dykstra(LAWS, sweeps=30)
    u = random(rows=1)
    assert torch.autograd.gradcheck(lambda v: law(v, wanted(1), at(1)), (u.requires_grad_(),), atol=1e-4)


def test_what_is_not_reached_is_told() -> None:
    found = Dykstra(LAWS, sweeps=2).reach(random(), wanted(), at())
    assert found.sweeps == 2 and found.defect.abs().max() > 1e-6


def test_is_rebuilt_from_its_description() -> None:
    again = construct(json.loads(json.dumps(describe(LAW))))
    assert torch.equal(again(random(), wanted(), at()), LAW(random(), wanted(), at()))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance >= 0"):
        Dykstra(LAWS, tolerance=-1.0)


def test_a_device_is_asked_now_and_then_and_the_cpu_always() -> None:
    assert [made for made in range(20) if asked("mps", made)] == [8, 16]
    assert all(asked("cpu", made) for made in range(20))
