"""Draws that do not depend on neighbours: one generator a row, keyed by (seed, trajectory, member, step, draw).

The key is mixed with splitmix64 (Steele, Lea and Flood, OOPSLA 2014). Numbers are drawn in float32 on the CPU and then moved, so
a batch split, an order, a worker count, a device or a precision never changes what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.contracts import Draws, Noise

_MASK = (1 << 64) - 1


def splitmix(*words: int) -> int:
    """A 64-bit key from integers; every word avalanches."""
    key = 0
    for word in words:
        key = (key + (word & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & _MASK
        key ^= key >> 31
    return key


@dataclass(frozen=True)
class SeededNoise:
    """`Noise` for a batch whose row b is member `members[b]` of trajectory `trajectories[b]`."""

    seed: int
    trajectories: Sequence[int]
    members: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.trajectories) != len(self.members):
            raise ValueError(f"{len(self.trajectories)} trajectories but {len(self.members)} members; give one of each a row")

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor:
        if like.shape[0] != len(self.members):
            raise ValueError(f"like has {like.shape[0]} rows but this noise was made for {len(self.members)}")
        out = torch.empty(like.shape, dtype=torch.float32)
        generator = torch.Generator()
        for row, trajectory, member in zip(out, self.trajectories, self.members, strict=True):
            generator.manual_seed(splitmix(self.seed, trajectory, member, step, draw) >> 1)
            row.normal_(generator=generator)
        return out.to(like.device, like.dtype)


@dataclass(frozen=True)
class AtStep:
    """`Draws`: a `Noise` held at one step."""

    noise: Noise
    step: int

    def __call__(self, like: Tensor, *, draw: int) -> Tensor:
        return self.noise(like, step=self.step, draw=draw)


def uniform(noise: Draws, like: Tensor, *, draw: int) -> Tensor:
    """Uniform draws on (0, 1) shaped as `like`, through the normal distribution function."""
    u: Tensor = torch.special.ndtr(noise(like, draw=draw).double())
    return u.clamp(2**-25, 1 - 2**-24).to(like.dtype)
