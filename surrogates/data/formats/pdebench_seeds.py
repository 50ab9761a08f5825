"""PDEBench's files of one group a seed: shallow water (rdb), diffusion-reaction, diffusion-sorption.

    0000/data (T, x[, y], channel)   0000/grid/x, y, t   0000 @config, YAML: `sim` has the parameters
    0001/...                         of diffusion-reaction (T, y, x, channel): its solver's rows are y, `reshape(-1, Ny, Nx)`

Behind the thousand arrays stands one, which opens a group when a trajectory is read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
import yaml
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.ends import condition, told
from surrogates.data.formats.given import Given
from surrogates.data.formats.grid import box_of, times_of
from surrogates.data.formats.part import fields_of, part
from surrogates.data.lazy import single
from surrogates.domains.box import WALL

SEED = re.compile(r"\d{4,}")
CHANNELS = {"rdb": ["h"], "diff-react": ["activator", "inhibitor"], "diff-sorp": ["concentration"]}
"""By what stands in the name of the file."""
ENDS = {
    "rdb": [condition("sides", "open", "xy")],
    "diff-react": [condition("sides", "no flux", "xy")],
    "diff-sorp": [condition("left", "dirichlet", "x", low=True, values=[1.0]), condition("right", "cauchy", "x", high=True)],
}
"""Of the Box all are walls. Water leaves through open sides; what is sorbed has the concentration 1 to the left, D du/dx to the right."""
ROWS_ARE_Y = ("diff-react",)
NO_PARAMETERS = {"seed", "n", "t", "tdim", "xdim", "ydim", "x_left", "x_right", "y_bottom", "y_top", "T_end", "n_time_steps"}


def recognises(f: h5py.File) -> bool:
    """Whether its first group is that of a seed, with data and a grid."""
    first = next(iter(f), None)
    if first is None or SEED.fullmatch(first) is None or not isinstance(f.get(first, getlink=True), h5py.HardLink):
        return False
    return isinstance(f[first], h5py.Group) and {"data", "grid"} <= set(f[first])


def read(f: h5py.File, path: Path, given: Given) -> list[xr.Dataset]:
    """All seeds as one part. Raises ValueError for seeds on other grids, at other times or with other parameters than the first."""
    seeds = sorted(name for name in f if SEED.fullmatch(name))
    first = checks.array(f, f"{seeds[0]}/data", path)
    dim = first.ndim - 2
    if dim not in (1, 2):
        raise ValueError(f"{path}: /{seeds[0]}/data has shape {first.shape} but (time, x, channel) or (time, x, y, channel) is needed")
    grid = [np.asarray(checks.array(f, f"{seeds[0]}/grid/{a}", path, (None,))[:], np.float64) for a in (*"xy"[:dim], "t")]
    columns: dict[str, list[float]] = {}
    for n, seed in enumerate(seeds):
        _alike(f, seed, path, first.shape, grid)
        found = _parameters(str(f[seed].attrs.get("config", "")), f"{path}: /{seed}")
        if n and list(found) != list(columns):
            raise ValueError(f"{path}: /{seed} has the parameters {list(found)}, and those before {list(columns)}")
        for name, value in found.items():
            columns.setdefault(name, []).append(value)
    kind = next((k for k in CHANNELS if k in path.name), None)
    known = CHANNELS[kind] if kind else None
    channels = given.need(
        given.options.get("channels", known), "options.channels=[u, v]", path, f"{first.shape[-1]} channels have no names"
    )
    if len(channels) != first.shape[-1]:
        raise ValueError(f"{path}: channels are {channels} but /{seeds[0]}/data has {first.shape[-1]}")
    box = box_of(grid[:-1], path, given, boundary=(WALL,) * dim if kind else (), units="1")
    every = _together(path, seeds, first)
    arrays = {str(name): every[..., c].swapaxes(2, 3) if kind in ROWS_ARE_Y else every[..., c] for c, name in enumerate(channels)}
    of = fields_of(list(arrays), given, path, box.axes, dict.fromkeys((*arrays, *given.fields), "1"))
    times = times_of(grid[-1], f"{path}: /{seeds[0]}/grid/t")
    made = part(arrays, of, box, given=given, times=times, name=path.stem, parameters=columns)
    return [told(made, ENDS.get(kind or "", []))]


def _alike(f: h5py.File, seed: str, path: Path, shape: tuple[int, ...], grid: list[Any]) -> None:
    checks.array(f, f"{seed}/data", path, shape)
    for name, values in zip((*"xy"[: len(grid) - 1], "t"), grid, strict=True):
        if not np.array_equal(checks.array(f, f"{seed}/grid/{name}", path, values.shape)[:], values):
            raise ValueError(f"{path}: /{seed}/grid/{name} differs from that of the first seed; all lie on one grid at the same times")


def _parameters(config: str, place: str) -> dict[str, float]:
    """Numbers of `sim` in the configuration that are not its grid; most seeds differ in the seed alone, which is cut out first."""
    try:
        return dict(_numbers(re.sub(r"(?m)^\s*seed:.*\n?", "", config)))
    except yaml.YAMLError as error:
        raise ValueError(f"{place}: the attribute 'config' is not readable as YAML: {error}") from error


@lru_cache(maxsize=64)
def _numbers(config: str) -> tuple[tuple[str, float], ...]:
    section = re.search(r"(?m)^sim:\n((?:[ \t]+.*\n?)+)", config)
    held = yaml.safe_load(section[0]) if section else None
    found = held["sim"] if isinstance(held, dict) and isinstance(held.get("sim"), dict) else {}
    return tuple((str(k), _number(v)) for k, v in found.items() if k not in NO_PARAMETERS and np.isfinite(_number(v)))


def _number(value: Any) -> float:
    """YAML 1.1 reads 1E-3 as a string."""
    try:
        return float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        return float("nan")


def _together(path: Path, seeds: list[str], first: h5py.Dataset) -> Any:
    import dask.array as da

    every = _Seeds(path, seeds, first.shape)
    return da.from_array(every, chunks=(1, *first.shape), name=False)  # type: ignore[no-untyped-call]


class _Seeds:
    """(seed, T, *X, channel), of which a seed is read when it is looked at."""

    def __init__(self, path: Path, seeds: list[str], shape: tuple[int, ...]) -> None:
        self.path, self.seeds = path, seeds
        self.shape, self.dtype, self.ndim = (len(seeds), *shape), np.dtype(np.float32), 1 + len(shape)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        chosen = self.seeds[rows] if isinstance(rows, slice) else [self.seeds[rows]]
        with h5py.File(self.path, "r") as f:
            values = np.stack([single(f[seed]["data"][tuple(rest)], f"{self.path}: /{seed}/data") for seed in chosen])
        return values if isinstance(rows, slice) else values[0]
