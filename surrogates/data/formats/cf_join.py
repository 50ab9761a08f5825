"""Files of one series, end to end by time; files of different variables, side by side: what they say of a variable must agree.

Joined arrays have one unit, and a file in kelvin beside one in degrees Celsius would be read as the first says. Times alone may be counted
from different dates, and are brought to those of the first file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from surrogates.data.formats.cf_axes import TIME, role_of
from surrogates.data.formats.cf_time import moved
from surrogates.interchange import SINCE

MEANING = ("units", "standard_name", "cell_methods")


def joined(parts: Mapping[Path, xr.Dataset]) -> xr.Dataset:
    """One Dataset of all files. Raises ValueError, with their names, for those that mean or cover different things."""
    (first, whole), *rest = parts.items()
    if not rest:
        return whole
    _alike(parts)
    same_clock = [whole, *(_counted_as(whole, first, data, path) for path, data in rest)]
    try:
        made = xr.combine_by_coords(
            same_clock, data_vars="minimal", coords="minimal", compat="override", join="exact", combine_attrs="override"
        )
    except ValueError as error:
        names = ", ".join(p.name for p in parts)
        raise ValueError(
            f"{first.parent}: the files {names} do not make one series ({error}); open them one by one, or keep those apart whose grids, "
            "levels or times differ"
        ) from error
    assert isinstance(made, xr.Dataset)
    return made


def _alike(parts: Mapping[Path, xr.Dataset]) -> None:
    """Raises ValueError for a variable that two files give another meaning."""
    seen: dict[tuple[str, str], tuple[str | None, Path]] = {}
    for path, data in parts.items():
        for name, v in data.variables.items():
            if SINCE in str(v.attrs.get("units")):
                continue
            for key in MEANING:
                said = _plain(str(v.attrs[key])) if key in v.attrs else None
                before, other = seen.setdefault((str(name), key), (said, path))
                if said != before and (key == "units" or None not in (said, before)):
                    raise ValueError(
                        f"{other} and {path.name} beside it differ in the {key} of {str(name)!r}: {before!r} and {said!r}; convert one of "
                        "them, or correct its attribute, before they are read as one series"
                    )


def _plain(said: str) -> str:
    """Without what says nothing: spaces, and signs of powers ("m s**-1" is "m s-1")."""
    return " ".join(said.replace("**", "").replace("^", "").split())


def _counted_as(whole: xr.Dataset, first: Path, data: xr.Dataset, path: Path) -> xr.Dataset:
    """The Dataset with its times counted from the same date as the first one's."""
    for name, time in data.coords.items():
        if (
            name in whole.coords
            and time.dims == (name,)
            and role_of(str(name), time.attrs) == TIME
            and SINCE in str(time.attrs.get("units"))
        ):
            kept = {k: str(v) for k, v in whole[name].attrs.items() if k in ("units", "calendar")}
            mine = {k: str(v) for k, v in time.attrs.items() if k in ("units", "calendar")}
            numbers = moved(time.values, {"calendar": "standard", **mine}, {"calendar": "standard", **kept}, f"{path} beside {first.name}")
            data = data.assign_coords({name: (name, numbers, whole[name].attrs)})
    return data
