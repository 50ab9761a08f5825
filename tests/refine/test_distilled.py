"""Distilled consistency: the loss of the exact solution vanishes with the teacher's step, at the order of its method."""

import pytest
import torch
from few_step import F64, Ends, Shifted
from torch import nn

from surrogates.refine.distilled import DistilledConsistency
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import VariancePreserving
from surrogates.refine.source import GuessSource


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def teacher(gaussian):
    return FlowMatching(GaussianVelocity(*gaussian), channels=2)


def loss(gaussian, points, plain, intervals, by=0.0):
    rows = 4000
    truth = GaussianVelocity(*gaussian).flow(torch.randn(rows, 2, 4, generator=torch.Generator().manual_seed(5), **F64))
    refiner = DistilledConsistency(Shifted(Ends(*gaussian), by), channels=2, teacher=teacher(gaussian), intervals=intervals)
    return refiner.loss(truth, None, empty(rows), None, points(4), plain()).mean().item()


def test_the_loss_of_the_exact_solution_falls_with_the_teachers_step(gaussian, points, plain):
    """Of one trajectory there is nothing left open: the loss is the error of one step, over its length, squared."""
    coarse, fine, finest = (loss(gaussian, points, plain, n) for n in (8, 32, 128))
    assert coarse < 0.02 and fine < coarse / 16 and finest < fine / 16, (coarse, fine, finest)


def test_the_exact_solution_minimises_the_loss(gaussian, points, plain):
    assert all(abs(loss(gaussian, points, plain, 64, by) - 0.01) < 0.002 for by in (0.1, -0.1))


def test_the_teacher_gives_scale_and_weights(points):
    known = FlowMatching(nn.Conv1d(2, 2, 1), channels=2)
    known.scale.copy_(torch.tensor([0.5, 2.0]))
    student = DistilledConsistency(nn.Conv1d(2, 2, 1), channels=2, teacher=known, warm=True)
    student.fit_scale(torch.randn(5, 2, 4))
    assert torch.equal(student.scale, known.scale)
    assert torch.equal(student.operator.weight, known.operator.weight) and student.operator is not known.operator


def test_a_teacher_that_does_not_fit_is_refused(gaussian):
    with pytest.raises(ValueError, match="the teacher has path=VariancePreserving"):
        DistilledConsistency(nn.Identity(), channels=2, teacher=FlowMatching(nn.Identity(), channels=2, path=VariancePreserving()))
    with pytest.raises(ValueError, match="the teacher has source=GuessSource"):
        DistilledConsistency(nn.Identity(), channels=2, teacher=FlowMatching(nn.Identity(), channels=2, source=GuessSource()))
    with pytest.raises(ValueError, match="the teacher has channels=3"):
        DistilledConsistency(nn.Identity(), channels=2, teacher=FlowMatching(nn.Identity(), channels=3))
    with pytest.raises(ValueError, match="the two networks differ"):
        DistilledConsistency(nn.Conv1d(2, 2, 3), channels=2, teacher=FlowMatching(nn.Conv1d(2, 2, 1), channels=2), warm=True)
