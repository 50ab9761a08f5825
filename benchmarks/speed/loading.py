"""Speed of loading windows: against the-well's reader on the same file (G11), and against a plain copy of memory (G12).

    python benchmarks/speed/loading.py [--json loading.json] [--seconds 4]

The file has a vector and two scalars on 128^2; a window is 5 frames, 1.31 MB, read warm, 16 at a time in a random order that is the
same for all. the-well is optional: `pip install --no-deps the-well fsspec`. "Same outputs" means channels last, as the-well gives
them, compared first to the bit; "channels first" is what training reads. Ratios are medians of paired rounds, one thread and
processor time; above 1, ours is the faster.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import torch
from timing import machine, race, table
from torch import Tensor

from surrogates.data import Windows, open_dataset
from surrogates.data.layout import Part, checksum, create
from surrogates.domains import Box
from surrogates.fields import Field, Fields

FIELDS = Fields.of(Field("pressure"), Field("tracer"), Field("velocity", components=("x", "y")))  # the-well puts scalars first
BOX = Box.periodic((128, 128), 1.0)
ROWS, FRAMES, HISTORY, BUNDLE, BATCH = 8, 24, 1, 4, 16
G11 = {"same outputs": 7.0, "channels first": 25.0}
G12 = 0.7


def write(folder: Path) -> Path:
    """Random frames as a finished file of the layout; returns the data set's folder."""
    path = folder / "data" / "train" / "made.hdf5.part"
    times = [0.1 * i for i in range(FRAMES)]
    attrs: dict[str, str | int | float] = {"recipe": "{}", "version": "0", "seed": 0, "dt": 0.1}
    create(path, name="made", fields=FIELDS, box=BOX, times=times, trajectories=range(ROWS), parameters={"a": [1.0] * ROWS}, attrs=attrs)
    part, random = Part(path), np.random.default_rng(0)
    for row in range(ROWS):
        part.write(row, random.standard_normal((FRAMES, FIELDS.count, *BOX.shape), np.float32))
    part.finish({"checksum": checksum(path), "certificate": {}})
    return folder


def contenders(folder: Path) -> dict[str, Callable[[], list[Tensor]]]:
    """Each reads the same 16 windows and returns them; the-well's is left out where it is not installed."""
    windows = Windows(folder, HISTORY, BUNDLE, split="train")
    chosen = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:BATCH].tolist()
    rows, starts = zip(*(divmod(i, windows.per_trajectory) for i in chosen), strict=True)
    memory = torch.randn(ROWS, FRAMES, FIELDS.count, *BOX.shape)

    def first() -> list[Tensor]:
        batch = windows.batch(chosen)
        return [batch.past, batch.future]

    def last() -> list[Tensor]:
        batch = windows.read(rows, starts).movedim(2, -1).contiguous()
        return [batch[:, :HISTORY], batch[:, HISTORY:]]

    def copy() -> list[Tensor]:
        out = torch.empty(BATCH, HISTORY + BUNDLE, FIELDS.count, *BOX.shape)
        for b, (n, t) in enumerate(zip(rows, starts, strict=True)):
            out[b].copy_(memory[n, t : t + HISTORY + BUNDLE])
        return [out]

    out: dict[str, Callable[[], list[Tensor]]] = {"channels first": first, "same outputs": last, "memory copy": copy}
    try:
        from the_well.data import WellDataset
    except ImportError:
        print("the-well is not installed; G11 is left out (pip install --no-deps the-well fsspec)")
        return out
    peer = WellDataset(path=str(folder / "data" / "train"), n_steps_input=HISTORY, n_steps_output=BUNDLE)

    def theirs() -> list[Tensor]:
        samples = [peer[i] for i in chosen]
        return [torch.stack([s[k] for s in samples]) for k in ("input_fields", "output_fields")]

    for ours, other in zip(last(), theirs(), strict=True):
        assert torch.equal(ours, other), "the two readers disagree"
    return {**out, "the-well": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        open_dataset(write(Path(folder)), verify=True)
        result = race(contenders(Path(folder)), seconds=options.seconds, clock=process_time)
    rates = {name: BATCH / result.median(name) for name in result.times}
    goals: list[tuple[object, ...]] = [("G12", "memory copy / channels first", result.ratio("memory copy", "channels first"), G12)]
    if "the-well" in result.times:
        goals += [("G11", f"the-well / {name}", result.ratio("the-well", name), goal) for name, goal in G11.items()]
    title = f"Windows of 1.31 MB, {len(next(iter(result.times.values())))} rounds"
    table(title, ("reader", "windows/s"), [(name, round(rate)) for name, rate in rates.items()])
    table("Goals", ("id", "ratio", "measured", "goal"), goals)
    if options.json:
        record = {
            "machine": machine(),
            "windows_per_s": rates,
            "ratios": [dict(zip(("id", "what", "measured", "goal"), g, strict=True)) for g in goals],
        }
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
