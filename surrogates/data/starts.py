"""Where windows may begin: not where a frame is missing, nor across a step that is not there.

Frame t of a trajectory is *present* unless a wet cell of it is missing, and *goes on* from t - 1 where the clock moved on by about dt (half
to one and a half of it: months have unequal lengths). A window of n frames, s apart, may begin at t where frames t, t + s, ... are present
and every frame from t to t + (n - 1) s goes on from the one before; with several strides s, where that holds for each of them.

The starts of a split are runs of consecutive ones, so that window i is found by bisection of the runs' edges, and a trajectory without gaps
is one run however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Run r begins with start `first[r]` of trajectory `row[r]`; `edge[r]` is the number of its first window, `edge[-1]` that of all."""

    row: Index
    first: Index
    edge: Index

    @classmethod
    def of(cls, allowed: Sequence[Flags]) -> Runs:
        """From which starts are allowed, an array a trajectory."""
        rows, firsts, counts = [], [], []
        for n, ok in enumerate(allowed):
            turns = np.flatnonzero(np.diff(np.concatenate([[False], ok, [False]]).astype(np.int8))).reshape(-1, 2)
            rows += [n] * len(turns)
            firsts += turns[:, 0].tolist()
            counts += (turns[:, 1] - turns[:, 0]).tolist()
        return cls(np.array(rows, np.int64), np.array(firsts, np.int64), np.cumsum([0, *counts], dtype=np.int64))

    def __len__(self) -> int:
        return int(self.edge[-1])

    def find(self, windows: Index) -> tuple[Index, Index]:
        """Trajectory and start of windows by their number."""
        run = np.searchsorted(self.edge, windows, side="right") - 1
        return self.row[run], self.first[run] + windows - self.edge[run]

    def of_rows(self, rows: Index) -> Index:
        """The numbers of all windows of some trajectories, in order."""
        mine = np.flatnonzero(np.isin(self.row, rows))
        return np.concatenate([np.arange(self.edge[r], self.edge[r + 1]) for r in mine]) if len(mine) else np.zeros(0, np.int64)


def goes_on(time: npt.NDArray[np.float64], dt: float) -> Flags:
    """Whether frame t comes about dt after t - 1; the first does."""
    steps = np.diff(time) / dt
    return np.concatenate([[True], (steps > 0.5) & (steps < 1.5)])


def allowed(present: Flags, onward: Flags, frames: int, strides: Sequence[int]) -> Flags:
    """Which starts a window of `frames` frames has with each of `strides`."""
    count = max(0, len(present) - (frames - 1) * max(strides))
    ok = np.ones(count, bool)
    if present.all() and onward.all():
        return ok
    block = np.cumsum(~onward)
    for s in strides:
        for k in range(frames):
            ok &= present[k * s : k * s + count]
        ok &= block[:count] == block[(frames - 1) * s : (frames - 1) * s + count]
    return ok


def stretches(present: Flags, onward: Flags) -> list[tuple[int, int]]:
    """(start, stop) of the longest stretches of successive frames that are all present."""
    block = np.cumsum(~onward)
    begins = present & np.concatenate([[True], ~present[:-1] | (np.diff(block) > 0)])
    ends = present & np.concatenate([~present[1:] | (np.diff(block) > 0), [True]])
    return [(int(a), int(b) + 1) for a, b in zip(np.flatnonzero(begins), np.flatnonzero(ends), strict=True)]
