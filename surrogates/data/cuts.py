"""Where a source has no splits: its trajectories dealt out, or its time cut into blocks with a gap between them.

    by: trajectory    whole trajectories, in an order that says nothing about them (sources sort theirs by parameter): that of a hash
    by: order         whole trajectories, consecutive ones
    by: time          of every trajectory the first block for train, the next for valid, the last for test, `gap` frames dropped between

A gap as long as the memory of the system keeps what is known of one block from telling the next. Parts may be stretches of one record
between its missing frames (attribute `record`, the same in all of them): its calendar is cut once, missing frames counted, and every
stretch has what lies in a block. Such stretches are never dealt out, since the frames of one tell those of the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import xarray as xr

from surrogates.interchange import TIME, TRAJECTORY

KINDS = ("trajectory", "order", "time")
RECORD = "record"


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
    most = max((len(r) for r in _records(cuts)), default=0)
    if most > 1:
        raise ValueError(
            f"the source has {most} stretches of one record, between its missing frames; write `by: time` and a `gap` in the split, "
            f"since stretches that are dealt out by {split.by} tell of each other"
        )
    shares, count = split.shares, len(cuts)
    if count < len(shares):
        raise ValueError(
            f"{count} trajectories cannot be divided into {list(shares)}; write `by: time` (with a `gap`) in the split, or fewer of them"
        )
    order = range(count) if split.by == "order" else sorted(range(count), key=lambda n: sha256(str(n).encode()).digest())
    edges = _edges(count, list(shares.values()))
    return {s: [cuts[n] for n in sorted(order[a:b])] for s, (a, b) in zip(shares, edges, strict=True)}


def _blocks(cuts: Sequence[Cut], split: Split) -> dict[str, list[Cut]]:
    """The blocks of every record, by its own calendar, and what each of its stretches has in them."""
    shares = split.shares
    out: dict[str, list[Cut]] = {s: [] for s in shares}
    for record in _records(cuts):
        at = _places(record)
        total = max(place + cut.stop - cut.start for place, cut in zip(at, record, strict=True))
        frames = total - split.gap * (len(shares) - 1)
        if frames < len(shares):
            raise ValueError(
                f"trajectory {record[0].id} has {total} frames, too few for the blocks {list(shares)} with gaps of {split.gap}"
            )
        for n, (s, (a, b)) in enumerate(zip(shares, _edges(frames, list(shares.values())), strict=True)):
            first, last, before = a + n * split.gap, b + n * split.gap, len(out[s])
            for place, cut in zip(at, record, strict=True):
                start, stop = cut.start + max(first - place, 0), min(cut.start + last - place, cut.stop)
                out[s] += [Cut(cut.part, cut.row, start, stop, cut.id)] if start < stop else []
            if len(out[s]) == before:
                raise ValueError(
                    f"no frame of the block {s!r}, {first} to {last - 1} of the {total} of trajectory {record[0].id}, is there: all are "
                    "missing; choose other fractions"
                )
    return out


def _records(cuts: Sequence[Cut]) -> list[list[Cut]]:
    """The stretches of each record, in their order; what is no stretch is a record of its own."""
    out: dict[tuple[object, ...], list[Cut]] = {}
    for n, cut in enumerate(cuts):
        known = cut.part.attrs.get(RECORD)
        out.setdefault((n,) if known is None else (known, cut.row), []).append(cut)
    return list(out.values())


def _places(record: Sequence[Cut]) -> list[int]:
    """Where each stretch begins, in steps of the record's clock after its first frame."""
    if len(record) == 1:
        return [0]
    starts = [float(c.part[TIME].values[c.start]) for c in record]
    return [round((t - min(starts)) / float(record[0].part.attrs["dt"])) for t in starts]


def _edges(count: int, shares: Sequence[float]) -> list[tuple[int, int]]:
    """Consecutive ranges of 0 .. count-1, as long as the shares say, at least one each."""
    ends = np.round(np.cumsum(shares) * count + 1e-9).astype(int)
    for n in range(len(ends)):  # room for those that follow, and at least one
        before = 0 if n == 0 else int(ends[n - 1])
        ends[n] = min(max(int(ends[n]), before + 1), count - (len(ends) - 1 - n))
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
