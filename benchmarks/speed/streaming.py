"""Training from a slow store: Zarr behind a delay for every chunk, as from a cloud, read while something else is computed.

    python benchmarks/speed/streaming.py [--json streaming.json] [--delay 0.05] [--batches 12]

A data set of two scalars on 64^2 lies on the disk as Zarr, a chunk a frame and variable; a local fsspec file system waits before it hands
over a chunk (`tests/data/slow_store.py`). A batch is 8 windows of 2 frames, 32 chunks. What a step computes is stood in for by a wait, as a
GPU's would be. Wall time; the delay is most of it, so other processes matter little.

    one by one      xarray, window after window: what a plain loop over a Dataset does
    at once         ours without reading ahead: the chunks of a batch come together
    ahead           ours, reading the next batches while a step is computed
    overlap         how much of the shorter of reading (at once) and computing is hidden: 1 is all of it
"""

from __future__ import annotations

import argparse
import json
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
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
        }
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
