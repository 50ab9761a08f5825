"""MeanFlow: its target at the exact solution, its minimiser, the reduction to flow matching, and differentiation through networks."""

import pytest
import torch
from few_step import F64, Shifted
from torch import nn

from surrogates.domains import Box
from surrogates.operators import FNO, UNet
from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.average_velocity import heard
from surrogates.refine.features import FEATURES
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import BELOW_ONE, ERROR_FLOOR, MeanFlow
from surrogates.refine.oracle import GaussianVelocity


def data(gaussian, rows, n=4, seed=5):
    return GaussianVelocity(*gaussian).flow(torch.randn(rows, 2, n, generator=torch.Generator().manual_seed(seed), **F64))


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


def parts(refiner, gaussian, points, plain, rows=64):
    """(average, z, s, r) of a batch, z = (1 - s) x + s e."""
    x, domain = data(gaussian, rows), points(4)
    e = plain()(x, draw=0)
    s, r = (t.flatten() for t in refiner.times(plain(3), x.new_empty(rows, 1)))
    z = (1 - s)[:, None, None] * x + s[:, None, None] * e
    return refiner.average(refiner.frame(None, empty(rows)), None, empty(rows), None, domain), z, s, r


def test_the_exact_average_satisfies_its_equation(gaussian, points, plain):
    """With the marginal velocity u(z, s, s) in place of e - x, the target is u itself."""
    refiner = MeanFlow(GaussianAverage(*gaussian), channels=2, ratio=0.0)
    average, z, s, r = parts(refiner, gaussian, points, plain)
    target = refiner.target(average, z, average(z, s, s), s, r, points(4), plain())
    torch.testing.assert_close(target, average(z, s, r), rtol=0, atol=1e-9)


def test_the_exact_average_minimises_the_loss(gaussian, points, plain):
    rows = 50_000
    truth = data(gaussian, rows)

    def loss(by):
        refiner = MeanFlow(Shifted(GaussianAverage(*gaussian), by), channels=2)
        return refiner.loss(truth, None, empty(rows), None, points(4), plain()).mean().item()

    best = loss(0.0)
    for by in (0.1, -0.1):
        assert abs(loss(by) - best - 0.01) < 0.004


def test_with_all_rows_at_r_equal_to_s_it_is_flow_matching(gaussian, points, plain):
    truth = data(gaussian, 200)
    arguments = (truth, None, empty(200), None, points(4), plain())
    mean_flow = MeanFlow(GaussianAverage(*gaussian), channels=2, ratio=1.0).loss(*arguments)
    flow = FlowMatching(GaussianVelocity(*gaussian), channels=2, schedule=BELOW_ONE).loss(*arguments)
    torch.testing.assert_close(mean_flow, flow, rtol=1e-9, atol=1e-12)


def test_the_times_that_are_trained(gaussian, plain):
    s, r = MeanFlow(GaussianAverage(*gaussian), channels=2, ratio=0.75).times(plain(), torch.empty(40_000, 1, **F64))
    assert (s >= r).all() and r.min() > 0 and s.max() < 1
    assert abs((r == s).double().mean() - 0.75) < 0.01
    at = torch.logit(s[r == s])
    assert abs(at.mean() + 0.4) < 0.02 and abs(at.std() - 1) < 0.02  # ln(s / (1 - s)) ~ N(-.4, 1)


def test_the_steps_that_are_visited_were_told_in_training(gaussian, points, plain):
    told = []

    class Listening(GaussianAverage):
        def forward(self, x, domain, embedding=None):
            told.append([t[0].item() for t in heard(embedding)])
            return super().forward(x, domain, embedding)

    refiner = MeanFlow(Listening(*gaussian), channels=2, steps=4, calibrated=True)
    refiner(None, empty(2), None, points(4), plain())
    assert torch.tensor(told).sub(torch.tensor([[1, 0], [1, 0.25], [0.75, 0.25], [0.5, 0.25], [0.25, 0.25]])).abs().max() < 1e-12
    assert all(s - d >= 0 and refiner.schedule.trains(s) for s, d in told)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_adaptive_weight_changes_the_gradient_alone(power, gaussian, points, plain):
    truth, by = data(gaussian, 5), nn.Parameter(torch.tensor(0.1, **F64))

    def each(p):
        refiner = MeanFlow(Shifted(GaussianAverage(*gaussian), by), channels=2, power=p)
        loss = refiner.loss(truth, None, empty(5), None, points(4), plain())
        return loss, torch.stack([torch.autograd.grad(row, by, retain_graph=True)[0] for row in loss])

    (value, gradient), (square, plainly) = each(power), each(0.0)
    torch.testing.assert_close(value, square, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, plainly / (square.detach() + ERROR_FLOOR) ** power, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda e: FNO(1, 1, e, width=4, modes=(4, 3), layers=2),
        lambda e: UNet(1, 1, e, dim=2, width=4, multipliers=(1, 2), blocks=1),
        lambda e: UNet(1, 1, e, dim=2, width=4, multipliers=(1, 2), blocks=1, checkpoint=True),
    ],
    ids=["FNO", "UNet", "UNet with checkpoints"],
)
def test_networks_are_differentiated_through(make, plain):
    torch.manual_seed(0)
    domain, refiner = Box.periodic((8, 8), 1.0), MeanFlow(make(2 * FEATURES), channels=1, ratio=0.0)
    for p in refiner.parameters():
        p.data += 0.05 * torch.randn(p.shape)
    refiner.double()
    z, v = (plain()(torch.empty(2, 1, 8, 8, **F64), draw=k) for k in (5, 6))
    s, r = torch.tensor([0.9, 0.5], **F64), torch.tensor([0.2, 0.1], **F64)
    average = refiner.average(refiner.frame(None, z[:, :0]), None, z[:, :0], None, domain)
    h = 1e-5
    slope = (average(z + h * v, s + h, r) - average(z - h * v, s - h, r)).detach() / (2 * h)
    with torch.no_grad():
        target = refiner.target(average, z, v, s, r, domain, plain())
    torch.testing.assert_close(target, v - (s - r)[:, None, None, None] * slope, rtol=1e-6, atol=1e-7)
    refiner.loss(z, None, z[:, :0], None, domain, plain()).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in refiner.parameters())


@pytest.mark.parametrize("bad", [{"ratio": 1.5}, {"ratio": -0.1}, {"power": -1.0}])
def test_impossible_numbers_are_refused(bad, gaussian):
    with pytest.raises(ValueError, match="expected 0 <= ratio <= 1 and power >= 0"):
        MeanFlow(GaussianAverage(*gaussian), channels=2, **bad)
