"""Chunks of a Zarr array, each written once and whole.

An array without compression is its values: a chunk is the file <array>/c/<i>/<j>/... of little-endian numbers in C order, filled up with
the fill value where it reaches over the end. So it is written as such, at a tenth of what a call of the library costs; compressed arrays
go through the library. Source: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Region = tuple[slice, ...]
"""Of the leading dims, on borders of chunks or of the array; dims after them are whole."""


class Plain:
    """An array without compression, in the folder of its group."""

    def __init__(self, folder: Path, name: str, chunks: tuple[int, ...], dtype: np.dtype[Any], fill: Any) -> None:
        self.folder, self.name, self.chunks, self.fill = folder, name, chunks, fill
        self.dtype = dtype.newbyteorder("<")
        self._homes: set[Path] = set()

    def write(self, where: Region, values: NDArray[Any]) -> list[str]:
        """The files that were written, by their paths in the folder."""
        keys = []
        for key, inside in pieces(self.name, where, self.chunks):
            piece = values[inside]
            if piece.shape != self.chunks:
                whole = np.full(self.chunks, self.fill, self.dtype)
                whole[tuple(slice(0, n) for n in piece.shape)] = piece
                piece = whole
            file = self.folder / key
            if file.parent not in self._homes:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._homes.add(file.parent)
            file.write_bytes(np.ascontiguousarray(piece, self.dtype).data)
            keys.append(key)
        return keys


class Packed:
    """A compressed array, opened by the library."""

    def __init__(self, folder: Path, name: str, array: Any) -> None:
        self.folder, self.name, self.array = folder, name, array

    def write(self, where: Region, values: NDArray[Any]) -> list[str]:
        """The files that were written, by their paths in the folder."""
        keys = [key for key, _ in pieces(self.name, where, self.array.chunks)]
        for key in keys:
            (self.folder / key).unlink(missing_ok=True)  # else a chunk at the edge is read first, and it may be a torn one
        self.array[where] = values
        return keys


def pieces(name: str, where: Region, chunks: tuple[int, ...]) -> Iterator[tuple[str, Region]]:
    """The chunks that a region touches: their files, and which part of the region's values each holds."""
    ranges = [range(w.start // c, -(-w.stop // c)) for w, c in zip(where, chunks, strict=False)]
    zeros = ("0",) * (len(chunks) - len(where))
    for index in product(*ranges):
        inside = tuple(slice(i * c - w.start, min((i + 1) * c, w.stop) - w.start) for i, c, w in zip(index, chunks, where, strict=False))
        yield "/".join((name, "c", *map(str, index), *zeros)), inside
