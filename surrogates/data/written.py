"""A file of ours as it is written from cuts of lazy Datasets: begun from their metadata, filled a block of frames at a time, sealed.

Grids go into `layout`, meshes into `mesh_file`; both take frames in order from the first, and mark a trajectory when its last is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data import layout, mesh_file
from surrogates.data.cuts import Cut
from surrogates.data.formats.ends import CONDITIONS
from surrogates.data.hdf5 import OURS, PART, open_hdf5
from surrogates.data.lazy import single
from surrogates.data.skeletons import skeletons, together
from surrogates.domains.layout import NODE, SPACE
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, GAPS, LEVEL, TIME, TRAJECTORY, declared, fields_of

BLOCK = 1 << 25  # bytes of frames in memory, a worker
MOST = 1 << 28  # of one chunk of the source, which is read as a whole
CONTENT = "content"  # of a source, in the recipe of what was converted: a digest
Frames = NDArray[np.float32]


class Written:
    """One file, of cuts that fit into it (`skeletons.groups`)."""

    def __init__(self, path: Path, name: str, cuts: Sequence[Cut]) -> None:
        self.path, self.name, self.cuts = path, name, cuts
        self.draft = path.with_name(path.name + PART)
        self.mesh = NODE in cuts[0].part.dims
        self._part: layout.Part | mesh_file.Part | None = None

    def begin(self, attrs: Mapping[str, str]) -> bool:
        """Whether it is finished; else it is there, unfinished, afterwards. Raises ValueError where it was made from something else."""
        for path in (self.path, self.draft):
            if path.exists():
                check_recipe(path, attrs["recipe"])
        if self.path.exists():
            return True
        if not self.draft.exists():
            pieces = skeletons(self.cuts)
            gaps = {GAPS: str(pieces[0].attrs[GAPS])} if pieces[0].attrs.get(GAPS) else {}
            ends = {CONDITIONS: str(pieces[0].attrs[CONDITIONS])} if pieces[0].attrs.get(CONDITIONS) else {}
            about: dict[str, str | int | float] = {**gaps, **ends, **attrs}
            if self.mesh:
                mesh_file.create(self.draft, pieces, name=self.name, attrs=about)
            else:
                layout.create_like(self.draft, together(pieces), name=self.name, attrs=about)
        self._part = mesh_file.Part(self.draft) if self.mesh else layout.Part(self.draft)
        if isinstance(self._part, layout.Part):
            self._shared(self._part)
        return False

    @property
    def part(self) -> layout.Part | mesh_file.Part:
        assert self._part is not None, "begin first"
        return self._part

    def missing(self) -> list[int]:
        """The rows that are not complete."""
        return [int(n) for n in np.flatnonzero(~self.part.complete)]

    def bytes(self, row: int) -> float:
        cut = self.cuts[row]
        return float(_frame_bytes(cut.part) * (cut.stop - cut.start))

    def row(self, n: int) -> Iterator[float]:
        """Write one trajectory; yields the bytes of each block when it is in the file."""
        cut, part = self.cuts[n], self.part
        state, forcings = fields_of(cut.part), declared(cut.part, FORCINGS)
        if isinstance(part, layout.Part):
            self._own(part, cut, n)
        for start, stop in blocks(cut):
            block = cut.part.isel({TRAJECTORY: cut.row, TIME: slice(start, stop)})
            at, place = start - cut.start, f"{self.path}, trajectory {cut.id}"
            u = channels(block, state, (TIME,), place=place, frame=at)
            if isinstance(part, layout.Part):
                part.write_frames(n, at, u)
            else:
                part.write_frames(n, at, u, channels(block, forcings, (TIME,), place=place, frame=at) if forcings else None)
            yield float(_frame_bytes(cut.part) * (stop - start))

    def finish(self) -> Path:
        """Seal it with its checksum."""
        record = {} if isinstance(self.part, mesh_file.Part) else {"checksum": layout.checksum(self.draft), "certificate": {}}
        return self.part.finish(record)

    def _shared(self, part: layout.Part) -> None:
        """What is known beside the state and the same for all trajectories; written again on every start, since nothing marks it."""
        first = self.cuts[0]
        for k in part.known:
            if k.shared:
                _write_known(part, first, k, None)

    def _own(self, part: layout.Part, cut: Cut, n: int) -> None:
        for k in part.known:
            if not k.shared:
                _write_known(part, cut, k, n)


def blocks(cut: Cut) -> list[tuple[int, int]]:
    """Ranges of frames that fit into memory, of whole chunks where the source has them: a chunk is read as a whole, and once."""
    frame = max(1, _frame_bytes(cut.part))
    most, chunks = max(1, BLOCK // frame), _chunks(cut.part)
    if chunks and max(chunks) * frame <= MOST:
        inner = [e for e in np.cumsum(chunks).tolist() if cut.start < e < cut.stop]
    else:
        inner = list(range(cut.start + most, cut.stop, most))
    out: list[tuple[int, int]] = []
    for a, b in pairwise([cut.start, *inner, cut.stop]):
        if out and b - out[-1][0] <= most:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out


def channels(dataset: xr.Dataset, fields: Fields, lead: tuple[str, ...], *, place: str = "", frame: int = 0) -> Frames:
    """The fields as float32 (*lead, C, *X); what is missing stays NaN.

    Raises ValueError for a finite number that is too large for float32, with the file (`place`), the field and the frame, counted from
    `frame`.
    """
    out = []
    for f in fields:
        for name in f.variables:
            array = dataset[name]
            space = tuple(d for d in array.dims if d in SPACE)
            levels = (LEVEL,) if f.levels else ()
            values = _single(array.transpose(*lead, *levels, *space).values, f"{place}: {name!r}" if place else repr(name), lead, frame)
            out.append(values if levels else np.expand_dims(values, len(lead)))
    return np.concatenate(out, len(lead))


def _single(values: NDArray[Any], place: str, lead: tuple[str, ...], frame: int) -> Frames:
    if TIME not in lead or values.dtype.itemsize <= 4:
        return single(values, place)
    return np.stack([single(v, f"{place}, frame {frame + n}") for n, v in enumerate(values)])


def _write_known(part: layout.Part, cut: Cut, k: layout.Known, row: int | None) -> None:
    one = Fields.of(k.field)
    if not k.timed:
        part.write_known(k.field.name, channels(_of_row(cut, k), one, ()), row=row)
        return
    for start, stop in blocks(cut):
        block = _of_row(cut, k).isel({TIME: slice(start, stop)})
        part.write_known(k.field.name, channels(block, one, (TIME,)), row=row, start=start - cut.start)


def _of_row(cut: Cut, k: layout.Known) -> xr.Dataset:
    held = cut.part[list(k.field.variables)]
    return held if k.shared else held.isel({TRAJECTORY: cut.row})


def _frame_bytes(part: xr.Dataset) -> int:
    sizes: Mapping[Any, int] = part.sizes
    out = 0
    for v in part.data_vars.values():
        if TIME in v.dims:
            out += 4 * int(np.prod([sizes[d] for d in v.dims if d not in (TRAJECTORY, TIME)], dtype=np.int64))
    return out


def _chunks(part: xr.Dataset) -> tuple[int, ...]:
    """How the first array of the state that has chunks has them along time."""
    for v in part.data_vars.values():
        if TIME in v.dims and v.chunks is not None:
            return tuple(v.chunks[v.dims.index(TIME)])
    return ()


def check_recipe(path: Path, recipe: str) -> None:
    """Raises ValueError unless the file was made by this recipe."""
    with open_hdf5(path) as f:
        held = str(f[OURS].attrs.get("recipe") if OURS in f else json.loads(f.attrs.get("attrs", "{}")).get("recipe"))
    if held == recipe:
        return
    if _told(held) == _told(recipe) and CONTENT in json.loads(held):
        raise ValueError(
            f"{path}: the source changed since this was read of it (the name, size or time of a file); convert it into another folder, or "
            "remove this file. What was only copied keeps its times with `cp -p`, or `rsync -t`"
        )
    raise ValueError(f"{path} was made from something else, or with other options; give another folder, or remove this one")


def _told(recipe: str) -> object:
    """The recipe without what changes with the content of the source."""
    try:
        held = json.loads(recipe)
    except ValueError:
        return recipe
    return {k: v for k, v in held.items() if k not in (CONTENT, "bytes")} if isinstance(held, dict) else held
