"""Normalisation per channel: z = (u - m) / s for states, and the same with statistics of their own for tendencies.

A tendency is the difference of successive frames, u[t + dt] - u[t], in the units of u. Statistics are population moments over
trajectories, times and points of the *training split only*, merged chunk by chunk in float64 (Chan, Golub and LeVeque, 1983,
"Algorithms for computing the sample variance", The American Statistician 37). Constants have the shape (C, 1, ..., 1) with one 1
an axis of space, so that (B, C, *X), (B, H, C, *X) and (B, T, C, *X) are all normalised by plain broadcasting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

TRAINING = "train"


@runtime_checkable
class Trajectories(Protocol):
    """What statistics are taken from: trajectories (T, C, *X) of one split, in physical units."""

    @property
    def split(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...
    def trajectories(self) -> Iterator[Float[Tensor, "T C *X"]]: ...


class Normaliser(nn.Module):
    """Physical <-> normalised. Buffers are float32 (C, 1, ..., 1): `state_mean`, `state_std`, `tendency_mean`, `tendency_std`."""

    state_mean: Tensor
    state_std: Tensor
    tendency_mean: Tensor
    tendency_std: Tensor

    def __init__(
        self,
        state_mean: Float[Tensor, " C"],
        state_std: Float[Tensor, " C"],
        tendency_mean: Float[Tensor, " C"],
        tendency_std: Float[Tensor, " C"],
        *,
        dim: int,
    ) -> None:
        """Per-channel constants for fields on `dim` axes of space. Raises ValueError for a std that is not positive."""
        super().__init__()
        given = {"state_mean": state_mean, "state_std": state_std, "tendency_mean": tendency_mean, "tendency_std": tendency_std}
        for name, values in given.items():
            if name.endswith("std") and not bool((values > 0).all()):
                raise ValueError(f"{name} must be positive in every channel, got {values.tolist()}")
            self.register_buffer(name, values.to(torch.float32, copy=True).reshape(-1, *(1,) * dim))

    @classmethod
    def identity(cls, channels: int, dim: int) -> Normaliser:
        """The normaliser that changes nothing, for `channels` channels on `dim` axes."""
        zero, one = torch.zeros(channels), torch.ones(channels)
        return cls(zero, one, zero, one, dim=dim)

    @classmethod
    def fit(cls, source: Trajectories) -> Normaliser:
        """The moments of a training split. Raises ValueError for another split, a constant channel or a value that is not finite."""
        if source.split != TRAINING:
            raise ValueError(f"statistics come from the split 'train' only, not from {source.split!r}; the model must not see the others")
        state, tendency, dim = Moments.none(), Moments.none(), 1
        for u in source.trajectories():
            dim = u.ndim - 2
            state = state + Moments.of(u)
            tendency = tendency + Moments.of(u[1:].double() - u[:-1].double())
        for label, moments in (("state", state), ("tendency", tendency)):
            _check(label, moments, source.channels)
        return cls(state.mean, state.std, tendency.mean, tendency.std, dim=dim)

    @property
    def channels(self) -> int:
        return self.state_mean.shape[0]

    def encode(self, u: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Physical states (B, C, *X) or (B, H, C, *X) -> normalised."""
        return (u - self.state_mean.to(u.dtype)) / self.state_std.to(u.dtype)

    def decode(self, z: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Normalised states -> physical; the inverse of `encode`."""
        return z * self.state_std.to(z.dtype) + self.state_mean.to(z.dtype)

    def encode_tendency(self, du: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Physical differences of successive frames -> normalised."""
        return (du - self.tendency_mean.to(du.dtype)) / self.tendency_std.to(du.dtype)

    def decode_tendency(self, dz: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Normalised differences -> physical; the inverse of `encode_tendency`."""
        return dz * self.tendency_std.to(dz.dtype) + self.tendency_mean.to(dz.dtype)


@dataclass(frozen=True)
class Moments:
    """Count, mean and summed squared deviation per channel, float64. They add: the sum is that of the joined samples."""

    count: int
    mean: Float[Tensor, " C"]
    square: Float[Tensor, " C"]

    @classmethod
    def none(cls) -> Moments:
        zero = torch.zeros(1, dtype=torch.float64)
        return cls(0, zero, zero)

    @classmethod
    def of(cls, u: Float[Tensor, "T C *X"]) -> Moments:
        flat = u.double().transpose(0, 1).flatten(1)
        if flat.shape[1] == 0:
            return cls.none()
        mean = flat.mean(1)
        return cls(flat.shape[1], mean, ((flat - mean[:, None]) ** 2).sum(1))

    def __add__(self, other: Moments) -> Moments:
        if not self.count or not other.count:
            return other if other.count else self
        total = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / total)
        return Moments(total, mean, self.square + other.square + shift**2 * (self.count * other.count / total))

    @property
    def std(self) -> Float[Tensor, " C"]:
        """Population standard deviation."""
        return (self.square / max(self.count, 1)).sqrt()


def _check(label: str, moments: Moments, channels: Sequence[str]) -> None:
    if not moments.count:
        raise ValueError(f"the training split holds no {label} to take statistics from; it needs trajectories of two frames or more")
    for name, mean, std in zip(channels, moments.mean.tolist(), moments.std.tolist(), strict=True):
        if not (abs(mean) < float("inf") and std < float("inf")):
            raise ValueError(f"channel {name!r} of the training split has {label} values that are not finite; run `surrogates data check`")
        if std <= 1e-7 * max(abs(mean), 1e-30):
            raise ValueError(
                f"channel {name!r} has a constant {label} ({mean:.4g}) in the training split; drop it or give it as a static field"
            )
