"""A frozen part: no gradients, always in evaluation mode, saved with the student or left behind; velocities at a time for each member."""

import json

import pytest
import torch
from few_step import EXAMPLES, F64, build
from refiners import DOMAINS, EMBEDDING, C
from torch import nn

from surrogates.record import construct, describe
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.noise_levels import Karras
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import VarianceExploding
from surrogates.refine.prediction import Preconditioned
from surrogates.refine.reflow import Reflow
from surrogates.refine.source import GuessSource
from surrogates.refine.teacher import velocity_at, without_teacher

DOMAIN = DOMAINS["line"]


def inputs():
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, C, *DOMAIN.shape, generator=g, **F64), torch.randn(2, EMBEDDING, generator=g, **F64)


@pytest.mark.parametrize("name", ["Reflow", "DistilledConsistency", "VelocityTail of a flow"])
def test_the_frozen_part_stays_as_it_is(name, plain):
    refiner, (u, embedding) = build(EXAMPLES[name], DOMAIN, False), inputs()
    held = refiner.head if name.startswith("VelocityTail") else refiner.teacher
    refiner.train()
    assert refiner.training and refiner.operator.training and not any(m.training for m in held.modules())
    refiner.loss(u, None, u, embedding, DOMAIN, plain()).mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in held.parameters())
    assert all(p.grad is not None for p in refiner.operator.parameters())


@pytest.mark.parametrize("name", ["Reflow", "DistilledConsistency"])
def test_a_student_without_its_teacher_samples_alike(name, plain):
    refiner, (u, embedding) = build(EXAMPLES[name], DOMAIN, False), inputs()
    refiner.scale.copy_(torch.tensor([0.5, 2.0]))
    alone = without_teacher(refiner.eval())
    given = (None, u, embedding, DOMAIN, plain())
    assert torch.equal(alone(*given), refiner(*given)) and not alone.training
    assert not any("teacher" in k for k in alone.state_dict()) and any("teacher" in k for k in refiner.state_dict())
    again = construct(json.loads(json.dumps(describe(alone)))).double()
    again.load_state_dict(alone.state_dict())
    assert torch.equal(again(*given), refiner(*given))
    with pytest.raises(ValueError, match="can sample but not be trained; make it with teacher="):
        alone.loss(u, *given)


def test_a_copy_has_its_own_teacher():
    from copy import deepcopy

    refiner = build(EXAMPLES["Reflow"], DOMAIN, False)
    copy = deepcopy(refiner).train()
    assert copy.teacher is not refiner.teacher and not copy.teacher.training


@pytest.mark.parametrize("source", ["plain", "guess"])
def test_a_time_for_each_member_is_the_velocity_at_each(source, gaussian, points):
    path, prediction = VarianceExploding(), Preconditioned()
    made = {"source": GuessSource(0.5)} if source == "guess" else {}
    flow = FlowMatching(
        GaussianVelocity(*gaussian, path, prediction), channels=2, path=path, schedule=Karras(), prediction=prediction, **made
    )
    flow.scale.copy_(torch.tensor([0.5, 2.0]))
    z, guess, context = torch.randn(3, 2, 4, **F64), torch.randn(3, 2, 4, **F64), torch.zeros(3, 0, 4, **F64)
    frame, times = flow.frame(guess, context), (1.0, 0.3, 0.01)
    each = velocity_at(flow, frame, guess, context, None, points(4))(z, torch.tensor(times, **F64))
    for row, s in enumerate(times):
        one = flow.velocity(frame, guess, context, None, points(4))(z, s)
        torch.testing.assert_close(each[row], one[row], rtol=1e-9, atol=1e-9)


def test_without_a_teacher_nothing_is_held():
    assert Reflow(nn.Identity(), channels=1).train().teacher is None
