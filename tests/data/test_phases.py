"""Every phase of every stride, from frames that are read once, whatever blocks they come in."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from surrogates.data import phases as module
from surrogates.data.phases import blocks, phases


class Counted:
    """Frames in memory, and how often each was read."""

    def __init__(self, frames: int) -> None:
        self.values = np.arange(3.0 * frames, dtype=np.float32).reshape(frames, 1, 3)
        self.shape, self.read = self.values.shape, Counter[int]()

    def __getitem__(self, frames: slice) -> np.ndarray:
        self.read.update(range(self.shape[0])[frames])
        return self.values[frames]


@pytest.mark.parametrize("at_once", [2, 3, 5, 100])
@pytest.mark.parametrize("strides", [(1,), (4,), (1, 3), (2, 7)])
def test_the_steps_of_all_phases_are_seen_once_and_no_frame_is_read_twice(
    at_once: int, strides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 4 * 3 * at_once)
    held, told, steps, states = Counted(29), list[int](), Counter[tuple[int, int]](), Counter[int]()
    for frames, seen in phases(held, 3, 26, strides, told.append):
        numbers = (frames[:, 0, 0] / 3).int().tolist()
        steps.update(pairwise(numbers))
        states.update(numbers[seen:])
    assert steps == Counter((t, t + s) for s in strides for t in range(3, 26 - s))
    assert states == Counter(t for s in strides for t in range(3, 26))
    assert held.read == Counter(range(3, 26)) and sum(told) == 23


def test_what_fits_comes_as_the_phases_in_their_order() -> None:
    held = Counted(9)
    found = list(phases(held, 0, 9, (2, 3)))
    wanted = [held.values[p::s] for s in (2, 3) for p in range(s)]
    assert all(np.array_equal(a.frames.numpy(), b) for a, b in zip(found, wanted, strict=True))
    assert not any(a.seen for a in found)


def test_blocks_hold_two_frames_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 1)
    assert blocks(Counted(6), 0, 5) == [0, 2, 4, 5]
