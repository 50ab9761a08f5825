"""Frames one window step apart, for statistics of increments: frames are read once, and every phase of every stride is cut from them.

Phase p of stride s of the frames a, ..., b - 1 is a + p, a + p + s, a + p + 2s, ...; there are s of them, for each of several s. A stretch
that is too long to be held comes as blocks of successive frames, which share none and, where it can be helped, no chunk of a store either.
The last max(s) frames of each are kept, so that a phase goes on from its last frame in the next block:

    block n         ... a-3 a-2 a-1 | a a+1 a+2 ... b-1 |           phase (s, p): its last frame before a, then all in [a, b)
                     kept in memory    read now

While a block of a slow store is made use of, the next one is being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from surrogates.data.stream import Row, ahead
from surrogates.normalise import Stretch

LONGEST = 1 << 28
"""Bytes of a block, or two frames where these are more."""


def phases(
    values: Any, start: int, stop: int, strides: Sequence[int], read: Callable[[int], None] = lambda frames: None
) -> Iterator[Stretch]:
    """Successive frames of each phase of each stride in frames start, ..., stop - 1 of `values` (T, C, *X), two or more at a time.

    A phase that is cut by the end of a block goes on from its last frame, which is `seen` then. `read` is told the frames of each block.
    """
    spans, longest = list(pairwise(blocks(values, start, stop))), max(strides)
    kept: npt.NDArray[np.float32] | None = None
    for n, block in enumerate(ahead(lambda n: values[slice(*spans[n])], range(len(spans)), int(isinstance(values, Row)))):
        a, b = spans[n]
        held = block if kept is None else np.concatenate([kept, block])
        first = b - len(held)
        for s in strides:
            for p in range(s):
                before = a - 1 - (a - 1 - start - p) % s
                frames = held[(before if before >= start else start + p) - first :: s]
                if len(frames) > 1:  # a frame alone is no step: it waits for the one that follows
                    yield Stretch(torch.from_numpy(np.ascontiguousarray(frames)), int(before - s >= start))
        kept = held[-longest:].copy() if n + 1 < len(spans) else None
        read(b - a)


def blocks(values: Any, start: int, stop: int) -> list[int]:
    """Where blocks of at most `LONGEST` bytes begin and end: at the last end of chunks that is within reach, where there is one."""
    most = max(2, LONGEST // max(1, 4 * prod(values.shape[1:])))
    edges = np.array(sorted(values.stored.edges if isinstance(values, Row) else ()), np.int64)
    out = [start]
    while out[-1] < stop:
        last = min(stop, out[-1] + most)
        within = edges[(edges > out[-1]) & (edges <= last)]
        out.append(int(within[-1]) if len(within) and last < stop else last)
    return out
