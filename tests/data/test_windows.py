"""Windows: every one is the right slice, from memory and from the cache alike, in an order that depends on (seed, step) only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import Order, Windows, by_parameter, by_time, by_trajectory, split_of
from surrogates.interchange import from_xarray
from surrogates.normalise import Normaliser

Write = Callable[..., Path]


@pytest.mark.parametrize(("history", "bundle", "stride"), [(1, 1, 1), (2, 3, 1), (2, 1, 3), (4, 5, 1)])
def test_a_window_is_the_slice_that_it_names(dataset: xr.Dataset, history: int, bundle: int, stride: int) -> None:
    windows = Windows(dataset, history, bundle, stride=stride)
    u, per = from_xarray(dataset), 9 - (history + bundle - 1) * stride
    assert len(windows) == 5 * per
    batch = windows.batch(range(len(windows)))
    for i in range(len(windows)):
        n, t = divmod(i, per)
        frames = u[n, t : t + (history + bundle - 1) * stride + 1 : stride]
        assert torch.equal(batch.past[i], frames[:history]) and torch.equal(batch.future[i], frames[history:])
        assert batch.conditions.time[i] == 0.25 * (t + (history - 1) * stride)
        torch.testing.assert_close(batch.conditions.parameter("viscosity")[i], torch.tensor(0.1 * (n + 1)))
    assert (batch.conditions.dt == 0.25 * stride).all()
    assert len(set(batch.windows.tolist())) == len(windows)


def test_files_give_the_same_windows_as_memory(dataset: xr.Dataset, write: Write) -> None:
    folder = write(dataset).parents[2]
    wanted = [3, 17, 0, 3]
    memory, cached = Windows(dataset, 2, 2).batch(wanted), Windows(folder, 2, 2, split="train").batch(wanted)
    assert torch.equal(memory.past, cached.past) and torch.equal(memory.future, cached.future)
    assert torch.equal(memory.conditions.parameters, cached.conditions.parameters)
    assert torch.equal(memory.windows, cached.windows)
    assert len(list((folder / "cache").glob("train-*.npy"))) == 1


def test_a_window_id_does_not_depend_on_where_its_trajectory_lies(dataset: xr.Dataset) -> None:
    whole, part = Windows(dataset, 1, 1), Windows(dataset.isel(trajectory=[3]), 1, 1)
    assert part.batch([2]).windows == whole.batch([3 * whole.per_trajectory + 2]).windows


def test_reading_never_changes_the_cache(dataset: xr.Dataset, write: Write) -> None:
    folder = write(dataset).parents[2]
    windows = Windows(folder, 1, 1, split="train")
    windows.batch([0]).past.zero_()
    assert torch.equal(windows.batch([0]).past[0, 0], from_xarray(dataset)[0, 0])
    next(windows.trajectories()).frames.zero_()
    assert torch.equal(Windows(folder, 1, 1, split="train").batch([0]).past[0, 0], from_xarray(dataset)[0, 0])


def test_changed_files_are_packed_again(make_dataset: Callable[..., xr.Dataset], write: Write) -> None:
    first, second = make_dataset(3, first=0), make_dataset(3, first=7)
    folder = write(first).parents[2]
    before = Windows(folder, split="train")
    write(second)
    after = Windows(folder, split="train")
    assert torch.equal(after.batch([0]).past[0, 0], from_xarray(second)[0, 0])
    assert before.checksum != after.checksum
    assert len(list((folder / "cache").glob("train-*.npy"))) == 1


def test_bytes_changed_in_place_are_packed_again(dataset: xr.Dataset, write: Write) -> None:
    path = write(dataset)
    before = Windows(path.parents[2], split="train").batch([0]).past
    with h5py.File(path, "r+") as f:
        f["t0_fields"]["tracer"][0, 0] += 1
    os.utime(path, (1, 1))
    after = Windows(path.parents[2], split="train").batch([0]).past
    torch.testing.assert_close(after[:, :, 2], before[:, :, 2] + 1)


def test_subsampling_keeps_points_and_their_places(dataset: xr.Dataset) -> None:
    windows = Windows(dataset, subsample=2)
    assert windows.domain.shape == (3, 2) and windows.domain.lengths == (3.0, 2.0)
    assert torch.equal(windows.batch([0]).past[0, 0], from_xarray(dataset)[0, 0, :, ::2, ::2])
    with pytest.raises(ValueError, match="does not divide"):
        Windows(dataset, subsample=4)


def test_statistics_see_the_training_split_only_and_the_stride(dataset: xr.Dataset) -> None:
    splits = by_trajectory(dataset, {"train": 4, "valid": 1})
    fitted = Normaliser.fit(Windows(splits["train"], stride=2))
    u = from_xarray(dataset)[:4].double()
    torch.testing.assert_close(fitted.state_mean.flatten().double(), u.mean((0, 1, 3, 4)), rtol=1e-5, atol=1e-7)
    du = u[:, 2:] - u[:, :-2]
    torch.testing.assert_close(fitted.tendency_std.flatten().double(), du.std((0, 1, 3, 4), correction=0), rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="not from 'valid'"):
        Normaliser.fit(Windows(splits["valid"]))


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (7, 7), (5, 12)])
def test_every_epoch_is_a_permutation_and_a_step_stands_alone(count: int, batch: int) -> None:
    order = Order(count, batch, seed=1)
    steps = -(-3 * count // batch)
    together = torch.cat([order(s) for s in range(steps)])
    for epoch in range(3):
        assert sorted(together[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))
    assert torch.equal(Order(count, batch, seed=1)(2), order(2))
    assert not torch.equal(together[:count], together[count : 2 * count]) or count < 6
    assert not torch.equal(torch.cat([Order(count, batch, seed=2)(s) for s in range(steps)]), together)


def test_nan_is_placed(dataset: xr.Dataset, write: Write) -> None:
    dataset["velocity_y"].values[2, 4, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"trajectory 2 has values that are not finite at time 1 \(frame 4\), channels \['velocity_y'\]"):
        Windows(dataset)
    folder = write(dataset).parents[2]
    with pytest.raises(ValueError, match=f"{folder}: trajectory 2"):
        Windows(folder, split="train")
    assert not list((folder / "cache").glob("*"))


def test_a_flat_frame_is_placed(dataset: xr.Dataset) -> None:
    for name in dataset.data_vars:
        dataset[name].values[1, 8] = 0.0
    with pytest.raises(ValueError, match=r"trajectory 1 is constant over all space at time 2 \(frame 8\)"):
        Windows(dataset)


def test_windows_longer_than_the_trajectory_are_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="history 9 and bundle 1 with stride 1 spans 10 frames but the trajectories have 9"):
        Windows(dataset, 9, 1)


def test_what_is_no_training_data_is_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="history must be at least 1"):
        Windows(dataset, 0)
    with pytest.raises(ValueError, match="has 2 members"):
        Windows(xr.concat([dataset, dataset], "member"))
    with pytest.raises(ValueError, match="no attribute 'dt'"):
        Windows(dataset.drop_attrs().assign_attrs(domain=dataset.attrs["domain"]))
    with pytest.raises(ValueError, match="is the split 'train', not 'test'"):
        Windows(dataset.assign_attrs(split="train"), split="test")
    with pytest.raises(ValueError, match="was it cropped or thinned"):
        Windows(dataset.isel(x=slice(3)))
    with pytest.raises(IndexError, match="there are 40"):
        Windows(dataset).batch([40])


def test_splits_are_disjoint_and_whole(dataset: xr.Dataset) -> None:
    assert [split_of(dataset)[s].sizes["trajectory"] for s in ("train", "valid")] == [4, 1]
    ranges = by_parameter(dataset, "viscosity", {"train": (0.0, 0.35), "test": (0.35, 1.0)})
    assert ranges["train"]["trajectory"].values.tolist() == [0, 1, 2] and ranges["test"]["trajectory"].values.tolist() == [3, 4]
    blocks = by_time(dataset, {"train": 0.6, "valid": 0.4})
    assert [b.sizes["time"] for b in blocks.values()] == [5, 4]
    assert set(blocks["train"]["time"].values).isdisjoint(blocks["valid"]["time"].values)


def test_blocks_of_time_lie_a_gap_apart(dataset: xr.Dataset) -> None:
    blocks = by_time(dataset, {"train": 0.5, "valid": 0.25, "test": 0.25}, gap=1)
    assert [b["time"].values.tolist() for b in blocks.values()] == [[0.0, 0.25, 0.5, 0.75], [1.25, 1.5], [2.0]]
    with pytest.raises(ValueError, match="a gap of 3 frames leaves nothing of the block 'valid'"):
        by_time(dataset, {"train": 0.5, "valid": 0.25, "test": 0.25}, gap=3)


def test_splits_that_make_no_sense_are_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="need 6"):
        by_trajectory(dataset, {"train": 5, "valid": 1})
    with pytest.raises(ValueError, match="overlap"):
        by_parameter(dataset, "viscosity", {"train": (0.0, 0.4), "test": (0.3, 1.0)})
    with pytest.raises(ValueError, match="did you mean 'viscosity'"):
        by_parameter(dataset, "viscosit", {"train": (0.0, 0.4)})
    with pytest.raises(ValueError, match="no trajectory has viscosity"):
        by_parameter(dataset, "viscosity", {"train": (5.0, 6.0)})
    with pytest.raises(ValueError, match="sum to at most 1"):
        by_time(dataset, {"train": 0.8, "valid": 0.4})
    with pytest.raises(ValueError, match="one trajectory cannot be split"):
        split_of(dataset.isel(trajectory=[0]))
