"""The channels that a law acts on: cut out of u (B, C, *X), and put back among the others, which stay bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.fields import Fields


@dataclass(frozen=True)
class Channels:
    """Channels start..stop-1 of `count`."""

    start: int
    stop: int
    count: int

    @classmethod
    def of(cls, fields: Fields, *names: str) -> Channels:
        """The channels from the first to the last of these fields. Raises KeyError for an unknown one."""
        slices = [fields.slice(name) for name in names]
        return cls(min(s.start for s in slices), max(s.stop for s in slices), fields.count)

    @property
    def size(self) -> int:
        return self.stop - self.start

    def cut(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B c *X"]:
        """Raises ValueError for a u of other channels than those of the fields."""
        if u.shape[1] != self.count:
            raise ValueError(f"u has {u.shape[1]} channels but this law was made for {self.count}; make it from the fields of u")
        return u[:, self.start : self.stop]

    def put(self, u: Float[Tensor, "B C *X"], v: Float[Tensor, "B c *X"]) -> Float[Tensor, "B C *X"]:
        """u with v in place of its own, rounded to the type of u."""
        return torch.cat([u[:, : self.start], v.to(u.dtype), u[:, self.stop :]], dim=1)
