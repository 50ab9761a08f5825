"""Forecasts read again: as Datasets, and as the initial state of a forecast that goes on where they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import xarray as xr

from surrogates.forecast.hdf5_sink import SUFFIXES, open_hdf5, written_here
from surrogates.forecast.journal import RUN
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
    """Whether `simulate` wrote it."""
    found = Path(path)
    return (found / RUN).is_file() or (found.suffix in SUFFIXES and found.is_file() and written_here(found))


def continue_from(path: str | os.PathLike[str], history: int = 1) -> xr.Dataset:
    """The last `history` frames of a forecast, as the initial state of the next: `simulate(step, continue_from(path), frames)`.

    Members are kept, failed ones as failed. At the same seed noise goes on where it was, so that of a step whose state is its last frames
    and which counts frames, or makes one a call, the two forecasts are one. Raises ValueError where frames were not kept whole.
    """
    whole = open_forecast(path)
    kept = json.loads(whole.attrs.get(KEEP, "{}")).get("arguments", {})
    if kept.get("fields") is not None or kept.get("region") or kept.get("stride", 1) > 1 or not fields_of(whole).names:
        raise ValueError(f"{path} keeps only a part of each frame, from which no forecast can go on; keep whole frames (Keep(every=...))")
    if history > 1 and kept.get("every", 1) > 1:
        raise ValueError(f"{path} keeps one frame in {kept['every']}, but {history} in a row are needed; keep every frame")
    if whole.sizes[TIME] < history:
        raise ValueError(f"{path} holds {whole.sizes[TIME]} frames but {history} are needed")
    codes = [n for n in (FAILED_STEP, FAILED_REASON) if n in whole]
    names = [v for f in fields_of(whole) for v in f.variables]
    last = whole[[*names, *codes]].isel({TIME: slice(-history, None)}).load()
    attrs = {k: v for k, v in whole.attrs.items() if k not in (KEEP, STEP_DT, MADE)}
    last.attrs = {}
    return last.assign_attrs({**attrs, "dt": whole.attrs.get(STEP_DT, whole.attrs["dt"]), BEFORE: whole.attrs[MADE]})
