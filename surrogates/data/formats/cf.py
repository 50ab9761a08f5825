"""NetCDF and Zarr by the CF conventions: what models of weather, ocean and climate write, and what analyses are.

    time[, level][, member], latitude, longitude     any order, any names that their attributes explain (`cf_axes`)
    u(time, level, latitude, longitude)              state: varies in time        orography(latitude, longitude)    static

Latitude and longitude are a Sphere, or a Patch where they are a part of one; where cells never have a value they are the dry part of a
Masked one. x and y in units of length are a Box whose boundaries `given` says. Levels stay one field; northward and eastward components are
one vector; a missing value is NaN. `Given.options`:

    variables: [t, u, v]        of the state (default: all that vary in time and lie on the grid); `static: [orography]` likewise
    levels: [500, 850]          of those in the file
    time: [1996-01-05, 1996-01-20]   first and last, both included;  stride: 2 keeps every second frame
    mask: none                  every cell is wet;  any: a cell is dry where any field never has a value.  Default: where all never have one
    trajectory: init            a dim that counts independent trajectories;  radius: 6.371e6 of the sphere, in m
    member: 0                   one member of several
    url: gs://bucket/x.zarr     opened in place of the path, where a person says so (`Given`); a sidecar may name a store in its folder

Which cells never have a value is judged from the first, the middle and the last frame; nothing else is read before it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.cuts import RECORD
from surrogates.data.formats import cf_open
from surrogates.data.formats.cf_axes import EARTH, LAT, LON, X, Y, even, grid_of
from surrogates.data.formats.cf_dims import named
from surrogates.data.formats.cf_fields import Roles, laid_out, roles
from surrogates.data.formats.cf_plane import plane
from surrogates.data.formats.cf_time import About, clock, runs, within
from surrogates.data.formats.cf_wet import MASKS, land
from surrogates.data.formats.given import Given
from surrogates.data.parse import parse
from surrogates.domains.box import PERIODIC
from surrogates.domains.layout import AnyDomain
from surrogates.interchange import GAPS, LEVEL, MEMBER, NAN, TIME, TRAJECTORY, coordinates, declare, describe_attrs


@dataclass(frozen=True)
class Choice:
    """`Given.options`, checked."""

    variables: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    forcings: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    time: tuple[Any, ...] = ()
    stride: int = 1
    mask: str = ""
    trajectory: str = ""
    radius: float = EARTH
    member: int | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise ValueError(f"mask is {self.mask!r} but must be one of {list(MASKS)}")
        if self.stride < 1 or not self.radius > 0:
            raise ValueError(f"stride must be at least 1 and radius positive, got {self.stride} and {self.radius}")


def recognises(path: Path) -> bool:
    """A NetCDF file, a Zarr store, or a folder of these."""
    try:
        found = cf_open.sources(path)
        return bool(found) and (path.is_dir() or path.suffix.lower() in cf_open.SUFFIXES)
    except OSError:
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a stretch of time without a missing frame, under "all". Raises ValueError for what is not sound, or not known."""
    return {"all": list(parts(path, given, choice(path, given)))}


def choice(path: Path, given: Given) -> Choice:
    """The options. Raises ValueError for one that does not exist."""
    return parse(Choice, dict(given.options), str(path), "options")


def parts(path: Path, given: Given, chosen: Choice) -> list[xr.Dataset]:
    """The parts of a source, in the layout of `surrogates.interchange`."""
    listed = {"variables": chosen.variables, "static": chosen.static, "forcings": chosen.forcings}
    data = named(cf_open.opened(path, chosen.url), path, [n for names in listed.values() for n in names], chosen.trajectory)
    data = _of_member(data, chosen.member, path)
    place = str(chosen.url or path)
    times, about = _times(data, given, path)
    kept = within(times, about, chosen.time, place) if chosen.time else slice(0, len(times))
    kept = slice(kept.start, kept.stop, chosen.stride)
    data, times = data.isel({TIME: kept}), times[kept]
    if chosen.levels:
        data = _on_levels(data, chosen.levels, place)
    domain, data = _domain(data, path, given, chosen)
    of = roles(data, domain, path, given, listed)
    whole = laid_out(data, domain, of, place)
    domain = land(whole, of.state, domain, chosen.mask, place)
    stretches, dt = runs(times, given, place)
    made = [_part(whole.isel({TIME: run}), domain, of, times[run], about, dt, given, path) for run in stretches]
    return made if len(made) == 1 else [part.assign_attrs({RECORD: place}) for part in made]


def _times(data: xr.Dataset, given: Given, path: Path) -> tuple[Any, About]:
    if TIME not in data.dims:
        raise ValueError(f"{path}: no dim is time; its dims are {list(map(str, data.dims))}. A state varies in time")
    if TIME not in data.coords:
        dt = given.need(given.dt, "dt", path, "the dim of time has no values")
        return (given.time or 0.0) + dt * np.arange(data.sizes[TIME]), {"units": given.unit("time", path)}
    return clock(data[TIME], given, path)


def _of_member(data: xr.Dataset, member: int | None, path: Path) -> xr.Dataset:
    if member is None:
        return data
    if not 0 <= member < data.sizes.get(MEMBER, 0):
        raise ValueError(f"{path}: options.member is {member} but the file has {data.sizes.get(MEMBER, 0)} members, counted from 0")
    return data.isel({MEMBER: member}, drop=True)


def _on_levels(data: xr.Dataset, levels: tuple[float, ...], place: str) -> xr.Dataset:
    have = [float(v) for v in np.atleast_1d(data[LEVEL].values)] if LEVEL in data.coords else []
    lost = [v for v in levels if v not in have]
    if lost:
        raise ValueError(f"{place}: options.levels asks for {lost}, and the file has {have}")
    return data.isel({LEVEL: [have.index(v) for v in levels]})


def _domain(data: xr.Dataset, path: Path, given: Given, chosen: Choice) -> tuple[AnyDomain, xr.Dataset]:
    """The geometry, and the Dataset on its points in its order."""
    if {LAT, LON} <= set(data.dims):
        grid, take = grid_of(_values(data, LAT, path), _values(data, LON, path), str(chosen.url or path), chosen.radius)
        return grid, data.isel({LON: take})
    if not {X, Y} <= set(data.dims):
        raise ValueError(
            f"{path}: the dims {list(map(str, data.dims))} are no grid: latitude and longitude, or x and y, each a dim with a coordinate "
            "of its own, are needed; interpolate a curvilinear grid to one"
        )
    dims = [X, Y]
    data, units = plane(data, path, given)
    lower, lengths = [], []
    for n, dim in enumerate(dims):
        x = _values(data, dim, path)
        h = even(np.asarray(x, np.float64), f"{path}: {dim}")
        ends = given.boundary[n] == PERIODIC if len(given.boundary) == len(dims) else False
        data = data.isel({dim: slice(None, None, -1)}) if h < 0 else data
        lower.append(float(min(x[0], x[-1])) - (0 if ends else abs(h) / 2))
        lengths.append(abs(h) * len(x))
    return given.box([data.sizes[d] for d in dims], path, lengths=lengths, lower=lower, units=units), data


def _values(data: xr.Dataset, dim: str, path: Path) -> Any:
    if dim not in data.coords:
        raise ValueError(f"{path}: the dim {dim!r} has no coordinate, so that its points are not known; add one with its units")
    return data[dim].values


def _part(
    data: xr.Dataset, domain: AnyDomain, of: Roles, times: NDArray[np.float64], about: About, dt: float, given: Given, path: Path
) -> xr.Dataset:
    count = data.sizes[TRAJECTORY]
    members = range(data.sizes[MEMBER]) if MEMBER in data.dims else None
    coords = coordinates(domain, times.tolist(), range(count), members, given.columns(count, path), about_time=about)
    said = {"dataset": given.name or path.stem, "dt": dt, GAPS: NAN}  # what CF files lack is missing, and reads as NaN
    out = data.assign_coords(coords).assign_attrs({**said, **describe_attrs(of.state, domain)})
    return declare(out, static=of.static if of.static.count else None, forcings=of.forcings if of.forcings.count else None)
