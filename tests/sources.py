"""What every part of every format keeps to, asked of any reader."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from surrogates.domains import layout
from surrogates.interchange import TIME, TRAJECTORY, conditions_of, domain_of, fields_of, from_xarray, parameters_of


def check_part(part: xr.Dataset) -> None:
    """The layout of `surrogates.interchange`, lazily."""
    fields, domain = fields_of(part), domain_of(part)
    assert fields.count and part.attrs["dataset"]
    for f in fields:
        for name in f.variables:
            assert part[name].dims[:2] == (TRAJECTORY, TIME) and part[name].dims[-len(layout.axes(domain)) :] == layout.axes(domain)
            assert part[name].attrs["units"] == f.units
            assert is_lazy(part[name])
    times = part[TIME].values
    assert times.dtype == np.float64 and (np.diff(times) > 0).all()
    assert len(times) < 2 or np.isclose(part.attrs["dt"], np.diff(times)).all()
    assert conditions_of(part).parameters.shape == (part.sizes[TRAJECTORY], len(parameters_of(part)))
    u = from_xarray(part)
    assert u.shape == (part.sizes[TRAJECTORY], len(times), fields.count, *domain.shape)


def check_alike(parts: Iterable[xr.Dataset]) -> None:
    """Parts of one split have the same fields, units and parameters."""
    for part in parts:
        check_part(part)
    assert len({(part.attrs["fields"], tuple(parameters_of(part))) for part in parts}) == 1


def is_lazy(array: xr.DataArray) -> bool:
    """A memory map, or a view of one, or dask."""
    if array.chunks is not None:
        return True
    base: object = array.variable._data
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)
