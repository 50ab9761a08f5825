"""The clock of a CF file: numbers, their units ("hours since 1996-01-05") and their calendar, none of which is changed.

Calendars with other months or years than ours (noleap, 360_day, ...) stay what they are: numbers are compared with dates in the file's
own calendar. Files of one series that count from days of their own (one file a year) are brought to the first one's origin, exactly.
Where frames are missing from a regular clock the series ends and another begins: a step is the same everywhere in a run.

Source: CF conventions, section 4.4, https://cfconventions.org/cf-conventions/cf-conventions.html#time-coordinate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.dates import cftime
from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.interchange import SINCE

About = dict[str, str]
"""CF attributes of times: units, and a calendar where these count from a date."""
HOUR = 3600 * 10**9
WHOLE = 1e-3  # of a step, that a frame may be late
VARIES = 0.1  # of the step, that frames "as they come" may lie apart: months have 28 to 31 days


def clock(time: xr.DataArray, given: Given, path: Path) -> tuple[NDArray[np.float64], About]:
    """Numbers, and what they mean. Raises ValueError for times that do not rise, and where neither the file nor `given` has units."""
    place = f"{path}: {time.name}"
    if np.issubdtype(time.dtype, np.datetime64):
        ns = time.values.astype("datetime64[ns]").astype(np.int64)
        unit, length = ("hours", HOUR) if (ns % HOUR == 0).all() else ("seconds", 10**9)
        return checks.rising(ns / length, place), {"units": f"{unit}{SINCE}1970-01-01", "calendar": "standard"}
    checks.numbers(time.dtype, place)
    units = given.unit("time", path, str(time.attrs["units"]) if "units" in time.attrs else None)
    about = {"units": units}
    if SINCE in units:
        about["calendar"] = str(time.attrs.get("calendar", "standard"))
        ends = checks.finite(time.values[[0, -1]], place) if time.size else np.zeros(1)
        try:
            cftime().num2date(ends, units, about["calendar"])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{place}: units {units!r} in calendar {about['calendar']!r} are no dates: {error}") from error
    return checks.rising(time.values, place), about


def moved(numbers: NDArray[Any], source: Mapping[str, str], target: Mapping[str, str], place: str) -> NDArray[np.float64]:
    """The same instants counted as `target` counts. Raises ValueError where the two are not dates of one calendar."""
    if dict(source) == dict(target):
        return np.asarray(numbers, np.float64)
    if SINCE not in source["units"] or SINCE not in target["units"] or source.get("calendar") != target.get("calendar"):
        raise ValueError(f"{place}: one file counts time as {dict(source)} and another as {dict(target)}; convert them to one calendar")
    dates = cftime().num2date(numbers, source["units"], source["calendar"])
    return np.asarray(cftime().date2num(dates, target["units"], target["calendar"]), np.float64)


def within(times: NDArray[np.float64], about: Mapping[str, str], limits: Sequence[Any], place: str) -> slice:
    """The frames from one limit to the other, both included: dates such as 1996-01-05 or 1996-01-05T06:00, or numbers.

    A last date without an hour is that whole day. Raises ValueError for limits that are neither, or that hold no frame.
    """
    if len(limits) != 2:
        raise ValueError(
            f"{place}: options.time is {list(limits)!r} but a first and a last time are needed, such as [1996-01-05, 1996-01-20]"
        )
    first, last = (_number(v, about, place, end=n == 1) for n, v in enumerate(limits))
    inside = np.flatnonzero((times >= first) & (times <= last))
    if not len(inside):
        raise ValueError(
            f"{place}: no frame lies from {limits[0]} to {limits[1]}; they lie from {dated(times[0], about)} to {dated(times[-1], about)}"
        )
    return slice(int(inside[0]), int(inside[-1]) + 1)


def runs(times: NDArray[np.float64], given: Given, place: str) -> tuple[list[slice], float]:
    """Stretches without a missing frame, and the step: as given, else the shortest.

    Raises ValueError for steps that are no multiples of it; those that vary by at most a tenth of a given dt are taken as they come.
    """
    if len(times) < 2:
        return [slice(0, len(times))], float(given.need(given.dt, "dt", Path(place), "there is one frame, and a step needs two"))
    steps = np.diff(times)
    h = float(given.dt if given.dt is not None else steps.min())
    ratio = steps / h
    off = np.abs(ratio - ratio.round()) > WHOLE * np.maximum(ratio.round(), 1)
    if not off.any() and ratio.round().min() >= 1:
        ends = [0, *(np.flatnonzero(ratio.round() > 1) + 1).tolist(), len(times)]
        return [slice(a, b) for a, b in pairwise(ends)], h
    if given.dt is not None and np.abs(ratio - 1).max() <= VARIES:
        return [slice(0, len(times))], h
    n = int(np.argmax(off | (ratio < 1)))
    raise ValueError(
        f"{place} is uneven: frame {n} is followed after {steps[n]:g}, others after {steps.min():g}. Where frames of about one length are "
        f"to be taken as they come (months), write `dt: {np.median(steps):g}`; else resample them"
    )


def dated(number: float, about: Mapping[str, str]) -> str:
    """A time for people."""
    if SINCE not in about["units"]:
        return f"{number:g}"
    return str(cftime().num2date(float(number), about["units"], about["calendar"]).isoformat())


def _number(value: Any, about: Mapping[str, str], place: str, *, end: bool) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip().replace(" ", "T")
    day, _, hour = text.partition("T")
    try:
        numbers = [int(v) for v in day.split("-")] + [int(v) for v in hour.split(":") if v]
        if len(day.split("-")) != 3 or SINCE not in about["units"]:
            raise ValueError("a date has a year, a month and a day" if SINCE in about["units"] else "these times are no dates")
        date = cftime().datetime(*numbers, calendar=about["calendar"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: options.time has {value!r}, which is no time of this file ({error}); write 1996-01-05T06:00") from error
    found = float(cftime().date2num(date, about["units"], about["calendar"]))
    if end and not hour:
        tomorrow = cftime().date2num(date + _DAY, about["units"], about["calendar"])
        return float(np.nextafter(tomorrow, -np.inf))
    return found


_DAY = np.timedelta64(1, "D").astype(object)
