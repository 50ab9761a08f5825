"""Coarser data from the same data: every n-th point of each axis, every m-th frame, values unchanged (no filter, as a coarse sensor)."""

from __future__ import annotations

import json

import xarray as xr

from surrogates.domains.box import PERIODIC
from surrogates.interchange import TIME, box_of


def thin(dataset: xr.Dataset, every: int = 1, frames: int = 1) -> xr.Dataset:
    """Keep points 0, n, 2n, ... of each axis and frames 0, m, 2m, ..., with the domain and the dt that they make.

    Raises ValueError where n does not divide the points, or on walled axes, whose cell centres would not be cell centres again.
    """
    if frames > 1:
        dataset = dataset.isel({TIME: slice(None, None, frames)}).assign_attrs(dt=float(dataset.attrs["dt"]) * frames)
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
