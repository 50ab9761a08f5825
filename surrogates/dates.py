"""Times as numbers, as dates, and as another Dataset counts them.

    numbered(dataset)            dates -> numbers:    what the package computes with
    numbered(forecast, truth)    the same, counted as the truth counts: t' = (t - e) d' / d + e'
    dated(dataset)               numbers -> dates:    what people read and select by

e and e' are the numbers of one date, 2000-01-01, and d and d' those of a day, in the units of either. Only times of one calendar are
converted: a date of a model whose years have 360 days is none of the Earth's. Source: CF conventions 1.11, section 4.4,
https://cfconventions.org/Data/cf-conventions/cf-conventions-1.11/cf-conventions.html#time-coordinate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.coding.times import decode_cf_datetime, encode_cf_datetime

from surrogates.interchange import LEAD, SECONDS, SINCE, TIME, are_dates, time_attrs_of, times_of

About = Mapping[str, str]
SAME = {"gregorian": "standard", "proleptic_gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}
"""Names of one calendar; two of them part before 1582-10-15, where nothing is observed and nothing is converted."""
DURATIONS = ("dt", "step_dt", "lyapunov_time", "turnover_time", "scored_time")
INSTANTS = ("initial_time",)
"""Attributes of a Dataset in the unit of its times."""


def numbered(dataset: xr.Dataset, like: xr.Dataset | None = None) -> xr.Dataset:
    """The Dataset with float64 times and leads, the units of the times kept as attributes; counted as `like` counts, where both have dates.

    With another unit, dt and all else that is a time changes with them. Raises ValueError for dates of another calendar.
    """
    about = time_attrs_of(dataset)
    to = about if like is None or SINCE not in about.get("units", "") else {**about, **_dating(like)}
    lengths = LEAD in dataset.coords and dataset[LEAD].dtype.kind == "m"
    if to == about and not lengths and not are_dates(dataset):
        return dataset
    times = recounted(times_of(dataset), about, to).reshape(dataset[TIME].shape)
    coords = {TIME: (dataset[TIME].dims, times, {**dataset[TIME].attrs, **to})}
    if LEAD in dataset.coords:
        leads, unit = dataset[LEAD], to.get("units", "1").partition(SINCE)[0]
        values = _lengths(leads.values, to) if lengths else _stretched(leads.values, about, to)
        coords[LEAD] = (leads.dims, values, {**leads.attrs, "units": unit})
    attrs = {k: float(_stretched(dataset.attrs[k], about, to)) for k in DURATIONS if k in dataset.attrs}
    attrs |= {k: float(recounted(dataset.attrs[k], about, to)) for k in INSTANTS if k in dataset.attrs}
    return dataset.assign_coords(coords).assign_attrs(attrs if to != about else {})


def dated(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset with dates for times: datetime64 in the calendar of every day, cftime's in others; plain numbers stay as they are."""
    if SINCE not in time_attrs_of(dataset).get("units", ""):
        return dataset
    time = xr.decode_cf(xr.Dataset(coords={TIME: numbered(dataset)[TIME].variable}))[TIME]
    return dataset.assign_coords({TIME: time.variable})


def recounted(times: float | NDArray[Any], about: About, to: About) -> NDArray[np.float64]:
    """Times that count as `about` says, counted as `to` says (units and calendar); as they are where either is no count from a date.

    Raises ValueError for dates of another calendar.
    """
    values = np.asarray(times, np.float64)
    if not _converts(about, to):
        return values
    (e, d), (e_to, d_to) = _epoch(about), _epoch(to)
    return np.asarray(values + (e_to - e) if d == d_to else (values - e) * d_to / d + e_to)


def _stretched(lengths: float | NDArray[Any], about: About, to: About) -> NDArray[np.float64]:
    """Lengths of time in the unit of `about`, in that of `to`."""
    values = np.asarray(lengths, np.float64)
    return np.asarray(values * _epoch(to)[1] / _epoch(about)[1]) if _converts(about, to) else values


def _lengths(values: Any, about: About) -> NDArray[np.float64]:
    """timedelta64 as numbers in the unit of `about`. Raises ValueError where it has none."""
    unit = about.get("units", "1").partition(SINCE)[0]
    if unit not in SECONDS:
        raise ValueError(f"the leads are lengths of time but the unit of the times is {unit!r}; give leads as numbers in that unit")
    return np.asarray(values / np.timedelta64(int(SECONDS[unit]), "s"), np.float64)


def _dating(like: xr.Dataset) -> dict[str, str]:
    """Units and calendar of another Dataset's times, where they are dates."""
    about = time_attrs_of(like)
    return about if SINCE in about.get("units", "") else {}


def _converts(about: About, to: About) -> bool:
    """Whether both count from dates, and differently. Raises ValueError where the calendars differ."""
    units = [a.get("units", "1") for a in (about, to)]
    if not all(SINCE in u for u in units):
        return False
    one, other = (a.get("calendar", "standard").lower() for a in (about, to))
    if SAME.get(one, one) != SAME.get(other, other):
        raise ValueError(
            f"times {units[0]!r} in the calendar {one!r} cannot be counted as {units[1]!r} in {other!r}: the same date is another day; "
            "bring the data to one calendar first, as with xarray's convert_calendar"
        )
    return units[0] != units[1]


def _epoch(about: About) -> tuple[float, float]:
    """The number of 2000-01-01 and of a day, in these units."""
    calendar = about.get("calendar", "standard")
    days = decode_cf_datetime(np.array([0.0, 1.0]), "days since 2000-01-01", calendar)
    numbers, _, _ = encode_cf_datetime(days, about["units"], calendar, np.dtype(np.float64))
    return float(numbers[0]), float(numbers[1] - numbers[0])
