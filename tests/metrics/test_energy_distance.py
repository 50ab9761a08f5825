"""Energy distance: a Gaussian closed form, unbiasedness, its floor, and what its peers say."""

from __future__ import annotations

from math import erf, exp, pi, sqrt

import pytest
import torch

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import EnergyDistance

ONE, FLOW = Fields.of(Field("u")), Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))
POINT = Box.periodic((1,), 1.0)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def values(metric, x, y, domain):
    return dict(metric.value(metric.statistics(x, y, domain)))


def folded(mean: float, variance: float) -> float:
    """E|N(mean, variance)|."""
    s = sqrt(variance)
    return s * sqrt(2 / pi) * exp(-(mean**2) / 2 / variance) + mean * erf(mean / s / sqrt(2))


def test_unbiased_with_few_members_of_two_gaussian_laws() -> None:
    """N(.6, .25) with M = 3 against N(0, 1) with N = 5, 20000 repetitions: the exact distance within 4 standard errors."""
    b, exact = 20_000, 2 * folded(0.6, 1.25) - folded(0, 0.5) - folded(0, 2.0)
    x, y = 0.6 + 0.5 * normal(b, 3, 1, 1, 1), normal(b, 5, 1, 1, 1, seed=1)
    d = values(EnergyDistance(ONE), x, y, POINT)["energy_distance"].flatten()
    assert abs(d.mean() - exact) < 4 * d.std() / b**0.5
    assert d.std() / b**0.5 < 0.05 * exact


def test_equal_laws_have_distance_zero_and_ratio_one_in_the_mean() -> None:
    """Two batches of 4 and 6 of one law on 8 points, 4000 times; the floor is their biased distance's expectation."""
    b, box = 4000, Box.periodic((8,), 2.0)
    found = values(EnergyDistance(ONE), normal(b, 4, 1, 1, 8), normal(b, 6, 1, 1, 8, seed=1), box)
    d, floor = found["energy_distance"].flatten(), found["energy_distance_floor"].flatten()
    assert abs(d.mean()) < 4 * d.std() / b**0.5
    biased = found["energy_distance_ratio"].flatten() * floor
    assert (biased >= -1e-12).all()  # with all pairs it is a square
    assert abs((biased - floor).mean()) < 4 * (biased - floor).std() / b**0.5


def test_agrees_with_scipy_with_all_pairs() -> None:
    from scipy.stats import energy_distance

    x, y = 0.5 + normal(1, 9, 1, 1, 1), normal(1, 14, 1, 1, 1, seed=1)
    found = values(EnergyDistance(ONE), x, y, POINT)
    ours = float(found["energy_distance_ratio"] * found["energy_distance_floor"])
    assert ours == pytest.approx(energy_distance(x.flatten().numpy(), y.flatten().numpy()) ** 2)


def test_a_point_at_the_mean_of_many_directions_is_at_root_two_less_one() -> None:
    """||Y|| is nearly 1 and ||Y - Y'|| nearly sqrt(2) where a law has many directions: 2 / sqrt(2) - 1."""
    box = Box.periodic((4096,), 1.0)
    found = values(EnergyDistance(ONE), torch.zeros(1, 1, 1, 1, 4096).double(), normal(1, 16, 1, 1, 4096), box)
    assert float(found["energy_distance_relative"]) == pytest.approx(sqrt(2) - 1, abs=0.01)


def test_by_hand_with_components_together_and_units_of_the_field() -> None:
    """x = (3, 4) and y = (0, 0), (0, 2): ||x - y|| = 5 and sqrt(13), ||y - y'|| = 2."""
    x = torch.tensor([3.0, 4.0, 0.0]).double().reshape(1, 1, 1, 3, 1)
    y = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).double().reshape(1, 2, 1, 3, 1)
    found = values(EnergyDistance(FLOW), x, y, POINT)
    assert found["energy_distance"][0, 0].tolist() == pytest.approx([5 + sqrt(13) - 2, 0])
    assert found["energy_distance_floor"][0, 0, 0].item() == pytest.approx((1 + 1 / 2) * 2)
    twice = values(EnergyDistance(FLOW), 2 * x, 2 * y, POINT)["energy_distance"]
    torch.testing.assert_close(twice, 2 * found["energy_distance"])


def test_statistics_add_over_space() -> None:
    box, half = Box.periodic((8,), 2.0), Box.periodic((4,), 1.0)
    x, y = normal(2, 3, 2, 3, 8), normal(2, 5, 2, 3, 8, seed=1)
    metric = EnergyDistance(FLOW)
    whole = metric.statistics(x, y, box)
    parts = [metric.statistics(u, v, half) for u, v in zip(x.split(4, -1), y.split(4, -1), strict=True)]
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_stretched_cells_weigh_what_they_are() -> None:
    """A wall's cell of three widths counts as three equal ones."""
    wide = Box((2,), (0.0,), (4.0,), ("wall",), ((0.0, 1.0, 4.0),))
    even = Box((4,), (0.0,), (4.0,), ("wall",))
    x, y = normal(1, 3, 1, 1, 2), normal(1, 4, 1, 1, 2, seed=1)
    spread = [u[..., [0, 1, 1, 1]] for u in (x, y)]
    for name, value in values(EnergyDistance(ONE), x, y, wide).items():
        torch.testing.assert_close(values(EnergyDistance(ONE), *spread, even)[name], value)


def test_equal_members_have_no_rounding_between_them() -> None:
    y = 1e4 + normal(1, 4, 1, 1, 64)
    found = values(EnergyDistance(ONE), y[:, :1].expand(-1, 5, -1, -1, -1), y, Box.periodic((64,), 1.0))
    between = (y[:, :1] - y).square().mean(-1).sqrt().mean()
    true = (y[:, :, None] - y[:, None]).square().mean(-1).sqrt().sum() / 12
    assert float(found["energy_distance"]) == pytest.approx(float(2 * between - true), rel=1e-9)


def test_a_failed_member_is_infinitely_far_and_one_true_member_is_refused() -> None:
    x, y = normal(1, 3, 2, 1, 4), normal(1, 4, 2, 1, 4, seed=1)
    x[0, 1, 1, 0, 2] = torch.nan
    found = values(EnergyDistance(ONE), x, y, Box.periodic((4,), 1.0))
    assert found["energy_distance"].flatten().isfinite().tolist() == [True, False] and found["energy_distance"].max() == torch.inf
    assert found["energy_distance_floor"].isfinite().all()
    with pytest.raises(ValueError, match="two true members or more"):
        EnergyDistance(ONE).statistics(x, y[:, :1], Box.periodic((4,), 1.0))
