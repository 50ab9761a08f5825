"""The dims of a CF file under our names: time, level, member, lat, lon (or x, y); of a dim that nobody knows one point may be left.

Of several dims with one meaning (a height of 2 m beside pressure levels) those of one point go; more than one left is an error that names
the variables on each, since one Dataset has one dim of levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from surrogates.data.formats.cf_axes import LAT, LON, X, Y, role_of
from surrogates.interchange import TRAJECTORY


def named(data: xr.Dataset, path: Path, listed: Sequence[str], trajectory: str) -> xr.Dataset:
    """The variables that are `listed`, or all that lie on the grid; `trajectory` is the file's name of that dim, or "".

    Raises ValueError for variables that are not there, and for dims that nobody knows.
    """
    lost = [n for n in listed if n not in data.data_vars]
    if lost:
        raise ValueError(f"{path}: options name the variables {lost}, and the file has {sorted(map(str, data.data_vars))}")
    roles = {str(d): role_of(str(d), data[d].attrs if d in data.coords else {}) for d in data.dims}
    if trajectory:
        roles[trajectory] = TRAJECTORY
    data = data[[n for n in data.data_vars if (str(n) in listed if listed else _is_gridded(data[n], roles))]]
    used = {str(d) for d in data.dims}
    for role in {r for d, r in roles.items() if r and d in used}:
        same = [d for d in used if roles[d] == role]
        for dim in [d for d in same if data.sizes[d] == 1] if len(same) > 1 else []:
            data, used = data.isel({dim: 0}, drop=True), used - {dim}
        left = [d for d in used if roles[d] == role]
        if len(left) > 1:
            of = {d: [str(n) for n in data.data_vars if d in data[n].dims] for d in left}
            raise ValueError(f"{path}: the dims {left} are all {role}, which takes one: {of}. Choose with options: {{variables: [...]}}")
    for dim in [d for d in used if roles[d] is None]:
        if data.sizes[dim] > 1:
            raise ValueError(
                f"{path}: dim {dim!r} of {data.sizes[dim]} points is neither time, level, latitude, longitude nor member by its attributes "
                f"or name; where it counts independent trajectories write options: {{trajectory: {dim}}}"
            )
        data, used = data.isel({dim: 0}, drop=True), used - {dim}
    return data.rename({d: r for d, r in roles.items() if r and d in used and d != r})


def _is_gridded(v: xr.DataArray, roles: Mapping[str, str | None]) -> bool:
    own = {roles.get(str(d)) for d in v.dims}
    return {LAT, LON} <= own or {X, Y} <= own
