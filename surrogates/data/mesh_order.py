"""The order of training where batches are limited by nodes too: the same permutations as `order`, cut where either limit is reached.

The stream of windows is one permutation an epoch, each keyed by (seed, epoch). Batch k begins where batch k - 1 ended and takes windows
until there are `batch_size` of them, or until the next would bring more than `max_nodes` nodes. Where batches begin follows from the sizes
and the seed alone, so the batch of a step is again a pure function of (seed, step); a run that is resumed finds its place by counting, an
epoch at a time: how far a batch would reach from every place of the epoch at once, then from one batch's end to the next.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from surrogates.data.order import permutation

_counting = threading.Lock()
"""Batches are read ahead by several threads, and one of them counts."""


@dataclass(frozen=True)
class NodeOrder:
    """Which windows, of so many `nodes` each, make the batch of a global step."""

    nodes: npt.NDArray[np.int64]
    batch_size: int
    max_nodes: int
    seed: int
    _starts: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.nodes) or self.batch_size < 1:
            raise ValueError(f"an order needs windows and a batch size of at least 1, got {len(self.nodes)} and {self.batch_size}")
        if self.nodes.max() > self.max_nodes:
            raise ValueError(f"a window has {self.nodes.max()} nodes but max_nodes is {self.max_nodes}")

    @property
    def count(self) -> int:
        """Windows an epoch."""
        return len(self.nodes)

    def __call__(self, step: int) -> Int64[Tensor, " B"]:
        """Indices of batch `step`; a batch that crosses an epoch's end goes on in the next permutation."""
        with _counting:
            while len(self._starts) < step + 2:
                self._count()
        return self._stream(self._starts[step], self._starts[step + 1] - self._starts[step])

    def _count(self) -> None:
        """Where batches begin, up to the first of the next epoch."""
        epoch, place = divmod(self._starts[-1], self.count)
        ahead = self.nodes[self._stream(epoch * self.count, self.count + self.batch_size).numpy()]
        before = np.concatenate([[0], np.cumsum(ahead)])
        reach = np.searchsorted(before, before[: self.count] + self.max_nodes, side="right") - 1
        ends = np.minimum(reach, np.arange(self.count) + self.batch_size).tolist()
        while place < self.count:
            place = ends[place]
            self._starts.append(epoch * self.count + place)

    def _stream(self, first: int, need: int) -> Int64[Tensor, " B"]:
        parts = []
        while need > 0:
            epoch, offset = divmod(first, self.count)
            part = permutation(self.count, self.seed, epoch)[offset : offset + need]
            parts.append(part)
            first, need = first + len(part), need - len(part)
        return torch.cat(parts)
