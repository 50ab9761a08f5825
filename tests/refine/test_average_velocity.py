"""Average velocities: what the network is told, the exact Gaussian operator, and steps that are exact whatever their length."""

import pytest
import torch
from few_step import F64

from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.average_velocity import heard, tell
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.samplers import heun
from surrogates.refine.split_mean_flow import SplitMeanFlow


@pytest.fixture
def exact(gaussian):
    return GaussianAverage(*gaussian)


@pytest.fixture
def u(exact, points):
    """The exact u(z, s, r) for numbers s and r."""

    def average(z, s, r):
        times = torch.full((z.shape[0],), s, **F64), torch.full((z.shape[0],), s - r, **F64)
        return exact(z, points(z.shape[-1]), tell(*times))

    return average


def noise(rows=3, n=16):
    return torch.randn(rows, 2, n, generator=torch.Generator().manual_seed(0), **F64)


def empty(rows, n):
    return torch.zeros(rows, 0, n, **F64)


def test_times_are_heard_as_they_were_told():
    s = torch.linspace(0, 1, 33, **F64)
    for given, back in zip((s, s.flip(0)), heard(torch.cat((torch.ones(33, 4, **F64), tell(s, s.flip(0))), 1)), strict=True):
        torch.testing.assert_close(back, given, rtol=0, atol=1e-13)


@pytest.mark.parametrize("s", [1.0, 0.4, 0.01])
def test_over_no_time_the_average_is_the_velocity(s, u, gaussian, bare, points):
    z = noise()
    torch.testing.assert_close(u(z, s, s), bare(GaussianVelocity(*gaussian), points(16))(z, s), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("s", "r"), [(1.0, 0.0), (0.7, 0.2), (0.3, 0.29)])
def test_the_average_is_the_integral_of_the_velocity(s, r, u, gaussian, bare, points):
    z, steps = noise(1, 4), 100
    end = heun(bare(GaussianVelocity(*gaussian), points(4)), z, [s + (r - s) * k / steps for k in range(steps)] + [r])
    torch.testing.assert_close(z - (s - r) * u(z, s, r), end, rtol=0, atol=2e-3 if r == 0 else 1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("cls", [MeanFlow, SplitMeanFlow])
def test_any_number_of_steps_is_exact(cls, steps, exact, points, plain):
    refiner, e = cls(exact, channels=2, steps=steps), plain()(noise(), draw=0)
    torch.testing.assert_close(refiner(None, empty(3, 16), None, points(16), plain()), exact.flow(e), rtol=0, atol=1e-12)
    assert refiner.evaluations == steps


def test_one_step_has_the_mean_and_covariance_of_the_data(exact, gaussian, points, plain):
    n = 200_000
    x = MeanFlow(exact, channels=2)(None, empty(1, n), None, points(n), plain())[0]
    mean, covariance = (torch.tensor(v, **F64) for v in gaussian)
    torch.testing.assert_close(x.mean(1), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(x.cov(), covariance, rtol=0, atol=0.01)


def test_inflation_stretches_about_the_conditional_mean(exact, gaussian, points, plain):
    refiner = MeanFlow(exact, channels=2, calibrated=True)
    x = refiner(None, empty(3, 16), None, points(16), plain())
    refiner.inflation.fill_(2.0)
    mean = torch.tensor(gaussian[0], **F64)[:, None]
    torch.testing.assert_close(refiner(None, empty(3, 16), None, points(16), plain()) - mean, 2 * (x - mean), rtol=0, atol=1e-11)
    assert refiner.evaluations == 2
    assert MeanFlow(exact, channels=2).inflation is None and "inflation" not in MeanFlow(exact, channels=2).state_dict()


def test_a_direction_without_variance_keeps_no_noise(points, plain):
    x = MeanFlow(GaussianAverage((0.3, 0.7), ((0.0, 0.0), (0.0, 1.0))), channels=2)(None, empty(3, 16), None, points(16), plain())
    torch.testing.assert_close(x[:, 0], torch.full_like(x[:, 0], 0.3), rtol=0, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_law_holds_and_the_free_components_keep_their_flow(steps, exact, points, plain):
    def mean_is_two(x):
        return x - x.mean(-1, keepdim=True) + 2

    refiner, given = MeanFlow(exact, channels=2, steps=steps), (None, empty(3, 16), None, points(16), plain())
    free, held = refiner(*given), refiner(*given, mean_is_two)
    torch.testing.assert_close(held.mean(-1), torch.full((3, 2), 2.0, **F64), rtol=0, atol=1e-13)
    torch.testing.assert_close(held - held.mean(-1, keepdim=True), free - free.mean(-1, keepdim=True), rtol=0, atol=1e-12)


def test_a_sample_is_differentiable(exact, points, plain):
    guess = torch.randn(1, 2, 3, **F64, requires_grad=True)
    refiner = MeanFlow(exact, channels=2, steps=2)
    assert torch.autograd.gradcheck(lambda g: refiner(g, empty(1, 3), None, points(3), plain()), guess)


def test_bad_steps_and_a_missing_embedding_are_told(exact, points):
    with pytest.raises(ValueError, match="steps is 0 but a sampler needs at least one"):
        MeanFlow(exact, channels=2, steps=0)
    with pytest.raises(ValueError, match="features of s and s - r"):
        exact(noise(), points(16))
