"""Learned steps: gradients through the sampler are right, the end is never farther off than at the start, and gains on new draws."""

import pytest
import torch
from few_step import F64, TwoModes

from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.learned_steps import _through, falling, learned_steps
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.samplers import ab2, euler, heun
from surrogates.refine.schedule import Given, Steps, Uniform
from surrogates.refine.step_sizes import with_steps
from surrogates.refine.teacher import velocity_at


def empty(rows, n=1):
    return torch.zeros(rows, 0, n, **F64)


def end_error(refiner, points, draws, rows):
    given = (None, empty(rows), None, points(1), draws)
    fine = FlowMatching(refiner.operator, channels=refiner.channels, sampler=heun, steps=64)
    with torch.no_grad():
        return (refiner(*given) - fine(*given)).square().mean().sqrt().item()


def test_times_fall_from_one_to_zero_whatever_the_parameters():
    for theta in (torch.zeros(4, **F64), torch.tensor([9.0, -9.0, 3.0], **F64)):
        times = falling(theta)
        assert times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()
        torch.testing.assert_close(-times.diff(), theta.softmax(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", [euler, heun])
def test_the_differentiated_sampler_is_the_sampler(sampler, gaussian, points):
    flow, z = FlowMatching(GaussianVelocity(*gaussian), channels=2), torch.randn(2, 2, 1, **F64)
    frame, theta = flow.frame(None, empty(2)), torch.tensor([0.3, -0.2, 0.5], **F64, requires_grad=True)
    at = velocity_at(flow, frame, None, empty(2), None, points(1))
    ours = _through(at, z, falling(theta), 1, sampler is heun)
    known = sampler(flow.velocity(frame, None, empty(2), None, points(1)), z, falling(theta).tolist())
    torch.testing.assert_close(ours, known, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda t: _through(at, z, falling(t), 1, sampler is heun), theta)


@pytest.mark.parametrize("sampler", [euler, heun])
@pytest.mark.parametrize("operator", [GaussianVelocity((0.0,), ((0.01,),)), TwoModes()], ids=["narrow", "two modes"])
def test_learned_steps_lead_nearer_to_the_fine_solution(operator, sampler, points, plain):
    refiner = FlowMatching(operator, channels=1, sampler=sampler, steps=4)
    learned = with_steps(refiner, learned_steps(refiner, None, empty(64), None, points(1), plain(), steps=4, iterations=40))
    assert end_error(learned, points, plain(), 64) < end_error(refiner, points, plain(), 64)
    gain = 0.5 if isinstance(operator, GaussianVelocity) else 0.95
    assert end_error(learned, points, plain(9), 400) < gain * end_error(refiner, points, plain(9), 400)


def test_no_iteration_gives_back_where_it_began(gaussian, points, plain):
    refiner, given = FlowMatching(GaussianVelocity(*gaussian), channels=2), (None, empty(2), None, points(1), plain())
    uniform = learned_steps(refiner, *given, steps=4, iterations=0)
    assert uniform.times == pytest.approx((1, 0.75, 0.5, 0.25, 0))
    begin = Given((1.0, 0.2, 0.0), Uniform())
    assert learned_steps(refiner, *given, steps=2, iterations=0, begin=begin).times == pytest.approx(begin.times)
    assert all(p.grad is None for p in refiner.parameters())


def test_what_cannot_be_differentiated_or_was_not_trained_is_refused(gaussian, points, plain):
    given = (None, empty(2), None, points(1), plain())
    with pytest.raises(ValueError, match="write sampler=euler or heun, or use optimal_steps"):
        learned_steps(FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=ab2), *given, steps=2)
    with pytest.raises(ValueError, match="begin has 2 steps, not 3"):
        refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2)
        learned_steps(refiner, *given, steps=3, begin=Given((1.0, 0.2, 0.0), Uniform()))
    with pytest.raises(ValueError, match="is not trained by Steps"):
        learned_steps(FlowMatching(GaussianVelocity(*gaussian), channels=2, schedule=Steps(64)), *given, steps=3, iterations=0)
