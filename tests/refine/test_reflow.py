"""Reflow: straight pairs. For a Gaussian law the student of one round is known, has no loss left, and needs one Euler step."""

import pytest
import torch
from few_step import F64
from torch import nn

from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.features import time_of
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.reflow import Reflow
from surrogates.refine.source import PreviousSource


class Straight(GaussianVelocity):
    """v = e - X(e) at z = (1 - s) X(e) + s e with X(e) = m + S^(1/2) e, solved for e."""

    def forward(self, x, domain, embedding=None):
        s = domain.expand(time_of(embedding)[:, None])
        root, mean = self._column(self.variances.sqrt(), x), self._column(self.mean, x)
        e = self._turn(self.basis.T, x[:, :2] - (1 - s) * mean) / ((1 - s) * root + s)
        return self._turn(self.basis, e * (1 - root)) - mean


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def exact(gaussian):
    return MeanFlow(GaussianAverage(*gaussian), channels=2)


def test_the_straight_velocity_has_no_loss_left(gaussian, points, plain):
    truth = torch.full((50, 2, 4), torch.nan, **F64)  # not looked at
    arguments = (truth, None, empty(50), None, points(4), plain())
    assert Reflow(Straight(*gaussian), channels=2, teacher=exact(gaussian)).loss(*arguments).max() < 1e-20
    crossing = Reflow(GaussianVelocity(*gaussian), channels=2, teacher=exact(gaussian)).loss(*arguments)
    assert crossing.min() > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_one_euler_step_of_it_is_where_the_teacher_leads(steps, gaussian, points, plain):
    given = (None, empty(5), None, points(4), plain())
    student = Reflow(Straight(*gaussian), channels=2, teacher=exact(gaussian), steps=steps)
    torch.testing.assert_close(student(*given), exact(gaussian)(*given), rtol=0, atol=1e-13)
    assert student.evaluations == steps


def test_the_pairs_are_of_one_draw_given_the_context(points, plain):
    """A teacher that adds the context to its source draw; the student starts from the previous state."""

    class Shift(nn.Module):
        def forward(self, x, domain, embedding=None):
            return -x[:, 1:]

    class Ends(nn.Module):  # v = e - X = -context at every z
        def forward(self, x, domain, embedding=None):
            return -x[:, 1:]

    source, context = PreviousSource(0.5), torch.randn(4, 1, 6, **F64)
    teacher = FlowMatching(Shift(), channels=1, source=source, steps=3)
    student = Reflow(Ends(), channels=1, source=source, teacher=teacher)
    student.scale.fill_(1.0)
    assert student.loss(torch.zeros_like(context), None, context, None, points(6), plain()).max() < 1e-20
    made = student(None, context, None, points(6), plain())
    torch.testing.assert_close(made, 2 * context + 0.5 * plain()(context, draw=0))


def test_there_is_no_inflation_since_the_mean_is_not_known(gaussian):
    assert Reflow(Straight(*gaussian), channels=2).inflation is None


def test_a_student_of_another_source_is_refused(gaussian):
    with pytest.raises(ValueError, match="the teacher has source=GaussianSource"):
        Reflow(Straight(*gaussian), channels=2, source=PreviousSource(), teacher=exact(gaussian))
