"""Chosen steps: the programme against every possible choice, gains where they are sure, and the schedule as a file."""

import itertools
import json

import pytest
import torch
from few_step import F64, TwoModes

from surrogates.refine.features import time_of
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import VariancePreserving
from surrogates.refine.samplers import euler, heun
from surrogates.refine.schedule import Exponential, Given, Steps, Uniform
from surrogates.refine.source import GuessSource
from surrogates.refine.step_sizes import least_path, optimal_steps, read, with_steps, write
from surrogates.refine.stochastic import Churn, Langevin, ddpm


def empty(rows, n=1):
    return torch.zeros(rows, 0, n, **F64)


def end_error(refiner, points, plain, seed=9, rows=400):
    """The root mean square distance from a fine solution, for draws that were not calibrated on."""
    given = (None, empty(rows), None, points(1), plain(seed))
    fine = FlowMatching(refiner.operator, channels=refiner.channels, path=refiner.path, sampler=heun, steps=48)
    with torch.no_grad():
        return (refiner(*given) - fine(*given)).square().mean().sqrt().item()


def test_no_choice_of_times_costs_less():
    g = torch.Generator().manual_seed(0)
    for n, steps in ((6, 3), (7, 1), (5, 5), (7, 4)):
        costs = torch.rand(n, n + 1, generator=g).tolist()
        ways = [(0, *inner, n) for inner in itertools.combinations(range(1, n), steps - 1)]
        best = min(ways, key=lambda way: sum(costs[i][j] for i, j in itertools.pairwise(way)))
        assert least_path(costs, steps) == best


@pytest.mark.parametrize("sampler", [euler, heun])
def test_the_cost_is_the_samplers_local_error(sampler, gaussian, points, plain):
    """With one inner time there are as few choices as grid points: try them all."""
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=sampler)
    chosen = optimal_steps(refiner, None, empty(64, 4), None, points(4), plain(), steps=2, grid=8).times
    velocity = refiner.velocity(refiner.frame(None, empty(64, 4)), None, empty(64, 4), None, points(4))
    fine = [plain()(torch.empty(64, 2, 4, **F64), draw=0)]
    for s, r in itertools.pairwise(Uniform().levels(8)):
        fine.append(heun(velocity, fine[-1], (s, r)))

    def error(i, j):
        return (sampler(velocity, fine[i], (1 - i / 8, 1 - j / 8)) - fine[j]).square().mean().sqrt().item()

    best = min(range(1, 8), key=lambda i: error(0, i) + error(i, 8))
    assert chosen == (1.0, 1 - best / 8, 0.0)


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_narrow_data_want_their_steps_near_the_end(steps, points, plain):
    """For N(0, .01) nearly all of the way is straight: z falls as s until s is .1."""
    refiner = FlowMatching(GaussianVelocity((0.0,), ((0.01,),)), channels=1, steps=steps)
    chosen = optimal_steps(refiner, None, empty(256), None, points(1), plain(), steps=steps, grid=24)
    assert chosen.times[-2] < 0.15 and chosen.times[1] < 1 - 1 / steps
    assert end_error(with_steps(refiner, chosen), points, plain) < 0.65 * end_error(refiner, points, plain)


@pytest.mark.parametrize("sampler", [euler, heun])
def test_two_modes_gain_too(sampler, points, plain):
    refiner = FlowMatching(TwoModes(), channels=1, sampler=sampler, steps=4)
    chosen = optimal_steps(refiner, None, empty(256), None, points(1), plain(), steps=4, grid=16)
    assert end_error(with_steps(refiner, chosen), points, plain) < 0.96 * end_error(refiner, points, plain)


def test_the_calibration_costs_two_evaluations_a_grid_point(gaussian, points, plain):
    calls = []

    class Counted(GaussianVelocity):
        def forward(self, x, domain, embedding=None):
            calls.append(time_of(embedding)[0].item())
            return super().forward(x, domain, embedding)

    optimal_steps(FlowMatching(Counted(*gaussian), channels=2), None, empty(2), None, points(1), plain(), steps=3, grid=16)
    assert len(calls) == 2 * 16 - 1 and min(calls) > 0


def test_times_of_a_discrete_schedule_are_among_its_own(gaussian, points, plain):
    path = VariancePreserving()
    refiner = FlowMatching(GaussianVelocity(*gaussian, path), channels=2, path=path, schedule=Steps(20))
    chosen = optimal_steps(refiner, None, empty(8), None, points(1), plain(), steps=4, grid=20)
    assert all(refiner.schedule.trains(s) for s in chosen.times[:-1]) and chosen.trained == Steps(20)


def test_a_guess_context_and_scale_are_calibrated_with(gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, source=GuessSource(0.5), sampler=heun)
    refiner.scale.copy_(torch.tensor([0.1, 3.0]))
    guess, context = torch.randn(8, 2, 4, **F64), torch.randn(8, 3, 4, **F64)
    chosen = optimal_steps(refiner, guess, context, None, points(4), plain(), steps=3, grid=8)
    assert with_steps(refiner, chosen)(guess, context, None, points(4), plain()).shape == guess.shape


def test_the_same_refiner_with_other_times_is_recorded_with_them(gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=heun)
    refiner.inflation.fill_(1.5)
    other = with_steps(refiner.eval(), Given((1.0, 0.3, 0.0), Uniform()))
    assert other.operator is refiner.operator and other.inflation == 1.5 and not other.training
    assert other.arguments["steps"] == 2 and other.evaluations == 3 and refiner.steps == 4


def test_a_schedule_file_gives_the_schedule_back(tmp_path):
    for schedule in (Given((1.0, 1 / 3, 0.1, 0.0), Uniform()), Exponential(4, 0.01)):
        assert read(write(schedule, tmp_path / "steps.json")) == schedule
    assert [f.name for f in tmp_path.iterdir()] == ["steps.json"]


def test_files_of_something_else_are_refused(tmp_path):
    file = tmp_path / "steps.json"
    for text, message in (
        ("{", "is not JSON"),
        ("[1.0, 0.0]", "describes a tuple, not a schedule"),
        (json.dumps({"class": "os.system", "arguments": {}}), "lies outside the package"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read(file)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.json")


def test_more_steps_than_the_grid_has_are_refused(gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2)
    for steps, message in ((9, "9 steps cannot be chosen from a grid of 8"), (0, "steps is 0")):
        with pytest.raises(ValueError, match=message):
            optimal_steps(refiner, None, empty(2), None, points(1), plain(), steps=steps, grid=8)


@pytest.mark.parametrize("sampler", [ddpm, Langevin(), Churn()], ids=["ddpm", "langevin", "churn"])
def test_a_sampler_that_adds_noise_has_no_local_error(sampler, gaussian, points, plain):
    refiner = FlowMatching(GaussianVelocity(*gaussian), channels=2, sampler=sampler)
    with pytest.raises(ValueError, match="draws noise on its way"):
        optimal_steps(refiner, None, empty(2), None, points(1), plain(), steps=2)
