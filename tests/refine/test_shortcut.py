"""Shortcut models: what is trained is what is visited, self-consistency at the exact solution, flow matching at the smallest step."""

import pytest
import torch
from few_step import F64
from torch import nn

from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.average_velocity import heard
from surrogates.refine.shortcut import Shortcut


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def test_every_step_visited_is_a_step_trained(gaussian, points, plain):
    finest, told = 16, []

    class Listening(GaussianAverage):
        def forward(self, x, domain, embedding=None):
            told.append(tuple(round(t[0].item() * finest, 9) for t in heard(embedding)))
            return super().forward(x, domain, embedding)

    refiner = Shortcut(Listening(*gaussian), channels=2, finest=finest)
    s, r = refiner.times(plain(), torch.empty(40_000, 1, **F64))
    trained = {(round(a * finest, 9), round((a - b) * finest, 9)) for a, b in zip(s.flatten().tolist(), r.flatten().tolist(), strict=True)}
    assert trained == {(k * d, d) for d in (1, 2, 4, 8, 16) for k in range(1, finest // d + 1)}
    for steps in (1, 2, 4, 8, 16):
        refiner.steps = steps
        refiner(None, empty(2), None, points(4), plain())
    assert set(told) == trained


def test_how_often_each_step_is_trained(gaussian, plain):
    s, r = Shortcut(GaussianAverage(*gaussian), channels=2, portion=0.25).times(plain(), torch.empty(40_000, 1, **F64))
    size = (-torch.log2(s - r)).round()
    assert abs((size < 7).double().mean() - 0.25) < 0.01
    assert all(abs((size == k).double().mean() - 0.25 / 7) < 0.005 for k in range(7))


def test_the_exact_average_is_self_consistent(gaussian, points, plain):
    refiner, rows = Shortcut(GaussianAverage(*gaussian), channels=2, portion=0.9), 100
    s, r = (t.flatten() for t in refiner.times(plain(), torch.empty(rows, 1, **F64)))
    average = refiner.average(refiner.frame(None, empty(rows)), None, empty(rows), None, points(4))
    z = torch.randn(rows, 2, 4, **F64)
    v = torch.full_like(z, torch.nan)  # not looked at where d > 1/finest
    target, longer = refiner.target(average, z, v, s, r, points(4), plain()), s - r > 0.75 / 64
    assert longer.sum() > 80
    torch.testing.assert_close(target[longer], average(z, s, r)[longer], rtol=0, atol=1e-9)
    assert target[~longer].isnan().all()


@pytest.mark.parametrize("steps", [1, 4, 128])
def test_any_number_of_steps_is_exact(steps, gaussian, points, plain):
    refiner = Shortcut(GaussianAverage(*gaussian), channels=2, steps=steps)
    x = refiner(None, empty(3, 16), None, points(16), plain())
    torch.testing.assert_close(x, refiner.operator.flow(plain()(x, draw=0)), rtol=0, atol=1e-10)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="3 steps do not divide the 128 that were trained"):
        Shortcut(nn.Identity(), channels=1, steps=3)
    with pytest.raises(ValueError, match="finest is 100 but steps are halved"):
        Shortcut(nn.Identity(), channels=1, finest=100)
    with pytest.raises(ValueError, match="both kinds of rows are needed"):
        Shortcut(nn.Identity(), channels=1, portion=1.0)
