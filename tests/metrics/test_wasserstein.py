"""Wasserstein distances: closed forms of Gaussian laws, translation and scale, weights, the peer in scipy, and the sliced one."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import IncrementWasserstein, PointWasserstein, SlicedWasserstein, Wasserstein, wasserstein
from surrogates.metrics.sliced_wasserstein import directions

FLOW = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))
ONE = Fields.of(Field("u"))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quantiles(n: int) -> torch.Tensor:
    """The standard normal law as n equal parts."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)


def values(metric, x, y, domain):
    return dict(metric.value(metric.statistics(x, y, domain)))


@pytest.mark.parametrize("n", [4000, 3000])
def test_two_gaussian_laws(n: int) -> None:
    """W_2^2 = (m - m')^2 + (s - s')^2; W_1 = E|m - m' + (s - s') xi|, here m = m': |s - s'| sqrt(2/pi). Sizes equal and not."""
    z, a = quantiles(4000), quantiles(n)
    assert float(wasserstein(1 + 2 * z, 0.5 * a, 2)) == pytest.approx(sqrt(1 + 1.5**2), rel=2e-3)
    assert float(wasserstein(2 * z, 0.5 * a, 1)) == pytest.approx(1.5 * sqrt(2 / torch.pi), rel=2e-3)


def test_translation_scale_symmetry_and_triangle() -> None:
    x, y, z = normal(3, 7), normal(3, 11, seed=1), normal(3, 5, seed=2)
    for p in (1, 2, 3):
        torch.testing.assert_close(wasserstein(x, x + 0.7, p), torch.full((3,), 0.7).double())
        assert wasserstein(x, x[:, torch.randperm(7)], p).abs().max() < 1e-9
        torch.testing.assert_close(wasserstein(x, y, p), wasserstein(y, x, p))
        torch.testing.assert_close(wasserstein(3 * x, 3 * y, p), 3 * wasserstein(x, y, p))
        assert (wasserstein(x, z, p) <= wasserstein(x, y, p) + wasserstein(y, z, p) + 1e-12).all()
    assert (wasserstein(x, y, 1) <= wasserstein(x, y, 2) + 1e-12).all()


def test_weights_stand_for_repetition_and_agree_with_scipy() -> None:
    from scipy.stats import wasserstein_distance

    x, y = normal(4), normal(6, seed=1)
    wx, wy = torch.tensor([1.0, 3.0, 2.0, 1.0]).double(), torch.tensor([0.5, 1.0, 0.1, 2.0, 1.0, 0.3]).double()
    repeated = x.repeat_interleave(wx.long())
    for p in (1, 2):
        torch.testing.assert_close(wasserstein(x, y, p, wx), wasserstein(repeated, y, p))
    theirs = wasserstein_distance(x.numpy(), y.numpy(), wx.numpy(), wy.numpy())
    assert float(wasserstein(x, y, 1, wx, wy)) == pytest.approx(theirs)


def test_pooled_values_do_not_know_where_they_lie() -> None:
    box, x = Box.periodic((16,), 1.0), normal(2, 3, 2, 3, 16)
    y = normal(2, 4, 2, 3, 16, seed=1)
    found = values(Wasserstein(), x, y, box)
    rolled = values(Wasserstein(), x.roll(5, -1).flip(1), y.roll(3, -1), box)
    for name in ("wasserstein_1", "wasserstein_2"):
        torch.testing.assert_close(rolled[name], found[name])
        by_hand = wasserstein(x[0, :, 1, 2].flatten(), y[0, :, 1, 2].flatten(), int(name[-1]))
        torch.testing.assert_close(found[name][0, 1, 2], by_hand)


def test_walls_weigh_their_cells() -> None:
    wide, even = Box((2,), (0.0,), (4.0,), ("wall",), ((0.0, 1.0, 4.0),)), Box((4,), (0.0,), (4.0,), ("wall",))
    x, y = normal(1, 3, 1, 1, 2), normal(1, 4, 1, 1, 2, seed=1)
    for metric in (Wasserstein(), PointWasserstein()):
        spread = values(metric, x[..., [0, 1, 1, 1]], y[..., [0, 1, 1, 1]], even)
        for name, value in values(metric, x, y, wide).items():
            torch.testing.assert_close(spread[name], value)


def test_members_at_a_point_see_what_pooled_values_do_not() -> None:
    """The same values at other points: one law when pooled, another at every point."""
    box, y = Box.periodic((32,), 1.0), torch.arange(32).double() + 0.01 * normal(1, 50, 1, 1, 32)
    x = y.roll(1, -1)
    assert float(values(Wasserstein(), x, y, box)["wasserstein_1"]) < 1e-9
    pointwise = values(PointWasserstein(), x, y, box)
    assert float(pointwise["point_wasserstein_1"]) == pytest.approx(62 / 32, abs=0.01)  # 31 points off by 1, one by 31
    assert float(pointwise["point_wasserstein_2"]) == pytest.approx(sqrt((31 + 31**2) / 32), abs=0.01)


def test_point_statistics_add_over_space() -> None:
    box, half = Box.periodic((8,), 2.0), Box.periodic((4,), 1.0)
    x, y, metric = normal(2, 3, 2, 3, 8), normal(2, 5, 2, 3, 8, seed=1), PointWasserstein()
    parts = [metric.statistics(u, v, half) for u, v in zip(x.split(4, -1), y.split(4, -1), strict=True)]
    for name, value in metric.statistics(x, y, box).items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_increments_of_a_shifted_law_are_the_same_and_of_a_scaled_one_scale() -> None:
    box, y = Box.periodic((16, 4), 1.0), normal(1, 6, 1, 1, 16, 4)
    for axis in (0, 1):
        metric = IncrementWasserstein(axis, (1, 2))
        assert values(metric, y + 3.0, y, box)["increment_wasserstein_2"].max() < 1e-9
        d = torch.stack([y.roll(-r, 4 + axis) - y for r in (1, 2)]).flatten(1)
        exact = 0.5 * d.square().mean(1).sqrt()  # quantiles of 1.5 d and d differ by .5 d
        torch.testing.assert_close(values(metric, 1.5 * y, y, box)["increment_wasserstein_2"].flatten(), exact)


def test_sliced_of_a_shift_is_its_length_and_of_a_stretch_that_of_the_stretch() -> None:
    """SW_2 = ||c|| for X = Y + c, in the mean over directions; sqrt(E (sqrt<theta, S theta> / 2)^2) = ||Y||_rms / 2 for X = 1.5 Y."""
    metric = SlicedWasserstein(FLOW, directions=4000)
    for shape in ((16,), (64,)):
        box, y = Box.periodic(shape, 1.0), normal(1, 40, 1, 3, *shape)
        y = y - y.mean(1, keepdim=True)
        c = torch.cos(2 * torch.pi * box.coordinate(0)) * torch.tensor([1.0, 2.0, 0.0])[:, None].double()
        found = values(metric, y + c, y, box)["sliced_wasserstein_2"][0, 0]
        assert float(found[0]) == pytest.approx(sqrt(5 / 2), rel=0.05) and float(found[1]) < 1e-9
        rms = y[:, :, :, :2].square().sum(3).mean().sqrt()
        assert float(values(metric, 1.5 * y, y, box)["sliced_wasserstein_2"][0, 0, 0]) == pytest.approx(float(rms) / 2, rel=0.05)


def test_directions_have_the_covariance_of_the_measure() -> None:
    box = Box((2,), (0.0,), (4.0,), ("wall",), ((0.0, 1.0, 4.0),))
    theta = directions(2, box, 40_000, 0)
    torch.testing.assert_close(theta.square().mean(0), torch.tensor([[0.25, 0.75]] * 2).double(), rtol=0.05, atol=0)


def test_equal_laws_stay_near_the_floor() -> None:
    """The floor has half as many on each side: sqrt(2) times the distance, within a quarter."""
    box, x, y = Box.periodic((16,), 1.0), normal(4, 200, 1, 1, 16), normal(4, 200, 1, 1, 16, seed=1)
    for metric, name in ((PointWasserstein(), "point_wasserstein_2"), (SlicedWasserstein(ONE), "sliced_wasserstein_2")):
        found = values(metric, x, y, box)
        assert float(found[f"{name}_floor"].mean() / found[name].mean()) == pytest.approx(sqrt(2), rel=0.25)


def test_a_failed_sample_is_infinitely_far_and_one_true_sample_is_refused() -> None:
    box, x, y = Box.periodic((8,), 1.0), normal(1, 3, 2, 1, 8), normal(1, 4, 2, 1, 8, seed=1)
    x[0, 1, 1, 0, 2] = torch.inf
    for metric in (Wasserstein(), PointWasserstein(), IncrementWasserstein(), SlicedWasserstein(ONE)):
        found = values(metric, x, y, box)
        for name, value in found.items():
            assert value[0, 0].isfinite().all() and (name.endswith("floor") or value[0, 1].isposinf().any())
            assert not name.endswith("floor") or value.isfinite().all()
        with pytest.raises(ValueError, match="two true samples or more"):
            values(metric, x, y[:, :1], box)
    with pytest.raises(ValueError, match="periodic"):
        values(IncrementWasserstein(), x, y, Box((8,), (0.0,), (1.0,), ("wall",)))
