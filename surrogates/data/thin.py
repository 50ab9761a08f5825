"""Coarser data from the same data: every n-th point of each axis, every m-th frame, values unchanged (no filter, as a coarse sensor).

A frame that the clock lacks is seen among all frames and no more among every m-th of them, whose steps may then be m + 1 of the old ones.
So these say themselves which of them follow the one before, in a coordinate, where not all do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surrogates.data.starts import Flags, goes_on
from surrogates.domains.box import PERIODIC
from surrogates.interchange import TIME, box_of, times_of

FOLLOWS = "follows"
"""The coordinate of time that says whether no step is missing since the frame before."""


@dataclass(frozen=True)
class Thin:
    """Every n-th point of each axis, as what is done to trajectories before they are packed."""

    every: int

    def __str__(self) -> str:
        return f"every{self.every}"

    def __call__(self, dataset: xr.Dataset) -> xr.Dataset:
        return thin(dataset, self.every)


def thin(dataset: xr.Dataset, every: int = 1, frames: int = 1) -> xr.Dataset:
    """Keep points 0, n, 2n, ... of each axis and frames 0, m, 2m, ..., with the domain and the dt that they make.

    Raises ValueError where n does not divide the points, or on walled axes, whose cell centres would not be cell centres again.
    """
    if frames > 1:
        block = np.cumsum(~follows(dataset))[::frames]
        kept = np.diff(block, prepend=block[:1]) == 0
        dataset = dataset.isel({TIME: slice(None, None, frames)}).assign_attrs(dt=float(dataset.attrs["dt"]) * frames)
        dataset = dataset if kept.all() else dataset.assign_coords({FOLLOWS: (TIME, kept)})
    if every == 1:
        return dataset
    box = box_of(dataset)
    if any(kind != PERIODIC for kind in box.boundary):
        raise ValueError(f"subsample={every} needs periodic axes, this domain has {box.boundary}; coarsen the cells by averaging instead")
    if any(n % every for n in box.shape):
        raise ValueError(f"subsample={every} does not divide the grid {box.shape}")
    out = dataset.isel({axis: slice(None, None, every) for axis in box.axes})
    coarse = box.with_shape([n // every for n in box.shape])
    return out.assign_attrs(domain=json.dumps(coarse.to_json()))


def follows(dataset: xr.Dataset) -> Flags:
    """Whether each frame comes one step after the one before: as `thin` has noted, else as the clock tells."""
    if FOLLOWS in dataset.coords:
        return np.asarray(dataset[FOLLOWS].values, bool)
    if TIME not in dataset.coords:
        return np.ones(dataset.sizes[TIME], bool)
    return goes_on(times_of(dataset), float(dataset.attrs.get("dt", 0)) or 1.0)
