"""A Dataset into a file of ours, block of frames by block: no trajectory is ever in memory, and what was complete before a kill stays.

store(dataset, Path("data/train/sea.hdf5"), attrs={"recipe": "{}", "version": "1"})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.layout import PART, Part, checksum, create_like
from surrogates.domains.layout import axes
from surrogates.fields import Fields
from surrogates.interchange import LEVEL, MEMBER, TIME, TRAJECTORY, domain_of

BLOCK = 1 << 25  # bytes in memory at once


def store(
    dataset: xr.Dataset,
    path: Path,
    *,
    name: str = "",
    attrs: Mapping[str, str | int | float],
    block: int = BLOCK,
    tick: Callable[[int], None] = lambda frames: None,
) -> Path:
    """Write, or resume, and return `path`; nothing is done where it is there. `tick` hears how many frames were written.

    `attrs` as for `layout.create`: at least recipe and version. An unfinished file is resumed where its recipe and version are these.
    Raises ValueError where they are not, for members, for meshes; OSError where the disk has no room.
    """
    if MEMBER in dataset.dims:
        raise ValueError(f"{path}: the Dataset has members; store one of them with .isel(member=0)")
    if path.exists():
        return path
    whole = dataset if TRAJECTORY in dataset.dims else dataset.expand_dims(TRAJECTORY)
    draft = path.with_name(path.name + PART)
    if not draft.exists():
        create_like(draft, whole, name=name or str(dataset.attrs.get("dataset", path.stem)), attrs=attrs)
    part = Part(draft)
    if (part.recipe, part.version) != (str(attrs["recipe"]), str(attrs["version"])):
        raise ValueError(f"{draft} was begun from something else; remove it, or write elsewhere")
    _known(part, whole, block)
    for row in np.flatnonzero(~part.complete).tolist():
        for start, frames in blocks(whole, part.fields, row, block):
            part.write_frames(row, start, frames)
            tick(len(frames))
    return part.finish({"checksum": checksum(part.path), "certificate": {}})


def blocks(dataset: xr.Dataset, fields: Fields, row: int, block: int = BLOCK) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The frames (N, C, *X) of a trajectory as they stand in the Dataset, with the number of the first; at most `block` bytes each."""
    one = dataset.isel({TRAJECTORY: row})
    space, frame = axes(domain_of(dataset)), 4 * fields.count * prod(domain_of(dataset).shape)
    count, total = max(1, block // frame), dataset.sizes[TIME]
    for start in range(0, total, count):
        yield start, values(one.isel({TIME: slice(start, start + count)}), fields, (TIME,), space)


def values(dataset: xr.Dataset, fields: Fields, lead: tuple[str, ...], space: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Fields as (*lead, C, *X), float32, with whatever is missing."""
    parts = []
    for f in fields:
        for name in f.variables:
            array = dataset[name] if f.levels else dataset[name].expand_dims(LEVEL)
            dims = (*lead, LEVEL, *(d for d in space if d in array.dims))
            parts.append(np.asarray(array.transpose(*dims).values, np.float32))
    return np.concatenate(parts, len(lead))


def _known(part: Part, dataset: xr.Dataset, block: int) -> None:
    """Static fields and forcings; again in full where a file is resumed, since they are few."""
    space = axes(part.box)
    for k in part.known:
        fields, lead = Fields.of(k.field), (TIME,) if k.timed else ()
        frame = 4 * fields.count * (prod(part.box.shape) if k.spread else 1)
        count = max(1, block // frame)
        for row in (None,) if k.shared else np.flatnonzero(~part.complete).tolist():
            one = dataset[list(k.field.variables)] if row is None else dataset[list(k.field.variables)].isel({TRAJECTORY: row})
            if not k.timed:
                part.write_known(k.field.name, values(one, fields, lead, space), row=row)
                continue
            for start in range(0, part.frames, count):
                frames = values(one.isel({TIME: slice(start, start + count)}), fields, lead, space)
                part.write_known(k.field.name, frames, row=row, start=start)
