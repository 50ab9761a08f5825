"""Reading ahead: while one batch is computed with, the next ones are being read, and the parts of a batch are read at once.

    ahead(read, steps, count)      read(step) for each step, in order, up to `count` of them under way in threads
    Stored(dataset)                frames of a Dataset behind a slow store (Zarr in a cloud), read as they are asked for, pieces at once

A batch is a pure function of its step, so reading ahead changes nothing but when. With chunks that take a time L to come, a batch of n
pieces takes about n L one after the other, L at once, and nothing that is seen where computing takes longer than L.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.domains import Masked, layout
from surrogates.interchange import LEVEL, TIME, TRAJECTORY, domain_of, fields_of, trajectories_of

T = TypeVar("T")
READERS = 32
"""Reads that are under way at once, of all batches together: most of their time is waiting."""


def ahead(read: Callable[[int], T], steps: Iterable[int], count: int) -> Iterator[T]:
    """read(step) for each step, in order; up to `count` beyond the one that is handed over are under way. 0: none.

    An error of read(step) is raised where its result was to come; leaving early gives up what is under way.
    """
    if count < 1:
        yield from map(read, steps)
        return
    todo = iter(steps)
    with ThreadPoolExecutor(count, "ahead") as pool:
        under_way: deque[Future[T]] = deque(pool.submit(read, step) for step in islice(todo, count))
        try:
            while under_way:
                first = under_way.popleft()
                result = first.result()
                under_way.extend(pool.submit(read, step) for step in islice(todo, 1))
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Stored:
    """The frames of a Dataset where they lie: `stored[n][a:b:s]` reads frames a, a + s, ... of trajectory n, float32 (T, C, *X).

    Nothing is packed and nothing kept. A variable is read with all of its levels, which chunks often share, so that a block of frames takes
    each chunk that it touches once; levels that are chunks of their own are read by themselves. All of these are read at once, by as many
    threads as `READERS` for the whole process. Values are what the store holds; NaN in dry cells of a Masked domain become 0.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self.fields, self.domain = fields_of(dataset), domain_of(dataset)
        self.axes = layout.axes(self.domain)
        levels = [len(f.levels) for f in self.fields for _ in f.variables]
        self.variables = [dataset[name].variable for f in self.fields for name in f.variables]
        self.arrays: list[xr.Variable] = []
        for array, count in zip(self.variables, levels, strict=True):
            self.arrays += [array.isel({LEVEL: span}) for span in _apart(array, count)] if count else [array]
        self.times = dataset[TIME].values.tolist()
        self.shape = (len(trajectories_of(dataset)), dataset.sizes[TIME], self.fields.count, *self.domain.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> Row:
        return Row(self, row)

    def read(self, row: int, frames: slice) -> npt.NDArray[np.float32]:
        """The frames of a trajectory."""
        times = range(*frames.indices(self.shape[1]))
        parts = [_pool().submit(_values, array, row, frames, self.axes) for array in self.arrays]
        out, c = np.empty((len(times), *self.shape[2:]), np.float32), 0
        for part in parts:
            values = part.result()
            out[:, c : c + values.shape[1]] = values
            c += values.shape[1]
        if isinstance(self.domain, Masked):
            dry = ~self.domain.wet.numpy()
            out[..., dry] = np.nan_to_num(out[..., dry], nan=0.0)
        return out

    @cached_property
    def edges(self) -> set[int]:
        """Before which frames a chunk ends in every variable, as far as is known: where blocks of frames that share no chunk may end."""
        known = [_ends(array) for array in self.arrays]
        return set.intersection(*known) if known else set()


class Row:
    """One trajectory of `Stored`, as an array that is read where it is sliced."""

    def __init__(self, stored: Stored, row: int) -> None:
        self.stored, self.row, self.shape = stored, row, stored.shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> npt.NDArray[np.float32]:
        return self.stored.read(self.row, frames)

    @property
    def about(self) -> str:
        """What tells it from others without being read."""
        source = self.stored.arrays[0].encoding.get("source", "")
        return f"{self.stored.fields} {self.row} {self.shape} {source} {self.stored.times}"


def gather(rows: Sequence[Any], slices: Sequence[slice], out: Sequence[npt.NDArray[np.float32]] | npt.NDArray[np.float32]) -> None:
    """rows[b][slices[b]] into out[b]: copies of memory one after the other, pieces of a slow store at once."""
    if not any(isinstance(row, Row) for row in rows):
        for b, (row, frames) in enumerate(zip(rows, slices, strict=True)):
            out[b][...] = row[frames]
        return
    with ThreadPoolExecutor(len(rows), "gather") as pool:
        for b, values in enumerate(pool.map(lambda row, frames: row[frames], rows, slices)):
            out[b][...] = values


def _apart(array: xr.Variable, levels: int) -> list[slice]:
    """Which of the first levels are read together: all, or each by itself where each is a chunk of its own."""
    stored = array.chunksizes.get(LEVEL) or (array.encoding.get("preferred_chunks", {}).get(LEVEL, levels),)
    return [slice(n, n + 1) for n in range(levels)] if max(stored) == 1 else [slice(levels)]


def _ends(array: xr.Variable) -> set[int]:
    """Those of the chunks in time."""
    if TIME in array.chunksizes:
        return set(accumulate(array.chunksizes[TIME]))
    together = int(array.encoding.get("preferred_chunks", {}).get(TIME, 1))
    return set(range(together, array.sizes[TIME], together)) | {array.sizes[TIME]}


_lock = threading.Lock()
_shared: list[ThreadPoolExecutor] = []


def _pool() -> ThreadPoolExecutor:
    """The readers of this process, made on first use. They never wait for one another, so one pool serves all."""
    with _lock:
        if not _shared:
            _shared.append(ThreadPoolExecutor(READERS, "read"))
        return _shared[0]


def _values(array: xr.Variable, row: int, frames: slice, axes: Sequence[str]) -> npt.NDArray[np.float32]:
    """Frames of a variable, (T, L, *X). Dims are put in order in memory: a lazy transpose asks the store for points, not for blocks."""
    part = array.isel({TRAJECTORY: row, TIME: frames} if TRAJECTORY in array.dims else {TIME: frames})
    lead = [TIME, LEVEL] if LEVEL in part.dims else [TIME]
    values = np.asarray(part.values, np.float32).transpose([part.dims.index(d) for d in (*lead, *axes)])
    return values if LEVEL in part.dims else values[:, None]
