"""Stores as WeatherBench 2 and ARCO-ERA5 have them, made small with their real names, dims and attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data.forcings import COMPUTED, SOLAR
from surrogates.data.formats import Given, open_parts, reader_of
from surrogates.data.formats.weatherbench import recognises
from surrogates.data.solar import radiation
from surrogates.data.splits import by_time
from surrogates.data.windows import Windows
from surrogates.domains import Masked, Sphere
from surrogates.interchange import declared, domain_of, fields_of, from_xarray

FRAMES = 8
RNG = np.random.default_rng(1)


def store(path: Path, *, coarse: bool, frames: int = FRAMES, **options: Any) -> Path:
    """`coarse`: 5.625 degrees, cell centres from the south, (longitude, latitude), as in WeatherBench 2; else with poles, as in ERA5."""
    lat = np.linspace(-84.375, 84.375, 16) if coarse else np.linspace(90, -90, 13)
    lon = np.arange(32) * 11.25 if coarse else np.arange(24) * 15.0
    space = ("longitude", "latitude") if coarse else ("latitude", "longitude")
    sizes = {"time": frames, "level": 3, "latitude": len(lat), "longitude": len(lon)}

    def field(*dims: str, units: str) -> tuple[tuple[str, ...], Any, dict[str, str]]:
        return dims, RNG.normal(size=[sizes[d] for d in dims]).astype(np.float32), {"units": units}

    data = {
        "2m_temperature": field("time", *space, units="K"),
        "10m_u_component_of_wind": field("time", *space, units="m s**-1"),
        "10m_v_component_of_wind": field("time", *space, units="m s**-1"),
        "geopotential": field("time", "level", *space, units="m**2 s**-2"),
        "u_component_of_wind": field("time", "level", *space, units="m s**-1"),
        "v_component_of_wind": field("time", "level", *space, units="m s**-1"),
        "geopotential_at_surface": field(*space, units="m**2 s**-2"),
        "land_sea_mask": (space, np.ones([sizes[d] for d in space], np.float32), {"units": "(0 - 1)"}),
        "sea_surface_temperature": field("time", *space, units="K"),
    }
    data["sea_surface_temperature"][1][..., :3, :] = np.nan
    hours = ("time", np.arange(frames) * 6, {"units": "hours since 1959-01-01"})
    dates = ("time", np.datetime64("1959-01-01", "ns") + np.arange(frames) * np.timedelta64(6, "h"))
    coords = {"time": hours if coarse else dates, "level": [500, 700, 850], "latitude": lat, "longitude": lon}
    xr.Dataset(data, coords).to_zarr(path, consolidated=True, **{"zarr_format": 2 if coarse else 3, **options})
    return path


def only(path: Path, **options: Any) -> xr.Dataset:
    (part,) = open_parts(path, given=Given(options=options))["all"]
    return part


@pytest.mark.parametrize("coarse", [True, False])
def test_a_store_opens_as_it_is(coarse: bool, tmp_path: Path) -> None:
    path = store(tmp_path / "era5.zarr", coarse=coarse)
    assert recognises(path) and reader_of(path).__name__.endswith("weatherbench")
    part, raw = only(path), xr.open_zarr(path)
    domain = domain_of(part)
    assert isinstance(domain, Sphere) and (domain.grid, domain.north_first) == (("cells", False) if coarse else ("poles", True))
    assert set(fields_of(part).names) == {"temperature_2m", "wind_10m", "geopotential", "wind", "sea_surface_temperature"}
    assert fields_of(part)["wind"].levels == (500.0, 700.0, 850.0) and all(v.chunks for v in part.data_vars.values())
    assert set(declared(part, "static").names) == {"geopotential_at_surface", "land_sea_mask"}
    assert declared(part, "forcings").names == COMPUTED and part.attrs["dt"] == 6.0
    truth = raw["v_component_of_wind"].transpose("time", "level", "latitude", "longitude").values
    np.testing.assert_array_equal(part["wind_north"].values[0], truth)
    np.testing.assert_array_equal(part["temperature_2m"].values[0], raw["2m_temperature"].transpose("time", "latitude", "longitude").values)
    about = {k: part["time"].attrs[k] for k in ("units", "calendar")}
    expected = radiation(part["time"].values, about, raw.latitude.values, raw.longitude.values, over=6.0)
    np.testing.assert_allclose(part[SOLAR].values, expected, atol=0.1)
    assert np.isnan(part["sea_surface_temperature"].values).any()


def test_variables_levels_time_and_stride_are_chosen(tmp_path: Path) -> None:
    path = store(tmp_path / "era5.zarr", coarse=True)
    part = only(
        path,
        variables=["geopotential", "2m_temperature"],
        levels=[500],
        time=["1959-01-01T06:00", "1959-01-02"],
        stride=2,
        forcings=[SOLAR],
    )
    assert fields_of(part).channels == ("geopotential_500", "temperature_2m") and part.attrs["dt"] == 12.0
    assert part["time"].values.tolist() == [6.0, 18.0, 30.0, 42.0] and declared(part, "forcings").names == (SOLAR,)
    assert declared(part, "static") is None and declared(only(path, forcings=["none"]), "forcings") is None
    sea = only(path, variables=["sea_surface_temperature"], mask="any")
    assert isinstance(domain_of(sea), Masked)
    with pytest.raises(ValueError, match="cannot be computed"):
        only(path, forcings=["tides"])
    with pytest.raises(ValueError, match=r"asks for \[1000.0\]"):
        only(path, levels=[1000])


def test_a_forcing_that_the_store_has_is_its_own(tmp_path: Path) -> None:
    path = store(tmp_path / "era5.zarr", coarse=False)
    raw = xr.open_zarr(path)
    own = xr.full_like(raw["2m_temperature"], 7.0).assign_attrs(units="J m**-2").rename(SOLAR)
    own.to_dataset().to_zarr(path, mode="a")
    part = only(path, variables=["2m_temperature"])
    assert (part[SOLAR].values == 7).all() and part[SOLAR].attrs["units"] == "J m**-2"
    assert set(declared(part, "forcings").names) == set(COMPUTED)


def test_a_store_elsewhere_is_opened_by_its_url(tmp_path: Path) -> None:
    """Through fsspec, when a person says so: here the file system of this machine by a URL."""
    path = store(tmp_path / "far/era5.zarr", coarse=True)
    (tmp_path / "near").mkdir()
    said = Given(options={"url": f"file://{path}", "variables": ["2m_temperature"]})
    (part,) = open_parts(tmp_path / "near", "weatherbench", said)["all"]
    np.testing.assert_array_equal(part["temperature_2m"].values, only(path)["temperature_2m"].values)
    assert domain_of(part) == domain_of(only(path)) and part.attrs["dataset"] == "near"


@pytest.mark.parametrize("format", [None, "weatherbench", "cf"])
@pytest.mark.parametrize("url", ["file://{far}", "{far}", "../far/era5.zarr", "gs://bucket/x.zarr", "simplecache::gs://x", "link"])
def test_a_folder_that_was_downloaded_opens_nothing_outside_of_it(url: str, format: str | None, tmp_path: Path) -> None:
    """Its sidecar is a stranger's: no other file of this machine, and no network."""
    path = store(tmp_path / "far/era5.zarr", coarse=True)
    near = tmp_path / "near"
    near.mkdir()
    (near / "link").symlink_to(path)
    (near / "source.yaml").write_text(f"options: {{url: '{url.format(far=path)}', variables: [2m_temperature]}}\n")
    with pytest.raises(ValueError, match=r"source\.yaml.*options\.url.*--given"):
        open_parts(near, format)


def test_a_sidecar_may_name_a_store_in_its_folder(tmp_path: Path) -> None:
    store(tmp_path / "near/below/era5.zarr", coarse=True)
    (tmp_path / "near/source.yaml").write_text("options: {url: below/era5.zarr, variables: [2m_temperature]}\n")
    (part,) = open_parts(tmp_path / "near")["all"]
    assert fields_of(part).names == ("temperature_2m",)


def test_a_long_series_is_read_a_frame_at_a_time(tmp_path: Path) -> None:
    """Chunks of one frame are read when they are asked for: with all others gone, this one is still there."""
    path = store(tmp_path / "era5.zarr", coarse=True, encoding={"geopotential": {"chunks": (1, 3, 32, 16)}})
    part = only(path, variables=["geopotential"], forcings=["none"])
    expected = xr.open_zarr(path)["geopotential"].isel(time=5).transpose("level", "latitude", "longitude").values
    for chunk in (path / "geopotential").glob("[0-9]*"):
        if not chunk.name.startswith("5"):
            chunk.write_bytes(b"gone")
    np.testing.assert_array_equal(part["geopotential"].isel(trajectory=0, time=5).values, expected)


def test_it_trains_as_it_is(tmp_path: Path) -> None:
    part = only(
        store(tmp_path / "era5.zarr", coarse=True, frames=20), variables=["2m_temperature", "geopotential"], static=["land_sea_mask"]
    )
    train = by_time(part, {"train": 0.5, "valid": 0.5})["train"]
    windows = Windows(train, 2, 1, split="train")
    batch = windows.batch([0, 7])
    assert len(windows) == 8 and batch.past.shape == (2, 2, 4, 16, 32) and batch.conditions.static.shape == (2, 1, 16, 32)
    assert batch.conditions.forcing(batch.conditions.time).shape == (2, len(COMPUTED), 16, 32)
    torch.testing.assert_close(batch.past[0, :, :1], from_xarray(train)[0, :2, :1], rtol=0, atol=0)
