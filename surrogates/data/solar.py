"""The sun above each point of the Earth: incident radiation at the top of the atmosphere, from the elements of the Earth's orbit.

    M(n)         mean anomaly; E - e sin E = M; true anomaly nu, tan(nu/2) = sqrt((1+e)/(1-e)) tan(E/2); r = 1 - e cos E astronomical units
    lambda       = nu + perihelion: the sun's longitude;   sin(declination) = sin(obliquity) sin(lambda)
    H            = 2 pi (fraction of the day) - pi + longitude + (equation of time): hour angle, 0 at local noon
    cos(zenith)  = sin(phi) sin(delta) + cos(phi) cos(delta) cos(H)
    S            = S0/r^2 max(cos(zenith), 0)

Over an interval of time the mean of S is exact for the declination and distance at its middle. With a = sin(phi) sin(delta), b = cos(phi)
cos(delta) and sunset at cos(H0) = -a/b, the integral of max(a + b cos h, 0) from -pi to H is a (c + H0) + b (sin c + sin H0), where c is
H cut to [-H0, H0].

Over a day that is the mean (S0/(pi r^2)) (H0 sin phi sin delta + cos phi cos delta sin H0); over the sphere, at any moment, S0/(4 r^2).

Elements: J. Meeus, Astronomical Algorithms (1998), chapters 22 and 25 (good to .01 degrees between 1900 and 2100). S0 = 1361 W m-2: G. Kopp
and J. Lean, A new, lower value of total solar irradiance, 2011, https://doi.org/10.1029/2010GL045777.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surrogates.data.dates import cftime
from surrogates.interchange import SINCE

SOLAR_CONSTANT = 1361.0  # W m-2 at one astronomical unit
CENTURY, YEAR = 36525.0, 365.2425  # days
EPOCH = 2451545.0  # Julian date of 2000-01-01 12:00
DAYS = {"second": 1 / 86400, "minute": 1 / 1440, "hour": 1 / 24, "day": 1.0}
"""The length of a unit of time."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Instants: days since 2000-01-01 12:00 (which fix the place in the year), and the parts of the day and of the year that are over."""

    days: Numbers
    of_day: Numbers
    of_year: Numbers


@dataclass(frozen=True)
class Sun:
    """Declination and equation of time in radians, distance in astronomical units."""

    declination: Numbers
    equation_of_time: Numbers
    distance: Numbers


def moments(times: ArrayLike, about: Mapping[str, str]) -> Moments:
    """Of times with CF units and calendar. Calendars whose years have other lengths (noleap, 360_day) keep their seasons: what counts is
    the part of the year that is over.

    Raises ValueError for times that are no dates.
    """
    if SINCE not in about.get("units", ""):
        raise ValueError(f"times in units {about.get('units')!r} are no dates, and the sun needs them: 'hours since 1996-01-01'")
    calendar = about.get("calendar", "standard")
    dates = np.atleast_1d(cftime().num2date(np.asarray(times, np.float64), about["units"], calendar))
    seconds = np.array([d.hour * 3600 + d.minute * 60 + d.second + d.microsecond * 1e-6 for d in dates])
    of_day = seconds / 86400
    lengths = np.array([(_first(d.year + 1, calendar) - _first(d.year, calendar)).days for d in dates])
    of_year = (np.array([d.dayofyr for d in dates]) - 1 + of_day) / lengths
    if calendar in ("standard", "gregorian", "proleptic_gregorian", "julian"):
        days = np.array([d.toordinal() for d in dates]) + of_day - EPOCH
        days -= 0.5  # ordinals of Julian days begin at noon
        return Moments(days, of_day, of_year)
    return Moments((np.array([d.year for d in dates]) - 2000 + of_year) * YEAR - 0.5, of_day, of_year)


def _first(year: int, calendar: str) -> Any:
    return cftime().datetime(year, 1, 1, calendar=calendar)


def sun(days: ArrayLike) -> Sun:
    """Of days since 2000-01-01 12:00."""
    t = np.asarray(days, np.float64) / CENTURY
    mean_longitude = np.deg2rad(280.46646 + (36000.76983 + 0.0003032 * t) * t)
    anomaly = np.deg2rad(357.52911 + (35999.05029 - 0.0001537 * t) * t)
    e = 0.016708634 - (0.000042037 + 0.0000001267 * t) * t
    obliquity = np.deg2rad(23.4392911 - (0.0130042 + (1.64e-7 - 5.04e-7 * t) * t) * t)
    eccentric = anomaly + e * np.sin(anomaly)
    for _ in range(4):  # Newton: e is small, so two would do
        eccentric = eccentric - (eccentric - e * np.sin(eccentric) - anomaly) / (1 - e * np.cos(eccentric))
    true = 2 * np.arctan2(np.sqrt(1 + e) * np.sin(eccentric / 2), np.sqrt(1 - e) * np.cos(eccentric / 2))
    longitude = true + mean_longitude - anomaly
    ascension = np.arctan2(np.cos(obliquity) * np.sin(longitude), np.cos(longitude))
    late = mean_longitude - np.deg2rad(0.0057183) - ascension
    return Sun(np.arcsin(np.sin(obliquity) * np.sin(longitude)), (late + np.pi) % (2 * np.pi) - np.pi, 1 - e * np.cos(eccentric))


def radiation(times: ArrayLike, about: Mapping[str, str], lat: ArrayLike, lon: ArrayLike, over: float = 0.0) -> Numbers:
    """Incident radiation (time, lat, lon) in W m-2: at the times, or its mean over the interval of length `over` that ends there.

    Latitudes and longitudes are in degrees, `over` in the unit of the times. Raises ValueError for times that are no dates.
    """
    length = over * _unit(about) if over else 0.0
    when = moments(times, about)
    there = sun(when.days - length / 2)
    noon = 2 * np.pi * when.of_day - np.pi + there.equation_of_time
    hour = noon[:, None, None] + np.deg2rad(np.asarray(lon, np.float64))[None, None]
    phi, delta = np.deg2rad(np.asarray(lat, np.float64))[None, :, None], there.declination[:, None, None]
    a, b = np.sin(phi) * np.sin(delta), np.cos(phi) * np.cos(delta)
    flux = SOLAR_CONSTANT / there.distance[:, None, None] ** 2
    if not length:
        return np.asarray(flux * np.maximum(a + b * np.cos(hour), 0.0))
    turn = 2 * np.pi * length
    return np.asarray(flux * (_daylight(hour, a, b) - _daylight(hour - turn, a, b)) / turn)


def _daylight(hour: Numbers, a: Numbers, b: Numbers) -> Numbers:
    """The integral of max(a + b cos h, 0) from -pi to `hour`, through any number of days."""
    sunset = np.arccos(np.clip(-a / np.maximum(b, 1e-12), -1.0, 1.0))
    days = np.floor((hour + np.pi) / (2 * np.pi))
    c = np.clip(hour - 2 * np.pi * days, -sunset, sunset)
    return np.asarray(a * (c + sunset) + b * (np.sin(c) + np.sin(sunset)) + days * 2 * (a * sunset + b * np.sin(sunset)))


def _unit(about: Mapping[str, str]) -> float:
    """Days in the unit of times."""
    name = about.get("units", "").partition(SINCE)[0].strip().lower().rstrip("s")
    short = {"h": "hour", "hr": "hour", "d": "day", "min": "minute", "sec": "second", "": "second"}
    name = short.get(name, name)
    if name not in DAYS:
        raise ValueError(f"times in {about.get('units')!r} have no known length; count hours, days, minutes or seconds since a date")
    return DAYS[name]
