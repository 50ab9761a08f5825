"""Forecasts read again: as Datasets, and as the initial state of a forecast that goes on where they end."""

from __future__ import annotations

import json
import os
import warnings
from math import ceil
from pathlib import Path

import xarray as xr

from surrogates.forecast.hdf5_sink import SUFFIXES, open_hdf5, written_here
from surrogates.forecast.journal import RUN, STATES
from surrogates.forecast.plan import BEFORE
from surrogates.forecast.sinks import FAILED_REASON, FAILED_STEP
from surrogates.forecast.template import KEEP, MADE, STEP_DT
from surrogates.forecast.zarr_sink import open_zarr
from surrogates.interchange import TIME, fields_of


def open_forecast(path: str | os.PathLike[str]) -> xr.Dataset:
    """A forecast written by `simulate`, lazily; one under way holds NaN where nothing is yet. Raises ValueError where there is none."""
    found = Path(path)
    if found.suffix in SUFFIXES and found.is_file():
        return open_hdf5(found)
    if found.suffix in SUFFIXES and found.with_name(found.name + ".part").is_file():
        raise ValueError(f"{path} is not whole yet; the command that writes it goes on where it was cut")
    if not (found / RUN).is_file():
        raise ValueError(f"{path} is not a forecast: it has no {RUN}; `surrogates rollout --out` writes one")
    return open_zarr(found)


def is_forecast(path: str | os.PathLike[str]) -> bool:
    """Whether `simulate` wrote it, or is not done writing it."""
    found = Path(path)
    if (found / RUN).is_file() or found.suffix not in SUFFIXES:
        return (found / RUN).is_file()
    return written_here(found) if found.is_file() else found.with_name(found.name + ".part").is_file()


def continue_from(path: str | os.PathLike[str], history: int = 1, dt: float | None = None) -> xr.Dataset:
    """The last `history` frames of a forecast, as the initial state of the next: `simulate(step, continue_from(path), frames)`.

    Members are kept, failed ones as failed, and lead times count on. At the same seed noise goes on where it was, so that of a step whose
    state is its last frames and which counts frames, or makes one a call, the two forecasts are one. What is taken from an initial state
    is taken anew from the last frame: the references of laws (a budget is what the last frame holds), the amplitudes, budgets and spectra
    that `Limits` compare with, running averages and whatever else a step carries. Surroundings, limits and monitors are not stored: pass
    them again.

    `dt` is the step to go on by, in place of the forecast's; one whose steps varied needs it. Raises ValueError where frames were not kept
    whole, where the run is not finished and where there is no dt; warns where frames were rounded to float16.
    """
    whole = open_forecast(path)
    _check_finished(Path(path))
    kept = json.loads(whole.attrs.get(KEEP, "{}")).get("arguments", {})
    if kept.get("fields") is not None or kept.get("region") or kept.get("stride", 1) > 1 or not fields_of(whole).names:
        raise ValueError(f"{path} keeps only a part of each frame, from which no forecast can go on; keep whole frames (Keep(every=...))")
    if history > 1 and kept.get("every", 1) > 1:
        raise ValueError(f"{path} keeps one frame in {kept['every']}, but {history} in a row are needed; keep every frame")
    if whole.sizes[TIME] < history:
        raise ValueError(f"{path} holds {whole.sizes[TIME]} frames but {history} are needed")
    step = whole.attrs.get(STEP_DT, whole.attrs.get("dt")) if dt is None else dt
    if step is None:
        raise ValueError(f"the steps of {path} were not all of one length; say which to go on by: continue_from(path, dt=...)")
    if kept.get("dtype") == "float16":
        warnings.warn(f"{path} keeps float16: the forecast goes on from frames that were rounded to three digits", stacklevel=2)
    codes = [n for n in (FAILED_STEP, FAILED_REASON) if n in whole]
    names = [v for f in fields_of(whole) for v in f.variables]
    last = whole[[*names, *codes]].isel({TIME: slice(-history, None)}).load()
    attrs = {k: v for k, v in whole.attrs.items() if k not in (KEEP, STEP_DT, MADE)}
    last.attrs = {}
    return last.assign_attrs({**attrs, "dt": float(step), BEFORE: whole.attrs[MADE]})


def _check_finished(folder: Path) -> None:
    """Raises ValueError for a folder in which a group of rows has not made all of its frames."""
    if not folder.is_dir():
        return  # a file has its name only when it is whole
    run = json.loads((folder / RUN).read_text())["fingerprint"]
    groups = ceil(len(run["trajectories"]) * (run["members"] or 1) / run["group"])
    made = [_made(folder / STATES / f"{g}.log") for g in range(groups)]
    if min(made) < run["frames"]:
        raise ValueError(
            f"{folder} is not finished: {sum(n >= run['frames'] for n in made)} of {groups} groups have made all {run['frames']} frames; "
            "the command that writes it goes on where it was cut"
        )


def _made(log: Path) -> int:
    """How many frames the last whole line of a group's log tells of."""
    lines = log.read_bytes().rpartition(b"\n")[0].splitlines() if log.is_file() else []
    return int(json.loads(lines[-1])[0]) if lines else 0
