"""A piece of a larger box of which only the inside counts: networks see all of it, losses and statistics leave its `halo` out.

Near a cut the network does not know what lies beyond, so what it says there is no worse than it must be: a halo as wide as the network
looks in a step keeps that out of the loss. Fields have the shape of the whole piece; the measure is zero in the halo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.domains.box import Box
from surrogates.domains.masked import Masked


@dataclass(frozen=True)
class Crop:
    """Geometry of fields (B, C, *X) on `grid`, the inside of which begins and ends `halo[a]` = (before, after) points from its ends.

    Raises ValueError where the halo leaves nothing.
    """

    grid: Box | Masked
    halo: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.halo) != len(self.grid.shape) or any(n <= a + b for n, (a, b) in zip(self.grid.shape, self.halo, strict=True)):
            raise ValueError(
                f"a halo of {self.halo} points leaves nothing of a piece of {self.grid.shape}; crop larger, or narrow the halo"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape

    @property
    def members(self) -> int:
        """Independent members in one batch row: always one on a grid, so G = B."""
        return 1

    @property
    def mask(self) -> Bool[Tensor, "*X"] | None:
        """Where fields mean something: in the halo too."""
        return self.grid.mask

    @cached_property
    def inside(self) -> Bool[Tensor, "*X"]:
        """What is not halo."""
        out = torch.zeros(self.shape, dtype=torch.bool)
        out[tuple(slice(a, n - b) for n, (a, b) in zip(self.shape, self.halo, strict=True))] = True
        return out

    @property
    def measure(self) -> Float[Tensor, "*X"]:
        """That of the grid, zero in the halo."""
        return self.grid.measure * self.inside

    def integral(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The integral over the inside, in float64."""
        self.grid.check(u)
        weight, at = _counted(self, u.device)
        return u.double().flatten(2).index_select(2, at) @ weight

    def average(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The mean over the inside, in float64."""
        return self.integral(u) / self.measure.sum().to(u.device)

    def expand(self, values: Float[Tensor, "B P"]) -> Float[Tensor, "B P *X"]:
        """A member's values, spread over its points (a view)."""
        return self.grid.expand(values)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached under inference, they would refuse a later backward
def _counted(crop: Crop, device: torch.device) -> tuple[Tensor, Tensor]:
    """Volumes and places of the cells that count."""
    measure = crop.measure.flatten()
    at = measure.nonzero()[:, 0]
    return measure[at].to(device), at.to(device)
