"""Reanalyses and forecasts as WeatherBench 2 and ARCO-ERA5 have them: one Zarr store of many variables on one grid.

    store.zarr/
      time, level, latitude, longitude        hours since a date (or datetime64); hPa; either way up; 0 to 360
      2m_temperature                          (time, latitude, longitude), or (time, longitude, latitude) in the coarse ones
      u_component_of_wind, geopotential, ...  (time, level, latitude, longitude)
      land_sea_mask, geopotential_at_surface  (latitude, longitude)

All that `cf` reads is read here, with these differences: static fields are those known by name, every cell is wet unless `mask` says
otherwise (sea surface temperature alone has land), and forcings that a model of weather is told are computed (`surrogates.data.forcings`).
`Given.options` are those of `cf` (variables, levels, time, stride, url: gs://...), and

    forcings: [toa_incident_solar_radiation, year_progress_sin]   computed unless the store has them (default: all; `[none]`: none)

Nothing but coordinates is read when it is opened, and a frame is read when it is asked for, so the store may be of any length.

Layouts: https://weatherbench2.readthedocs.io/en/latest/data-guide.html, https://github.com/google-research/arco-era5.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates.data.forcings import COMPUTED, computed, fields_of
from surrogates.data.formats import cf, cf_open
from surrogates.data.formats.asking import SIDECARS
from surrogates.data.formats.cf import Choice
from surrogates.data.formats.given import Given
from surrogates.fields import Fields
from surrogates.interchange import FORCINGS, TIME, declared

STATIC = (
    "geopotential_at_surface",
    "land_sea_mask",
    "soil_type",
    "lake_cover",
    "standard_deviation_of_orography",
    "standard_deviation_of_filtered_subgrid_orography",
    "slope_of_sub_gridscale_orography",
    "angle_of_sub_gridscale_orography",
    "anisotropy_of_sub_gridscale_orography",
    "high_vegetation_cover",
    "low_vegetation_cover",
    "type_of_high_vegetation",
    "type_of_low_vegetation",
    "lake_depth",
)
SIGNS = ("geopotential", "2m_temperature", "mean_sea_level_pressure", "10m_u_component_of_wind", "temperature", "u_component_of_wind")
NONE = "none"


def recognises(path: Path) -> bool:
    """A Zarr store with time, latitude and longitude by these names and a variable that such stores have; or a folder whose sidecar tells
    of a store in it."""
    try:
        if cf_open.is_store(path):
            return all((path / n).is_dir() for n in ("time", "latitude", "longitude")) and any((path / n).is_dir() for n in SIGNS)
        return path.is_dir() and any("url" in Given.load(path / name).options for name in SIDECARS if (path / name).is_file())
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a stretch of time without a missing frame, under "all". Raises ValueError for what is not sound, or not known."""
    chosen = cf.choice(path, given)
    stored, wanted = _forcings(path, chosen)
    parts = cf.parts(path, given, replace(_chosen(path, chosen), forcings=stored))
    return {"all": [_with_forcings(p, wanted) for p in parts]}


def _chosen(path: Path, chosen: Choice) -> Choice:
    """With the static fields that the store has, and every cell wet, where nothing else is said."""
    have = _variables(path, chosen)
    static = chosen.static or (() if chosen.variables else tuple(n for n in STATIC if n in have))
    variables = chosen.variables or tuple(n for n, dims in have.items() if n not in COMPUTED and TIME in dims)
    return replace(chosen, variables=variables, static=static, mask=chosen.mask or NONE)


def _forcings(path: Path, chosen: Choice) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that are read from the store, and those that are computed."""
    if chosen.forcings == (NONE,):
        return (), ()
    have = _variables(path, chosen)
    wanted = chosen.forcings or COMPUTED
    return tuple(n for n in wanted if n in have), tuple(n for n in wanted if n not in have)


def _variables(path: Path, chosen: Choice) -> dict[str, tuple[str, ...]]:
    """The names of the arrays that lie on the grid, with their dims."""
    data = cf_open.opened(path, chosen.url)
    return {str(n): tuple(map(str, v.dims)) for n, v in data.data_vars.items() if {"latitude", "longitude"} <= set(v.dims)}


def _with_forcings(part: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    if not names:
        return part
    about = {k: str(part[TIME].attrs[k]) for k in ("units", "calendar") if k in part[TIME].attrs}
    times = np.asarray(part[TIME].values, np.float64)
    made = computed(names, times, about, float(part.attrs["dt"]), part["lat"].values, part["lon"].values)
    known = declared(part, FORCINGS)
    fields = Fields((*(known or ()), *fields_of(names)))
    return part.assign(made).assign_attrs({FORCINGS: json.dumps(fields.to_json())})
