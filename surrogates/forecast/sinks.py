"""Where the frames of a forecast go: memory, a Zarr folder or an HDF5 file. Rows are trajectory-major and a group's are consecutive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from surrogates.contracts import State
from surrogates.interchange import MEMBER

FAILED_STEP, FAILED_REASON = "failed_step", "failed_reason"
Values = Mapping[str, NDArray[Any]]


@runtime_checkable
class Sink(Protocol):
    """A forecast under way, in groups of rows."""

    def made(self, group: int) -> int:
        """How many frames of a group are safe, so that it goes on from there."""

    def state(self, group: int) -> dict[str, Tensor]:
        """What `mark` was given for them."""

    def write(self, rows: Sequence[int], start: int, block: Values) -> None:
        """Variables that run in time, (row, frame, ...), from the stored frame `start` on."""

    def put(self, rows: Sequence[int], values: Values) -> None:
        """Variables that do not, (row, ...)."""

    def abandon(self, rows: Sequence[int], start: int) -> None:
        """There will be no frame from the stored frame `start` on: they are NaN."""

    def mark(self, group: int, made: int, state: State) -> None:
        """All frames up to `made` were handed over, and this is the state behind them."""

    def finish(self) -> xr.Dataset:
        """All groups are done."""


class MemorySink:
    """Frames in memory: the template's own arrays, filled."""

    def __init__(self, template: xr.Dataset) -> None:
        self._result = template.copy(data={name: np.array(v.values) for name, v in template.data_vars.items()})
        self._members = template.sizes.get(MEMBER)

    def made(self, group: int) -> int:
        return 0

    def state(self, group: int) -> dict[str, Tensor]:
        raise LookupError("a forecast in memory has no stored state")

    def write(self, rows: Sequence[int], start: int, block: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in block.items():
                self._result[name].values[(*where, slice(start, start + v.shape[1]))] = v[part].reshape(*lead, *v.shape[1:])

    def put(self, rows: Sequence[int], values: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in values.items():
                self._result[name].values[where] = v[part].reshape(*lead, *v.shape[1:])

    def abandon(self, rows: Sequence[int], start: int) -> None:
        pass

    def mark(self, group: int, made: int, state: State) -> None:
        pass

    def finish(self) -> xr.Dataset:
        return self._result


def rectangles(rows: Sequence[int], members: int | None) -> Iterator[tuple[slice, tuple[slice, ...], tuple[int, ...]]]:
    """Consecutive rows as blocks of (trajectory[, member]): which of the rows, where they lie, and the shape there."""
    count, first, number = members or 1, rows[0], len(rows)
    if members is None:
        yield slice(0, number), (slice(first, first + number),), (number,)
    elif first % count == 0 and number % count == 0:
        t = first // count
        yield slice(0, number), (slice(t, t + number // count), slice(0, count)), (number // count, count)
    else:
        done = 0
        while done < number:
            t, m = divmod(first + done, count)
            n = min(count - m, number - done)
            yield slice(done, done + n), (slice(t, t + 1), slice(m, m + n)), (1, n)
            done += n


def chunk_rows(group: int, members: int | None, most: int) -> tuple[int, ...]:
    """The largest chunk along (trajectory[, member]), of at most `most` rows, that no two groups share."""
    count = members or 1
    fits = [c for c in range(1, group + 1) if group % c == 0 and (c % count == 0 or count % c == 0)]
    c = max((c for c in fits if c <= most), default=1)
    if members is None:
        return (c,)
    return (1, c) if c <= count else (c // count, count)
