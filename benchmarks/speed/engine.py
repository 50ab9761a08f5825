"""What a long forecast takes beside its step: memory against length, and time a frame of everything around a step that does nothing.

    python benchmarks/speed/engine.py [--json engine.json] [--lengths 1000 10000 100000] [--every 1]

One trajectory on 64^2 with two channels, frames to a Zarr folder, in a fresh process for each length, since freed memory stays with a
process: by how much its resident memory rose at the height above what it held with the packages loaded (`timing.grown`). Goal: under
1 GiB at 100,000 frames. Their 3.3 GB go to a temporary folder; `--every 10` keeps one frame in ten.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import grown, machine, table

import surrogates as sg
from surrogates.contracts import Conditions, Noise, State
from surrogates.forecast import Keep
from surrogates.interchange import to_xarray

N, GOAL = 64, 1074.0
BOX, FIELDS = sg.Box.periodic((N, N), 2 * torch.pi), sg.Fields.of(sg.Field("velocity", components=("x", "y")))


class Idle:
    """A step that costs next to nothing."""

    inputs = outputs = FIELDS
    history = bundle = 1

    def begin(self, past: torch.Tensor, conditions: Conditions) -> State:
        return {"u": past[:, -1]}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[torch.Tensor, State]:
        return state["u"][:, None], state


def one(frames: int, every: int) -> dict[str, float]:
    """MB and processor microseconds a frame, of this process."""
    start = to_xarray(torch.randn(1, 1, 2, N, N), FIELDS, BOX, time=[0.0], trajectories=[0], attrs={"dt": 0.1})
    keep = Keep(every=every, diagnostics=("energy", "mean", "variance"))
    with tempfile.TemporaryDirectory() as folder:
        sg.simulate(Idle(), start, every, keep=keep, out=Path(folder) / "warm")
        began = time.process_time()
        rose = grown(lambda: sg.simulate(Idle(), start, frames, keep=keep, out=Path(folder) / "f"), calls=1)
        return {"MB": rose, "us a frame": 1e6 * (time.process_time() - began) / frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(one(options.one, options.every)))
        return
    results = {n: fresh(n, options.every) for n in options.lengths}
    rows: list[tuple[Any, ...]] = [(n, r["MB"], GOAL, r["us a frame"]) for n, r in results.items()]
    table("Memory against length", ("frames", "MB", "goal", "us a frame"), rows)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "goals": {"MB": GOAL}, "results": results}, indent=1))


def fresh(frames: int, every: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--one", str(frames), "--every", str(every)]
    found: dict[str, float] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found


if __name__ == "__main__":
    main()
