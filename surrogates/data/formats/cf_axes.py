"""What a dim of a CF file is, and the grid that latitudes and longitudes make.

A dim is known by the attributes of its coordinate, in the order in which they are told from each other: `standard_name`, units of
latitude, longitude, time ("days since ...") and pressure, `axis`, `positive`; last by the names that models and instruments use.

Latitudes and longitudes are brought into one order, longitudes rising without a jump (a file may go from 0 to 360 or from -180 to 180, or
begin anywhere). A full circle with the latitudes of a grid that `Sphere` knows is a Sphere; any other grid of equal steps is a `Patch`.

Source: CF conventions, chapters 4 and 5, https://cfconventions.org/cf-conventions/cf-conventions.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surrogates.data.formats import checks
from surrogates.domains import Patch, Sphere
from surrogates.domains.sphere import GRIDS

TIME, LEVEL, LAT, LON, MEMBER, X, Y = "time", "level", "lat", "lon", "member", "x", "y"
EARTH = 6.37122e6  # m
OFF = 0.02  # of a step, that a point may lie off: latitudes are stored in float32, or rounded

STANDARD = {
    "latitude": LAT,
    "longitude": LON,
    "time": TIME,
    "realization": MEMBER,
    "projection_x_coordinate": X,
    "projection_y_coordinate": Y,
    **dict.fromkeys(("air_pressure", "height", "altitude", "depth", "model_level_number", "geopotential_height"), LEVEL),
}
UNITS = {
    **dict.fromkeys(("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"), LAT),
    **dict.fromkeys(("degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"), LON),
    **dict.fromkeys(("hpa", "mbar", "millibar", "millibars", "mb", "dbar"), LEVEL),
}
AXES = {"t": TIME, "z": LEVEL, "y": Y, "x": X, "e": MEMBER}
NAMES = {
    **dict.fromkeys(("time", "times", "t", "valid_time", "timestep", "date"), TIME),
    **dict.fromkeys(("lat", "latitude", "lats", "nav_lat"), LAT),
    **dict.fromkeys(("lon", "longitude", "lons", "long", "nav_lon"), LON),
    **dict.fromkeys(
        ("level", "lev", "levels", "plev", "pressure", "pressure_level", "isobaricinhpa", "depth", "deptht", "height", "altitude", "z"),
        LEVEL,
    ),
    **dict.fromkeys(("member", "number", "realization", "ensemble"), MEMBER),
    "x": X,
    "y": Y,
}


def role_of(name: str, attrs: Mapping[str, Any]) -> str | None:
    """ "time", "level", "lat", "lon", "member", "x" or "y"; None where nothing tells."""
    units = str(attrs.get("units", "")).lower()
    standard = str(attrs.get("standard_name", "")).lower()
    if standard in STANDARD or standard.startswith(("atmosphere_", "ocean_")):
        return STANDARD.get(standard, LEVEL)
    if units in UNITS or " since " in units:
        return UNITS.get(units, TIME)
    if str(attrs.get("axis", "")).lower() in AXES:
        return AXES[str(attrs["axis"]).lower()]
    return LEVEL if "positive" in attrs else NAMES.get(name.lower())


def grid_of(lat: ArrayLike, lon: ArrayLike, place: str, radius: float = EARTH) -> tuple[Sphere | Patch, slice]:
    """The grid of latitudes and longitudes in degrees, and which longitudes of the file are its columns, in their order.

    A meridian that a file has twice (0 and 360) is left out once. Raises ValueError for points that are not evenly spaced.
    """
    phi, turned = checks.finite(lat, f"{place}: latitude"), np.unwrap(checks.finite(lon, f"{place}: longitude"), period=360.0)
    if min(len(phi), len(turned)) < 2:
        raise ValueError(f"{place} has {len(phi)} latitudes and {len(turned)} longitudes; a grid needs two of each")
    take = slice(None)
    if turned[-1] < turned[0]:
        turned, take = turned[::-1], slice(None, None, -1)
    step = even(turned, f"{place}: longitude")
    if abs((len(turned) - 1) * step - 360) < OFF * step:
        turned = turned[:-1]
        take = slice(-1, 0, -1) if take.step else slice(0, -1)
    circle = abs(len(turned) * step - 360) < OFF * step
    west = round(float(turned[0]), 6)
    if np.abs(phi).max() > 90 + 1e-4:
        raise ValueError(f"{place}: latitude goes to {np.abs(phi).max():g} degrees; are these other coordinates, or other units?")
    for kind in GRIDS if circle else ():
        globe = Sphere((len(phi), len(turned)), kind, bool(phi[0] > phi[-1]), west, radius, "m")
        if np.allclose(globe.coordinate(0).numpy(), phi, rtol=0, atol=OFF * 180 / len(phi)):
            return globe, take
    rows = even(phi, f"{place}: latitude")
    south, north = float(min(phi[0], phi[-1])) - abs(rows) / 2, float(max(phi[0], phi[-1])) + abs(rows) / 2
    step = 360 / len(turned) if circle else step
    west -= step / 2
    east = west + 360.0 if circle else west + len(turned) * step
    borders = (round(south, 6), round(north, 6), round(west, 6), round(west, 6) + round(east - west, 6))
    return Patch((len(phi), len(turned)), *borders, bool(rows < 0), radius, "m"), take


def even(x: NDArray[np.float64], place: str) -> float:
    """The mean step. Raises ValueError with the first that is another."""
    h = float(x[-1] - x[0]) / (len(x) - 1)
    off = np.abs(np.diff(x) - h) > OFF * abs(h)
    if h == 0 or off.any():
        n = int(np.argmax(off))
        raise ValueError(
            f"{place} is uneven: from {x[n]:g} to {x[n + 1]:g} degrees, the mean step is {h:g}; interpolate the fields to an even grid "
            "(Gaussian latitudes are known on a full circle of longitudes only)"
        )
    return h
