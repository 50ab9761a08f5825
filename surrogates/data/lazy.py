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
                values: npt.NDArray[np.float32] = f[self.name][index].astype(np.float32)
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path}: {self.name} cannot be read ({error}); the file is damaged: copy or make it again") from error
        return values


def _of_map(values: npt.NDArray[np.float32]) -> Any:
    import dask.array as da

    chunks = chunks_of(values.shape, (1,) * values.ndim, min(2, values.ndim))
    return da.from_array(values, chunks=chunks, name=False)  # type: ignore[no-untyped-call]
