"""One function of time for rows that come from several files: row b is row `rows[b]` of the series `which[b]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from surrogates.data.series import Series


class Together:
    """t (G,) -> (G, C, *X), each row from the series of its own part."""

    def __init__(self, parts: Sequence[Series], which: Int64[Tensor, " G"], rows: Int64[Tensor, " G"]) -> None:
        self.parts, self.which, self.rows = tuple(parts), which, rows

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "G C *X"]:
        found: list[Tensor] = [torch.empty(0)] * len(t)
        for p in sorted(set(self.which.tolist())):
            mine = (self.which == p).nonzero()[:, 0]
            for b, values in zip(mine.tolist(), self.parts[p].at_rows(self.rows[mine])(t[mine]), strict=True):
                found[b] = values
        return torch.stack(found)

    def at_rows(self, index: Tensor) -> Together:
        """The function of these rows."""
        return Together(self.parts, self.which[index], self.rows[index])

    def frames(self, most: int | None = None) -> Iterator[Float[Tensor, "R C *X"]]:
        """Every frame of every part, or at most so many of each."""
        for part in self.parts:
            yield from part.frames(most)
