"""Paths: ends, derivative, and every conversion between velocity, data and noise."""

import math

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import Linear, VariancePreserving

PATHS = [Linear(), VariancePreserving()]
F64 = {"dtype": torch.float64}


@pytest.fixture
def ends():
    torch.manual_seed(0)
    return torch.randn(3, 2, 5, **F64), torch.randn(3, 2, 5, **F64)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_path_joins_the_data_to_the_source(path, ends):
    x, e = ends
    torch.testing.assert_close(path.interpolate(x, e, 0.0), x)
    torch.testing.assert_close(path.interpolate(x, e, 1.0), e)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_velocity_is_the_derivative(path, ends):
    x, e = ends
    s = torch.rand(3, 1, 1, **F64)
    _, dz = torch.func.jvp(lambda s: path.interpolate(x, e, s), (s,), (torch.ones_like(s),))
    torch.testing.assert_close(path.velocity(x, e, s), dz)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("s", [0.0, 0.3, 1.0, torch.tensor([0.0, 0.5, 1.0], **F64).reshape(3, 1, 1)])
def test_a_velocity_holds_both_ends_at_every_time(path, ends, s):
    x, e = ends
    z, v = path.interpolate(x, e, s), path.velocity(x, e, s)
    torch.testing.assert_close(path.data(z, v, s), x)
    torch.testing.assert_close(path.noise(z, v, s), e)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_predictions_of_either_end_give_the_velocity_inside(path, ends):
    x, e = ends
    z, v = path.interpolate(x, e, 0.37), path.velocity(x, e, 0.37)
    torch.testing.assert_close(path.velocity_from_data(z, x, 0.37), v)
    torch.testing.assert_close(path.velocity_from_noise(z, e, 0.37), v)


def test_the_variance_is_preserved():
    for s in (0.0, 0.2, 0.7, 1.0):
        a, b, _, _ = VariancePreserving().coefficients(s)
        assert math.isclose(a * a + b * b, 1, rel_tol=1e-15)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_path_writes_itself_down(path):
    assert construct(describe(path)) == path
