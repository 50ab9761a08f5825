"""Training from a slow store: Zarr behind a delay for every chunk, as from a cloud, read while something else is computed.

    python benchmarks/speed/streaming.py [--json streaming.json] [--delay 0.05] [--batches 12]

A data set of two scalars on 64^2 lies on the disk as Zarr, a chunk a frame and variable; a local fsspec file system waits before it hands
over a chunk (`tests/data/slow_store.py`). A batch is 8 windows of 2 frames, 32 chunks. What a step computes is stood in for by a wait, as a
GPU's would be. Wall time; the delay is most of it, so other processes matter little.

    one by one      xarray, window after window: what a plain loop over a Dataset does
    at once         ours without reading ahead: the chunks of a batch come together
    ahead           ours, reading the next batches while a step is computed
    overlap         how much of the shorter of reading (at once) and computing is hidden: 1 is all of it
    fetches         how often a chunk is asked for, against how many are touched, in a store of 13 levels and 4 frames a chunk: by a batch,
                    and by statistics, at a first start and at the next one, which looks at 64 frames. Counts do not depend on the machine
                    (`--fetches` alone measures nothing else)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import xarray as xr
from timing import machine, table

from surrogates.data import Windows
from surrogates.data.batches import TrainingBatches
from surrogates.data.module import DataModule
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import from_xarray, to_xarray

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "data"))
from slow_store import opened

FIELDS, BOX = Fields.of(Field("height", "m"), Field("tracer")), Box.periodic((64, 64), 1.0)
ROWS, FRAMES, BATCH, AHEAD = 4, 40, 8, 3
GOAL = 0.9


def write(folder: Path) -> Path:
    """Random frames as Zarr, a chunk a frame and variable."""
    u = torch.randn(ROWS, FRAMES, FIELDS.count, *BOX.shape, generator=torch.Generator().manual_seed(0))
    dataset = to_xarray(u, FIELDS, BOX, time=[0.1 * i for i in range(FRAMES)], trajectories=range(ROWS))
    path = folder / "made.zarr"
    encoding = {name: {"chunks": (1, 1, *BOX.shape)} for name in dataset.data_vars}
    dataset.to_zarr(path, encoding=encoding, consolidated=False, zarr_format=3)
    return path


def plainly(dataset: xr.Dataset, order: TrainingBatches, batches: int) -> Iterator[torch.Tensor]:
    """The same windows, one after the other."""
    for step in range(batches):
        rows, starts = order.windows.runs.find(order.order(step).numpy())
        windows = [
            from_xarray(dataset.isel(trajectory=slice(n, n + 1), time=slice(t, t + 2)).load()) for n, t in zip(rows, starts, strict=True)
        ]
        yield torch.cat(windows)


def seconds(source: Iterator[object], batches: int, step: float) -> float:
    """A batch and a step, on average; the first batch, for which nothing could be read ahead, is left out."""
    next(source)
    begun = time.perf_counter()
    for _ in range(batches - 1):
        time.sleep(step)
        next(source)
    return (time.perf_counter() - begun) / (batches - 1)


def fetches(folder: Path) -> list[tuple[str, int, int]]:
    """What was done, chunks touched, fetches: of a weather store in small, in a data root of its own."""
    os.environ["SURROGATES_DATA"] = str(folder / "root")
    fields = Fields.of(Field("temperature", "K", levels=tuple(map(float, range(13)))), Field("pressure", "Pa"))
    u = torch.randn(2, 96, fields.count, 8, 8, generator=torch.Generator().manual_seed(0))
    made = to_xarray(u, fields, Box.periodic((8, 8), 1.0), time=[6.0 * n for n in range(96)], trajectories=range(2))
    encoding = {name: {"chunks": (1, 4, *made[name].shape[2:])} for name in made.data_vars}
    made.to_zarr(folder / "levels.zarr", encoding=encoding, consolidated=False, zarr_format=3)
    out = []
    for label, settings in (("stride 1", {"stride": 1}), ("stride 4", {"stride": 4}), ("strides 1, 2, 4", {"strides": [1, 2, 4]})):
        for start in ("first", "next"):
            dataset, files = opened(folder / "levels.zarr", 0.0)
            _ = DataModule({"train": dataset}, stream=True, **settings).normaliser
            out.append((f"statistics, {label}, {start} start", 2 * 2 * 24, len(files.spans)))
    dataset, files = opened(folder / "levels.zarr", 0.0)
    Windows(dataset, stream=True).batch(range(0, 64, 8))
    return [("a batch of 8 windows", 2 * 8, len(files.spans)), *out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--fetches", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = fetches(Path(folder))
    table("Fetches", ("what", "chunks touched", "fetches"), list[tuple[object, ...]](counts))
    if options.fetches:
        return
    step = 3 * options.delay
    with tempfile.TemporaryDirectory() as folder:
        dataset, files = opened(write(Path(folder)), options.delay)

        def ours(prefetch: int) -> TrainingBatches:
            return TrainingBatches(Windows(dataset, 1, 1, stream=True), BATCH, 0, prefetch=prefetch)

        same = all(
            torch.equal(torch.cat([a.past, a.future], 1), b)
            for a, b in zip(map(ours(0).at, range(1)), plainly(dataset, ours(0), 1), strict=True)
        )
        assert same, "the readers disagree"
        chunks = len(files.spans) // 2
        found = {
            "one by one": seconds(plainly(dataset, ours(0), options.batches), options.batches, step),
            "at once": seconds(map(ours(0).at, range(options.batches)), options.batches, step),
            "ahead": seconds(iter(ours(AHEAD)), options.batches, step),
        }
    reading = found["at once"] - step
    overlap = (found["at once"] - found["ahead"]) / min(reading, step)
    rows: list[tuple[object, ...]] = [(name, value, value / step) for name, value in found.items()]
    table(
        f"{chunks} chunks a batch, {1000 * options.delay:.0f} ms each; a step of {1000 * step:.0f} ms",
        ("reader", "s a step", "of the step alone"),
        rows,
    )
    table(
        "Goals",
        ("what", "measured", "goal"),
        [("overlap of reading and computing", overlap, GOAL), ("one by one / ahead", found["one by one"] / found["ahead"], "-")],
    )
    if options.json:
        record = {
            "machine": machine(),
            "delay": options.delay,
            "step": step,
            "chunks": chunks,
            "seconds": found,
            "overlap": overlap,
            "goal": GOAL,
            "fetches": {what: {"touched": touched, "fetched": fetched} for what, touched, fetched in counts},
        }
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
