"""Normalisation: a round trip, moments that add however the data are cut, and a training split that is the only one seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from surrogates.normalise import Moments, Normaliser, Stretch


@dataclass
class Source:
    """Trajectories in memory: u (N, T, C, *X)."""

    u: Tensor
    split: str = "train"

    @property
    def channels(self) -> list[str]:
        return [f"c{i}" for i in range(self.u.shape[2])]

    def trajectories(self) -> Iterator[Stretch]:
        yield from map(Stretch, self.u)


def fields(*shape: int) -> Tensor:
    scale = torch.tensor([0.01, 300.0]).reshape(2, *(1,) * (len(shape) - 3))
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1.5) * scale


@pytest.mark.parametrize("shape", [(3, 5, 2, 7), (3, 5, 2, 7, 2), (2, 3, 2, 4, 2, 2)])
def test_encoding_gives_zero_mean_unit_variance_and_decoding_returns(shape: tuple[int, ...]) -> None:
    u = fields(*shape)
    normaliser = Normaliser.fit(Source(u))
    z = normaliser.encode(u)
    over = (0, 1, *range(3, u.ndim))
    torch.testing.assert_close(z.mean(over), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(over, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normaliser.decode(z), u)
    torch.testing.assert_close(normaliser.encode(u[:, 0]), z[:, 0])
    du = u[:, 1:] - u[:, :-1]
    w = normaliser.encode_tendency(du)
    torch.testing.assert_close(w.std(over, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normaliser.decode_tendency(w), du)


def test_moments_add_to_those_of_the_whole_even_far_from_zero() -> None:
    u = torch.randn(40, 2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1e7
    joined = sum((Moments.of(part) for part in u.split([1, 30, 9])), Moments.none())
    whole = u.transpose(0, 1).flatten(1)
    torch.testing.assert_close(joined.mean, whole.mean(1), rtol=1e-14, atol=0)
    torch.testing.assert_close(joined.std, whole.std(1, correction=0), rtol=1e-9, atol=0)


def test_identity_changes_nothing() -> None:
    u = fields(2, 3, 2, 4, 2)
    identity = Normaliser.identity(2, dim=2)
    assert torch.equal(identity.encode(u), u) and torch.equal(identity.decode_tendency(u), u)


def test_state_dict_is_all_it_knows() -> None:
    fitted = Normaliser.fit(Source(fields(2, 3, 2, 4, 4)))
    again = Normaliser.identity(2, dim=2)
    again.load_state_dict(fitted.state_dict())
    u = fields(1, 2, 2, 4, 4)
    assert torch.equal(again.encode(u), fitted.encode(u))


def test_a_split_other_than_training_is_refused() -> None:
    with pytest.raises(ValueError, match="'train' only, not from 'test'"):
        Normaliser.fit(Source(fields(2, 3, 2, 4), split="test"))


def test_a_constant_channel_is_named() -> None:
    u = fields(2, 3, 2, 4)
    u[:, :, 1] = 300.1
    with pytest.raises(ValueError, match="channel 'c1' has a constant state"):
        Normaliser.fit(Source(u))


def test_a_steady_channel_is_named() -> None:
    u = fields(2, 3, 2, 4)
    u[:, :, 0] = u[:, :1, 0]
    with pytest.raises(ValueError, match="channel 'c0' has a constant tendency"):
        Normaliser.fit(Source(u))


def test_values_that_are_not_finite_are_refused() -> None:
    u = fields(2, 3, 2, 4)
    u[1, 2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match="channel 'c1' of the training split has state values that are not finite"):
        Normaliser.fit(Source(u))


def test_a_std_of_zero_is_refused() -> None:
    one = torch.ones(2)
    with pytest.raises(ValueError, match="tendency_std must be positive"):
        Normaliser(one, one, one, torch.tensor([1.0, 0.0]), dim=1)
