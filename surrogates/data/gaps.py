"""From which frames a whole stretch can be had: what forecasts of data with gaps start from and are compared with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates.data.cache import declares_gaps
from surrogates.data.starts import allowed
from surrogates.data.thin import follows
from surrogates.domains import Masked
from surrogates.interchange import TIME, domain_of, from_xarray, trajectories_of


def present(dataset: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Which frames are there, (trajectory, time): every one, unless the data declare gaps; else those without NaN in a wet cell."""
    shape = (len(trajectories_of(dataset)), dataset.sizes[TIME])
    if not declares_gaps(dataset):
        return np.ones(shape, bool)
    domain, out = domain_of(dataset), np.ones(shape, bool)
    for t in range(shape[1]):
        u = from_xarray(dataset.isel({TIME: slice(t, t + 1)})).flatten(3)[:, 0]
        u = u[..., domain.wet.flatten()] if isinstance(domain, Masked) else u
        out[:, t] = ~u.isnan().flatten(1).any(1).numpy()
    return out


def whole_starts(dataset: xr.Dataset, frames: int) -> npt.NDArray[np.int64]:
    """The frames from which `frames` successive ones are there in every trajectory of the Dataset."""
    onward = follows(dataset)
    return np.flatnonzero(np.logical_and.reduce([allowed(row, onward, frames, [1]) for row in present(dataset)]))
