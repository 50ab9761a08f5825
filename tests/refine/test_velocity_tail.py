"""A light tail: the same network twice is one flow, an exact head and tail are exact, and every level visited was trained."""

import pytest
import torch
from few_step import F64
from torch import nn

from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.features import time_of
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import VariancePreserving
from surrogates.refine.samplers import euler, heun
from surrogates.refine.schedule import Given, Steps, Uniform
from surrogates.refine.shortcut import Shortcut
from surrogates.refine.velocity_tail import Below, VelocityTail


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def test_the_same_network_twice_is_one_flow(gaussian, points, plain):
    oracle, given = GaussianVelocity(*gaussian), (None, empty(3), None, points(4), plain())
    head = FlowMatching(oracle, channels=2, steps=3)
    tail = VelocityTail(GaussianVelocity(*gaussian), channels=2, head=head, switch=0.4, steps=2)
    levels = Given((1.0, 0.8, 0.6, 0.4, 0.2, 0.0), Uniform())
    whole = FlowMatching(oracle, channels=2, schedule=levels, steps=5)
    torch.testing.assert_close(tail(*given), whole(*given), rtol=0, atol=1e-13)
    assert tail.evaluations == whole.evaluations == 5


@pytest.mark.parametrize("steps", [1, 2])
def test_an_exact_head_and_tail_are_exact_at_the_samplers_order(steps, gaussian, points, plain):
    head, errors = MeanFlow(GaussianAverage(*gaussian), channels=2, steps=steps), []
    for n in (16, 32, 64):
        tail = VelocityTail(GaussianVelocity(*gaussian), channels=2, head=head, switch=0.3, sampler=heun, steps=n)
        x = tail(None, empty(3), None, points(4), plain())
        errors.append((x - tail.operator.flow(plain()(x, draw=0))).abs().max().item())
        assert tail.evaluations == steps + 2 * n - 1
    assert errors[0] / errors[1] > 3.4 and errors[1] / errors[2] > 3.6 and errors[2] < 1e-3, errors


@pytest.mark.parametrize("sampler", [euler, heun])
def test_each_network_is_asked_on_its_side_of_the_switch(sampler, gaussian, points, plain):
    class Listening(GaussianVelocity):
        def forward(self, x, domain, embedding=None):
            self.told = [*getattr(self, "told", []), time_of(embedding)]
            return super().forward(x, domain, embedding)

    head = FlowMatching(Listening(*gaussian), channels=2, steps=2, sampler=sampler)
    tail = VelocityTail(Listening(*gaussian), channels=2, head=head, switch=0.3, steps=2, sampler=sampler)
    tail(None, empty(3), None, points(4), plain())
    early, late = torch.cat(head.operator.told), torch.cat(tail.operator.told)
    assert early.min() > 0.3 - 1e-12 and early.max() > 1 - 1e-12 and late.max() < 0.3 + 1e-12
    assert len(head.operator.told) + len(tail.operator.told) == tail.evaluations
    tail.operator.told.clear()
    tail.loss(torch.randn(2000, 2, 4, **F64), None, empty(2000), None, points(4), plain())
    trained = torch.cat(tail.operator.told)
    assert 0 < trained.min() < 0.001 and 0.299 < trained.max() < 0.3


def test_the_times_below_a_switch():
    below = Below(0.25, Uniform())
    assert below.levels(2) == (0.25, 0.125, 0.0)
    assert below.trains(0.25) and below.trains(0.1) and not below.trains(0.3)
    assert not Below(0.5, Steps(4)).trains(0.3) and Below(0.5, Steps(4)).trains(0.375)


def test_a_law_holds(gaussian, points, plain):
    head = MeanFlow(GaussianAverage(*gaussian), channels=2)
    tail = VelocityTail(GaussianVelocity(*gaussian), channels=2, head=head)
    x = tail(None, empty(3), None, points(4), plain(), lambda u: u - u.mean(-1, keepdim=True) + 2)
    torch.testing.assert_close(x.mean(-1), torch.full((3, 2), 2.0, **F64), rtol=0, atol=1e-13)


def test_the_tail_goes_on_in_the_heads_units():
    head = FlowMatching(nn.Identity(), channels=2)
    head.scale.copy_(torch.tensor([0.5, 2.0]))
    tail = VelocityTail(nn.Identity(), channels=2, head=head)
    tail.fit_scale(torch.randn(5, 2, 4))
    assert torch.equal(tail.scale, head.scale)


def test_a_head_that_cannot_stop_there_is_refused():
    with pytest.raises(ValueError, match="a Shortcut does not stop at s = 0.25"):
        VelocityTail(nn.Identity(), channels=1, head=Shortcut(nn.Identity(), channels=1))
    with pytest.raises(ValueError, match="the head has path=VariancePreserving"):
        VelocityTail(nn.Identity(), channels=1, head=FlowMatching(nn.Identity(), channels=1, path=VariancePreserving()))
    with pytest.raises(ValueError, match="the head was not trained at s = 0.8125"):
        VelocityTail(nn.Identity(), channels=1, head=FlowMatching(nn.Identity(), channels=1, schedule=Steps(4)))
    with pytest.raises(ValueError, match="switch is 1.0 but must lie between 0 and 1"):
        VelocityTail(nn.Identity(), channels=1, head=MeanFlow(nn.Identity(), channels=1), switch=1.0)
