"""Consistency models: the boundary, the exact solution, what training minimises, and sampling with fresh noise."""

import math

import pytest
import torch
from few_step import F64, Ends, Shifted
from torch import nn

from surrogates.refine.consistency import Consistency
from surrogates.refine.features import time_of
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.path import Linear, VarianceExploding, VariancePreserving
from surrogates.refine.prediction import Data, Preconditioned, SourcePrediction, Velocity


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def data(gaussian, rows, n=4):
    return GaussianVelocity(*gaussian).flow(torch.randn(rows, 2, n, generator=torch.Generator().manual_seed(5), **F64))


@pytest.mark.parametrize("prediction", [Velocity(), Preconditioned(), Preconditioned(0.3)], ids=str)
@pytest.mark.parametrize("path", [Linear(), VariancePreserving(), VarianceExploding()], ids=str)
def test_at_the_data_every_state_is_its_own_end(path, prediction, points):
    class Some(nn.Module):
        def forward(self, x, domain, embedding=None):
            return torch.full_like(x, 7.0)

    refiner, z = Consistency(Some(), channels=2, path=path, prediction=prediction), torch.randn(3, 2, 4, **F64)
    end = refiner.ends(refiner.frame(None, empty(3)), None, empty(3), None, points(4))
    torch.testing.assert_close(end(z, torch.zeros(3, **F64)), z, rtol=1e-12, atol=1e-12)
    assert (end(z, torch.full((3,), 0.5, **F64)) - z).abs().max() > 0.1


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_exact_solution_has_the_law_in_any_number_of_steps(steps, gaussian, points, plain):
    n = 200_000
    refiner = Consistency(Ends(*gaussian), channels=2, steps=steps)
    x = refiner(None, empty(1, n), None, points(n), plain())[0]
    mean, covariance = (torch.tensor(v, **F64) for v in gaussian)
    torch.testing.assert_close(x.mean(1), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(x.cov(), covariance, rtol=0, atol=0.01)
    assert refiner.evaluations == steps


def test_one_step_is_where_the_flow_leads(gaussian, points, plain):
    x = Consistency(Ends(*gaussian), channels=2)(None, empty(3, 16), None, points(16), plain())
    torch.testing.assert_close(x, GaussianVelocity(*gaussian).flow(plain()(x, draw=0)), rtol=0, atol=1e-12)


def test_the_exact_solution_minimises_the_loss(gaussian, points, plain):
    """Neighbours that share (x, e) are not on one trajectory, but on average over what z(s) leaves open: right as the grid is refined."""
    rows = 50_000
    truth = data(gaussian, rows)

    def loss(by):
        refiner = Consistency(Shifted(Ends(*gaussian), by), channels=2, intervals=128)
        return refiner.loss(truth, None, empty(rows), None, points(4), plain()).mean().item()

    best = loss(0.0)
    for by in (0.1, -0.1):
        assert abs(loss(by) - best - 0.01) < 0.004


def test_the_levels_that_are_visited_are_trained(gaussian, points, plain):
    told = []

    class Listening(Ends):
        def forward(self, x, domain, embedding=None):
            told.extend(round(s, 9) for s in time_of(embedding).tolist())
            return super().forward(x, domain, embedding)

    refiner = Consistency(Listening(*gaussian), channels=2, intervals=12)
    refiner.loss(data(gaussian, 500), None, empty(500), None, points(4), plain())
    trained = set(told)
    assert trained == {round(k / 12, 9) for k in range(13)}
    told.clear()
    for steps in (1, 2, 3, 4, 6, 12):
        refiner.steps = steps
        refiner(None, empty(1), None, points(4), plain())
    assert told == [round(1 - k / steps, 9) for steps in (1, 2, 3, 4, 6, 12) for k in range(steps)] and set(told) == trained - {0.0}


def test_each_step_has_fresh_noise_and_the_source_comes_first(gaussian, points):
    drawn = []

    def noise(like, *, draw):
        drawn.append(draw)
        return torch.zeros_like(like)

    Consistency(Ends(*gaussian), channels=2, steps=4)(None, empty(1), None, points(4), noise)
    assert drawn == [0, 2, 3, 4]


def test_the_distance_is_the_square_or_nearly_the_modulus(gaussian, points, plain):
    arguments = (data(gaussian, 5), None, empty(5), None, points(4), plain())
    square = Consistency(Ends(*gaussian), channels=2).loss(*arguments)
    for c in (0.1, 3.0):
        huber = Consistency(Ends(*gaussian), channels=2, huber=c).loss(*arguments)
        torch.testing.assert_close(huber, (square + c * c).sqrt() - c)


def test_impossible_numbers_and_predictions_are_refused():
    with pytest.raises(ValueError, match="steps=3 must divide intervals=32"):
        Consistency(nn.Identity(), channels=1, steps=3)
    with pytest.raises(ValueError, match="huber is 0.0 but must be positive"):
        Consistency(nn.Identity(), channels=1, huber=0.0)
    with pytest.raises(ValueError, match="does not give back z at s = 0; write Velocity or Preconditioned"):
        Consistency(nn.Identity(), channels=1, prediction=Data())
    assert math.isclose(SourcePrediction().leverage(VariancePreserving(), 0.0), 0.0)
