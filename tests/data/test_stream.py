"""Reading ahead: the same batches in the same order, read at once and while something else is computed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from surrogates.data import Windows
from surrogates.data.formats import cf_open
from surrogates.data.module import DataModule, TrainingBatches
from surrogates.data.stream import ahead
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import from_xarray, to_xarray
from surrogates.normalise import Normaliser

sys.path.insert(0, str(Path(__file__).parent))
from slow_store import Delayed, opened

DELAY = 0.05


def test_results_come_in_order_and_no_further_ahead_than_asked() -> None:
    begun: list[int] = []

    def read(step: int) -> int:
        begun.append(step)
        time.sleep(0.002 * (step % 3))
        return step * step

    for n, value in enumerate(ahead(read, range(10), 3)):
        assert value == n * n and max(begun) <= n + 3
    assert list(ahead(read, range(4), 0)) == [0, 1, 4, 9] and list(ahead(read, [], 2)) == []


def test_an_error_comes_where_its_result_was_due() -> None:
    def read(step: int) -> int:
        if step == 2:
            raise ValueError("no frame")
        return step

    seen = []
    with pytest.raises(ValueError, match="no frame"):
        for value in ahead(read, range(9), 4):
            seen.append(value)
    assert seen == [0, 1]


@pytest.fixture
def store(dataset: xr.Dataset, tmp_path: Path) -> tuple[xr.Dataset, Delayed]:
    """The data set as Zarr, a chunk a frame and variable, behind a delay."""
    path = tmp_path / "made.zarr"
    chunks = {v: {"chunks": (1, 1, 6, 4)} for v in dataset.data_vars}
    dataset.to_zarr(path, encoding=chunks, consolidated=False, zarr_format=3)
    return opened(path, DELAY)


def test_a_stream_gives_the_windows_of_packed_data(dataset: xr.Dataset, store: tuple[xr.Dataset, Delayed]) -> None:
    packed, stream = Windows(dataset, 2, 1, stride=2, split="train"), Windows(store[0], 2, 1, stride=2, stream=True, split="train")
    store[1].delay = 0.0
    one, other = packed.batch([0, 7, 3]), stream.batch([0, 7, 3])
    assert torch.equal(one.past, other.past) and torch.equal(one.future, other.future) and torch.equal(one.windows, other.windows)
    for a, b in zip(Normaliser.fit(packed).buffers(), Normaliser.fit(stream).buffers(), strict=True):
        assert torch.equal(a, b)


def test_the_chunks_of_a_batch_are_read_at_once(store: tuple[xr.Dataset, Delayed]) -> None:
    lazy, files = store
    windows = Windows(lazy, 1, 1, stream=True)
    begun = time.perf_counter()
    windows.batch([0, 10, 20])
    took, chunks = time.perf_counter() - begun, len(files.spans)
    assert chunks == 3 * 2 * 3  # windows, frames, variables
    assert took < 0.6 * chunks * DELAY, f"{took:.2f} s for {chunks} chunks of {DELAY} s"


LEVELLED = Fields.of(Field("t", "K", levels=(1.0, 2.0, 3.0)), Field("p", "Pa"))


def levelled(path: Path, frames: int, level: int, order: Sequence[str] = ("trajectory", "time", "level", "x")) -> xr.Dataset:
    """Two trajectories of 12 frames, a field on three levels and one on none; the same as Zarr, chunks of `frames` and `level`."""
    u = torch.randn(2, 12, 4, 8, generator=torch.Generator().manual_seed(0))
    made = to_xarray(u, LEVELLED, Box.periodic((8,), 1.0), time=[float(n) for n in range(12)], trajectories=[0, 1])
    made = made.transpose(*order)
    size = {"trajectory": 1, "time": frames, "level": level, "x": 8}
    chunks = {v: {"chunks": tuple(size[str(d)] for d in made[v].dims)} for v in made.data_vars}
    made.to_zarr(path, encoding=chunks, consolidated=False, zarr_format=3)
    return made


@pytest.mark.parametrize("order", [("trajectory", "time", "level", "x"), ("x", "level", "time", "trajectory")])
@pytest.mark.parametrize(("frames", "level", "chunks"), [(1, 3, 2), (4, 3, 2), (1, 1, 4), (4, 2, 3)])
def test_a_block_of_frames_takes_each_chunk_once(tmp_path: Path, frames: int, level: int, chunks: int, order: tuple[str, ...]) -> None:
    """Windows of two frames, three apart: they touch `chunks` for each time that chunks tell apart, of all levels or of some."""
    made = levelled(tmp_path / "made.zarr", frames, level, order)
    lazy, files = opened(tmp_path / "made.zarr", 0.0)
    stream, packed = Windows(lazy, stride=3, stream=True), Windows(made, stride=3)
    assert not files.paths
    one, other = stream.batch([0, 10]), packed.batch([0, 10])  # frames 0 and 3, and 1 and 4 of the other
    assert torch.equal(one.past, other.past) and torch.equal(one.future, other.future)
    times = 4 if frames == 1 else 3
    assert len(files.paths) == len(set(files.paths)) == chunks * times


def test_levels_that_were_chosen_from_a_file_take_each_chunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through dask, as readers of formats open a store."""
    made, path, asked = levelled(tmp_path / "made.zarr", 4, 3), tmp_path / "made.zarr", list[str]()
    plain = zarr.storage.LocalStore.get

    async def counted(self: zarr.storage.LocalStore, key: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(key)
        return await plain(self, key, *args, **kwargs)

    data = cf_open.opened(path).isel(level=[2, 0]).transpose("trajectory", "time", "level", "x")
    fields = Fields.of(Field("t", "K", levels=(3.0, 1.0)), Field("p", "Pa"))
    data = data.assign_attrs({**made.attrs, "fields": json.dumps(fields.to_json())})
    stream = Windows(data, 2, 2, stream=True)
    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    found = stream.batch([1])
    asked = [key for key in asked if "/c/" in key]
    assert torch.equal(found.past[0], from_xarray(made)[0, 1:3, [2, 0, 3]])
    assert len(asked) == len(set(asked)) == 2 * 2  # variables, chunks of four frames


@pytest.mark.parametrize("settings", [{"stride": 3}, {"strides": [1, 2, 4]}])
@pytest.mark.parametrize("at_once", [5, 100])
def test_statistics_take_each_chunk_once_whatever_the_stride(
    tmp_path: Path, settings: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = levelled(tmp_path / "made.zarr", 2, 3)
    lazy, files = opened(tmp_path / "made.zarr", 0.0)
    whole = Normaliser.fit(Windows(made, split="train", **settings))
    monkeypatch.setattr("surrogates.data.phases.LONGEST", at_once * 4 * 4 * 8)
    found = Normaliser.fit(Windows(lazy, split="train", stream=True, **settings))
    assert len(files.paths) == len(set(files.paths)) == 2 * 2 * 6  # variables, trajectories, chunks of two frames
    for name, value in found.named_buffers():
        wanted = whole.get_buffer(name)
        torch.testing.assert_close(value, wanted, rtol=0 if at_once == 100 else 1e-6, atol=0 if at_once == 100 else 1e-6)


def test_reading_and_computing_overlap(store: tuple[xr.Dataset, Delayed]) -> None:
    """Eight batches are computed with, a delay each: what is read ahead is there when it is asked for."""
    lazy, _ = store
    waits: dict[int, float] = {}
    for prefetch in (0, 3):
        batches, waited = TrainingBatches(Windows(lazy, 1, 1, stream=True), 2, 0, prefetch=prefetch), 0.0
        source = iter(batches)
        for n in range(8):
            begun = time.perf_counter()
            next(source)
            waited += (time.perf_counter() - begun) if n else 0.0
            time.sleep(2 * DELAY)  # what a network would take
        source.close()  # type: ignore[attr-defined]
        waits[prefetch] = waited
    assert waits[0] > 7 * DELAY and waits[3] < 0.5 * waits[0], waits


def test_reading_ahead_changes_nothing(dataset: xr.Dataset) -> None:
    plain, early = (TrainingBatches(Windows(dataset), 7, 3, prefetch=p) for p in (0, 3))
    for one, other in zip([*plain, *plain], [*early, *early], strict=True):
        assert torch.equal(one.past, other.past) and torch.equal(one.windows, other.windows)
    assert plain.step == early.step
    assert len(list(DataModule(dataset, batch_size=4, prefetch=2).train_dataloader())) == 8


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_a_stream_draws_what_packed_data_draw_however_many_read_ahead(dataset: xr.Dataset, store: Any, prefetch: int) -> None:
    """The same windows in the same order with the same strides, over two epochs."""
    store[1].delay = 0.0
    packed = TrainingBatches(Windows(dataset, strides=(1, 2)), 7, 3)
    stream = TrainingBatches(Windows(store[0], strides=(1, 2), stream=True), 7, 3, prefetch=prefetch)
    for one, other in zip([*packed, *packed], [*stream, *stream], strict=True):
        assert torch.equal(one.windows, other.windows) and torch.equal(one.past, other.past) and torch.equal(one.future, other.future)
        assert torch.equal(one.conditions.dt, other.conditions.dt)


def test_gaps_of_a_stream_are_said_or_named(dataset: xr.Dataset) -> None:
    dataset["tracer"].values[:, 4, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r'frames 3 to 4 of trajectory 1 .* coordinate "missing"'):
        Windows(dataset, stream=True).batch([8 + 3])
    said = dataset.assign_coords(missing=("time", np.isnan(dataset["tracer"].values).any((0, 2, 3))))
    windows = Windows(said, stream=True)
    assert len(windows) == 5 * 6 and windows.batch(range(30)).past.isfinite().all()
