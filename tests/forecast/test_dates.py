"""Dates: a forecast's are those of its initial state and the leads after it, in every sink, calendar and continuation."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import U, Walk

from surrogates.constraints import ConservedIntegral
from surrogates.constraints.report import defects
from surrogates.data import Windows
from surrogates.data.series import Series
from surrogates.dates import dated, numbered
from surrogates.domains import Box
from surrogates.forecast import Given, Keep, continue_from, open_forecast, simulate, time_average
from surrogates.forecast.nesting import Nested
from surrogates.forecast.surroundings import PerturbedParameters
from surrogates.forecast.trust import Trust
from surrogates.interchange import time_attrs_of, times_of, to_xarray
from surrogates.metrics import score

BOX = Box.periodic((8,), (1.0,))
HOURLY = {"units": "hours since 1996-02-27", "calendar": "standard"}
CALENDARS = ("standard", "noleap", "360_day")
SINKS = [None, "storm.zarr", "storm.h5"]


class Forced(Walk):
    """u <- sin(u) + the forcing when the frame is due."""

    def __call__(self, state, conditions, noise=None):
        frame = state["u"].sin() + conditions.forcing(conditions.time + conditions.dt).to(state["u"])
        return frame[:, None], {"u": frame, "step": state["step"] + 1}


def storm(calendar="standard", units="hours since 1996-02-27", frames=6, dt=6.0, scale=1.0):
    """Frames every six hours, one of them missing from the list and one without values."""
    u = torch.randn(2, frames, 1, 8, generator=torch.Generator().manual_seed(1))
    u[:, 1] = torch.nan
    times = [dt * n for n in range(frames + 1) if n != 3]
    about = {"units": units, "calendar": calendar}
    return to_xarray(u, U, BOX, time=times, trajectories=[3, 5], attrs={"dt": dt, "gaps": "NaN"}, about_time=about)


def known(about, dates=False):
    """A forcing by date, hourly over ten days from 1996-02-25, counted as `about` says."""
    hours = np.arange(240.0)
    when = {"units": "hours since 1996-02-25", "calendar": about["calendar"]}
    made = xr.Dataset({"f": ("time", np.sin(hours))}, {"time": ("time", hours, when)}, {"dt": 1.0})
    made = numbered(made, xr.Dataset(coords={"time": ("time", [0.0], about)}))
    return dated(made) if dates else made


@pytest.mark.parametrize(("calendar", "out"), [("standard", None), *((c, o) for c in CALENDARS for o in SINKS[1:])])
def test_the_dates_of_a_forecast_are_its_start_and_the_leads_after_it(tmp_path, calendar, out):
    data = storm(calendar)
    start = data.isel(time=slice(3, 4))
    made = simulate(Walk(), start, 8, out=out and tmp_path / out, chunk=3)
    assert time_attrs_of(made) == {"units": "hours since 1996-02-27", "calendar": calendar}
    assert made["time"].values.tolist() == [24 + 6.0 * n for n in range(1, 9)] and made["lead_time"].attrs["units"] == "hours"
    first = dated(data)["time"].values[3]
    leads = [np.timedelta64(6 * n, "h") if calendar == "standard" else timedelta(hours=6 * n) for n in range(1, 9)]
    assert (dated(made)["time"].values == np.array([first + lead for lead in leads])).all()
    if out == "storm.zarr":
        assert xr.open_zarr(tmp_path / out, consolidated=False)["time"].equals(dated(made)["time"])
    if out == "storm.h5":
        with xr.open_dataset(tmp_path / out, engine="h5netcdf") as found:
            assert found["time"].equals(dated(made)["time"])


def test_the_last_of_february_is_where_the_calendar_has_it():
    dates = {c: dated(simulate(Walk(), storm(c).isel(time=[0]), 12, keep=Keep(every=12)))["time"].values[0] for c in CALENDARS}
    assert str(dates["standard"])[:10] == "1996-03-01" and str(dates["noleap"])[:10] == "1996-03-02"
    assert str(dates["360_day"])[:10] == "1996-02-30"


@pytest.mark.parametrize(("calendar", "out"), list(zip(CALENDARS, SINKS, strict=True)))
def test_dates_and_numbers_begin_the_same_forecast(tmp_path, calendar, out):
    start = storm(calendar).isel(time=[3])
    one = simulate(Walk(), start, 4, members=2)
    other = simulate(Walk(), xr.decode_cf(start), 4, members=2, out=out and tmp_path / out)
    xr.testing.assert_identical(one.load(), other.load())


@pytest.mark.parametrize("out", SINKS[1:])
def test_a_continuation_goes_on_in_dates(tmp_path, out):
    start = storm("noleap").isel(time=[3])
    whole = simulate(Walk(), start, 8)
    simulate(Walk(), start, 5, out=tmp_path / f"first-{out}")
    last = continue_from(tmp_path / f"first-{out}")
    for initial in (last, dated(last)):
        rest = simulate(Walk(), initial, 3)
        xr.testing.assert_identical(rest[["u", "time", "lead_time"]], whole[["u"]].isel(time=slice(5, None))[["u", "time", "lead_time"]])
    assert rest.attrs["initial_time"] == 24


def test_a_run_that_is_resumed_keeps_its_dates(tmp_path):
    start, out = storm().isel(time=[3]), tmp_path / "storm.zarr"
    for initial in (start, xr.decode_cf(start)):
        made = simulate(Walk(), initial, 5, out=out)
    assert time_attrs_of(made) == HOURLY


def test_a_forecast_without_units_opens_and_goes_on(tmp_path):
    plain = storm().isel(time=[3])
    plain["time"].attrs = {"units": "1"}
    made = simulate(Walk(), plain, 3, out=tmp_path / "old.zarr")
    assert made["time"].attrs["units"] == made["lead_time"].attrs["units"] == "1" and dated(made) is made
    assert simulate(Walk(), continue_from(tmp_path / "old.zarr"), 1)["time"].values.tolist() == [48.0]
    xr.testing.assert_identical(open_forecast(tmp_path / "old.zarr").load(), xr.open_zarr(tmp_path / "old.zarr", consolidated=False).load())


@pytest.mark.parametrize(
    ("calendar", "units", "dates"),
    [
        ("standard", "hours since 1996-02-27", True),
        ("standard", "seconds since 1990-01-01", False),
        ("noleap", "seconds since 1990-01-01", True),
        ("360_day", "seconds since 1990-01-01", False),
        ("standard", "days since 1996-03-01 12:00", True),
    ],
)
def test_a_forcing_known_by_date_is_the_forcing_known_by_number(calendar, units, dates):
    start = storm(calendar).isel(time=[3])
    about = time_attrs_of(start)
    plain = known(about).assign_coords(time=("time", known(about)["time"].values))  # numbers, of the forecast's own count
    one = simulate(Forced(), start, 8, surroundings=Given(forcing=Series(plain, ["f"], BOX.shape)))
    series = Series(known({**about, "units": units}, dates), ["f"], BOX.shape)
    assert torch.allclose(simulate_u(start, series), torch.from_numpy(one["u"].values), rtol=0, atol=1e-6)
    if "days" not in units:
        assert torch.equal(simulate_u(start, series), torch.from_numpy(one["u"].values))


def simulate_u(start, series):
    return torch.from_numpy(simulate(Forced(), start, 8, surroundings=Given(forcing=series))["u"].values)


def test_a_parameter_known_by_date_is_told_from_another(tmp_path):
    start = storm().isel(time=[3])
    for units in ("hours since 1996-02-25", "hours since 1996-02-24"):
        series = xr.Dataset({"f": ("time", np.arange(240.0))}, {"time": ("time", np.arange(240.0), {**HOURLY, "units": units})})
        given = Given(Series(series, ["f"], BOX.shape))
        if "25" in units:
            simulate(Forced(), start, 2, surroundings=given, out=tmp_path / "run.zarr")
        else:
            with pytest.raises(FileExistsError):
                simulate(Forced(), start, 2, surroundings=given, out=tmp_path / "run.zarr")


def test_a_series_of_another_calendar_or_of_dates_for_numbers_is_refused():
    start = storm().isel(time=[3])
    with pytest.raises(ValueError, match="in the calendar 'noleap' cannot be counted as .* in 'standard'"):
        simulate(Forced(), start, 2, surroundings=Given(Series(known({**HOURLY, "calendar": "noleap"}), ["f"], BOX.shape)))
    start["time"].attrs = {}
    with pytest.raises(ValueError, match="known by date but the times of the forecast are plain numbers"):
        simulate(Forced(), start, 2, surroundings=Given(Series(known(HOURLY, dates=True), ["f"], BOX.shape)))


def test_dates_that_lost_their_units_count_in_the_unit_of_dt():
    data = xr.decode_cf(storm())
    data["time"].encoding, data["lead_time"].attrs = {}, {}
    assert time_attrs_of(data) == {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian"}
    made = simulate(Walk(), data.isel(time=[4, 5]), 2)
    assert dated(made)["time"].values.tolist() == np.array(["1996-02-28T18", "1996-02-29T00"], "M8[ns]").astype(int).tolist()
    with pytest.raises(ValueError, match="nothing tells in which unit dt = 6 is"):
        simulate(Walk(), data.isel(time=[4]), 2)


@pytest.mark.parametrize("decoded", [False, True])
def test_scores_and_trust_meet_by_date(decoded):
    truth = storm(frames=9)
    truth = truth.assign(u=truth["u"].fillna(0.0))
    start = truth.isel(time=[3])
    plain, made = score(simulate(Walk(), start, 4), truth), None
    in_seconds = numbered(start, xr.Dataset(coords={"time": ("time", [0.0], {**HOURLY, "units": "seconds since 1996-01-01"})}))
    assert in_seconds.attrs["dt"] == 6 * 3600
    made = simulate(Walk(), in_seconds, 4)
    made = xr.decode_cf(made) if decoded else made
    truth = xr.decode_cf(truth) if decoded else truth
    xr.testing.assert_identical(score(made, truth), plain)
    assert plain["lead_time"].attrs["units"] == "hours" and time_attrs_of(plain) == HOURLY
    trust = Trust.fit(made, truth, (1.0,), share=100.0)
    assert trust.leads == (6.0, 12.0, 18.0, 24.0)


def test_the_correlation_time_of_dates_is_in_their_unit():
    made = simulate(Walk(), storm().isel(time=[3]), 30, members=2)
    one, other = time_average(made["u"]), time_average(dated(made)["u"])
    xr.testing.assert_identical(one, other)
    assert one["autocorrelation_time"].attrs["units"] == "hours"


def test_leads_as_lengths_of_time_are_numbers_again():
    made = simulate(Walk(), storm().isel(time=[3]), 3)
    lengths = dated(made).assign_coords(lead_time=("time", made["lead_time"].values.astype("m8[h]").astype("m8[ns]")))
    assert numbered(lengths)["lead_time"].values.tolist() == made["lead_time"].values.tolist()
    assert times_of(lengths).tolist() == made["time"].values.tolist()


def test_windows_of_dates_are_those_of_numbers():
    one, other = (Windows(d, 1, 1).batch(range(3)) for d in (storm("noleap"), xr.decode_cf(storm("noleap"))))
    assert torch.equal(one.past, other.past) and torch.equal(one.conditions.time, other.conditions.time)
    assert one.conditions.time.tolist() == [24.0, 30.0, 24.0]  # not over the frame without values, nor the one that is not there


def test_what_is_left_of_a_law_is_the_same_by_date():
    start = storm().isel(time=[3])
    made, law = simulate(Walk(), start, 3), ConservedIntegral(U, "u")
    plain = defects(made, law, start)
    for forecast, initial in ((xr.decode_cf(made), start), (made, xr.decode_cf(start))):
        xr.testing.assert_equal(defects(forecast, law, initial), plain)


def test_an_outer_forecast_is_nested_in_by_date():
    outer = simulate(Walk(), storm().isel(time=[3], trajectory=[0]), 3)
    nested = Nested(outer, U, Box.periodic((16,), (1.0,)))
    given = PerturbedParameters({"growth": 0.0}, inside=Given(boundary=nested)).counted(
        {"units": "minutes since 1996-02-28", "calendar": "gregorian"}
    )
    minutes, hours = (
        f.of([3])(torch.tensor([t], dtype=torch.float64)) for f, t in ((given.inside.of_time["boundary"], 540.0), (nested, 33.0))
    )
    assert torch.equal(minutes, hours)
