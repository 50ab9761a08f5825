"""What `surrogates rollout` does: a saved surrogate, initial states, a forecast as Zarr or HDF5, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates.constraints import constrained
from surrogates.contracts import Step
from surrogates.data import open_dataset
from surrogates.forecast.engine import CHUNK, GROUP, simulate
from surrogates.forecast.keep import Keep
from surrogates.forecast.progress import Progress, Tally
from surrogates.forecast.ranges import FILE as RANGES
from surrogates.forecast.ranges import Ranges
from surrogates.forecast.reading import continue_from, is_forecast
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP
from surrogates.forecast.surroundings import surroundings_of
from surrogates.forecast.trust import FILE as TRUST
from surrogates.forecast.trust import Trust
from surrogates.forecast.trust_commands import laws_of
from surrogates.interchange import MEMBER, TIME, TRAJECTORY
from surrogates.saved import load


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
    chunk: int = CHUNK,
    deterministic: bool = False,
    constraints: str = "all",
    anyway: bool = False,
    device: str = "cpu",
    keep_fields: str | None = None,
    region: str = "",
    stride: int = 1,
    every: int = 1,
    diagnostics: str = "",
    dtype: str = "float32",
    compression: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    watch: bool = False,
    surroundings: str | None = None,
) -> None:
    """Roll out a saved surrogate from the frames of a data set, or from where a forecast ends; stopped at any moment, the same command
    resumes it.

    Args:
        surrogate: the folder of a saved surrogate.
        dataset: the name of a data set that was made, the path of a file or folder, or a forecast, which is then continued.
        frames: how many frames to forecast.
        out: the Zarr folder to write, or an HDF5 file (.h5, .hdf5, .nc).
        split: train, valid or test.
        size: which of the sizes that were made (default: the largest).
        members: ensemble members (default: one forecast, no such dimension; of a forecast that is continued, its own).
        seed: of the members' noise.
        start: the frame to start from; surrogates with a history also take the frames before it.
        group: rows that are run together; bits depend on it, draws do not.
        chunk: frames that are stored together.
        deterministic: pass no noise: the guess alone.
        constraints: the laws that the surrogate runs under: all of its own, none, or some by name, as DivergenceFree,EnergyBudget.
        anyway: run from states outside the ranges of the training split too, where `surrogates trust` has measured them.
        device: where it runs, such as cpu or cuda.
        keep_fields: the fields that are kept, as velocity,pressure; none keeps none of them (default: all).
        region: the part that is kept, as x=0:3.14,y=1:2, or lon=-10:30,lat=35:60.
        stride: keep every so many points of each axis.
        every: keep every so many frames.
        diagnostics: what is measured on the way, as spectrum,mean (integral, energy, spectrum, mean, variance, extremes).
        dtype: of the fields that are kept: float16, float32 or float64.
        compression: of the Zarr folder: zstd, gzip or blosc (default: none; turbulence hardly compresses).
        workers: run on so many processes.
        scheduler: the address of a dask scheduler to run on, as tcp://node:8786.
        watch: show every group's budgets while it runs.
        surroundings: the data set whose forcings and static fields surround the run (default: `dataset`; a forecast that is continued
            has no forcings of its own).
    """
    model = constrained(load(surrogate, device), constraints)
    around = None
    if is_forecast(dataset):
        initial = continue_from(dataset, model.history)
    else:
        truth = open_dataset(dataset, split=split, size=size)
        initial, around = initial_states(truth, start, model), surroundings_of(truth)
        if (Path(surrogate) / RANGES).is_file():
            Ranges.read(surrogate).check(initial, refuse=not anyway)
    if surroundings is not None:
        around = surroundings_of(open_dataset(surroundings, split=split, size=size))
        if around is None:
            raise ValueError(f"--surroundings {surroundings}: the data set declares neither forcings nor static fields; leave it out")
    keep = Keep(read_fields(keep_fields), read_region(region), stride, every, tuple(_words(diagnostics)), dtype, compression)
    progress = Progress(watch=watch)
    forecast = simulate(
        model, initial, frames, members=members, seed=seed, out=out, group=group, chunk=chunk, deterministic=deterministic, keep=keep,
        workers=workers, scheduler=scheduler, surroundings=around, progress=progress,
    )  # fmt: skip
    print(summary(forecast, out, progress.tally))
    if (Path(surrogate) / TRUST).is_file() and keep == Keep():
        without = deterministic and bool(getattr(model, "generative", True))  # one that draws nothing is the same either way
        print(horizon(Trust.read(surrogate), forecast, laws_of(model), without))


def initial_states(truth: xr.Dataset, start: int, model: Step) -> xr.Dataset:
    """The frames that a forecast from frame `start` needs. Raises ValueError where the data set does not hold them."""
    if not model.history - 1 <= start < truth.sizes[TIME]:
        raise ValueError(
            f"--start {start} needs frames {start + 1 - model.history} to {start}, but the trajectories hold 0 to {truth.sizes[TIME] - 1}; "
            f"start from {model.history - 1} to {truth.sizes[TIME] - 1}"
        )
    return truth.isel({TIME: slice(start + 1 - model.history, start + 1)})


def summary(forecast: xr.Dataset, out: str, tally: Tally) -> str:
    """How much was made, how fast, what failed, what its constraint left, and where it lies."""
    steps, reasons = np.atleast_1d(forecast[FAILED_STEP].values), np.atleast_1d(forecast[FAILED_REASON].values)
    meanings = [str(m).replace("_", " ") for m in str(forecast[FAILED_REASON].attrs["flag_meanings"]).split()]
    kept = f", {forecast.sizes[TIME]} frames kept" if TIME in forecast.sizes else ""
    lines = [f"{forecast.sizes[TRAJECTORY]} trajectories x {forecast.sizes.get(MEMBER, 1)} members{kept}"]
    lines.append(account(tally))
    failed = np.argwhere(steps >= 0)
    lines.append(f"{len(failed)} of {steps.size} runs failed" if len(failed) else f"none of {steps.size} runs failed")
    for where in failed[:5]:
        index = tuple(where)
        member = f", member {int(forecast[MEMBER].values[index[1]])}" if MEMBER in forecast.dims else ""
        trajectory = int(forecast[TRAJECTORY].values[index[0]])
        lines.append(f"  trajectory {trajectory}{member}: {meanings[int(reasons[index])]} after {int(steps[index])} frames")
    if tally.defect is not None:
        lines.append(f"largest defect of the constraint in the last frames: {tally.defect:.1e}")
    return "\n".join([*lines, f"forecast: {Path(out).resolve()}"])


def horizon(trust: Trust, forecast: xr.Dataset, laws: Sequence[str], deterministic: bool) -> str:
    """Until when the forecast can be trusted: the least and greatest `valid_lead` of its trajectories; or why that is not known."""
    different = trust.differs(laws, deterministic, forecast.sizes.get(MEMBER, 1))
    if different:
        return f"no horizon: {different}"
    try:
        valid = trust.apply(forecast)["valid_lead"]
    except ValueError as error:  # measured for other fields, or by other code; the forecast is made all the same
        return f"no horizon: {error}"
    least, most = valid.values.min(), valid.values.max()
    span = f"{most:g}" if least == most else f"{least:g} to {most:g}, by trajectory"
    unit = valid.attrs["units"]
    until = f"until lead time {span}{'' if unit == '1' else f' {unit}'}" if most > 0 else "at none of its lead times"
    return f"to be trusted {until} ({valid.attrs['long_name']})"


def account(tally: Tally) -> str:
    """What this session took; a forecast that was there already took nothing."""
    if not tally.steps:
        return "it was there already: nothing was made"
    evaluations = "" if tally.evaluations is None else f", {tally.evaluations} network evaluations"
    return f"{tally.steps} steps in {tally.seconds:.1f} s: {tally.steps / tally.seconds:.0f} steps/s{evaluations}"


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]


def read_fields(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(w for w in _words(text) if w != "none")


def read_region(text: str) -> dict[str, tuple[float, float]]:
    """Raises ValueError where it is not written as x=0:3.14,y=1:2."""
    out: dict[str, tuple[float, float]] = {}
    for part in _words(text):
        name, equals, span = part.partition("=")
        low, colon, high = span.partition(":")
        try:
            out[name] = (float(low), float(high))
        except ValueError as error:
            raise ValueError(f"--region {part!r} is not understood; write x=0:3.14,y=1:2") from error
        if not equals or not colon:
            raise ValueError(f"--region {part!r} is not understood; write x=0:3.14,y=1:2")
    return out
