"""What a file of ours holds comes back exactly: any grid, levels, missing values, dates, and what is known beside the state."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import open_dataset
from surrogates.data.layout import OURS, PART, Known, Part, checksum, create, create_like
from surrogates.data.written import channels
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.domains.layout import AnyDomain, axes
from surrogates.fields import Field, Fields
from surrogates.interchange import declare, declared, domain_of, fields_of, parameters_of, time_attrs_of, times_of, to_xarray

FIELDS = Fields.of(
    Field("temperature", "K", levels=(500.0, 850.0)),
    Field("wind", "m s-1", ("a", "b"), (500.0, 850.0)),
    Field("flux", "W m-2", ("x", "y", "z")),
    Field("pressure", "Pa", long_name="surface pressure"),
)
STRETCHED = Box((4, 3), (0.0, -1.0), (8.0, 1.0), ("wall", "periodic"), ((0.0, 0.1, 0.7, 3.0, 8.0), None), "m")
WET = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
GRIDS = {
    "stretched": STRETCHED,
    "masked": Masked(STRETCHED, WET),
    "sphere": Sphere((4, 3), "legendre-gauss", north_first=False, west=-180.0, radius=6.4e6, units="m"),
    "patch": Patch((4, 3), 20.0, 60.0, -130.0, -60.0, radius=6.4e6, units="m"),
    "sea": Masked(Patch((4, 3), 30.0, 46.0, -6.0, 36.0, north_first=True), WET),
}
ABOUT = {"units": "hours since 1996-01-01 06:00", "calendar": "noleap"}
ATTRS = {"recipe": "{}", "version": "0", "source": "a test", "licence": "CC0"}


def made(domain: AnyDomain, frames: int = 5) -> xr.Dataset:
    """Two trajectories with values missing, static fields and forcings of every kind."""
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.normal(size=(2, frames, FIELDS.count, *domain.shape)).astype(np.float32))
    u[0, 1, 2, 0, 0] = torch.nan
    if isinstance(domain, Masked):
        u[..., ~domain.wet] = torch.nan
        u[1, 0, :, ~domain.wet] = 7.0
    times = [6.0 * n + (3 if n > 2 else 0) for n in range(frames)]  # a step longer than the others
    ds = to_xarray(u, FIELDS, domain, time=times, trajectories=[3, 8], parameters={"nu": [0.1, 1 / 3], "b": [2.0, 2.0]}, about_time=ABOUT)
    space = axes(domain)
    known = {
        "orography": (space, "m"),
        "depth": (("trajectory", *space), "m"),
        "sun": (("time", *space), "W m-2"),
        "rain": (("trajectory", "time", *space), "kg m-2"),
        "solar": (("time",), "W m-2"),
        "pump": (("trajectory", "time"), "m3 s-1"),
    }
    sizes = dict(ds.sizes)
    for name, (dims, units) in known.items():
        ds[name] = (dims, rng.normal(size=[sizes[d] for d in dims]).astype(np.float32), {"units": units})
    of = {name: Field(name, units) for name, (_, units) in known.items()}
    static = Fields.of(of["orography"], of["depth"])
    return declare(ds, static=static, forcings=Fields.of(*(of[n] for n in ("sun", "rain", "solar", "pump"))))


def store(dataset: xr.Dataset, path: Path, most: int = 10**9) -> Path:
    """Write, or go on writing, two frames at a time and `most` frames in all."""
    draft = path.with_name(path.name + PART)
    if not draft.exists():
        create_like(draft, dataset, name="sea", attrs=ATTRS)
    part = Part(draft)
    for k in part.known:
        for row in (None,) if k.shared else range(dataset.sizes["trajectory"]):
            one = dataset[list(k.field.variables)]
            values = channels(one if row is None else one.isel(trajectory=row), Fields.of(k.field), ("time",) if k.timed else ())
            part.write_known(k.field.name, values, row=row)
    for row in np.flatnonzero(~part.complete).tolist():
        for start in range(0, part.frames, 2):
            if most <= 0:
                return draft
            part.write_frames(row, start, channels(dataset.isel(trajectory=row, time=slice(start, start + 2)), part.fields, ("time",)))
            most -= 2
    return part.finish({"checksum": checksum(draft), "certificate": {}})


@pytest.mark.parametrize("kind", GRIDS)
def test_a_dataset_goes_through_a_file_bit_for_bit(kind: str, tmp_path: Path) -> None:
    dataset = made(GRIDS[kind])
    again = open_dataset(store(dataset, tmp_path / "sea.hdf5"), verify=True)
    assert domain_of(again) == GRIDS[kind] and fields_of(again) == FIELDS
    assert set(again.data_vars) == set(dataset.data_vars)
    for name in (*dataset.data_vars, *dataset.coords):
        assert again[name].dims == dataset[name].dims, name
        np.testing.assert_array_equal(again[name].values, dataset[name].values, err_msg=str(name))
        if name in dataset.data_vars or name == "time":
            assert again[name].attrs["units"] == dataset[name].attrs["units"], name
    for what in ("static", "forcings"):
        assert [f.name for f in declared(again, what) or ()] == [f.name for f in declared(dataset, what) or ()]
    assert parameters_of(again)["nu"].tolist() == [0.1, 1 / 3] and again.attrs["dt"] == 6.0
    assert time_attrs_of(again) == ABOUT and again.attrs["licence"] == "CC0"
    assert xr.decode_cf(again)["time"].dt.strftime("%Y-%m-%d %H").values[1] == "1996-01-01 12"


def test_times_come_back_as_numbers_where_xarray_made_dates(tmp_path: Path) -> None:
    dataset = made(STRETCHED).drop_vars(["depth", "rain", "pump", "solar", "sun", "orography"])
    dataset.to_zarr(tmp_path / "a.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as dates:
        assert not np.issubdtype(dates["time"].dtype, np.number)
        np.testing.assert_array_equal(times_of(dates), times_of(dataset))
        assert time_attrs_of(dates) == ABOUT


def test_what_is_stored_is_what_others_read(tmp_path: Path) -> None:
    """Levels are arrays of their own, what is known has The Well's flags, dry cells are a wall."""
    well = pytest.importorskip("the_well.data", reason="pip install --no-deps the-well")
    dataset = made(GRIDS["masked"])
    path = store(dataset, tmp_path / "sea.hdf5")
    with h5py.File(path) as f:
        assert f["t0_fields/temperature_500"].shape == (2, 5, 4, 3) and f["t1_fields/wind_850"].shape == (2, 5, 4, 3, 2)
        np.testing.assert_array_equal(f["t1_fields/wind_850"][..., 1], dataset["wind_b"].values[:, :, 1])
        assert "wet" not in str(f[OURS].attrs["domain"]) and f["dimensions/time"].attrs["calendar"] == "noleap"
    with pytest.warns(RuntimeWarning, match="Only axis-aligned"):
        sample = well.WellDataset(path=str(tmp_path), n_steps_input=1, n_steps_output=1, use_normalization=False)[0]
    assert sample["constant_fields"].shape == (4, 3, 2)
    np.testing.assert_array_equal(sample["constant_fields"][..., 0], dataset["orography"].values)
    np.testing.assert_array_equal(sample["input_scalars"][0], [dataset["solar"].values[0], dataset["pump"].values[0, 0]])


def test_a_kill_leaves_a_file_that_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    dataset = made(GRIDS["masked"])
    whole, cut = store(dataset, tmp_path / "whole.hdf5"), store(dataset, tmp_path / "cut.hdf5", most=8)
    assert Part(cut).complete.tolist() == [True, False]
    with pytest.raises(ValueError, match="unfinished"):
        open_dataset(cut)
    assert store(dataset, tmp_path / "cut.hdf5").read_bytes() == whole.read_bytes()


def test_frames_are_written_in_order(tmp_path: Path) -> None:
    path, u = tmp_path / "a.hdf5.part", np.zeros((3, 1, 4, 3), np.float32)
    box, about = Box.periodic((4, 3), 1.0), {"dt": 1.0, **ATTRS}
    known = [Known(Field("sun"), timed=True, spread=False)]
    fields, times = Fields.of(Field("u")), [0.0, 1.0, 2.0]
    create(path, name="a", fields=fields, box=box, times=times, trajectories=[0], parameters={}, attrs=about, known=known)
    part = Part(path)
    with pytest.raises(ValueError, match="frames 1 to 2 of trajectory row 0 cannot follow 0 of 3"):
        part.write_frames(0, 1, u[:2])
    part.write_frames(0, 0, u[:2])
    assert not Part(path).complete.any()
    with pytest.raises(ValueError, match="cannot follow 2 of 3"):
        part.write_frames(0, 2, u[:2])
    part.write_frames(0, 2, u[:1])
    assert Part(path).complete.all()
    with pytest.raises(ValueError, match="leave row out"):
        part.write_known("sun", u[:, 0, 0], row=0)
    with pytest.raises(KeyError, match="no static field or forcing 'moon'"):
        part.write_known("moon", u[:, 0, 0])
    with pytest.raises(ValueError, match=r"frames have shape \(1, 3, 4\) but .* holds \(1, 4, 3\)"):
        part.write_frames(0, 0, u.transpose(0, 1, 3, 2))


def test_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    box, about, path = Box.periodic((4, 3), 1.0), {**ATTRS, "dt": 1.0}, tmp_path / "a.part"
    common = {"name": "a", "box": box, "trajectories": [0], "parameters": {}, "attrs": about}
    with pytest.raises(ValueError, match="the times must rise"):
        create(path, fields=Fields.of(Field("u")), times=[0.0, 1.0, 1.0], **common)
    with pytest.raises(ValueError, match="both be stored as t0_fields/depth"):
        create(path, fields=Fields.of(Field("depth")), times=[0.0], known=[Known(Field("depth"))], **common)
    with pytest.raises(ValueError, match="on different levels"):
        create(path, fields=Fields.of(Field("a", levels=(1.0, 2.0)), Field("b", levels=(3.0, 4.0))), times=[0.0], **common)
    with pytest.raises(ValueError, match="make it a parameter"):
        Known(Field("g"), spread=False)


def test_parameters_of_many_trajectories_fit(tmp_path: Path) -> None:
    """An attribute of HDF5 takes 64 KiB: 8192 numbers."""
    many, box = 10_000, Box.periodic((2,), 1.0)
    nu = np.random.default_rng(0).uniform(size=many)
    u, of = torch.randn(many, 1, 1, 2), {"nu": nu.tolist()}
    u = to_xarray(u, Fields.of(Field("u")), box, time=[0.0], trajectories=range(many), parameters=of)
    path = tmp_path / f"a.hdf5{PART}"
    create_like(path, u.assign_attrs(dt=1.0), name="a", attrs=ATTRS)
    Part(path).write_rows(0, u["u"].values[:, :, None])
    assert np.array_equal(parameters_of(open_dataset(path, partial=True))["nu"].numpy(), nu)


def test_files_of_format_one_are_read(tmp_path: Path) -> None:
    """Times were rounded to float32, the domain was JSON as a whole, nothing was known beside the state."""
    domain = Box((4, 3), (0.0, -1.0), (8.0, 1.0), ("wall", "periodic"), ((0.0, 0.1, 0.7, 3.0, 8.0), None), "m")
    dataset = to_xarray(torch.randn(1, 4, 1, 4, 3), Fields.of(Field("u")), domain, time=[0.0, 0.1, 0.2, 0.1 * 3], trajectories=[0])
    path = store(dataset, tmp_path / "old.hdf5")
    with h5py.File(path, "r+") as f:
        ours = f[OURS]
        ours.attrs["format"], ours.attrs["domain"] = 1, json.dumps(domain.to_json())
        del ours.attrs["static"], ours.attrs["forcings"], ours["edges_x"], f["dimensions/time"]
        f["dimensions/time"] = dataset["time"].values.astype(np.float32)
    again = open_dataset(path, verify=True)
    assert domain_of(again) == domain
    xr.testing.assert_equal(again, dataset)
