"""Alternating projection: von Neumann's limit and rate for two planes at a known angle, one sweep is laws in order, rows are alone."""

from __future__ import annotations

import json

import pytest
import torch
from laws import constraint_laws
from networks import cloud
from torch import Tensor

from surrogates.constraints import (
    Alternating,
    ConservedIntegral,
    DivergenceFree,
    Energy,
    GaussNewton,
    InOrder,
    LinearFunctionals,
    Within,
)
from surrogates.constraints.compose import remaining
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

FIELDS = Fields.of(Field("velocity", "1", ("x", "y")), Field("dye"))
BOX = Box.periodic((8, 6), (2.0, 3.0))
DIVERGENCE, MASS = DivergenceFree(FIELDS), ConservedIntegral(FIELDS, "dye")
HALF = LinearFunctionals(FIELDS, (Within("dye", (0.0, 0.0), (1.0, 3.0)),))  # cos^2 of its angle with the whole is 1/2


def at(rows: int = 3) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * ones, ones, torch.zeros(rows, 0))


def random(seed: int = 0, rows: int = 3) -> Tensor:
    return torch.randn(rows, 3, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.3


def test_it_is_a_constraint() -> None:
    constraint_laws(Alternating((MASS, HALF, DIVERGENCE)), random(), at(), rounding=1e-11)


def test_two_planes_are_met_in_the_nearest_point_by_the_cosine_of_their_angle_squared() -> None:
    u, wanted = random(), torch.tensor([[3.0, 1.0]] * 3, dtype=torch.float64)
    held = Alternating((MASS, HALF))(u, wanted, at())
    area = 3.0  # of each half: both means are shifted, each half by itself
    left, right = (
        BOX.integral(u[:, 2:] * (torch.arange(8) < 4)[:, None])[:, 0],
        BOX.integral(u[:, 2:] * (torch.arange(8) >= 4)[:, None])[:, 0],
    )
    expected = u[:, 2].clone()
    expected[:, :4] += ((1.0 - left) / area)[:, None, None]
    expected[:, 4:] += ((2.0 - right) / area)[:, None, None]
    torch.testing.assert_close(held[:, 2], expected, rtol=0, atol=1e-10)
    assert torch.equal(held[:, :2], u[:, :2])
    defects = [Alternating((MASS, HALF), sweeps=n).reach(u, wanted, at()).defect.abs().amax(1) for n in (5, 6, 7)]
    torch.testing.assert_close(defects[1] / defects[0], torch.full((3,), 0.5, dtype=torch.float64), rtol=0.02, atol=0)
    torch.testing.assert_close(defects[2] / defects[1], torch.full((3,), 0.5, dtype=torch.float64), rtol=0.02, atol=0)


def test_one_sweep_is_the_laws_in_order_and_laws_that_commute_need_no_second() -> None:
    laws, u = (MASS, DIVERGENCE), random()
    wanted = InOrder(laws).reference(random(1), at())
    assert torch.equal(Alternating(laws, sweeps=1)(u, wanted, at()), InOrder(laws)(u, wanted, at()))
    assert Alternating(laws).reach(u, wanted, at()).sweeps == 1


def test_energy_and_a_boundary_of_momentum_are_reached_together() -> None:
    """A sphere and a plane: scaling moves the momentum, the shift moves the energy."""
    laws = (GaussNewton(FIELDS, (Energy(),), move=("velocity",)), ConservedIntegral(FIELDS, "velocity"))
    u, both = random(), Alternating(laws, tolerance=1e-13)
    wanted = both.reference(random(1), at())
    assert InOrder(laws).defect(InOrder(laws)(u, wanted, at()), wanted, at()).abs().max() > 1e-3
    assert both.defect(both(u, wanted, at()), wanted, at()).abs().max() < 1e-13


def test_members_that_have_arrived_do_not_see_those_that_have_not() -> None:
    both, u = Alternating((MASS, HALF)), random()
    wanted = both.reference(u, at()) + torch.tensor([[0.01], [5.0], [0.0]], dtype=torch.float64)  # after sweeps of other numbers
    held = both(u, wanted, at())
    for row in range(3):
        rows = torch.tensor([row])
        assert torch.equal(both(u[rows], wanted[rows], at(1)), held[rows])


def test_meshes_in_one_batch_stop_by_themselves() -> None:
    fields, mesh = Fields.of(Field("dye")), Mesh.batch([cloud(9), cloud(12, seed=1)])
    half = LinearFunctionals(fields, (Within("dye", (0.0, 0.0), (0.5, 1.0)),))
    both = Alternating((ConservedIntegral(fields, "dye"), half))
    u = torch.randn(1, 1, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    here = Conditions(mesh, *(torch.ones(2, dtype=torch.float64),) * 2, torch.zeros(2, 0))
    wanted = both.reference(u, here)
    wanted[1] += 0.5
    held = both(u, wanted, here)
    assert both.defect(held, wanted, here).abs().max() < 1e-12 and not torch.equal(held, u)
    torch.testing.assert_close(held[..., :9], u[..., :9], rtol=0, atol=1e-14)


def test_what_is_left_is_named_in_the_order_of_the_laws() -> None:
    law = InOrder((DIVERGENCE, Alternating((MASS, HALF, HALF), sweeps=2)), ("flow", "dye"))
    u, wanted = random(), torch.tensor([[3.0, 1.0, 1.0]] * 3, dtype=torch.float64)
    held = law(u, wanted, at())
    left = remaining(law, held, wanted, at())
    assert list(left) == ["flow", "dye/ConservedIntegral-dye", "dye/LinearFunctionals", "dye/LinearFunctionals-2"]
    torch.testing.assert_close(torch.cat(list(left.values()), 1), law.defect(held, wanted, at()), rtol=0, atol=0)
    assert left["flow"].abs().max() < 1e-15 and left["dye/ConservedIntegral-dye"].abs().max() > 1e-3
    assert list(remaining(MASS, u, wanted[:, :1], at())) == ["ConservedIntegral-dye"]


def test_is_rebuilt_from_its_description_with_its_names() -> None:
    law = Alternating((MASS, HALF), ("all", "half"), sweeps=7)
    again = construct(json.loads(json.dumps(describe(law))))
    u, wanted = random(), torch.tensor([[3.0, 1.0]] * 3, dtype=torch.float64)
    assert again.names == ("all", "half") and torch.equal(again(u, wanted, at()), law(u, wanted, at()))


def test_gradcheck() -> None:
    u, wanted = random(rows=1)[:, :, :4].clone(), torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    small = Box.periodic((4, 6), (2.0, 3.0))
    here = Conditions(small, *(torch.ones(1, dtype=torch.float64),) * 2, torch.zeros(1, 0))
    assert torch.autograd.gradcheck(lambda v: Alternating((MASS, HALF), sweeps=6)(v, wanted, here), (u.requires_grad_(),))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="Alternating needs at least one law"):
        Alternating(())
    with pytest.raises(ValueError, match="each with a name of its own"):
        InOrder((MASS, HALF), ("one", "one"))
    with pytest.raises(ValueError, match="sweeps >= 1"):
        Alternating((MASS,), sweeps=0)
    with pytest.raises(ValueError, match="1 references but the laws keep 2"):
        Alternating((MASS, HALF))(random(), torch.zeros(3, 1, dtype=torch.float64), at())
