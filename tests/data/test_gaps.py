"""Windows over trajectories of any length: every one is whole, none crosses a gap, and ids stay when a frame is declared missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.data import Windows
from surrogates.data.gaps import whole_starts
from surrogates.data.module import DataModule
from surrogates.data.starts import Runs, allowed, goes_on, stretches
from surrogates.data.thin import thin
from surrogates.interchange import from_xarray
from surrogates.normalise import Normaliser

Make = Callable[..., xr.Dataset]


@given(
    st.lists(st.booleans(), min_size=1, max_size=24),
    st.lists(st.booleans(), min_size=24, max_size=24),
    st.integers(1, 4),
    st.sets(st.integers(1, 3), min_size=1),
)
@settings(max_examples=200, deadline=None)
def test_a_start_is_allowed_where_every_frame_is_there_and_follows(
    present: list[bool], onward: list[bool], frames: int, strides: set[int]
) -> None:
    p, o = np.array(present), np.array(onward[: len(present)])
    found = allowed(p, o, frames, sorted(strides))
    for t in range(len(p)):
        ends = [t + (frames - 1) * s for s in strides]
        whole = max(ends) < len(p) and all(p[t + k * s] for s in strides for k in range(frames)) and o[t + 1 : max(ends) + 1].all()
        assert (t < len(found) and found[t]) == whole


@given(st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_runs_number_the_starts_in_order(starts: list[list[bool]]) -> None:
    every = [(n, t) for n, row in enumerate(starts) for t, ok in enumerate(row) if ok]
    runs = Runs.of([np.array(row, bool) for row in starts])
    assert len(runs) == len(every)
    rows, first = runs.find(np.arange(len(every)))
    assert list(zip(rows.tolist(), first.tolist(), strict=True)) == every
    assert runs.of_rows(np.array([0])).tolist() == [i for i, (n, _) in enumerate(every) if n == 0]


def test_stretches_end_at_gaps_and_at_jumps_of_the_clock() -> None:
    present, onward = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool), np.array([1, 1, 1, 1, 1, 0, 1, 1], bool)
    assert stretches(present, onward) == [(0, 2), (3, 5), (5, 7)]
    assert goes_on(np.array([0, 31, 59, 90, 151.0]), 30.4).tolist() == [True, True, True, True, False]


def observed(make: Make, frames: int = 9, count: int = 2, first: int = 0) -> xr.Dataset:
    return make(count, frames, first).assign_attrs(gaps="NaN")


def test_no_window_holds_a_missing_frame_and_ids_are_those_of_whole_data(make_dataset: Make) -> None:
    whole, gappy = make_dataset(2), observed(make_dataset)
    gappy["tracer"].values[1, 4, 2, 2] = np.nan
    full, part = Windows(whole, 2, 1), Windows(gappy, 2, 1)
    assert len(part) == len(full) - 3
    batch = part.batch(range(len(part)))
    assert batch.past.isfinite().all() and batch.future.isfinite().all()
    everything = full.batch(range(len(full)))
    known = {int(w): i for i, w in enumerate(everything.windows)}
    places = [known[int(w)] for w in batch.windows]
    assert torch.equal(batch.past, everything.past[places]) and torch.equal(batch.conditions.time, everything.conditions.time[places])


def test_a_step_that_is_not_there_parts_the_windows(make_dataset: Make) -> None:
    jumped = make_dataset(1, 9).isel(time=[0, 1, 2, 3, 6, 7, 8])
    assert len(Windows(jumped, 1, 1)) == 3 + 2
    assert len(Windows(jumped, 1, 2)) == 2 + 1


def test_simulated_data_are_refused_for_what_observations_may_miss(make_dataset: Make) -> None:
    simulated = make_dataset(2)
    simulated["tracer"].values[1, 4, 2, 2] = np.nan
    with pytest.raises(
        ValueError, match=r'trajectory 1 .*\(frame 4\), channels .*; where NaN means missing, set dataset.attrs\["gaps"\] = "NaN"'
    ):
        Windows(simulated)
    endless = observed(make_dataset)
    endless["tracer"].values[1, 3, 2, 2] = np.inf
    endless["tracer"].values[1, 4, 2, 2] = np.nan
    with pytest.raises(ValueError, match="not finite at time 0.75"):
        Windows(endless)
    with pytest.raises(ValueError, match="write 'NaN'"):
        Windows(make_dataset(2).assign_attrs(gaps="-999"))
    empty = observed(make_dataset, 3)
    for name in empty.data_vars:
        empty[name].values[:, 1] = np.nan
    with pytest.raises(ValueError, match="no 2 successive frames lie between the gaps"):
        Windows(empty)


def test_gaps_are_kept_in_the_cache(make_dataset: Make, tmp_path: Path) -> None:
    from surrogates.data.cache import packed

    gappy = observed(make_dataset)
    gappy["velocity_x"].values[0, 2] = np.nan
    (tmp_path / "data" / "train").mkdir(parents=True)
    h5py.File(tmp_path / "data" / "train" / "made.h5", "w").create_group("dimensions")
    for _ in range(2):
        values, missing = packed(gappy, tmp_path, "train", key="abc")
        assert missing.nonzero()[0].tolist() == [0] and missing.nonzero()[1].tolist() == [2]
        assert isinstance(values, np.memmap) and np.isnan(values[0, 2, 0]).all()
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"train-abc.npy", "train-abc.missing.npy"}


def test_parts_of_unequal_length_are_one_split(make_dataset: Make) -> None:
    parts = [make_dataset(2, 9), make_dataset(3, 5, first=2)]
    windows = Windows(parts, 2, 1, split="train")
    assert len(windows) == 2 * 7 + 3 * 3 and windows.ids.tolist() == [0, 1, 2, 3, 4]
    batch = windows.batch([0, 13, 14, 22])
    assert torch.equal(batch.past[0], from_xarray(parts[0])[0, :2]) and torch.equal(batch.future[1], from_xarray(parts[0])[1, 8:])
    assert torch.equal(batch.past[2], from_xarray(parts[1])[0, :2]) and torch.equal(batch.future[3], from_xarray(parts[1])[2, 4:])
    torch.testing.assert_close(batch.conditions.parameter("viscosity"), torch.tensor([0.1, 0.2, 0.3, 0.5]))
    assert len(set(windows.batch(range(23)).windows.tolist())) == 23
    assert len(list(Windows([parts[0], parts[0].isel(time=slice(4))], split="train").ids.unique())) == 4
    with pytest.raises(ValueError, match="parts 0 and 1 of a split differ in dt"):
        Windows([parts[0], parts[1].assign_attrs(dt=1.0)])


def test_files_of_unequal_length_are_one_split(make_dataset: Make, write: Callable[..., Path]) -> None:
    long, short = make_dataset(2, 9), make_dataset(1, 5, first=2)
    path = write(long)
    path.rename(path.with_name("long.hdf5"))
    write(short)
    folder = path.parents[2]
    windows = Windows(folder, 2, 1, split="train")
    assert len(windows) == 2 * 7 + 3
    assert torch.equal(windows.batch([14]).past[0], from_xarray(short)[0, :2])
    assert len(list((folder / "cache").glob("train-*.npy"))) == 2
    assert windows.checksum == Windows(folder, 2, 1, split="train").checksum


def test_strides_differ_from_row_to_row_and_dt_with_them(make_dataset: Make) -> None:
    data = make_dataset(2, 9)
    windows, u = Windows(data, 2, 1, strides=[1, 2, 4]), from_xarray(data)
    assert len(windows) == 2  # only start 0 of each has room for a stride of 4
    batch = windows.batch([0, 0, 1], [1, 4, 2])
    assert (
        torch.equal(batch.past[1], u[0, [0, 4]]) and torch.equal(batch.future[1, 0], u[0, 8]) and torch.equal(batch.past[2], u[1, [0, 2]])
    )
    assert batch.conditions.dt.tolist() == [0.25, 1.0, 0.5] and batch.conditions.time.tolist() == [0.25, 1.0, 0.5]
    with pytest.raises(ValueError, match="with stride 4 spans 13 frames"):
        Windows(data, 3, 1, strides=[1, 4])


def test_statistics_are_those_of_the_frames_between_the_gaps(make_dataset: Make) -> None:
    gappy = observed(make_dataset).assign_attrs(split="train")
    for name in gappy.data_vars:
        gappy[name].values[0, 3] = np.nan
    u = from_xarray(gappy).double()
    kept = torch.cat([u[0, :3], u[0, 4:], u[1]])
    steps = torch.cat([u[0, :3].diff(dim=0), u[0, 4:].diff(dim=0), u[1].diff(dim=0)])
    fitted = Normaliser.fit(Windows(gappy))
    torch.testing.assert_close(fitted.state_mean.flatten().double(), kept.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(fitted.tendency_std.flatten().double(), steps.std((0, 2, 3), correction=0), rtol=1e-5, atol=0)


def test_a_flow_may_begin_at_rest_but_not_end_unwritten(make_dataset: Make) -> None:
    rest = make_dataset(2)
    for name in rest.data_vars:
        rest[name].values[1, :2] = 0.0
    assert len(Windows(rest, 2, 1)) == 2 * 7
    for name in rest.data_vars:
        rest[name].values[1, 5:] = 0.0
    with pytest.raises(ValueError, match=r"trajectory 1 is constant over all space at time 1.25 \(frame 5\); was that frame ever written"):
        Windows(rest, 2, 1)
    for name in rest.data_vars:
        rest[name].values[1] = 0.0
    with pytest.raises(ValueError, match=r"trajectory 1 .* \(frame 0\); was that frame ever written"):
        Windows(rest, 2, 1)


def test_a_gap_stays_one_among_every_fourth_frame(make_dataset: Make) -> None:
    """19 frames but the tenth: 0, 4, 8, 13, 17 lie at most five steps apart, which a clock of four would let pass."""
    lacking = make_dataset(1, 19).isel(time=[n for n in range(19) if n != 10])
    coarse = thin(lacking, frames=4)
    assert (coarse["time"].values / 0.25).tolist() == [0, 4, 8, 13, 17] and whole_starts(coarse, 2).tolist() == [0, 1, 3]
    assert whole_starts(thin(coarse, frames=1), 3).tolist() == [0]
    assert whole_starts(thin(thin(lacking, frames=2), frames=2), 2).tolist() == [0, 1, 3]
    assert "follows" not in thin(make_dataset(1, 19), frames=4).coords
    data = DataModule({"train": make_dataset(1, 19), "valid": lacking}, stride=4)
    assert whole_starts(data.truth("valid"), 2).tolist() == [0, 1, 3] and len(data.windows("valid")) == 10 - 4 + 8 - 4


def test_gaps_that_take_most_windows_are_told(make_dataset: Make) -> None:
    uneven = make_dataset(1, 9).assign_attrs(dt=0.001)
    uneven = uneven.assign_coords(time=[0.0, 0.001, *(0.101 + 0.1 * n for n in range(7))])
    with pytest.warns(UserWarning, match="gaps leave 1 of 8 windows .* do not lie dt = 0.001 apart"):
        Windows(uneven)


def test_dates_part_windows_as_numbers_do(make_dataset: Make) -> None:
    lacking = make_dataset(1, 9).isel(time=[0, 1, 2, 3, 6, 7, 8]).assign_attrs(dt=6.0)
    hours = lacking.assign_coords(
        time=("time", lacking["time"].values / 0.25 * 6, {"units": "hours since 1996-01-05", "calendar": "standard"})
    )
    dated = xr.decode_cf(hours.drop_vars("lead_time"))
    assert dated["time"].dtype.kind == "M" and len(Windows(dated)) == 3 + 2 and whole_starts(dated, 3).tolist() == [0, 1, 4]
    assert torch.equal(Windows(dated).batch([0, 4]).conditions.time, Windows(hours).batch([0, 4]).conditions.time)
