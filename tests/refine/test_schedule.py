"""Schedules: every level that sampling visits is a level that training draws, and the other way round."""

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import Exponential, FlowMatching, PDERefiner, Uniform, ab2, euler, heun
from surrogates.refine.features import time_of


class Witness(torch.nn.Module):
    """Records the times it is asked for; predicts zeros of one channel."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, domain, embedding=None):
        self.seen += time_of(embedding).tolist()
        return torch.zeros_like(x[:, :1])


def visited_and_trained(refiner, domain, draws, guess=None):
    context = torch.zeros(2000, 1, *domain.shape, dtype=torch.float64)
    guess = None if guess is None else torch.zeros_like(context)
    refiner(None if guess is None else guess[:1], context[:1], None, domain, draws)
    visited, refiner.operator.seen = refiner.operator.seen, []
    refiner.loss(torch.zeros_like(context), guess, context, None, domain, draws)
    return visited, refiner.operator.seen


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_pde_refiner_trains_exactly_the_levels_that_it_visits(first, steps, points, plain):
    refiner = PDERefiner(Witness(), channels=1, schedule=Exponential(steps, first=first))
    visited, trained = visited_and_trained(refiner, points(2), plain(), guess=first or None)
    assert len(visited) == refiner.evaluations == steps + 1 - first  # the finest level among them
    assert {round(s, 9) for s in visited} == {round(s, 9) for s in trained}
    assert all(refiner.schedule.trains(s) for s in refiner.schedule.levels(steps)[first:])


@pytest.mark.parametrize("sampler", [euler, heun, ab2])
@pytest.mark.parametrize("schedule", [Uniform(), Exponential(4)])
def test_flow_matching_visits_only_what_it_trains(sampler, schedule, points, plain):
    refiner = FlowMatching(Witness(), channels=1, schedule=schedule, sampler=sampler, steps=4)
    visited, trained = visited_and_trained(refiner, points(2), plain())
    assert len(visited) == refiner.evaluations
    assert all(min(abs(s - t) for t in trained) < 6e-3 for s in visited)
    assert all(schedule.trains(s) for s in schedule.levels(4))


def test_levels_fall_from_the_source_to_the_data():
    assert Uniform().levels(4) == (1.0, 0.75, 0.5, 0.25, 0.0)
    assert Exponential(2).levels(2) == (1.0, 0.5, 0.0)


def test_exponential_noise_falls_as_the_paper_says():
    schedule = Exponential(3, sigma_min=1e-3)
    torch.testing.assert_close([schedule.sigma(s) for s in schedule.levels(3)], [1.0, 1e-1, 1e-2, 1e-3])
    torch.testing.assert_close(schedule.sigma(torch.tensor([1.0, 0.0])), torch.tensor([1.0, 1e-3]))


def test_training_times_are_uniform(plain):
    like = torch.empty(40_000, 1, dtype=torch.float64)
    s = Uniform().draw(plain(), like, draw=1).flatten().sort().values
    ideal = (torch.arange(len(s), dtype=torch.float64) + 0.5) / len(s)
    assert (s - ideal).abs().max() < 1.63 / len(s) ** 0.5  # Kolmogorov and Smirnov, 1 %
    k = Exponential(3).draw(plain(), like, draw=1)
    counts = torch.stack([(k == 1 - i / 3).double().mean() for i in range(4)])
    assert (counts - 0.25).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # where 1 - 2^-24 rounds to 1
def test_extreme_draws_stay_among_the_levels(dtype):
    schedule = Exponential(4)
    for value in (-40.0, 40.0):
        s = schedule.draw(lambda like, draw, value=value: torch.full_like(like, value), torch.empty(2, 1, dtype=dtype), draw=1)
        assert all(schedule.trains(t) for t in s.flatten().tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform().levels(0), "steps is 0"),
        (lambda: Exponential(0), "steps is 0"),
        (lambda: Exponential(3, sigma_min=1.5), "between 0 and 1"),
        (lambda: Exponential(3, first=2), "write 0"),
        (lambda: Exponential(3).levels(5), "trained for steps=3, not 5"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("schedule", [Uniform(), Exponential(5, 1e-2, 1)])
def test_a_schedule_writes_itself_down(schedule):
    assert construct(describe(schedule)) == schedule
