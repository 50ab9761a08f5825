"""The dims of a CF file under our names: time, level, member, lat, lon (or x, y); of a dim that nobody knows one point may be left.

Of several dims with one meaning (a height of 2 m beside pressure levels) those of one point go; more than one left is an error that names
the variables on each, since one Dataset has one dim of levels.

Forecasts have two dims of time, start and lead. Where `trajectory` names the start, each is a trajectory and the lead its time; where it
does not, the two are told apart in the error: the lead is never what counts trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from surrogates.data.formats.cf_axes import LAT, LON, TIME, X, Y, role_of
from surrogates.interchange import TRAJECTORY

LEAD, START = "forecast_period", "forecast_reference_time"  # standard names of CF
LEADS = (LEAD, "prediction_timedelta", "lead_time", "leadtime", "step")
STARTS = (START, "init_time", "initial_time", "init", "reference_time", "reftime")


def named(data: xr.Dataset, path: Path, listed: Sequence[str], trajectory: str) -> xr.Dataset:
    """The variables that are `listed`, or all that lie on the grid; `trajectory` is the file's name of that dim, or "".

    Raises ValueError for variables that are not there, and for dims that nobody knows.
    """
    lost = [n for n in listed if n not in data.data_vars]
    if lost:
        raise ValueError(f"{path}: options name the variables {lost}, and the file has {sorted(map(str, data.data_vars))}")
    roles = {str(d): role_of(str(d), data[d].attrs if d in data.coords else {}) for d in data.dims}
    roles |= _forecast(data, roles, path, trajectory)
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


def _forecast(data: xr.Dataset, roles: Mapping[str, str | None], path: Path, trajectory: str) -> dict[str, str | None]:
    """The lead as time, where the start counts trajectories. Raises ValueError where it does not, with what to write."""
    standard = {str(d): str(data[d].attrs.get("standard_name", "")) if d in data.coords else "" for d in data.dims}
    lead = next((d for d in standard if data.sizes[d] > 1 and (standard[d] == LEAD or d.lower() in LEADS)), None)
    if lead is None:
        return {}
    start = next((d for d in standard if d != lead and (standard[d] == START or d.lower() in STARTS or roles[d] == TIME)), None)
    line = f"write options: {{trajectory: {start or 'NAME'}}}"
    if trajectory == lead:
        raise ValueError(f"{path}: {lead!r} is the lead of forecasts, which goes on in time; {line}, the dim of their starts, instead")
    if trajectory and trajectory == start:
        return {lead: TIME}
    if start is None and roles[lead] == TIME:
        return {}
    raise ValueError(
        f"{path} holds forecasts: {start or 'a dim'!r} is their start and {lead!r} their lead; {line}, so that every start is a trajectory "
        "and the lead its time, or choose one start and name its lead time in a file of its own"
    )


def _is_gridded(v: xr.DataArray, roles: Mapping[str, str | None]) -> bool:
    own = {roles.get(str(d)) for d in v.dims}
    return {LAT, LON} <= own or {X, Y} <= own
