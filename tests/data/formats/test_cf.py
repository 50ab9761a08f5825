"""Files by the CF conventions, written in the test with the layouts that people have: everything that can be said in two ways, in both."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data.cuts import Split, divide, whole
from surrogates.data.formats import Given, cf_open, open_parts
from surrogates.data.formats.cf_axes import grid_of, role_of
from surrogates.data.formats.cf_names import identifier, vectors
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.interchange import conditions_of, declared, domain_of, fields_of, from_xarray, static_of

ENGINES = {
    "netcdf3": {"format": "NETCDF3_CLASSIC"},
    "netcdf4": {"engine": "h5netcdf"},
    "zarr2": {"zarr_format": 2},
    "zarr3": {"zarr_format": 3},
}
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(6, 2, 8, 16)).astype(np.float32)  # time, level, latitude from the south, longitude from 0


def globe(**changes: Any) -> xr.Dataset:
    """Temperature and wind on two levels, orography; latitudes from the south, longitudes from 0."""
    dims = ("time", "plev", "latitude", "longitude")
    data = {
        "ta": (dims, 280 + VALUES, {"units": "K", "standard_name": "air_temperature"}),
        "ua": (dims, VALUES + 1, {"units": "m s-1", "standard_name": "eastward_wind"}),
        "va": (dims, VALUES - 1, {"units": "m s-1", "standard_name": "northward_wind"}),
        "orog": (dims[2:], VALUES[0, 0] * 100, {"units": "m"}),
        "lat_bnds": (("latitude", "bnds"), np.zeros((8, 2)), {}),
    }
    coords = {
        "time": ("time", np.arange(6) * 0.25, {"units": "days since 2001-02-27", "calendar": "noleap"}),
        "plev": ("plev", [85000.0, 50000.0], {"units": "Pa", "positive": "down"}),
        "latitude": ("latitude", np.linspace(-78.75, 78.75, 8), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(16) * 22.5, {"units": "degrees_east"}),
    }
    return xr.Dataset({**data, **changes}, coords)


def write(data: xr.Dataset, path: Path, kind: str, **options: Any) -> Path:
    if kind.startswith("zarr"):
        data.to_zarr(path := path.with_suffix(".zarr"), **ENGINES[kind], consolidated=kind == "zarr2", **options)
    else:
        data.to_netcdf(path := path.with_suffix(".nc"), **ENGINES[kind], **options)
    return path


def only(path: Path, **given: Any) -> xr.Dataset:
    (part,) = open_parts(path, "cf", Given(**given))["all"]
    return part


@pytest.mark.parametrize("kind", ENGINES)
def test_what_is_written_is_read_lazily_with_its_meaning(kind: str, tmp_path: Path) -> None:
    part = only(write(globe(), tmp_path / "x", kind))
    assert domain_of(part) == Sphere((8, 16), "cells", False, 0.0, 6.37122e6, "m")
    assert fields_of(part).names == ("ta", "wind") and fields_of(part)["wind"].components == ("north", "east")
    assert all(v.chunks is not None for v in part.data_vars.values())
    assert part["ta"].dims == ("trajectory", "time", "level", "lat", "lon") and part["level"].attrs["positive"] == "down"
    u = from_xarray(part)
    assert u.shape == (1, 6, 6, 8, 16) and fields_of(part).channels[:2] == ("ta_85000", "ta_50000")
    torch.testing.assert_close(u[0, :, 2:4], torch.from_numpy(VALUES - 1), rtol=0, atol=0)
    torch.testing.assert_close(u[0, :, 4:], torch.from_numpy(VALUES + 1), rtol=0, atol=0)
    assert part["time"].attrs["units"] == "days since 2001-02-27" and part["time"].attrs["calendar"] == "noleap"
    assert part.attrs["dt"] == 0.25 and conditions_of(part).dt.item() == 0.25
    assert declared(part, "static").channels == ("orog",) and static_of(part).shape == (1, 1, 8, 16)


@pytest.mark.parametrize("turned", ["north first", "-180 to 180", "wrapped", "falling longitudes", "meridian twice", "other order of dims"])
def test_either_way_round_is_the_same_globe(turned: str, tmp_path: Path) -> None:
    data, straight = globe(), domain_of(only(write(globe(), tmp_path / "straight", "netcdf3")))
    if turned == "north first":
        data = data.isel(latitude=slice(None, None, -1))
    elif turned == "-180 to 180":
        data = data.roll(longitude=8, roll_coords=True)
        data = data.assign_coords(longitude=(data.longitude + 180) % 360 - 180)
    elif turned == "wrapped":
        data = data.roll(longitude=5, roll_coords=True)
    elif turned == "falling longitudes":
        data = data.isel(longitude=slice(None, None, -1))
    elif turned == "meridian twice":
        data = xr.concat([data, data.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude", data_vars="minimal")
    else:
        data = data.transpose("longitude", "latitude", "plev", "time", "bnds")
    data["longitude"].attrs["units"] = "degrees_east"
    part = only(write(data, tmp_path / "turned", "netcdf3"))
    found = domain_of(part)
    assert isinstance(found, Sphere) and found.grid == "cells" and found.shape == (8, 16)
    torch.testing.assert_close(
        found.integral(from_xarray(part)[:, 0]),
        straight.integral(torch.from_numpy(np.concatenate([280 + VALUES, VALUES - 1, VALUES + 1], 1))[:1]),
    )
    at = (
        part["ta"]
        .isel(trajectory=0, time=3, level=1)
        .sel(lat=33.75, lon=part.lon[int(abs(part.lon.values % 360 - 45.0).argmin())], method="nearest")
    )
    assert float(at) == pytest.approx(280 + VALUES[3, 1, 5, 2])


def test_grids_that_a_sphere_knows_and_those_it_does_not() -> None:
    lon = np.arange(0, 360, 10.0)
    for kind in ("poles", "cells", "legendre-gauss"):
        for north_first in (True, False):
            known = Sphere((19, 36), kind, north_first)
            lat = known.coordinate(0).numpy().astype(np.float32).round(2)
            found, _ = grid_of(lat, lon, "here")
            assert isinstance(found, Sphere) and (found.grid, found.north_first) == (kind, north_first)
    band, _ = grid_of(np.arange(-60, 61, 5.0), lon, "here")
    assert isinstance(band, Patch) and band.boundary == ("wall", "periodic") and (band.south, band.north) == (-62.5, 62.5)
    assert band.lengths[1] == 360 and band.area < Sphere((2, 2), radius=band.radius).area
    across, _ = grid_of(np.arange(30, 45, 1.5), np.array([170.0, 175, 180, -175, -170]), "here")
    assert isinstance(across, Patch) and (across.west, across.east) == (167.5, 192.5)


def test_a_calendar_stays_what_it_is_and_files_go_on_from_each_other(tmp_path: Path) -> None:
    """A file a year, each counted from its own first day; in noleap February has 28 days."""
    folder = tmp_path / "years"
    folder.mkdir()
    for name, since, hours in (("later", "days since 2000-03-01", 24), ("sooner", "hours since 2000-02-28", 1)):
        data = globe().isel(time=slice(0, 2))
        data = data.assign_coords(time=("time", np.array([0.0, 12.0]) / hours, {"units": since, "calendar": "noleap"}))
        write(data, folder / name, "netcdf3")
    part = only(folder)
    np.testing.assert_array_equal(part["time"].values, [-1.0, -0.5, 0.0, 0.5])  # counted as the first file by name does
    assert part["time"].attrs["calendar"] == "noleap" and part.attrs["dt"] == 0.5
    with pytest.raises(ValueError, match="convert them to one calendar"):
        other = globe().isel(time=[0]).assign_coords(time=("time", [9.0], {"units": "days since 2000-02-28", "calendar": "360_day"}))
        write(other, folder / "then", "netcdf3")
        only(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("units", "degC"), ("units", None), ("standard_name", "surface_temperature"), ("cell_methods", "time: max")]
)
def test_files_that_mean_different_things_are_not_joined(key: str, value: str | None, tmp_path: Path) -> None:
    """Kelvin beside degrees Celsius would be one part in kelvin."""
    for n, span in enumerate((slice(0, 3), slice(3, 6))):
        data = globe().isel(time=span)
        data["ta"].attrs["cell_methods"] = "time: mean"
        if n:
            data["ta"].attrs.pop(key)
            data["ta"].attrs.update({key: value} if value else {})
        write(data, tmp_path / f"part{n}", "netcdf3")
    with pytest.raises(ValueError, match=rf"part0.nc and part1.nc beside it differ in the {key} of 'ta'"):
        only(tmp_path)
    again = globe().isel(time=slice(3, 6))
    again["ua"].attrs["units"] = "m s**-1"
    write(again, tmp_path / "part1", "netcdf3")
    assert only(tmp_path).sizes["time"] == 6


def test_missing_frames_end_a_part_and_months_are_taken_as_they_come(tmp_path: Path) -> None:
    data = globe().isel(time=[0, 1, 2, 4, 5])
    parts = open_parts(write(data, tmp_path / "gap", "netcdf3"), "cf")["all"]
    assert [p.sizes["time"] for p in parts] == [3, 2] and float(parts[1]["time"][0]) == 1.0 and {p.attrs["dt"] for p in parts} == {0.25}
    blocks = divide(whole({"all": parts})["all"], Split(0.5, test=0.5, by="time"))
    assert [(c.start, c.stop) for c in blocks["train"]] == [(0, 3)] and [(c.start, c.stop) for c in blocks["test"]] == [(0, 2)]
    with pytest.raises(ValueError, match="stretches of one record"):
        divide(whole({"all": parts})["all"], Split(0.5, test=0.5))
    months = globe().assign_coords(time=("time", [0.0, 31, 59, 90, 120, 151], {"units": "days since 2001-01-16"}))
    path = write(months, tmp_path / "months", "netcdf3")
    with pytest.raises(ValueError, match=r"uneven.*write `dt: 31`"):
        only(path)
    part = only(path, dt=30.4)
    assert part.sizes["time"] == 6 and part.attrs["dt"] == 30.4 and float(part["time"][2]) == 59


@pytest.mark.parametrize("kind", ["netcdf3", "netcdf4", "zarr3"])
def test_packed_values_are_unpacked_and_missing_is_nan(kind: str, tmp_path: Path) -> None:
    """Land, where nothing ever is, is dry; a hole in the sea stays missing; what is out of the valid range is missing."""
    sea = np.round(VALUES[:, 0].astype(np.float64), 3)
    sea[:, 2:4, 5:9] = np.nan
    sea[3, 6, 6] = np.nan
    data = globe(sla=(("time", "latitude", "longitude"), sea, {"units": "m", "valid_max": 2500}))[["sla"]]
    encoding = {"sla": {"dtype": "int16", "scale_factor": 1e-3, "add_offset": 0.5, "_FillValue": -32767}}
    part = only(write(data, tmp_path / "packed", kind, encoding=encoding))
    domain = domain_of(part)
    assert isinstance(domain, Masked) and isinstance(domain.box, Sphere)
    wet = np.ones((8, 16), bool)
    wet[2:4, 5:9] = False
    np.testing.assert_array_equal(domain.wet.numpy(), wet)
    found = part["sla"].values[0]
    assert np.isnan(found[3, 6, 6]) and np.isnan(found[:, ~wet]).all()
    expected = np.where(sea > 3.0, np.nan, sea)
    np.testing.assert_allclose(found, expected, atol=6e-4)
    assert bool(from_xarray(part)[0, 3, 0, 6, 6].isnan()) and not bool(from_xarray(part)[0, :, 0, 3, 6].isnan().any())
    assert isinstance(domain_of(only(write(data, tmp_path / "again", kind, encoding=encoding), options={"mask": "none"})), Sphere)


def test_fields_with_other_coasts_are_not_mixed_silently(tmp_path: Path) -> None:
    sst = VALUES[:, 0].copy()
    sst[:, :, :3] = np.nan
    path = write(globe(sst=(("time", "latitude", "longitude"), sst, {"units": "K"})), tmp_path / "x", "netcdf3")
    with pytest.raises(ValueError, match=r"'sst' in 24.*mask: any|never has a value in 0 cells"):
        only(path)
    assert int(domain_of(only(path, options={"mask": "any"})).wet.sum()) == 8 * 13
    assert isinstance(domain_of(only(path, options={"variables": ["ta", "ua", "va"]})), Sphere)


def test_a_part_of_the_globe_keeps_its_metric(tmp_path: Path) -> None:
    data = globe().isel(latitude=slice(4, 8), longitude=slice(2, 9))
    part = only(write(data, tmp_path / "x", "netcdf3"))
    domain = domain_of(part)
    assert isinstance(domain, Patch) and (domain.south, domain.north, domain.west, domain.east) == (0.0, 90.0, 33.75, 191.25)
    assert domain.area == pytest.approx(2 * np.pi * 6.37122e6**2 * 157.5 / 360)


def test_choices_of_variables_levels_time_and_stride(tmp_path: Path) -> None:
    path = write(globe(), tmp_path / "x", "zarr3")
    part = only(path, options={"variables": ["ta"], "levels": [50000], "time": ["2001-02-27T06:00", "2001-02-27"], "stride": 2})
    assert fields_of(part).channels == ("ta_50000",) and part["time"].values.tolist() == [0.25, 0.75] and part.attrs["dt"] == 0.5
    torch.testing.assert_close(from_xarray(part)[0, :, 0], torch.from_numpy(280 + VALUES[[1, 3], 1]))
    named = only(path, fields={"breeze": ("va", "ua")}, units={"ta": "kelvin"}, name="mine")
    assert fields_of(named).names == ("ta", "breeze") and named.attrs["dataset"] == "mine" and fields_of(named)["ta"].units == "kelvin"


def test_members_trajectories_and_odd_dims(tmp_path: Path) -> None:
    base = globe()[["ta"]].isel(plev=0)
    both = base.expand_dims(number=[0, 1, 2], run=[7, 8]).assign(height2=base["ta"].expand_dims(height=[2.0]))
    both["height"].attrs["positive"] = "up"
    path = write(both, tmp_path / "x", "netcdf4")
    with pytest.raises(ValueError, match=r"options: \{trajectory: run\}"):
        only(path, options={"variables": ["ta"]})
    part = only(path, options={"variables": ["ta"], "trajectory": "run"})
    assert part["ta"].dims == ("trajectory", "member", "time", "lat", "lon") and part.sizes["member"] == 3 and part.sizes["trajectory"] == 2


def test_a_plane_needs_its_boundaries_said(tmp_path: Path) -> None:
    x = {"units": "m", "axis": "X"}
    data = xr.Dataset(
        {"q": (("t", "y", "x"), VALUES[:, 0], {"units": "1"})},
        {
            "t": ("t", np.arange(6.0), {"units": "s"}),
            "x": ("x", np.arange(16) * 2.0, x),
            "y": ("y", np.arange(8) * 3.0, {"units": "m", "axis": "Y"}),
        },
    )
    path = write(data, tmp_path / "x", "netcdf4")
    with pytest.raises(ValueError, match="boundary"):
        only(path)
    part = only(path, boundary=("periodic", "wall"))
    assert domain_of(part) == Box((16, 8), (0.0, -1.5), (32.0, 22.5), ("periodic", "wall"), units="m")
    torch.testing.assert_close(from_xarray(part)[0, :, 0], torch.from_numpy(VALUES[:, 0]).transpose(1, 2))


def plane(x: dict[str, str], y: dict[str, str], scale: float = 1.0) -> xr.Dataset:
    coords = {
        "time": ("time", np.arange(6.0), {"units": "hours since 2001-01-01"}),
        "x": ("x", np.arange(16) * 2000.0 * scale, x),
        "y": ("y", np.arange(8) * 1000.0, y),
    }
    return xr.Dataset({"ta": (("time", "y", "x"), VALUES[:, 0], {"units": "K"})}, coords)


def test_axes_of_a_plane_have_one_unit_of_length(tmp_path: Path) -> None:
    said = {"boundary": ("wall", "wall")}
    mixed = only(write(plane({"units": "km"}, {"units": "m"}, 1e-3), tmp_path / "mixed", "netcdf3"), **said)
    metres = only(write(plane({"units": "m"}, {"units": "metres"}), tmp_path / "metres", "netcdf3"), **said)
    assert domain_of(mixed) == domain_of(metres) and domain_of(metres).lengths == (32000.0, 8000.0) and domain_of(mixed).units == "m"
    both = only(write(plane({"units": "km"}, {"units": "km"}), tmp_path / "both", "netcdf3"), **said)
    assert domain_of(both).units == "km" and domain_of(both).lengths == (32000.0, 8000.0)
    for n, units in enumerate(({"units": "ft"}, {})):
        with pytest.raises(ValueError, match=r"x is in .* and y in .*units"):
            only(write(plane(units, {"units": "m"}), tmp_path / f"odd{n}", "netcdf3"), **said)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (
            {"units": "degrees", "standard_name": "grid_longitude", "axis": "X"},
            {"units": "degrees", "standard_name": "grid_latitude", "axis": "Y"},
        ),
        ({"units": "degrees", "axis": "X"}, {"units": "degrees", "axis": "Y"}),
        ({"units": "rad", "standard_name": "projection_x_coordinate"}, {"units": "rad", "standard_name": "projection_y_coordinate"}),
    ],
)
def test_angles_of_a_turned_pole_are_no_plane(x: dict[str, str], y: dict[str, str], tmp_path: Path) -> None:
    data = plane(x, y).assign_coords(x=("x", np.arange(16) * 0.1, x), y=("y", np.arange(8) * 0.1, y)).rename(x="rlon", y="rlat")
    with pytest.raises(ValueError, match=r"angles.*interpolate .*latitude and longitude"):
        only(write(data, tmp_path / "x", "netcdf3"), boundary=("wall", "wall"))


LEADS = {
    "prediction_timedelta": {"units": "hours"},
    "lead": {"units": "hours", "standard_name": "forecast_period"},
    "step": {"units": "hours"},
}


@pytest.mark.parametrize("lead", LEADS)
def test_forecasts_have_a_start_and_a_lead(lead: str, tmp_path: Path) -> None:
    """(start, lead): the start counts trajectories, the lead is their time; taken the other way round it would be nonsense."""
    base = globe()[["ta"]].isel(plev=0, time=slice(0, 4), drop=True)
    data = xr.concat([base + n for n in range(3)], lead).assign_coords({lead: (lead, [0.0, 6.0, 12.0], LEADS[lead])})
    data["ta"].attrs["units"] = "K"
    data["time"].attrs.update(units="days since 2001-02-27")
    path = write(data.transpose("time", lead, ...), tmp_path / "x", "netcdf4")
    with pytest.raises(ValueError, match=rf"forecasts: .*'time'.*{lead!r}.*options: \{{trajectory: time\}}"):
        only(path)
    with pytest.raises(ValueError, match=rf"{lead!r} is the lead of forecasts.*trajectory: time"):
        only(path, options={"trajectory": lead})
    part = only(path, options={"trajectory": "time"})
    assert part.sizes["trajectory"] == 4 and part["time"].values.tolist() == [0.0, 6.0, 12.0] and part["time"].attrs["units"] == "hours"
    np.testing.assert_allclose(part["ta"].values[2, 1], 281 + VALUES[2, 0], rtol=1e-6)


def test_a_member_is_chosen_or_counts_trajectories(tmp_path: Path) -> None:
    base = globe()[["ta"]].isel(plev=0, drop=True)
    path = write(xr.concat([base, base + 1], "number").assign_coords(number=[0, 1]), tmp_path / "x", "netcdf4")
    one = only(path, options={"member": 1})
    np.testing.assert_allclose(one["ta"].values[0], 281 + VALUES[:, 0], rtol=1e-6)
    assert "member" not in one.dims and only(path, options={"trajectory": "number"}).sizes["trajectory"] == 2
    with pytest.raises(ValueError, match="member is 2 but the file has 2"):
        only(path, options={"member": 2})


def test_native_chunks_are_kept_and_a_plain_file_is_read_in_blocks_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(globe(), tmp_path / "x", "zarr3", encoding={"ta": {"chunks": (2, 1, 8, 8)}})
    assert only(path)["ta"].chunks == ((1,), (2, 2, 2), (1, 1), (8,), (8, 8))
    monkeypatch.setattr(cf_open, "BLOCK", 4 * 2 * 8 * 16 * 4)
    assert only(write(globe(), tmp_path / "y", "netcdf3"))["ta"].chunks[1] == (4, 2)


def test_names_dims_and_vectors() -> None:
    assert [identifier(n) for n in ("2m_temperature", "t2m", "CO2 flux", "850")] == ["temperature_2m", "t2m", "CO2_flux", "field_850"]
    assert role_of("XAX", {"units": "degrees_E"}) == "lon" and role_of("TIME1", {"units": "hour since 1980-01-14"}) == "time"
    assert role_of("k", {"positive": "down"}) == "level" and role_of("k", {}) is None and role_of("isobaricInhPa", {}) == "level"
    names = [
        "u10",
        "v10",
        "UWND",
        "VWND",
        "10m_u_component_of_wind",
        "10m_v_component_of_wind",
        "uo",
        "vo",
        "u",
        "tau",
        "u_component_of_wind",
        "v_component_of_wind",
    ]
    found = vectors(names, {n: {"units": "m/s"} for n in names}, dict.fromkeys(names, ("time", "lat", "lon")))
    assert found == {
        "velocity_10": ("v10", "u10"),
        "wind": ("VWND", "UWND"),
        "wind_10m": ("10m_v_component_of_wind", "10m_u_component_of_wind"),
        "velocity_o": ("vo", "uo"),
    }
    assert vectors(["u", "v"], {"u": {"units": "m/s"}, "v": {"units": "cm/s"}}, {"u": ("t",), "v": ("t",)}) == {}


def bare(**attrs: Any) -> xr.Dataset:
    data = globe()
    data["ta"].attrs = attrs
    return data[["ta"]]


@pytest.mark.parametrize(
    ("data", "given", "says"),
    [
        (bare(), {}, r"units\.ta is not known"),
        (bare(units="K").drop_vars("latitude"), {}, "has no coordinate"),
        (bare(units="K").drop_vars("time"), {}, "dt is not known"),
        (bare(units="K").assign_coords(time=np.arange(6.0)), {}, r"units\.time is not known"),
        (bare(units="K").isel(time=[0, 2, 1]), {}, "not sorted"),
        (bare(units="K").isel(time=[0, 0, 1]), {}, "twice the same"),
        (bare(units="K").isel(time=0), {}, "no dim is time"),
        (bare(units="K").assign_coords(latitude=("latitude", np.linspace(-200, 200, 8), {"units": "degrees_north"})), {}, "goes to 200"),
        (bare(units="K").isel(latitude=[0, 1, 4]), {}, "latitude is uneven"),
        (bare(units="K").isel(time=[0]), {}, "dt is not known"),
        (globe(), {"options": {"levels": [100.0]}}, r"asks for \[100.0\]"),
        (globe(), {"options": {"variables": ["t"]}}, r"name the variables \['t'\]"),
        (globe(), {"options": {"time": ["1999-01-01", "1999-02-01"]}}, "no frame lies from 1999-01-01"),
        (globe(), {"options": {"time": ["spring", "autumn"]}}, "is no time of this file"),
        (globe(), {"options": {"maks": "any"}}, "unknown key"),
        (globe(), {"options": {"mask": "land"}}, "mask is 'land'"),
        (globe().assign_coords(time=("time", np.arange(6.0), {"units": "days since spring"})), {}, "are no dates"),
    ],
)
def test_what_a_file_lacks_is_asked_for_by_name(data: xr.Dataset, given: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        open_parts(write(data, tmp_path / "x", "netcdf4"), "cf", Given(**given))


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    for kind in ("netcdf3", "netcdf4"):
        whole = write(globe(), tmp_path / kind, kind)
        short = tmp_path / f"short-{kind}.nc"
        short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(ValueError, match="short"):
            only(short)
    text = tmp_path / "text.nc"
    text.write_text("no numbers")
    with pytest.raises(ValueError, match="is no NetCDF file"):
        only(text)
    store = write(globe(), tmp_path / "huge", "zarr3")
    about = json.loads((store / "ta/zarr.json").read_text())
    about["chunk_grid"]["configuration"]["chunk_shape"] = [6, 2, 80000, 160000]
    (store / "ta/zarr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="declares chunks of"):
        only(store)
    store = write(globe(), tmp_path / "pickled", "zarr2")
    (store / ".zmetadata").unlink()
    about = json.loads((store / "ta/.zarray").read_text())
    (store / "ta/.zarray").write_text(json.dumps({**about, "filters": [{"id": "pickle", "protocol": 5}]}))
    (store / "ta/0.0.0.0").write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match="unpickled|not a sound Zarr store"):
        only(store)


def test_what_a_reader_recognises(tmp_path: Path) -> None:
    from surrogates.data.formats import cf

    path = write(globe(), tmp_path / "x", "netcdf3")
    assert cf.recognises(path) and cf.recognises(tmp_path) and cf.recognises(write(globe(), tmp_path / "s/x", "zarr3"))
    assert not cf.recognises(tmp_path / "none.nc") and not cf.recognises(Path(__file__))
