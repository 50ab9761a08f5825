"""Predictions: every one tells the same velocity, preconditioning has unit variance, and the reductions to what papers name."""

import math

import pytest
import torch

from surrogates.record import construct, describe
from surrogates.refine import (
    Data,
    DataError,
    FlowMatching,
    GaussianVelocity,
    Karras,
    Linear,
    LinearBetas,
    MinSNR,
    Preconditioned,
    SourcePrediction,
    Uniform,
    Unweighted,
    VarianceExploding,
    VariancePreserving,
    Velocity,
    heun,
)

F64 = {"dtype": torch.float64}
PATHS = [Linear(), VariancePreserving(), VarianceExploding(), LinearBetas()]
PREDICTIONS = [Velocity(), Data(), SourcePrediction(), Preconditioned(), Preconditioned(0.3)]


def ends(n=7):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, 5, generator=g, **F64), torch.randn(n, 2, 5, generator=g, **F64)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
@pytest.mark.parametrize("s", [0.23, torch.linspace(0.05, 0.95, 7, **F64).reshape(7, 1, 1)])
def test_a_prediction_tells_the_velocity(prediction, path, s):
    x, e = ends()
    z, v = path.interpolate(x, e, s), path.velocity(x, e, s)
    torch.testing.assert_close(prediction.velocity(path, z, prediction.target(path, x, e, s), s), v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("s", [0.0, 1.0])
def test_preconditioning_has_no_singular_time(path, s):
    x, e = ends()
    p = Preconditioned(0.7)
    found = p.velocity(path, path.interpolate(x, e, s), p.target(path, x, e, s), s)
    torch.testing.assert_close(found, path.velocity(x, e, s), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("s", [0.01, 0.4, 0.99])
def test_preconditioning_has_unit_variance_in_and_out(path, s):
    g = torch.Generator().manual_seed(0)
    sigma, p = 0.3, Preconditioned(0.3)
    x, e = sigma * torch.randn(400_000, 1, 1, generator=g, **F64), torch.randn(400_000, 1, 1, generator=g, **F64)
    z, f = p.factor(path, s) * path.interpolate(x, e, s), p.target(path, x, e, s)
    assert abs(z.var() - 1) < 0.01 and abs(f.var() - 1) < 0.01
    assert abs((z * f).mean()) < 0.01  # it never asks for what z tells


def test_on_the_exploding_path_it_is_that_of_edm():
    """c_skip, c_out, c_in and the unit weight of Karras et al., table 1."""
    x, e = ends()
    path, sigma_data, s = VarianceExploding(80.0), 0.5, 0.02
    sigma, p = 80.0 * s, Preconditioned(sigma_data)
    skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    out = sigma * sigma_data / math.sqrt(sigma**2 + sigma_data**2)
    z = path.interpolate(x, e, s)
    torch.testing.assert_close(p.target(path, x, e, s), (x - skip * z) / out)
    assert p.factor(path, s) == pytest.approx(1 / math.sqrt(sigma**2 + sigma_data**2))
    assert p.leverage(path, s) == pytest.approx(out)


def test_on_the_preserving_path_it_is_v():
    x, e = ends()
    path, s = VariancePreserving(), 0.3
    a, b, _, _ = path.coefficients(s)
    torch.testing.assert_close(Preconditioned().target(path, x, e, s), -(a * e - b * x))


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
def test_leverage_is_the_derivative_of_the_data(prediction, path):
    x, e = ends()
    s = 0.31
    z, f = path.interpolate(x, e, s), prediction.target(path, x, e, s)

    def data(f):
        return path.data(z, prediction.velocity(path, z, f, s), s)

    change = (data(f + 1e-4) - data(f)) / 1e-4
    torch.testing.assert_close(change.abs(), torch.full_like(change, float(prediction.leverage(path, s))), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS[:1] + PREDICTIONS[3:], ids=str)
def test_the_exact_prediction_samples_the_gaussian(prediction, path, gaussian, points, plain):
    """One class, any path and prediction: the exact operator's flow, which is linear in the source."""
    oracle = GaussianVelocity(*gaussian, path, prediction)
    schedule = Karras() if isinstance(path, VarianceExploding) else Uniform()
    refiner = FlowMatching(oracle, channels=2, path=path, schedule=schedule, prediction=prediction, sampler=heun, steps=400).double()
    context = torch.zeros(3, 0, 8, **F64)
    x = refiner(None, context, None, points(8), plain())
    a, b = path.ends(1.0)  # where a(1) > 0 the source does not know the mean, and the flow carries that on
    z = path.deviation() * plain()(torch.empty(3, 2, 8, **F64), draw=0)
    root = (oracle.variances / (a * a * oracle.variances + b * b)).sqrt()
    off = torch.einsum("cd,bdx->bcx", oracle.basis * root @ oracle.basis.T, z - a * oracle.mean[:, None])
    torch.testing.assert_close(x, oracle.mean[:, None] + off, rtol=0, atol=0.003)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
def test_the_exact_prediction_has_the_least_loss(prediction, gaussian, points, plain):
    path = VarianceExploding(sigma_max=10.0)
    oracle = GaussianVelocity(*gaussian, path, prediction)
    truth = oracle.flow(torch.randn(20_000, 2, 2, generator=torch.Generator().manual_seed(1), **F64))

    class Off(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x, domain, embedding=None):
            return oracle(x, domain, embedding) + self.by

    def loss(by):
        refiner = FlowMatching(Off(by), channels=2, path=path, prediction=prediction, schedule=Karras(10.0)).double()
        return refiner.loss(truth, None, torch.zeros(20_000, 0, 2, **F64), None, points(2), plain()).mean()

    best = loss(0.0)
    assert loss(0.2) - best == pytest.approx(0.04, rel=0.3) and loss(-0.2) - best == pytest.approx(0.04, rel=0.3)


def test_weights_count_the_error_of_the_data():
    path, s = VariancePreserving(), torch.tensor([0.05, 0.5, 0.95], **F64).reshape(3, 1, 1)
    a, b, _, _ = path.coefficients(s)
    assert Unweighted()(path, Velocity(), s) == 1
    torch.testing.assert_close(DataError()(path, SourcePrediction(), s), (b / a) ** 2)
    torch.testing.assert_close(MinSNR(5.0)(path, SourcePrediction(), s), ((a / b) ** 2).clamp(max=5.0) * (b / a) ** 2)
    assert MinSNR(1e9)(path, SourcePrediction(), s).flatten().tolist() == pytest.approx([1.0] * 3)  # epsilon's own weight


@pytest.mark.parametrize("part", [*PREDICTIONS, DataError(), MinSNR(3.0)], ids=str)
def test_parts_write_themselves_down(part):
    assert construct(describe(part)) == part


def test_a_deviation_must_be_positive():
    with pytest.raises(ValueError, match="must be positive"):
        Preconditioned(0.0)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=str)
def test_the_source_alone_cannot_start_where_z_is_the_source(path):
    with pytest.raises(ValueError, match="tells nothing at s = 1"):
        FlowMatching(torch.nn.Identity(), channels=1, path=path, prediction=SourcePrediction())
