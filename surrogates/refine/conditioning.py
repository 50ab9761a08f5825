"""What the refiners share: how an operator is conditioned, how a member's loss is averaged, and the checks of what comes in.

An operator sees (z, context[, guess]) along channels and (embedding, features(s)) as its embedding, so it is made with
C + Cc (+ C where a guess is given) input channels and an embedding of E + FEATURES, unless the refiner has other `widths`.

The context holds what does not change while s falls: first the static fields, then the past frames, normalised, oldest to
newest, flattened from "B H C *X". So its last C channels are the previous state wherever the frames are states of C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain, Operator
from surrogates.refine.features import FEATURES, level_features


class Widths(NamedTuple):
    """What a refiner's operator is made with; `embedding` is what refinement times add to that of the conditions."""

    inputs: int
    outputs: int
    embedding: int


def widths(channels: int, context: int, guess: bool, frames: int) -> Widths:
    """The usual ones, for C channels (of a bundle of `frames`) and Cc of context. A refiner whose operator differs has its own, as a
    class method of this name and these arguments."""
    return Widths(channels + context + (channels if guess else 0), channels, FEATURES)


Network = Callable[[Tensor, Tensor], Tensor]
"""(z "B C *X", features of s "G F") -> prediction "B C *X"."""


def conditioned(
    operator: Operator,
    guess: Float[Tensor, "B C *X"] | None,
    context: Float[Tensor, "B Cc *X"],
    embedding: Float[Tensor, "G E"] | None,
    domain: Domain,
) -> Network:
    """The operator as a function of z and the features of s alone; the rest is joined once."""
    rest = context if guess is None else torch.cat((context, guess), dim=1)

    def network(z: Tensor, of_s: Tensor) -> Tensor:
        joined = of_s if embedding is None else torch.cat((embedding, of_s), dim=1)
        return operator(torch.cat((z, rest), dim=1), domain, joined)

    return network


def at_level(s: float, z: Tensor, domain: Domain) -> Float[Tensor, "G F"]:
    """The features of one level, for every member of z's batch."""
    return level_features(s, z.device, z.dtype).expand(z.shape[0] * domain.members, -1)


def state_like(context: Float[Tensor, "B Cc *X"], channels: int) -> Float[Tensor, "B C *X"]:
    """An empty state of the context's batch and grid, to say the shape of noise."""
    return context.new_empty(context.shape[0], channels, *context.shape[2:])


def member_mean(error: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, " G"]:
    """The average over channels and space under the domain's measure, one a member, in float64."""
    volume = domain.integral(torch.ones_like(error[:1, :1])).flatten()
    return domain.integral(error).mean(1) / volume


def check_channels(channels: int, **tensors: Tensor | None) -> None:
    """Raise ValueError naming the tensor that has not `channels` channels."""
    for name, u in tensors.items():
        if u is not None and u.shape[1] != channels:
            raise ValueError(
                f"{name} has {u.shape[1]} channels but this refiner generates {channels}; "
                f"pass the fields that it was made for, or make it with channels={u.shape[1]}"
            )
