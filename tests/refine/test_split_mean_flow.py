"""SplitMeanFlow: the identity at the exact solution, the anchor without which zero satisfies it, and the minimiser."""

import pytest
import torch
from few_step import F64, Shifted
from torch import nn

from surrogates.refine.average_oracle import GaussianAverage
from surrogates.refine.oracle import GaussianVelocity
from surrogates.refine.split_mean_flow import MIDDLE_DRAW, SplitMeanFlow


def data(gaussian, rows, n=4):
    return GaussianVelocity(*gaussian).flow(torch.randn(rows, 2, n, generator=torch.Generator().manual_seed(5), **F64))


def empty(rows, n=4):
    return torch.zeros(rows, 0, n, **F64)


class Zero(nn.Module):
    def forward(self, x, domain, embedding=None):
        return torch.zeros_like(x)


def parts(operator, points, rows=64, ratio=0.5):
    refiner, z = SplitMeanFlow(operator, channels=2, ratio=ratio), torch.randn(rows, 2, 4, **F64)
    return refiner, refiner.average(refiner.frame(None, empty(rows)), None, empty(rows), None, points(4)), z


def test_the_exact_average_is_additive(gaussian, points, plain):
    refiner, average, z = parts(GaussianAverage(*gaussian), points)
    s, r = (t.flatten() for t in refiner.times(plain(), torch.empty(64, 1, **F64)))
    target = refiner.target(average, z, average(z, s, s), s, r, points(4), plain())
    torch.testing.assert_close(target, average(z, s, r), rtol=0, atol=1e-10)


@pytest.mark.parametrize("part", [0.2, 0.9])
def test_the_two_parts_count_by_their_lengths(part, points):
    """For a u that is r, the target is (s - m)/(s - r) m + (m - r)/(s - r) r, with m = s - part (s - r)."""

    class Told(nn.Module):
        def forward(self, x, domain, embedding=None):
            return torch.zeros_like(x)

    refiner, _, z = parts(Told(), points, rows=1)
    s, r = torch.tensor([0.8], **F64), torch.tensor([0.3], **F64)
    quantile = torch.special.ndtri(torch.tensor(part, **F64)).item()
    seen = []

    def draws(like, *, draw):
        seen.append(draw)
        return torch.full_like(like, quantile)

    def average(z, s, r):
        return torch.ones_like(z) * r[:, None, None]

    target = refiner.target(average, z, z, s, r, points(4), draws)
    m = 0.8 - part * 0.5
    torch.testing.assert_close(target, torch.full_like(z, (0.8 - m) / 0.5 * m + (m - 0.3) / 0.5 * 0.3), rtol=0, atol=1e-7)
    assert seen == [MIDDLE_DRAW]


def test_the_second_part_starts_where_the_first_one_leads(points, plain):
    starts = []

    def average(z, s, r):
        starts.append((z, s, r))
        return torch.full_like(z, 2.0)

    refiner, _, z = parts(Zero(), points, rows=3)
    s, r = torch.full((3,), 0.9, **F64), torch.full((3,), 0.1, **F64)
    refiner.target(average, z, z, s, r, points(4), plain())
    (_, _, m), (later, begin, end) = starts
    torch.testing.assert_close(later, z - 2 * (s - m)[:, None, None])
    assert torch.equal(begin, m) and torch.equal(end, r) and ((r < m) & (m < s)).all()


def test_without_the_anchor_zero_would_do(points, plain):
    refiner, average, z = parts(Zero(), points, rows=200)
    s, r = (t.flatten() for t in refiner.times(plain(), torch.empty(200, 1, **F64)))
    v = torch.ones_like(z)
    target = refiner.target(average, z, v, s, r, points(4), plain())
    anchored = r == s
    assert torch.equal(target[anchored], v[anchored]) and (target[~anchored] == 0).all() and 60 < anchored.sum() < 140
    with pytest.raises(ValueError, match="without rows of r = s, u = 0 satisfies the identity"):
        SplitMeanFlow(Zero(), channels=2, ratio=0.0)


def test_the_exact_average_is_where_the_gradient_vanishes(gaussian, points, plain):
    """The target follows the network, so a shift b of u shifts it too: what is left of the gradient is 2 b at the anchors."""
    rows = 50_000
    truth, slopes = data(gaussian, rows), []
    for by in (0.0, 0.1):
        shift = nn.Parameter(torch.tensor(by, **F64))
        refiner = SplitMeanFlow(Shifted(GaussianAverage(*gaussian), shift), channels=2)
        refiner.loss(truth, None, empty(rows), None, points(4), plain()).mean().backward()
        slopes.append(shift.grad.item())
    assert abs(slopes[0]) < 0.02
    assert abs(slopes[1] - slopes[0] - 0.1) < 0.05
