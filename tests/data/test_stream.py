"""Reading ahead: the same batches in the same order, read at once and while something else is computed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import Windows
from surrogates.data.module import DataModule, TrainingBatches
from surrogates.data.stream import ahead
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


def test_gaps_of_a_stream_are_said_or_named(dataset: xr.Dataset) -> None:
    dataset["tracer"].values[:, 4, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r'frames 3 to 4 of trajectory 1 .* coordinate "missing"'):
        Windows(dataset, stream=True).batch([8 + 3])
    said = dataset.assign_coords(missing=("time", np.isnan(dataset["tracer"].values).any((0, 2, 3))))
    windows = Windows(said, stream=True)
    assert len(windows) == 5 * 6 and windows.batch(range(30)).past.isfinite().all()
