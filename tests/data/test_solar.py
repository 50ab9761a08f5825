"""The sun: a published position, closed forms of the mean over a day and over the globe, seasons in every calendar, lazy blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surrogates.data import forcings
from surrogates.data.forcings import COMPUTED, SOLAR, computed
from surrogates.data.solar import EPOCH, SOLAR_CONSTANT, moments, radiation, sun

HOURS = {"units": "hours since 2020-03-20", "calendar": "standard"}
LAT = np.linspace(-89.5, 89.5, 180)
LON = np.arange(0.0, 360.0, 5.0)


def test_the_position_that_meeus_works_out() -> None:
    """Example 25.a: 1992 October 13, 0h: declination -7.78507, distance .99766; 28.b: the equation of time is 13 min 42.7 s."""
    when = moments([0.0], {"units": "hours since 1992-10-13", "calendar": "standard"})
    there = sun(when.days)
    assert when.days[0] + EPOCH == 2448908.5
    assert np.rad2deg(there.declination[0]) == pytest.approx(-7.78507, abs=1e-3)
    assert there.distance[0] == pytest.approx(0.99766, abs=1e-5)
    assert np.rad2deg(there.equation_of_time[0]) * 4 == pytest.approx(13 + 42.7 / 60, abs=0.05)


@pytest.mark.parametrize(
    ("since", "expected"),
    [("2020-03-20 03:50", 0.0), ("2020-06-20 21:44", 23.437), ("2020-09-22 13:31", 0.0), ("1999-12-22 07:44", -23.438)],
)
def test_the_seasons_begin_when_they_do(since: str, expected: float) -> None:
    there = sun(moments([0.0], {"units": f"minutes since {since}"}).days)
    assert np.rad2deg(there.declination[0]) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("day", ["2020-03-20", "2020-06-21", "2020-12-21"])
def test_the_mean_over_a_day_is_the_closed_form(day: str) -> None:
    about = {"units": f"hours since {day}"}
    there = sun(moments([12.0], about).days)
    delta, phi = float(there.declination[0]), np.deg2rad(LAT)
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(delta), -1, 1))
    flux = SOLAR_CONSTANT / float(there.distance[0]) ** 2
    exact = flux / math.pi * (sunset * np.sin(phi) * np.sin(delta) + np.cos(phi) * np.cos(delta) * np.sin(sunset))
    found = radiation([24.0], about, LAT, [0.0, 77.0], over=24.0)[0]
    np.testing.assert_allclose(found, np.stack([exact, exact], 1), atol=1e-9)
    if day == "2020-03-20":
        np.testing.assert_allclose(found[:, 0], flux / math.pi * np.cos(phi), atol=2.0)
    else:
        dark = np.abs(LAT + math.copysign(90, delta)) < 20
        assert (found[dark] == 0).all() and found.max() == pytest.approx(found[0 if delta < 0 else -1].max())


def test_the_mean_over_the_globe_is_a_quarter_at_any_moment() -> None:
    lat, lon = np.deg2rad(LAT), LON
    weight = np.cos(lat) / np.cos(lat).sum() / len(lon)
    times = np.array([0.0, 7.5, 4000.0, 6000.25])
    flux = SOLAR_CONSTANT / 4 / sun(moments(times, HOURS).days).distance ** 2
    np.testing.assert_allclose((radiation(times, HOURS, LAT, lon) * weight[:, None]).sum((1, 2)), flux, rtol=5e-4)
    np.testing.assert_allclose((radiation(times, HOURS, LAT, lon, over=6.0) * weight[:, None]).sum((1, 2)), flux, rtol=5e-4)


def test_an_interval_is_the_mean_of_its_moments_and_intervals_add() -> None:
    """Also through midnight, and over more than a day; the declination moves by a tenth of a degree in six hours."""
    for start, length in ((3.0, 6.0), (20.0, 9.0), (5.0, 60.0)):
        fine = start + (np.arange(4000) + 0.5) * length / 4000
        whole = radiation([start + length], HOURS, [-70.0, 10.0, 65.0], [0.0, 200.0], over=length)[0]
        np.testing.assert_allclose(radiation(fine, HOURS, [-70.0, 10.0, 65.0], [0.0, 200.0]).mean(0), whole, atol=0.5)
    halves = radiation([3.0, 6.0], HOURS, LAT, LON, over=3.0).mean(0)
    np.testing.assert_allclose(halves, radiation([6.0], HOURS, LAT, LON, over=6.0)[0], atol=0.6)


def test_noon_is_in_the_south_and_later_in_the_west() -> None:
    day = radiation(np.arange(24.0), HOURS, [45.0], [0.0, -90.0])[:, 0]
    assert int(day[:, 0].argmax()) == 12 and int(day[:, 1].argmax()) == 18 and day.min() == 0


def test_the_sun_is_early_in_november_and_late_in_february() -> None:
    """At Greenwich noon is 16 min 25 s before the clock's on 3 November and 14 min 12 s behind it on 11 February."""
    for day, minutes in (("2020-11-03", -16.4), ("2020-02-11", 14.2)):
        flux = radiation(np.arange(600.0, 840.0, 0.1), {"units": f"minutes since {day}"}, [51.5], [0.0])[:, 0, 0]
        assert 600 + 0.1 * int(flux.argmax()) == pytest.approx(720 + minutes, abs=0.5)  # a little more: the declination moves on


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day", "proleptic_gregorian", "julian"])
def test_summer_is_in_june_in_every_calendar(calendar: str) -> None:
    about = {"units": "days since 2050-06-21 12:00", "calendar": calendar}
    there = sun(moments([0.0], about).days)
    limit = 5.0 if calendar == "julian" else 0.3
    assert np.rad2deg(there.declination[0]) == pytest.approx(23.4, abs=limit)
    assert moments([0.0], about).of_day[0] == 0.5 and 0.46 < moments([0.0], about).of_year[0] < 0.48


def test_forcings_are_lazy_and_the_same_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.arange(0.0, 60.0, 6.0)
    whole = computed(COMPUTED, times, HOURS, 6.0, LAT[::20], LON[::9])
    monkeypatch.setattr(forcings, "BLOCK", 4 * 9 * 8 * 3)
    cut = computed(COMPUTED, times, HOURS, 6.0, LAT[::20], LON[::9])
    assert cut[SOLAR].chunks[0] == (3, 3, 3, 1) and whole[SOLAR].chunks[0] == (10,)
    for name, v in whole.items():
        assert v.dims == ("time", "lat", "lon") and v.dtype == np.float32
        np.testing.assert_array_equal(v.values, cut[name].values)
    sin, cos = whole["day_progress_sin"].values, whole["day_progress_cos"].values
    np.testing.assert_allclose(sin**2 + cos**2, 1, rtol=1e-6)
    np.testing.assert_allclose(cos[2, 0, 0], -1, atol=1e-6)  # noon at Greenwich
    assert (
        whole[SOLAR].attrs["units"] == "W m-2"
        and (whole["year_progress_cos"].values[0] == whole["year_progress_cos"].values[0, 0, 0]).all()
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: moments([0.0], {"units": "hours"}), "are no dates"),
        (lambda: radiation([0.0], {"units": "months since 2000-01-01", "calendar": "360_day"}, LAT, LON, over=1.0), "no known length"),
        (lambda: computed(["tides"], np.zeros(1), HOURS, 6.0, LAT, LON), "cannot be computed"),
    ],
)
def test_bad_clocks_are_refused(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
