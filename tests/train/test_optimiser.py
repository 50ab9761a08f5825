"""The learning rate is a known function of the step, and the averaged weights are what the recursion says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surrogates.train import EMA, Optimiser


def test_warm_up_is_linear_and_the_cosine_ends_at_the_floor() -> None:
    optimiser = Optimiser(lr=2.0, warmup=10, floor=0.1)
    assert [optimiser.rate(n, 110) for n in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert optimiser.rate(10, 110) == pytest.approx(2.0)
    assert optimiser.rate(60, 110) == pytest.approx(2.0 * (0.1 + 0.9 / 2))  # half way: the mean of highest and floor
    assert optimiser.rate(110, 110) == pytest.approx(0.2)
    rates = [optimiser.rate(n, 110) for n in range(10, 110)]
    assert rates == sorted(rates, reverse=True)


def test_a_run_shorter_than_its_warm_up_still_has_a_rate() -> None:
    assert [Optimiser(lr=1.0, warmup=100).rate(n, 1) for n in (0,)] == [1.0]
    assert all(0 < Optimiser(lr=1.0, warmup=100).rate(n, 20) <= 1 for n in range(20))


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"ema": 1.0}, {"floor": 2.0}, {"clip": 0.0}, {"warmup": -1}])
def test_numbers_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Optimiser(**wrong)


def test_the_average_is_the_recursion_written_out() -> None:
    layer, ema = nn.Linear(2, 2), EMA(0.6)
    weights = [torch.randn(2, 2, generator=torch.Generator().manual_seed(n)) for n in range(12)]
    expected = weights[0].clone()
    for n, w in enumerate(weights):
        with torch.no_grad():
            layer.weight.copy_(w)
        ema.update(list(layer.parameters()))
        d = min(0.6, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * w
    ema.swap(list(layer.parameters()))
    torch.testing.assert_close(layer.weight.data, expected)


def test_swapping_twice_is_nothing_and_a_constant_is_its_own_average() -> None:
    layer, ema = nn.Linear(3, 3), EMA(0.9)
    before = layer.weight.detach().clone()
    for _ in range(5):
        ema.update(list(layer.parameters()))
    ema.swap(list(layer.parameters()))
    torch.testing.assert_close(layer.weight.data, before)
    ema.swap(list(layer.parameters()))
    assert torch.equal(layer.weight.data, before)


def test_frozen_parts_are_not_averaged() -> None:
    both, ema = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), EMA(0.9)
    both[0].requires_grad_(False)
    trained = [p for p in both.parameters() if p.requires_grad]
    ema.update(trained)
    frozen = both[0].weight
    pointer = frozen.data_ptr()
    ema.swap(trained)
    assert frozen.data_ptr() == pointer and len(ema.average) == 2
