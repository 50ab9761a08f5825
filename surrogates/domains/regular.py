"""What grids of points along axes have in common: one member a batch row, no dry cells, integrals that are sums under the measure."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class Regular:
    """The half of the `Domain` contract that follows from `shape` and the measure.

    No abstract class: steps ask `isinstance(domain, Box)` all the time, which takes longer of those, and is compiled.
    """

    shape: tuple[int, ...]

    def measured(self, device: torch.device) -> Float[Tensor, "*X"]:
        """The measure of each cell, float64, made once for a device; not to be written to."""
        raise NotImplementedError

    @property
    def total(self) -> float:
        """That of all cells together."""
        raise NotImplementedError

    @property
    def members(self) -> int:
        """Independent members in one batch row: always one on a grid, so G = B."""
        return 1

    @property
    def mask(self) -> None:
        """It is valid everywhere; `Masked(grid, wet)` is one with land."""
        return None

    @property
    def measure(self) -> Float[Tensor, "*X"]:
        """Volumes or areas of cells, float64, in units^D."""
        return self.measured(torch.device("cpu"))

    def integral(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The integral over all cells, in float64."""
        self.check(u)
        return (u.double() * self.measured(u.device)).flatten(2).sum(-1)

    def average(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C"]:
        """The mean under the measure, in float64."""
        return self.integral(u) / self.total

    def expand(self, values: Float[Tensor, "B P"]) -> Float[Tensor, "B P *X"]:
        """A member's values, spread over its points (a view)."""
        return values.reshape(*values.shape, *(1,) * self.dim).expand(*values.shape, *self.shape)

    @property
    def dim(self) -> int:
        return len(self.shape)

    def check(self, u: Tensor) -> None:
        """Raise ValueError unless u is (B, C, *shape)."""
        if u.ndim != 2 + self.dim or tuple(u.shape[2:]) != tuple(self.shape):
            name = type(self).__name__
            raise ValueError(f"u has shape {tuple(u.shape)} but this {name} takes (B, C, {', '.join(map(str, self.shape))})")
