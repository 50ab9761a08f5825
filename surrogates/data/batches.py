"""The batches of training and of validation: each a pure function of its number, so that runs are resumed to the very batch.

Batch `step` is read as (seed, step) orders; where windows have several strides each row draws one; then the changes of the data module
(symmetries, pieces) are made, each keyed by (seed, step) too. So batches may be read ahead of their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from surrogates.data.stream import ahead
from surrogates.data.windows import Batch, Windows
from surrogates.noise import splitmix

STRIDES = 0x73747264  # the key of these draws
Change = Callable[[Batch, int, int], Batch]
"""(batch, seed, step) -> batch."""


class TrainingBatches:
    """Batches of `windows` in the order of (seed, step), one epoch an iteration; stateful as Lightning's checkpoints know it."""

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        seed: int,
        chosen: Int64[Tensor, " N"] | None = None,
        *,
        changes: Sequence[Change] = (),
        prefetch: int = 0,
    ) -> None:
        """`chosen` are the windows to train on, all of them unless given; `prefetch` batches are read ahead, in threads."""
        self.windows, self.batch_size, self.seed = windows, batch_size, seed
        self.chosen = torch.arange(len(windows)) if chosen is None else chosen
        self.order = windows.order(self.chosen, batch_size, seed)
        self.changes, self.prefetch = tuple(changes), prefetch
        self.step = 0

    def __len__(self) -> int:
        return max(1, len(self.chosen) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches up to the end of the current epoch."""
        first = self.step
        for batch in ahead(self.at, range(first, first + len(self) - first % len(self)), self.prefetch):
            self.step += 1
            yield batch

    def at(self, step: int) -> Batch:
        """Batch `step`, whatever was served before."""
        indices = self.chosen[self.order(step)]
        batch = self.windows.batch(indices, drawn(self.windows.strides, len(indices), self.seed, step))
        for change in self.changes:
            batch = change(batch, self.seed, step)
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.step = int(state["step"])


def drawn(strides: Sequence[int], rows: int, seed: int, step: int) -> list[int] | None:
    """The stride of each row of a batch; None where there is but one."""
    if len(strides) < 2:
        return None
    generator = torch.Generator().manual_seed(splitmix(seed, STRIDES, step) >> 1)
    return [strides[i] for i in torch.randint(len(strides), (rows,), generator=generator)]


class EvenBatches:
    """At most `limit` windows, evenly spaced over a split, always the same and in the same order."""

    def __init__(self, windows: Windows, batch_size: int, limit: int) -> None:
        self.windows, self.batch_size = windows, batch_size
        count = min(limit, len(windows))
        self.indices = torch.linspace(0, len(windows) - 1, count, dtype=torch.float64).round().long()
        self.batches = windows.cut(self.indices, batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for indices in self.batches:
            yield self.windows.batch(indices)
