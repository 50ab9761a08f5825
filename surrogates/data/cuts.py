"""Where a source has no splits: its trajectories dealt out, or its time cut into blocks with a gap between them.

    by: trajectory    whole trajectories, in an order that says nothing about them (sources sort theirs by parameter): that of a hash
    by: order         whole trajectories, consecutive ones
    by: time          of every trajectory the first block for train, the next for valid, the last for test, `gap` frames dropped between

A gap as long as the memory of the system keeps what is known of one block from telling the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import xarray as xr

from surrogates.interchange import TIME, TRAJECTORY

KINDS = ("trajectory", "order", "time")


@dataclass(frozen=True)
class Split:
    """Fractions of the trajectories, or of their frames.

    Raises ValueError unless they are positive and sum to at most 1, and train has one.
    """

    train: float
    valid: float = 0.0
    test: float = 0.0
    by: str = KINDS[0]
    gap: int = 0

    def __post_init__(self) -> None:
        if self.by not in KINDS:
            raise ValueError(f"by is {self.by!r} but must be one of {list(KINDS)}")
        if not self.train > 0 or min(self.valid, self.test) < 0 or self.train + self.valid + self.test > 1 + 1e-9:
            raise ValueError(f"the fractions {self.shares} must be positive and sum to at most 1, and train needs one")
        if self.gap < 0 or (self.gap and self.by != "time"):
            raise ValueError(f"gap is {self.gap}: it counts the frames dropped between blocks, with `by: time` only")

    @property
    def shares(self) -> dict[str, float]:
        """Those that are not empty, in order."""
        return {s: f for s, f in (("train", self.train), ("valid", self.valid), ("test", self.test)) if f > 0}


@dataclass(frozen=True)
class Cut:
    """Frames start to stop - 1 of one trajectory, in row `row` of a part; `id` tells it from all others."""

    part: xr.Dataset
    row: int
    start: int
    stop: int
    id: int


def whole(parts: Mapping[str, Sequence[xr.Dataset]]) -> dict[str, list[Cut]]:
    """Every trajectory of every split. Ids are those of the parts where all differ, else the trajectories are counted from 0."""
    each = [(split, part, row) for split, found in parts.items() for part in found for row in range(part.sizes[TRAJECTORY])]
    ids = [int(part[TRAJECTORY].values[row]) for _, part, row in each]
    ids = ids if len(set(ids)) == len(ids) else list(range(len(ids)))
    out: dict[str, list[Cut]] = {split: [] for split in parts}
    for (split, part, row), i in zip(each, ids, strict=True):
        out[split].append(Cut(part, row, 0, part.sizes[TIME], i))
    return out


def divide(cuts: Sequence[Cut], split: Split) -> dict[str, list[Cut]]:
    """The trajectories of a source without splits, divided. Raises ValueError where there are too few of them, or of their frames."""
    if split.by == "time":
        return _blocks(cuts, split)
    shares, count = split.shares, len(cuts)
    if count < len(shares):
        raise ValueError(
            f"{count} trajectories cannot be divided into {list(shares)}; write `by: time` (with a `gap`) in the split, or fewer of them"
        )
    order = range(count) if split.by == "order" else sorted(range(count), key=lambda n: sha256(str(n).encode()).digest())
    edges = _edges(count, list(shares.values()))
    return {s: [cuts[n] for n in sorted(order[a:b])] for s, (a, b) in zip(shares, edges, strict=True)}


def _blocks(cuts: Sequence[Cut], split: Split) -> dict[str, list[Cut]]:
    shares = split.shares
    out: dict[str, list[Cut]] = {s: [] for s in shares}
    for cut in cuts:
        frames = cut.stop - cut.start - split.gap * (len(shares) - 1)
        if frames < len(shares):
            raise ValueError(
                f"trajectory {cut.id} has {cut.stop - cut.start} frames, too few for the blocks {list(shares)} with gaps of {split.gap}"
            )
        for n, (s, (a, b)) in enumerate(zip(shares, _edges(frames, list(shares.values())), strict=True)):
            shift = cut.start + n * split.gap
            out[s].append(Cut(cut.part, cut.row, a + shift, b + shift, cut.id))
    return out


def _edges(count: int, shares: Sequence[float]) -> list[tuple[int, int]]:
    """Consecutive ranges of 0 .. count-1, as long as the shares say, at least one each."""
    ends = np.round(np.cumsum(shares) * count + 1e-9).astype(int)
    for n in range(len(ends)):  # room for those that follow, and at least one
        before = 0 if n == 0 else int(ends[n - 1])
        ends[n] = min(max(int(ends[n]), before + 1), count - (len(ends) - 1 - n))
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
