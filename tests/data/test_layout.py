"""The layout: what is written comes back, other readers open it, and a file is sound at every moment of its making."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import open_dataset
from surrogates.data.layout import OURS, checksum, order_of
from surrogates.domains import Box
from surrogates.fields import Field
from surrogates.interchange import conditions_of, domain_of, fields_of, from_xarray

Write = Callable[..., Path]


def test_what_is_written_comes_back(dataset: xr.Dataset, write: Write) -> None:
    again = open_dataset(write(dataset), verify=True)
    assert torch.equal(from_xarray(again), from_xarray(dataset))
    assert fields_of(again) == fields_of(dataset) and domain_of(again) == domain_of(dataset)
    assert again.attrs["dt"] == dataset.attrs["dt"] and again.attrs["lyapunov_time"] == 2.0
    for name in ("viscosity", "drag", "time", "lead_time", "trajectory", "x"):
        np.testing.assert_array_equal(again[name], dataset[name])
    assert torch.equal(conditions_of(again).parameters, conditions_of(dataset).parameters)


def test_splits_are_joined_and_told_apart(make_dataset: Callable[..., xr.Dataset], write: Write, tmp_path: Path) -> None:
    train, test = make_dataset(4), make_dataset(2, first=4)
    write(train, "train")
    write(test, "test")
    whole = open_dataset(tmp_path / "made")
    assert whole["trajectory"].values.tolist() == list(range(6))
    assert whole["split"].values.tolist() == ["train"] * 4 + ["test"] * 2
    assert torch.equal(from_xarray(whole), torch.cat([from_xarray(train), from_xarray(test)]))
    assert len({whole.attrs["checksum"], *(open_dataset(tmp_path / "made", s).attrs["checksum"] for s in ("train", "test"))}) == 3


def test_the_well_reads_it(dataset: xr.Dataset, write: Write) -> None:
    well = pytest.importorskip("the_well.data", reason="pip install --no-deps the-well")
    path = write(dataset)
    peer = well.WellDataset(path=str(path.parent), n_steps_input=2, n_steps_output=3, use_normalization=False)
    per_trajectory = 9 - 5 + 1
    assert len(peer) == 5 * per_trajectory
    sample, u = peer[2 * per_trajectory + 1], from_xarray(dataset)[2].permute(0, 2, 3, 1)
    assert peer.metadata.field_names == {0: ["tracer"], 1: ["velocity_x", "velocity_y"], 2: []}
    order = [2, 0, 1]  # The Well puts scalars first
    assert torch.equal(sample["input_fields"], u[1:3][..., order])
    assert torch.equal(sample["output_fields"], u[3:6][..., order])
    torch.testing.assert_close(sample["constant_scalars"], torch.tensor([0.3, 0.5]))
    torch.testing.assert_close(sample["space_grid"][..., 0], domain_of(dataset).grid()[0].float())
    assert sample["boundary_conditions"].tolist() == [[2, 2], [2, 2]]


def test_a_file_of_others_is_read_by_its_layout_alone(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        del f[OURS]
        for name in ("velocity",):  # chunked and compressed, as others may store it
            values = f["t1_fields"][name][:]
            attrs = dict(f["t1_fields"][name].attrs)
            del f["t1_fields"][name]
            f["t1_fields"].create_dataset(name, data=values, chunks=True, compression="gzip").attrs.update(attrs)
    again = open_dataset(path)
    for name in ("velocity_x", "velocity_y", "tracer"):
        np.testing.assert_array_equal(again[name].values, dataset[name].values)
    assert domain_of(again).boundary == ("periodic", "periodic")
    np.testing.assert_allclose(domain_of(again).lengths, domain_of(dataset).lengths, rtol=1e-6)
    np.testing.assert_allclose(again["viscosity"], dataset["viscosity"], rtol=1e-6)


def test_walls_of_others_have_cell_centres(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        del f[OURS]
        f["boundary_conditions"]["y_periodic"].attrs["bc_type"] = "WALL"
        f["dimensions"]["y"][:] = [0.25, 0.75, 1.25, 1.75]
    box = domain_of(open_dataset(path))
    assert box.boundary == ("periodic", "wall") and box.lower == (0.0, 0.0) and box.upper == (3.0, 2.0)


def test_an_unfinished_file_says_so_and_opens_what_is_complete(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset, rows=3, finish=False)
    with pytest.raises(ValueError, match="unfinished; `surrogates data make`"):
        open_dataset(path.parents[2])
    part = open_dataset(path.parents[2], "train", partial=True)
    assert torch.equal(from_xarray(part), from_xarray(dataset)[:3])


def test_truncated_foreign_and_missing_files_are_told_apart(dataset: xr.Dataset, write: Write, tmp_path: Path) -> None:
    path = write(dataset)
    short = tmp_path / "short.hdf5"
    short.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="is truncated"):
        open_dataset(short)
    text = tmp_path / "text.hdf5"
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        open_dataset(text)
    foreign = tmp_path / "foreign.hdf5"
    with h5py.File(foreign, "w") as f:
        f["u"] = np.zeros(3)
    with pytest.raises(ValueError, match="in none of the known formats"):
        open_dataset(foreign)
    with pytest.raises(ValueError, match="no such file"):
        open_dataset(tmp_path / "none.hdf5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="in none of the known formats"):
        open_dataset(tmp_path / "empty")


def test_a_flipped_bit_fails_the_checksum(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        f["t0_fields"]["tracer"][1, 2, 0, 0] += 1e-3
    open_dataset(path)
    with pytest.raises(ValueError, match="do not match their checksum"):
        open_dataset(path, verify=True)


def test_the_checksum_is_that_of_the_arrays_alone(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    before = checksum(path)
    with h5py.File(path, "r+") as f:
        f.attrs["note"] = "harmless"
    assert checksum(path) == before


def test_a_later_format_is_refused(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        f[OURS].attrs["format"] = 99
    with pytest.raises(ValueError, match="has format 99"):
        open_dataset(path)


def test_a_wrong_grid_is_named(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with h5py.File(path, "r+") as f:
        del f["t0_fields"]["tracer"]
        f["t0_fields"]["tracer"] = np.zeros((5, 9, 6, 5), np.float32)
    with pytest.raises(ValueError, match=r"field 'tracer' has shape \(5, 9, 6, 5\)"):
        open_dataset(path)


def test_names_that_are_not_there_say_what_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="surrogates data make kdv --size tiny"):
        open_dataset("kdv", size="tiny")
    with pytest.raises(ValueError, match="did you mean 'burgers'"):
        open_dataset("burger")


def test_a_split_that_is_not_there_gets_the_nearest(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    with pytest.raises(ValueError, match="no split 'training'.*did you mean 'train'"):
        open_dataset(path.parents[2], "training")


def test_fields_are_tensors_where_their_components_make_one() -> None:
    box = Box.periodic((4, 4), 1.0)
    components = ((), ("x", "y"), ("xx", "xy", "yx", "yy"), ("x", "y", "z"))
    assert [order_of(Field("f", components=c), box) for c in components] == [0, 1, 2, 0]
    assert order_of(Field("f", components=("x",)), Box.periodic((4,), 1.0)) == 1
