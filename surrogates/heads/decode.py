"""The next frames of the whole state from a network's outputs: some channels by a head, the others by the usual target.

A frame takes K = Cy + (C - made) outputs: first those of the head, in units of `sizes`, then one for each channel it does not make, in
the target's units. Frames follow one another, as each step of a head starts from the frame before:

    u_j[made] = head(sizes y_j, (.., u_{j-1}), conditions after j - 1 frames),    u_j[others] = target.decode(y)_j.

A head is not a `Target`. A target is a change of coordinates, with an inverse that the training data go through; a head has none (many
fluxes make one change, no potential makes a field that breaks the law) and needs what a target does not see: the domain, dt, sources.
So training compares what a head *made* with the truth, both in the target's units, and a refiner, which would draw in coordinates that
a head lacks, is refused.
"""

from __future__ import annotations

from math import pi
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain, Head
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.normalise import Normaliser
from surrogates.target import Target


@runtime_checkable
class SizedHead(Head, Protocol):
    """A Head that says which channels of the state it makes, and from how many outputs Cy of which physical size."""

    @property
    def made(self) -> tuple[int, ...]: ...
    def outputs(self, domain: Domain) -> int: ...
    def sizes(self, normaliser: Normaliser, domain: Domain, dt: float) -> Float[Tensor, " Cy"]: ...


def channels_of(head: SizedHead, count: int, domain: Domain) -> int:
    """K: the outputs that one frame of a state of `count` channels takes."""
    return head.outputs(domain) + count - len(head.made)


def decode(
    head: SizedHead,
    sizes: Float[Tensor, " Cy"],
    y: Float[Tensor, "B TK *X"],
    past: Float[Tensor, "B H C *X"],
    conditions: Conditions,
    target: Target,
    normaliser: Normaliser,
) -> Float[Tensor, "B T C *X"]:
    """Raises ValueError where y does not hold a whole number of frames."""
    own, count, space = len(sizes), past.shape[2], past.shape[3:]
    others = [c for c in range(count) if c not in head.made]
    k = own + len(others)
    if y.shape[1] % k or not y.shape[1]:
        raise ValueError(
            f"the network gives {y.shape[1]} channels but a frame takes {k}: {own} for {type(head).__name__} and {len(others)} for the "
            f"channels that it does not make; build the network with out_channels = bundle * {k}"
        )
    frames = y.reshape(len(y), -1, k, *space)
    physical = frames[:, :, :own] * sizes.to(y).reshape(-1, *(1,) * len(space))
    rest = past.new_zeros(len(y), frames.shape[1], count, *space)
    if others:
        index = torch.tensor(others, device=y.device)
        rest = rest.to(y.dtype).index_copy(2, index, frames[:, :, own:])
        rest = target.decode(rest.flatten(1, 2), past[:, -1], normaliser)
    made = torch.zeros(count, *(1,) * len(space), dtype=torch.bool, device=y.device)
    made[list(head.made)] = True
    future: list[Tensor] = []
    for j in range(frames.shape[1]):
        u = torch.where(made, head(physical[:, j], past, conditions.after(j)), rest[:, j])
        past = torch.cat([past[:, 1:], u[:, None].to(past.dtype)], 1)
        future.append(u)
    return torch.stack(future, 1)


def length_of(domain: Domain) -> float:
    """l: the reciprocal of the domain's smallest wavenumber, volume^(1/D) / (2 pi), or a whole Sphere's radius; in the domain's units."""
    if isinstance(domain, Sphere):
        return domain.radius
    if isinstance(domain, Patch):
        return float(domain.area**0.5) / (2 * pi)
    if isinstance(domain, Masked):
        return length_of(domain.box)
    if isinstance(domain, Box):
        return float(domain.volume ** (1 / domain.dim) / (2 * pi))
    if isinstance(domain, Mesh):
        dim = domain.dim if domain.cells is None else domain.cells.shape[1] - 1
        return float(domain.volumes.mean() ** (1 / dim)) / (2 * pi)
    raise ValueError(f"a head knows the length of a Box, a Patch, a Sphere and a Mesh, not of a {type(domain).__name__}")


def check(name: str, y: Tensor, wanted: int, last: Tensor, count: int) -> None:
    """Raise ValueError unless y has the outputs of a head, and the last frame the channels that it was made for."""
    if y.shape[1] != wanted:
        raise ValueError(f"{name} takes {wanted} channels on this domain but y has {y.shape[1]}; ask outputs(domain) for the number")
    if last.shape[1] != count:
        raise ValueError(f"past has {last.shape[1]} channels but this {name} was made for {count}; make it from the fields of past")
