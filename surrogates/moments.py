"""Weighted moments that add: the sum of two is that of the joined samples.

Merged chunk by chunk in float64 (Chan, Golub and LeVeque, 1983, "Algorithms for computing the sample variance", The American Statistician
37). Weights are those of the points, such as areas; a point of weight zero is not looked at, and may hold anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Total weight, mean and summed squared deviation per channel, float64."""

    count: Float[Tensor, " C"]
    mean: Float[Tensor, " C"]
    square: Float[Tensor, " C"]

    @classmethod
    def none(cls) -> Moments:
        zero = torch.zeros(1, dtype=torch.float64)
        return cls(zero, zero, zero)

    @classmethod
    def of(cls, u: Float[Tensor, "T C *X"], weights: Float[Tensor, "*X"] | None = None) -> Moments:
        """Of every frame and point, each counting one, or what `weights` says of its place."""
        flat = u.double().transpose(0, 1).flatten(1)
        if flat.shape[1] == 0:
            return cls.none()
        if weights is None:
            mean = flat.mean(1)
            return cls(torch.full_like(mean, flat.shape[1]), mean, ((flat - mean[:, None]) ** 2).sum(1))
        seen = weights.flatten() > 0
        w = weights.flatten()[seen].to(flat)
        points = u.double().transpose(0, 1).flatten(2)[:, :, seen]  # (C, T, points)
        total = w.sum() * len(u)
        mean = (points @ w).sum(1) / total
        return cls(total.expand_as(mean), mean, ((points - mean[:, None, None]) ** 2 @ w).sum(1))

    @property
    def empty(self) -> bool:
        return not bool(self.count.any())

    def __add__(self, other: Moments) -> Moments:
        if self.empty or other.empty:
            return other if self.empty else self
        total = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / total)
        return Moments(total, mean, self.square + other.square + shift**2 * (self.count * other.count / total))

    def pooled(self, groups: Sequence[Sequence[int]]) -> Moments:
        """Every channel with the moments of all channels of its group together."""
        count, mean, square = self.count.clone(), self.mean.clone(), self.square.clone()
        for group in groups:
            one = sum((Moments(self.count[i : i + 1], self.mean[i : i + 1], self.square[i : i + 1]) for i in group), Moments.none())
            at = torch.tensor(group)
            count[at], mean[at], square[at] = one.count, one.mean, one.square
        return Moments(count, mean, square)

    @property
    def std(self) -> Float[Tensor, " C"]:
        """Population standard deviation."""
        return (self.square / self.count.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
