"""What is generated and the way back: a round trip for any bundle, and the formulas of the module's docstring."""

from __future__ import annotations

import pytest
import torch

from surrogates.normalise import Normaliser
from surrogates.record import construct, describe
from surrogates.target import Absolute, Target, Tendency


def normaliser(dim: int) -> Normaliser:
    numbers = [torch.tensor(v) for v in ([1.0, -300.0], [2.0, 40.0], [0.1, -5.0], [0.3, 8.0])]
    return Normaliser(*numbers, dim=dim)


@pytest.mark.parametrize("target", [Tendency(), Absolute()])
@pytest.mark.parametrize("bundle", [1, 3])
@pytest.mark.parametrize("space", [(8,), (4, 6), (2, 4, 2)])
def test_decoding_undoes_encoding(target: Target, bundle: int, space: tuple[int, ...]) -> None:
    stats = normaliser(len(space))
    scale = torch.tensor([2.0, 40.0]).reshape(2, *(1,) * len(space))
    generator = torch.Generator().manual_seed(0)
    future = torch.randn(5, bundle, 2, *space, generator=generator, dtype=torch.float64) * scale
    last = torch.randn(5, 2, *space, generator=generator, dtype=torch.float64) * scale
    generated = target.encode(future, last, stats)
    assert generated.shape == (5, bundle * 2, *space)
    torch.testing.assert_close(target.decode(generated, last, stats), future)


def test_a_tendency_is_the_increment_from_frame_to_frame() -> None:
    stats = normaliser(1)
    last, future = torch.zeros(1, 2, 4), torch.zeros(1, 2, 2, 4)
    future[:, 0], future[:, 1] = 1.0, 5.0
    generated = Tendency().encode(future, last, stats).reshape(1, 2, 2, 4)
    assert generated[0, 0, 0, 0] == pytest.approx((1.0 - 0.1) / 0.3)
    assert generated[0, 1, 0, 0] == pytest.approx((4.0 - 0.1) / 0.3)
    assert generated[0, 1, 1, 0] == pytest.approx((4.0 + 5.0) / 8.0)


def test_zero_generates_the_mean_increment_or_the_mean_state() -> None:
    stats, last, nothing = normaliser(1), torch.full((1, 2, 4), 7.0), torch.zeros(1, 4, 4)
    made = Tendency().decode(nothing, last, stats)
    torch.testing.assert_close(made[0, :, :, 0], torch.tensor([[7.1, 2.0], [7.2, -3.0]]))
    torch.testing.assert_close(Absolute().decode(nothing, last, stats)[0, :, :, 0], torch.tensor([[1.0, -300.0]] * 2))


@pytest.mark.parametrize("target", [Tendency(), Absolute()])
def test_it_writes_itself_down(target: Target) -> None:
    assert type(construct(describe(target))) is type(target)
