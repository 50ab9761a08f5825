"""A run is another where anything differs that it is made from: weights that are held deep down, numbers, functions and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from forecast.steps import Slow, U, Walk, initial
from torch import Tensor, nn

from surrogates import simulate
from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box
from surrogates.forecast.nesting import OneWay
from surrogates.forecast.surroundings import Given
from surrogates.identity import identity, known
from surrogates.record import recorded


@recorded
class Scales(nn.Module):
    inputs = outputs = U
    history = bundle = 1

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return {"u": past[:, -1]}

    def forward(
        self, state: Mapping[str, Tensor], conditions: Conditions, noise: Noise | None = None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        u = self.weight * state["u"]
        return u[:, None], {"u": u}


class Gains(Scales):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain


@pytest.mark.parametrize("listed", [False, True])
def test_a_step_is_known_by_the_weights_of_what_it_holds(listed: bool) -> None:
    outer, inside = Box.periodic((8,), (1.0,)), Box((4,), (0.25,), (0.75,), ("wall",))

    def nested(weight: float) -> OneWay:
        inner, past = Scales(), torch.ones(1, 1, 1, 8)
        inner.weight.data.fill_(weight)
        return OneWay(Scales(), inner, past.tolist() if listed else past, outer, inside)

    assert identity(nested(1.0)) == identity(nested(1.0)) != identity(nested(5.0))
    assert known([nested(1.0)]) == known([nested(1.0)]) != known([nested(5.0)])


def test_plain_attributes_tell_steps_apart(tmp_path: Path) -> None:
    assert identity(Slow(0.1)) == identity(Slow(0.1)) != identity(Slow(0.2))
    assert identity(Gains(1.0)) == identity(Gains(1.0)) != identity(Gains(2.0))
    simulate(Slow(0.0), initial(), 1, out=tmp_path / "f")
    with pytest.raises(FileExistsError, match="differs in step;"):
        simulate(Slow(0.001), initial(), 1, out=tmp_path / "f")


class Slots:
    __slots__ = ("gain",)

    def __call__(self, t: Tensor) -> Tensor:
        return torch.zeros(len(t), 1, 8)


@pytest.mark.parametrize("closed", [False, True])
def test_what_cannot_be_known_is_not_stored(tmp_path: Path, closed: bool) -> None:
    slots = Slots()
    given = Given(forcing=(lambda t: slots(t)) if closed else slots)
    assert simulate(Walk(), initial(), 1, surroundings=given).sizes["time"] == 1
    with pytest.raises(ValueError, match="nothing tells these objects from others like them: .*Slots"):
        simulate(Walk(), initial(), 1, surroundings=given, out=tmp_path / "f")
