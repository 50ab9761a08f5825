"""The order of training: the concatenation of one permutation an epoch, each keyed by (seed, epoch), cut into batches.

So the batch of a global step is a pure function of (seed, step): a resumed run, or one with other workers, sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from surrogates.noise import splitmix


@dataclass(frozen=True)
class Order:
    """Which of `count` windows make the batch of a global step: a pure function of (seed, step)."""

    count: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise ValueError(f"an order needs windows and a batch size of at least 1, got {self.count} and {self.batch_size}")

    def __call__(self, step: int) -> Int64[Tensor, " B"]:
        """Indices of batch `step`; a batch that crosses an epoch's end goes on in the next permutation."""
        first, parts = step * self.batch_size, []
        need = self.batch_size
        while need:
            epoch, offset = divmod(first, self.count)
            part = permutation(self.count, self.seed, epoch)[offset : offset + need]
            parts.append(part)
            first, need = first + len(part), need - len(part)
        return torch.cat(parts)


@lru_cache(maxsize=4)
def permutation(count: int, seed: int, epoch: int) -> Int64[Tensor, " N"]:
    """The order of one epoch, keyed by (seed, epoch)."""
    generator = torch.Generator().manual_seed(splitmix(seed, epoch) >> 1)
    return torch.randperm(count, generator=generator)
