"""Arrays of an HDF5 file that are read only where they are looked at: memory maps where their bytes lie in one piece, else through dask.

A chunk for dask is a block of frames of one trajectory, about 16 MB, in whole chunks of the file where it has them: no frame is
decompressed more often than it must be, and no trajectory is ever in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

CHUNK = 1 << 24  # bytes


def lazy(array: h5py.Dataset, path: Path, leading: int = 2) -> Any:
    """The values as float32. The first `leading` axes (trajectory, time) are cut into chunks where the array does not lie in one piece.

    Raises ValueError for an array whose bytes the file does not hold.
    """
    offset = array.id.get_offset()
    if offset is not None and offset + array.dtype.itemsize * array.size > path.stat().st_size:
        raise ValueError(f"{path}: {array.name} is declared with shape {array.shape}, more than the file holds; it is truncated or damaged")
    if offset is not None and array.dtype == np.dtype("<f4"):
        return np.asarray(np.memmap(path, np.float32, "r", offset, array.shape))
    import dask.array as da

    stored = array.chunks or (1,) * array.ndim
    return da.from_array(_Stored(path, array), chunks=chunks_of(array.shape, stored, leading), name=False)  # type: ignore[no-untyped-call]


def stacked(arrays: Sequence[Any], axis: int) -> Any:
    """Lazy arrays of one shape, side by side along a new axis."""
    import dask.array as da

    each = [a if isinstance(a, da.Array) else _of_map(a) for a in arrays]
    return da.stack(each, axis)  # type: ignore[no-untyped-call]


def single(values: npt.NDArray[Any], place: str, starts: Sequence[int] = ()) -> npt.NDArray[np.float32]:
    """As float32. Raises ValueError for a finite number that is none there, with its entry, counted from `starts`."""
    with np.errstate(over="ignore"):
        out: npt.NDArray[np.float32] = np.asarray(values, np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        lost = np.isinf(out)
        if lost.any() and (lost := lost & np.isfinite(values)).any():
            at = np.argwhere(lost)[0]
            entry = [int(i) + s for i, s in zip(at, starts, strict=True)] if len(starts) == len(at) else [int(i) for i in at]
            raise ValueError(
                f"{place}: entry {entry} is {values[tuple(at)]:g}, too large for float32, in which fields are kept; rescale it"
            )
    return out


def _starts(index: Any) -> list[int]:
    """Where the block of an index begins, where all of it are slices."""
    every = index if isinstance(index, tuple) else (index,)
    return [i.start or 0 for i in every] if all(isinstance(i, slice) for i in every) else []


def negated(values: Any) -> Any:
    """A lazy array with the other sign."""
    import dask.array as da

    return -(values if isinstance(values, da.Array) else _of_map(values))


def chunks_of(shape: Sequence[int], stored: Sequence[int], leading: int) -> tuple[int, ...]:
    """Whole space, and of the leading axes one trajectory and as many frames as make a chunk, in multiples of those stored together."""
    leading = min(leading, len(shape))
    frame = 4 * prod(shape[leading:])
    together = stored[leading - 1] if leading else 1
    frames = max(1, CHUNK // max(1, frame) // together) * together
    return (*(1,) * max(0, leading - 1), *(min(frames, n) for n in shape[max(0, leading - 1) : leading]), *shape[leading:])


class _Stored:
    """An HDF5 array that is opened only while it is read."""

    def __init__(self, path: Path, array: h5py.Dataset) -> None:
        self.path, self.name = path, array.name
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(np.float32), array.ndim

    def __getitem__(self, index: Any) -> npt.NDArray[np.float32]:
        try:
            with h5py.File(self.path, "r") as f:
                values = f[self.name][index]
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path}: {self.name} cannot be read ({error}); the file is damaged: copy or make it again") from error
        return single(values, f"{self.path}: {self.name}", _starts(index))


def _of_map(values: npt.NDArray[np.float32]) -> Any:
    import dask.array as da

    chunks = chunks_of(values.shape, (1,) * values.ndim, min(2, values.ndim))
    return da.from_array(values, chunks=chunks, name=False)  # type: ignore[no-untyped-call]
