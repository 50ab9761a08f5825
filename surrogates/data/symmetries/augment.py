"""Training batches under random elements of symmetries: a pure function of (seed, step).

All the frames of a window move alike (in a moving frame: each at its time), and its static fields, whose vectors turn too, with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from surrogates.data.symmetries.groups import Symmetry
from surrogates.data.windows import Batch
from surrogates.domains import Box, Sphere
from surrogates.fields import Fields
from surrogates.noise import splitmix

KEY = 0x73796D6D  # of these draws


@dataclass(frozen=True)
class Augment:
    """Batches under random elements of all of `symmetries`, one draw a row, keyed by (seed, step)."""

    symmetries: tuple[Symmetry, ...]
    fields: Fields
    static: Fields | None = None

    def __call__(self, batch: Batch, seed: int, step: int) -> Batch:
        c = batch.conditions
        grid, H = c.domain, batch.past.shape[1]
        assert isinstance(grid, Box | Sphere)
        generator = torch.Generator().manual_seed(splitmix(seed, KEY, step) >> 1)
        frames = torch.cat([batch.past, batch.future], 1)
        count = torch.arange(frames.shape[1], dtype=torch.float64) - (H - 1)
        static = None if c.static is None else c.static.clone()
        for b in range(len(batch)):
            for g in self.symmetries:
                element = g.draw(grid, generator)
                frames[b] = g.act(element, frames[b], self.fields, grid, count * c.dt[b])
                if static is not None and self.static is not None:
                    static[b] = g.act(element, static[b : b + 1], self.static, grid, count[:1] * 0)[0]
        return replace(batch, past=frames[:, :H], future=frames[:, H:], conditions=replace(c, static=static))
