"""A split as parts: Datasets of the same fields, domain and step, each with trajectories of a length of its own.

Files of one length make one part, so that most splits have a single one. Ids of trajectories are as the files have them where these differ,
else they are counted anew through all parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates.data.files import SPLIT, files_of, foreign, join, locate, open_dataset
from surrogates.data.read import read_file
from surrogates.domains import Mesh
from surrogates.domains.layout import NODE, same
from surrogates.errors import nearest
from surrogates.interchange import FORCINGS, STATIC, TIME, TRAJECTORY, domain_of, parameters_of, trajectories_of

Source = str | Path | xr.Dataset | Sequence[xr.Dataset]
"""A data set known by name or path, a Dataset in memory, or the parts of a split."""


def parts_of(source: Source, split: str | None = None, size: str | None = None) -> list[xr.Dataset]:
    """The parts of a split, with trajectory ids that differ. Raises ValueError where nothing is there, or parts do not go together."""
    if isinstance(source, xr.Dataset):
        return [source]
    if not isinstance(source, str | Path):
        return distinct(list(source))
    return distinct(_of_files(source, split, size))


def _of_files(source: str | Path, split: str | None, size: str | None) -> list[xr.Dataset]:
    folder = locate(source, size)
    if foreign(folder):
        from surrogates.data.formats import open_parts

        found = open_parts(folder)
        if split is None or len(found.get(split, ())) == 1:
            return [open_dataset(source, split, size=size)]
        if split not in found:
            raise ValueError(f"{folder} has no split {split!r}; it has {list(found)}{nearest(split, found)}")
        return [p.assign_attrs({SPLIT: split}) for p in found[split]]
    paths = files_of(folder).get(split, []) if split else []
    if len(paths) < 2:
        return [open_dataset(source, split, size=size)]
    read = [read_file(p) for p in paths]
    lengths = dict.fromkeys(d.sizes[TIME] for d in read)
    if len(lengths) == 1:
        return [open_dataset(source, split, size=size)]
    return [join([d for d in read if d.sizes[TIME] == n]).assign_attrs({SPLIT: split}) for n in lengths]


def distinct(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """Parts that agree, their trajectories told apart. Raises ValueError for none, and where they differ in what a model is made for."""
    if not parts:
        raise ValueError("a split needs at least one part, got an empty list")
    first, here = parts[0], domain_of(parts[0])
    for n, other in enumerate(parts[1:], start=1):
        for what in ("fields", "dt", STATIC, FORCINGS, SPLIT):
            if other.attrs.get(what) != first.attrs.get(what):
                raise ValueError(f"parts 0 and {n} of a split differ in {what}: {first.attrs.get(what)} and {other.attrs.get(what)}")
        alike = NODE in other.dims if isinstance(here, Mesh) else same(here, domain_of(other))
        if not alike:
            raise ValueError(f"parts 0 and {n} of a split lie on {here} and {domain_of(other)}; train on one grid at a time")
        if list(parameters_of(other)) != list(parameters_of(first)):
            raise ValueError(f"parts 0 and {n} of a split have parameters {list(parameters_of(first))} and {list(parameters_of(other))}")
    ids = [trajectories_of(p) for p in parts]
    if len(parts) == 1 or _unique(ids):
        return parts
    edges = np.cumsum([0, *(len(i) for i in ids)])
    parts = [p if TRAJECTORY in p.dims else p.expand_dims(TRAJECTORY) for p in parts]
    return [p.assign_coords({TRAJECTORY: np.arange(a, a + len(i))}) for p, a, i in zip(parts, edges[:-1], ids, strict=True)]


def _unique(ids: Iterable[Sequence[int]]) -> bool:
    every = [i for part in ids for i in part]
    return len(set(every)) == len(every)
