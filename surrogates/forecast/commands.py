"""What `surrogates rollout` does: a saved surrogate, a data set's initial states, a forecast as Zarr, and what became of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates.data import open_dataset
from surrogates.forecast.blowup import REASONS
from surrogates.forecast.engine import GROUP, simulate
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP, RUN
from surrogates.interchange import MEMBER, TIME, TRAJECTORY
from surrogates.saved import load
from surrogates.surrogate import Surrogate


def rollout(
    surrogate: str,
    dataset: str,
    frames: int = 60,
    out: str = "runs/forecast.zarr",
    split: str = "test",
    size: str | None = None,
    members: int | None = None,
    seed: int = 0,
    start: int = 0,
    group: int = GROUP,
    deterministic: bool = False,
    device: str = "cpu",
) -> None:
    """Roll out a saved surrogate from the frames of a data set into a Zarr folder; stopped at any moment, the same command resumes it.

    Args:
        surrogate: the folder of a saved surrogate.
        dataset: the name of a data set that was made, or the path of a file or folder.
        frames: how many frames to forecast.
        out: the Zarr folder to write.
        split: train, valid or test.
        size: which of the sizes that were made (default: the largest).
        members: ensemble members (default: one forecast, no such dimension).
        seed: of the members' noise.
        start: the frame to start from; surrogates with a history also take the frames before it.
        group: rows that are run together; bits depend on it, draws do not.
        deterministic: pass no noise: the guess alone.
        device: where it runs, such as cpu or cuda.
    """
    model = load(surrogate, device)
    initial = initial_states(open_dataset(dataset, split=split, size=size), start, model)
    resumed = (Path(out) / RUN).is_file()
    began = time.perf_counter()
    forecast = simulate(
        model, initial, frames, members=members, seed=seed, out=out, group=group, deterministic=deterministic, progress=True
    )
    print(summary(forecast, out, None if resumed else time.perf_counter() - began))


def initial_states(truth: xr.Dataset, start: int, model: Surrogate) -> xr.Dataset:
    """The frames that a forecast from frame `start` needs. Raises ValueError where the data set does not hold them."""
    if not model.history - 1 <= start < truth.sizes[TIME]:
        raise ValueError(
            f"--start {start} needs frames {start + 1 - model.history} to {start}, but the trajectories hold 0 to {truth.sizes[TIME] - 1}; "
            f"start from {model.history - 1} to {truth.sizes[TIME] - 1}"
        )
    return truth.isel({TIME: slice(start + 1 - model.history, start + 1)})


def summary(forecast: xr.Dataset, out: str, seconds: float | None) -> str:
    """How much was made, how fast, what failed and where it lies."""
    rows = forecast.sizes[TRAJECTORY] * forecast.sizes.get(MEMBER, 1)
    made = forecast.sizes[TIME]
    steps, reasons = np.atleast_1d(forecast[FAILED_STEP].values), np.atleast_1d(forecast[FAILED_REASON].values)
    lines = [f"{forecast.sizes[TRAJECTORY]} trajectories x {forecast.sizes.get(MEMBER, 1)} members, {made} frames"]
    if seconds is not None:
        total = int(np.where(steps < 0, made, steps).sum())
        lines.append(f"{total} steps in {seconds:.1f} s: {total / seconds:.0f} steps/s")
    failed = np.argwhere(steps >= 0)
    lines.append(f"{len(failed)} of {rows} runs failed" if len(failed) else f"none of {rows} runs failed")
    for where in failed[:5]:
        index = tuple(where)
        member = f", member {int(forecast[MEMBER].values[index[1]])}" if MEMBER in forecast.dims else ""
        trajectory = int(forecast[TRAJECTORY].values[index[0]])
        lines.append(f"  trajectory {trajectory}{member}: {REASONS[int(reasons[index])]} after {int(steps[index])} frames")
    return "\n".join([*lines, f"forecast: {Path(out).resolve()}"])
