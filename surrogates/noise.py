"""Draws that do not depend on neighbours: one generator a row, keyed by (seed, trajectory, member, step, draw).

The key is mixed with splitmix64 (Steele, Lea and Flood, OOPSLA 2014). Numbers are drawn in float32 on the CPU and then moved, so
a batch split, an order, a worker count, a device or a precision never changes what is drawn; nor do the other meshes of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.contracts import Domain, Draws, Noise

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
class JoinedNoise:
    """`Noise` for rows of several members side by side (a batch of meshes): member g of row b has key b * members a row + g.

    `nodes` are those of each member of a row. What is as long as all nodes is drawn member by member, and so is what has an axis of members
    first; either way a member's draws are those it would have alone. One number a row is drawn with the key of its first member. Raises
    ValueError for other shapes.
    """

    seed: int
    trajectories: Sequence[int]
    members: Sequence[int]
    nodes: tuple[int, ...]

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor:
        each = len(self.nodes)
        if like.shape[0] * each != len(self.members) or len(self.trajectories) != len(self.members):
            raise ValueError(f"like has {like.shape[0]} rows of {each} members but this noise was made for {len(self.members)} members")
        out = torch.empty(like.shape, dtype=torch.float32)
        over_nodes, over_members = like.shape[-1] == sum(self.nodes), like.ndim > 1 and like.shape[1] == each
        if not (over_nodes or over_members or like.numel() == like.shape[0]):
            raise ValueError(f"like has shape {tuple(like.shape)} but rows have {each} members of {self.nodes} nodes; end in all of them")
        for n, (trajectory, member) in enumerate(zip(self.trajectories, self.members, strict=True)):
            b, g = divmod(n, each)
            start = sum(self.nodes[:g])
            place = out[b, ..., start : start + self.nodes[g]] if over_nodes else out[b, g] if over_members else out[b]
            if over_nodes or over_members or g == 0:
                generator = torch.Generator().manual_seed(splitmix(self.seed, trajectory, member, step, draw) >> 1)
                place.copy_(torch.empty(place.shape).normal_(generator=generator))
        return out.to(like.device, like.dtype)


def noise_on(domain: Domain, seed: int, trajectories: Sequence[int], members: Sequence[int]) -> Noise:
    """Noise for a batch on a domain, one key a member: a row each, or several side by side where the domain joins them."""
    if domain.members == 1:
        return SeededNoise(seed, trajectories, members)
    counts = torch.bincount(domain.member, minlength=domain.members)  # type: ignore[attr-defined]  # a Mesh
    return JoinedNoise(seed, trajectories, members, tuple(counts.tolist()))


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
