"""An unfinished file of ours, written as raw bytes at known offsets: frames, then the `complete` byte of their trajectory, then `final`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from surrogates.data.arrays import Array, Known, every, stored
from surrogates.data.geometry import domain_from
from surrogates.data.hdf5 import FINAL_BYTES, ORDERS, OURS, PART, SCALARS, sync
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, STATIC

Frames = npt.NDArray[np.float32]
BLOCK = 1 << 24  # bytes read at once for a checksum


class Part:
    """An unfinished file, open for writing: what is known beside the state, then trajectories, then `finish`.

    A trajectory comes as a whole (`write`, `write_rows`) or block by block from its first frame on (`write_frames`); it is complete, and
    marked as such on the disk, when its last frame is there. After a kill the incomplete ones (`complete` tells) are written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as f:
            ours = f[OURS]
            self.box = domain_from(f)
            self.fields = Fields.from_json(json.loads(ours.attrs["fields"]))
            self.known = known_in(f)
            self.recipe = str(ours.attrs["recipe"])
            self.version = str(ours.attrs["version"])
            self.complete = ours["complete"][:].astype(bool)
            self._marks, self._final = ours["complete"].id.get_offset(), ours["final"].id.get_offset()
            self._places = {a.path: int(f[a.path].id.get_offset()) for _, a in every(self.fields, self.known, self.box)}
            self.frames = int(f["dimensions"]["time"].shape[0])
        self._arrays = list(every(self.fields, (), self.box))
        self._reached = [0] * len(self.complete)

    def write(self, row: int, u: Frames) -> None:
        """One trajectory (T, C, *X)."""
        self.write_rows(row, u[None])

    def write_rows(self, row: int, u: Frames) -> None:
        """Trajectories (R, T, C, *X) from `row` on: their bytes first, and only when they are on the disk their marks."""
        with open(self.path, "r+b") as file:
            self._put(file, row * self.frames, u.reshape(-1, *u.shape[2:]))
            self._mark(file, row, len(u))

    def write_frames(self, row: int, start: int, block: Frames) -> None:
        """Frames (N, C, *X) number start, start + 1, ... of a trajectory, in order from 0; the last one completes it.

        Raises ValueError for a block that does not follow the one before, or goes beyond the end.
        """
        stop = start + len(block)
        if start != self._reached[row] or stop > self.frames:
            raise ValueError(
                f"{self.path}: frames {start} to {stop - 1} of trajectory row {row} cannot follow {self._reached[row]} of "
                f"{self.frames} frames; write a trajectory from its frame 0 on, in order"
            )
        with open(self.path, "r+b") as file:
            self._put(file, row * self.frames + start, block)
            if stop == self.frames:
                self._mark(file, row, 1)
        self._reached[row] = 0 if stop == self.frames else stop

    def write_known(self, name: str, values: Frames, *, row: int | None = None, start: int = 0) -> None:
        """Values of a static field (C, *X), or of frames `start`, ... of a forcing (N, C, *X), or (N, C) where it has no space.

        `row` is that of the trajectory, None for what all share. It is written before the trajectory is, whose mark covers it.
        Raises ValueError for a row too many or missing, and KeyError for a name that is not known.
        """
        mine = [k for k in self.known if k.field.name == name]
        if not mine:
            raise KeyError(f"no static field or forcing {name!r} in {self.path}; it has {[k.field.name for k in self.known]}")
        if (row is None) != mine[0].shared:
            why = "is shared by all trajectories: leave row out" if mine[0].shared else "is that of a trajectory: give its row"
            raise ValueError(f"{self.path}: {name!r} {why}")
        at = (row or 0) * (self.frames if mine[0].timed else 1) + start
        with open(self.path, "r+b") as file:
            for k, array in every(Fields(()), mine, self.box):
                self._put_array(file, array, at, values if k.timed else values[None])

    def finish(self, record: Mapping[str, Any]) -> Path:
        """Write the closing record and give the file its final name, which is returned."""
        text = json.dumps(dict(record)).encode()
        if len(text) > FINAL_BYTES:
            raise ValueError(f"the closing record has {len(text)} bytes but the file keeps {FINAL_BYTES} for it")
        with open(self.path, "r+b") as file:
            file.seek(self._final)
            file.write(text.ljust(FINAL_BYTES, b"\0"))
            sync(file)
        final = self.path.with_name(self.path.name.removesuffix(PART))
        os.replace(self.path, final)
        return final

    def _put(self, file: Any, at: int, frames: Frames) -> None:
        """Frames (N, C, *X) from frame number `at` on, counted through all trajectories."""
        if frames.shape[1:] != (self.fields.count, *self.box.shape):
            raise ValueError(f"frames have shape {frames.shape[1:]} but {self.path} holds {(self.fields.count, *self.box.shape)}")
        for k, array in self._arrays:
            self._put_array(file, array, at, frames[:, self.fields.slice(k.field.name)])

    def _put_array(self, file: Any, array: Array, at: int, values: Frames) -> None:
        block = values[:, array.channels[0]] if array.order == 0 else np.moveaxis(values[:, list(array.channels)], 1, -1)
        bytes_ = np.ascontiguousarray(block, dtype="<f4").tobytes()
        file.seek(self._places[array.path] + at * (len(bytes_) // max(1, len(values))))
        file.write(bytes_)

    def _mark(self, file: Any, row: int, count: int) -> None:
        sync(file)
        file.seek(self._marks + row)
        file.write(b"\x01" * count)
        sync(file)
        self.complete[row : row + count] = True


def known_in(f: h5py.File) -> tuple[Known, ...]:
    """The static fields and forcings of a file of ours; none in those of format 1."""
    kinds = {kind: Fields.from_json(json.loads(f[OURS].attrs.get(kind, "[]"))) for kind in (STATIC, FORCINGS)}
    grid = domain_from(f)
    return tuple(k for kind, fields in kinds.items() for k in stored(f, kind, fields, grid))


def checksum(path: Path) -> str:
    """SHA-256 of the field arrays of a file in the order of the layout, as little-endian float32; series of numbers come last."""
    digest = hashlib.sha256()
    with h5py.File(path, "r") as f:
        timed = [n for n in f[SCALARS].attrs["field_names"] if f[SCALARS][n].attrs["time_varying"]]
        for array in (*(f[order][name] for order in ORDERS for name in f[order].attrs["field_names"]), *(f[SCALARS][n] for n in timed)):
            for block in _blocks(array, path):
                digest.update(block)
    return digest.hexdigest()


def _blocks(array: h5py.Dataset, path: Path) -> Iterator[bytes]:
    """The bytes of an array, a block at a time."""
    offset = array.id.get_offset()
    if offset is None or array.dtype != np.dtype("<f4"):
        for row in array:
            yield np.ascontiguousarray(row, dtype="<f4").tobytes()
        return
    left = 4 * array.size
    with open(path, "rb") as file:
        file.seek(offset)
        while left:
            block = file.read(min(left, BLOCK))
            if not block:
                raise ValueError(f"{path} ends within the values of {array.name}: it is truncated; copy or make it again")
            yield block
            left -= len(block)
