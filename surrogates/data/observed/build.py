"""The files of observations as Datasets, one a split, and these as files of ours.

What is missing stays missing: a frame without any value is NaN in every cell, and the Dataset says so (`gaps`), so that no window holds it.
Cells of the grid that lack a value in a frame that has others are dry (`cells: whole`): the coast does not move. Nothing is filled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import surrogates
from surrogates.data.cuts import Cut
from surrogates.data.formats import cf
from surrogates.data.formats.cf_time import About, dated, within
from surrogates.data.formats.given import Given
from surrogates.data.observed.fetch import files_of
from surrogates.data.observed.geostrophic import geostrophic
from surrogates.data.observed.recipe import Recipe
from surrogates.data.workers import locked
from surrogates.data.written import Written, check_recipe
from surrogates.domains import Masked, Patch, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import GAPS, NAN, TIME, domain_of, to_xarray

Arrays = dict[str, NDArray[np.float32]]  # (T, lat, lon)
NORTH_EAST = ("north", "east")


def make(recipe: Recipe, folder: Path, *, workers: int = 1, quiet: bool = False) -> Path:
    """Fetch, convert and write, or find; returns `folder`. Files lie in `folder/source`, and may be put there by hand.

    Raises ValueError where a file cannot be had or is not the recipe's, and where the folder holds another data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        paths = {s: folder / "data" / s / f"{recipe.name}.hdf5" for s in recipe.counts}
        for path in (p for p in paths.values() if p.exists()):
            check_recipe(path, _text(recipe))
        if not all(p.exists() for p in paths.values()):
            for split, part in splits(recipe, files_of(recipe.source, folder / "source")).items():
                _write(recipe, part, paths[split])
    return folder


def splits(recipe: Recipe, files: Mapping[str, Path]) -> dict[str, xr.Dataset]:
    """The Dataset of each split. Raises ValueError for splits that are nearer to each other than the recipe's gap."""
    data = whole(recipe, files)
    times, about = np.asarray(data[TIME].values), {k: str(data[TIME].attrs[k]) for k in ("units", "calendar")}
    ranges = {s: within(times, about, limits, recipe.name) for s, limits in recipe.splits.items()}
    days = {"hour": 24.0, "day": 1.0}[about["units"].split()[0].rstrip("s")]
    ordered = sorted(ranges.items(), key=lambda item: item[1].start)
    for (a, before), (b, after) in pairwise(ordered):
        apart = (times[after.start] - times[before.stop - 1]) / days if after.start >= before.stop else 0.0
        if apart < recipe.gap:
            raise ValueError(f"{recipe.name}: splits {a!r} and {b!r} lie {apart:g} days apart, and gap asks for {recipe.gap:g}")
    return {s: data.isel({TIME: ranges[s]}).assign_attrs(split=s) for s in recipe.counts}


def whole(recipe: Recipe, files: Mapping[str, Path]) -> xr.Dataset:
    """All frames, in memory. Raises ValueError for files that do not hold what the recipe says."""
    arrays, grid, times, about = _read(recipe, files)
    domain: Masked | Patch | Sphere = grid
    if recipe.cells == "whole":
        domain = _masked(arrays, grid)
    fields = [_field(name, len(entry.variables), entry.units, entry.long_name) for name, entry in recipe.fields.items()]
    for name, law in recipe.derived.items():
        eta = torch.from_numpy(arrays[law.geostrophic])[:, None]
        missing = _empty(arrays[law.geostrophic])
        current = geostrophic(eta, domain).float().numpy()
        current[missing] = np.nan
        fields.append(_field(name, 2, "m s-1", f"geostrophic current of {law.geostrophic}"))
        arrays.update(zip(fields[-1].variables, (current[:, 0], current[:, 1]), strict=True))
    u = np.stack([arrays[v] for f in fields for v in f.variables], 1)
    if isinstance(domain, Masked):
        u[..., ~domain.wet.numpy()] = np.nan
    attrs: dict[str, Any] = {"dataset": recipe.name, GAPS: NAN, "dt": _step(times, recipe.name), **recipe.about}
    return to_xarray(
        torch.from_numpy(u)[None], Fields(tuple(fields)), domain, time=times.tolist(), trajectories=[0], attrs=attrs, about_time=about
    )


def _read(recipe: Recipe, files: Mapping[str, Path]) -> tuple[Arrays, Patch | Sphere, NDArray[np.float64], About]:
    """The values of every variable on one grid and one clock."""
    out: Arrays = {}
    first: xr.Dataset | None = None
    for name, entry in recipe.fields.items():
        for variable, said in zip(_field(name, len(entry.variables)).variables, entry.variables, strict=True):
            file, inner = said.split()
            units = {inner: entry.units, **({"time": recipe.time.units} if recipe.time.units else {})}
            (part,) = cf.read(files[file], Given(units=units, options={"variables": [inner], "mask": "none"}))["all"]
            grid = domain_of(part)
            (values,) = part.data_vars.values()
            if values.shape != (1, recipe.frames, *recipe.grid):
                raise ValueError(
                    f"{files[file]}: {inner!r} has shape {values.shape[1:]} but the recipe says {(recipe.frames, *recipe.grid)}"
                )
            first = part if first is None else first
            if grid != domain_of(first) or not part[TIME].equals(first[TIME]):
                raise ValueError(f"{files[file]}: {inner!r} lies on other points or times than the first field")
            out[variable] = np.array(values.values[0])
    assert first is not None and isinstance(grid, Patch | Sphere)
    return out, grid, np.asarray(first[TIME].values), {k: str(first[TIME].attrs[k]) for k in ("units", "calendar")}


def _masked(arrays: Arrays, grid: Patch | Sphere) -> Masked | Patch | Sphere:
    """Wet is where every frame that has values has one, in all fields."""
    wet = np.ones(grid.shape, bool)
    for values in arrays.values():
        wet &= np.isfinite(values[~_empty(values)]).all(0)
    return grid if wet.all() else Masked(grid, torch.from_numpy(wet))


def _empty(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames (T,) without any value."""
    return np.asarray(~np.isfinite(values).reshape(len(values), -1).any(1))


def _field(name: str, components: int, units: str = "1", long_name: str = "") -> Field:
    return Field(name, units, NORTH_EAST if components == 2 else (), long_name=long_name)


def _step(times: NDArray[np.float64], name: str) -> float:
    steps = np.diff(times)
    if np.abs(steps - steps[0]).max() > 1e-6 * steps[0]:
        raise ValueError(f"{name}: frames are not equally far apart, from {steps.min():g} to {steps.max():g}")
    return float(steps[0])


def _write(recipe: Recipe, part: xr.Dataset, path: Path) -> None:
    file = Written(path, recipe.name, [Cut(part, 0, 0, part.sizes[TIME], 0)])
    if file.begin({"recipe": _text(recipe), "version": surrogates.__version__, **recipe.about}):
        return
    for row in file.missing():
        for _ in file.row(row):
            pass
    file.finish()


def _text(recipe: Recipe) -> str:
    """What a file is known by."""
    return json.dumps(recipe.to_json(), sort_keys=True)


def report(part: xr.Dataset) -> str:
    """A line about a split: from when to when, and which frames are missing."""
    about = {k: str(part[TIME].attrs[k]) for k in ("units", "calendar")}
    times = part[TIME].values
    lost = {str(n): [int(i) for i in np.flatnonzero(v.isnull().all(dim=v.dims[-2:]).values[0])] for n, v in part.data_vars.items()}
    lost = {n: i for n, i in lost.items() if i}
    return f"{len(times)} frames, {dated(times[0], about)} to {dated(times[-1], about)}" + (f", missing {lost}" if lost else "")
