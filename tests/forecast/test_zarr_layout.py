"""Metadata of Zarr folders against the library's own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from forecast.steps import Walk
from zarr.codecs import ZstdCodec

from surrogates import simulate
from surrogates.domains import Box
from surrogates.forecast import zarr_layout
from surrogates.interchange import to_xarray

ATTRIBUTES = {"units": "m s-1", "flag_values": [0, 1], "scale": 0.5, "lost": float("nan"), "text": "Grüße"}


def metadata(folder: Path) -> object:
    text = (folder / "zarr.json").read_text().replace("NaN", '"NaN"')
    return json.loads(text.replace('""NaN""', '"NaN"'))


def test_a_group_says_what_the_librarys_says(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "theirs"), attributes=ATTRIBUTES)
    zarr_layout.group(tmp_path / "ours", ATTRIBUTES)
    assert metadata(tmp_path / "ours") == metadata(tmp_path / "theirs")


@pytest.mark.parametrize("fill", [np.nan, 0, -1, 1.5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "uint16", "bool", ">f4"])
@pytest.mark.parametrize("compressors", [None, (ZstdCodec(),)])
def test_an_array_says_what_the_librarys_says(dtype: str, fill: float, compressors: tuple[ZstdCodec] | None, tmp_path: Path) -> None:
    kind = np.dtype(dtype).newbyteorder("=")
    if kind.kind != "f":
        fill = kind.type(0 if np.isnan(fill) or (fill < 0 and kind.kind in "ub") else fill).item()
    how = {"shape": (3, 40, 5), "chunks": (2, 32, 5), "dtype": kind, "fill_value": fill, "compressors": compressors}
    about = {"dimension_names": ("trajectory", "time", "x"), "attributes": ATTRIBUTES}
    theirs = zarr.create_group(str(tmp_path / "theirs")).create_array("u", **how, **about)
    (tmp_path / "ours").mkdir()
    zarr_layout.array(tmp_path / "ours", "u", **how, **about)
    assert metadata(tmp_path / "ours" / "u") == metadata(tmp_path / "theirs" / "u")
    ours = zarr.open_array(str(tmp_path / "ours" / "u"), mode="r")
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours[:], theirs[:])


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 7),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array(["u", "v"]),
        np.array(2.5),
        np.array([True, False]),
        np.zeros(0),
    ],
    ids=lambda v: f"{v.dtype}{v.shape}",
)
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_coordinates_come_back(values: np.ndarray, tmp_path: Path) -> None:
    zarr_layout.group(tmp_path / "ours", {})
    zarr_layout.coordinate(tmp_path / "ours", "x", values, tuple("abc"[: values.ndim]), {"units": "m"})
    read = zarr.open_array(str(tmp_path / "ours" / "x"), mode="r")
    np.testing.assert_array_equal(read[...], values)
    assert read.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
    assert dict(read.attrs) == {"units": "m"}


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_metadata_together_are_the_librarys(tmp_path: Path) -> None:
    zarr_layout.group(tmp_path / "f", {"units": "m", "seed": 3})
    zarr_layout.coordinate(tmp_path / "f", "time", np.arange(4.0), ("time",), {"units": "s"})
    about = {"dimension_names": ("time", "x"), "attributes": {}, "compressors": None}
    zarr_layout.array(tmp_path / "f", "u", shape=(4, 2), chunks=(4, 2), dtype=np.dtype("f4"), fill_value=np.nan, **about)
    zarr_layout.consolidate(tmp_path / "f")
    ours = metadata(tmp_path / "f")
    zarr.consolidate_metadata(str(tmp_path / "f"))
    assert metadata(tmp_path / "f") == ours


def test_a_forecast_opens_without_a_word(tmp_path: Path) -> None:
    step = Walk()
    u = torch.zeros(1, 1, step.inputs.count, 4)
    initial = to_xarray(u, step.inputs, Box.periodic((4,), 1.0), time=[0.0], trajectories=[0], attrs={"dt": 0.5})
    made = simulate(step, initial, 3, members=2, out=tmp_path / "f.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(tmp_path / "f.zarr", decode_times=False)
    xr.testing.assert_identical(opened.load(), made.load())
