"""What a network generates, and the way back to the state: the increments between frames, or the states themselves.

With u_0 the last known frame and u_1..u_T the bundle, both in physical units:

    Tendency   g_j = (u_j - u_{j-1} - m) / s     u_j = u_0 + sum_{i<=j} (s g_i + m)     m, s of one-frame increments
    Absolute   g_j = (u_j - mean) / std          u_j = std g_j + mean

of u as the normaliser's transforms leave it (`Normaliser.warp`), where it has any.
Either way a bundle becomes channels (B, T C, *X), so one operator serves any bundle.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.normalise import Normaliser
from surrogates.record import recorded


@runtime_checkable
class Target(Protocol):
    def encode(
        self, future: Float[Tensor, "B T C *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser
    ) -> Float[Tensor, "B TC *X"]: ...
    def decode(
        self, generated: Float[Tensor, "B TC *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser
    ) -> Float[Tensor, "B T C *X"]: ...


def _frames(generated: Float[Tensor, "B TC *X"], last: Float[Tensor, "B C *X"]) -> Float[Tensor, "B T C *X"]:
    return generated.reshape(len(generated), -1, *last.shape[1:])


@recorded
class Tendency:
    """Generate normalised increments; the identity forecast is then close to zero and the network sees unit variance."""

    def __init__(self) -> None:
        pass

    def encode(self, future: Float[Tensor, "B T C *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser) -> Float[Tensor, "B TC *X"]:
        steps = normaliser.warp(torch.cat([last[:, None], future], 1)).diff(dim=1)
        return normaliser.encode_tendency(steps).flatten(1, 2)

    def decode(
        self, generated: Float[Tensor, "B TC *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser
    ) -> Float[Tensor, "B T C *X"]:
        increments = normaliser.decode_tendency(_frames(generated, last))
        path = increments if increments.shape[1] == 1 else increments.cumsum(1)
        return normaliser.unwarp(normaliser.warp(last)[:, None] + path)


@recorded
class Absolute:
    """Generate normalised states."""

    def __init__(self) -> None:
        pass

    def encode(self, future: Float[Tensor, "B T C *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser) -> Float[Tensor, "B TC *X"]:
        return normaliser.encode(future).flatten(1, 2)

    def decode(
        self, generated: Float[Tensor, "B TC *X"], last: Float[Tensor, "B C *X"], normaliser: Normaliser
    ) -> Float[Tensor, "B T C *X"]:
        return normaliser.decode(_frames(generated, last))
