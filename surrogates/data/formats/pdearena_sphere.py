"""PDEArena's shallow water on the sphere: what SpeedyWeather writes, and the same gathered into Zarr.

    folder/
      train.zarr, valid.zarr, test.zarr          u, v, vor, pres (b, time, lev, lat, lon); b counts the trajectories
      train/seed=197910/run0001/output.nc        u, v, vor, pres (time, lev, lat, lon), a trajectory a file

Both follow the CF conventions, so that `cf` reads them. Sources: as of `pdearena`, and https://github.com/SpeedyWeather/SpeedyWeather.jl.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import xarray as xr

from surrogates.data.formats import cf
from surrogates.data.formats.given import Given

SPLITS = ("train", "valid", "test")
RUNS = "seed=*/run*/output.nc"
BATCH = "b"


def recognises(path: Path) -> bool:
    """A folder with these stores or files for one split at least."""
    return path.is_dir() and any(_sources(path, split) for split in SPLITS)


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a store, or a file. Raises ValueError for what `cf` does not read."""
    said = replace(given, name=given.name or path.name)
    out: dict[str, list[xr.Dataset]] = {}
    for split in SPLITS:
        for source in _sources(path, split):
            many = source.suffix == ".zarr"
            here = replace(said, options={"trajectory": BATCH, **given.options}) if many else said
            out.setdefault(split, []).extend(cf.read(source, here)["all"])
    return out


def _sources(path: Path, split: str) -> list[Path]:
    store = path / f"{split}.zarr"
    return [store] if store.is_dir() else sorted((path / split).glob(RUNS))
