"""x and y of a plane: both in one unit of length, and no angles.

The axes of a turned pole (grid_latitude, grid_longitude) and of a view from space (projection coordinates in radians) count angles: as a
Box they would be a plane of degrees, on which no divergence and no area is right.
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from surrogates.data.formats.cf_axes import X, Y
from surrogates.data.formats.given import Given

METRES = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), 1e3),
}
ANGLES = ("degree", "rad")
TURNED = ("grid_latitude", "grid_longitude")


def plane(data: xr.Dataset, path: Path, given: Given) -> tuple[xr.Dataset, str | None]:
    """The Dataset with x and y in one unit, and the unit as the file has it. Raises ValueError for angles and for units that differ."""
    about = {dim: data[dim].attrs if dim in data.coords else {} for dim in (X, Y)}
    units = {dim: str(a["units"]).strip() if "units" in a else None for dim, a in about.items()}
    for dim, a in about.items():
        if str(a.get("standard_name", "")) in TURNED or str(units[dim] or "").lower().startswith(ANGLES):
            said = a.get("standard_name", "without a standard name")
            raise ValueError(
                f"{path}: {dim} is in {units[dim]!r}, {said}: angles of a turned pole or a view "
                "are no plane; interpolate the fields to latitude and longitude (`cdo remapbil`, xESMF), and turn vectors with them"
            )
    x, y = units[X], units[Y]
    if x == y or (given.units.get("length") and None in (x, y)):
        return data, x or y
    if x not in METRES or y not in METRES:
        raise ValueError(f"{path}: x is in {x!r} and y in {y!r}; a plane has one unit: convert one, or correct the attribute units")
    if METRES[str(x)] == METRES[str(y)]:
        return data, x
    scaled = {dim: (dim, data[dim].values * METRES[str(units[dim])], {**about[dim], "units": "m"}) for dim in (X, Y)}
    return data.assign_coords(scaled), "m"
