"""PDEArena's files: HDF5 with one group a split for Navier-Stokes, Kuramoto-Sivashinsky and Maxwell; NetCDF or Zarr for shallow water.

    NavierStokes2D_train_197910_0.50000_100.h5
        train/u, vx, vy (N, T, x, y)   t (N, T)   x (N, nx)   y (N, ny)   dt, dx, dy, buo_y (N)
    KS_train_2048.h5 (LPSDA's layout, also of KdV and the heat equation)
        train/pde_140-256 (N, T, x)    t (N, T)   x (N, nx)   dt, dx[, v] (N)
    Maxwell3D_train_42_100.h5
        train/d_field, h_field (N, T, x, y, z, 3)
    train.zarr, or train/seed=*/run*/output.nc
        u, v, vor, pres (b, time, lev, lat, lon): `pdearena_sphere`

What is peculiar to them. Navier-Stokes: `x` is linspace(0, L, nx) but the smoke lies at the centres of nx cells on [0, L], which is what is
read here, and vx, vy are components of a staggered grid, half a cell before these; t is linspace(tmin, tmax, T) while frames are `dt`
apart, which is what is read. Kuramoto-Sivashinsky: length and step differ between trajectories, so that each pair is a part of its own.
Numbers have no units. Maxwell's file says neither lengths nor step, which are asked for.

Sources: https://github.com/pdearena/pdearena (pdedatagen, pdearena/data), https://github.com/brandstetter-johannes/LPSDA (generate);
Gupta, Brandstetter, Towards Multi-spatiotemporal-scale Generalized PDE Modeling, TMLR 2023, arXiv:2209.15616.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks, pdearena_sphere
from surrogates.data.formats.given import Given
from surrogates.data.formats.grid import neat
from surrogates.data.formats.part import Lazy, fields_of, part
from surrogates.data.lazy import lazy
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC, WALL

SPLITS = ("train", "valid", "test")
SUFFIXES = (".h5", ".hdf5")
LINE, FIELDS = "pde_", {"u", "vx", "vy"}
PARAMETERS = {"buo_y": "buoyancy_y", "v": "viscosity"}
Numbers = NDArray[np.float64]


def recognises(path: Path) -> bool:
    """A file with a group train, valid or test of its arrays, a folder of such files, or one of shallow water."""
    try:
        return pdearena_sphere.recognises(path) or any(True for file in _files(path)[:1] for _ in _groups(file))
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """Parts of every split, those of equal length and step together. Raises ValueError for files that hold something else."""
    if pdearena_sphere.recognises(path):
        return pdearena_sphere.read(path, given)
    out: dict[str, list[xr.Dataset]] = {}
    for file in _files(path):
        found = list(_groups(file))
        if not found:
            raise ValueError(f"{file} has no group {', '.join(SPLITS)} with arrays of PDEArena; move it out of the folder")
        for split, kind in found:
            with checks.open_hdf5(file) as f:
                out.setdefault(split, []).extend({"line": _line, "smoke": _smoke, "waves": _waves}[kind](f[split], file, given))
    return {split: out[split] for split in SPLITS if split in out}


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path] if path.suffix in SUFFIXES else []


def _groups(path: Path) -> Iterator[tuple[str, str]]:
    with checks.open_hdf5(path) as f:
        for split in SPLITS:
            if isinstance(f.get(split, getlink=True), h5py.HardLink) and isinstance(f[split], h5py.Group):
                names = set(f[split])
                if names >= FIELDS:
                    yield split, "smoke"
                elif names >= {"d_field", "h_field"}:
                    yield split, "waves"
                elif any(n.startswith(LINE) for n in names):
                    yield split, "line"


def _smoke(group: h5py.Group, path: Path, given: Given) -> list[xr.Dataset]:
    held = {n: checks.array(group, n, path, (None,) * 4) for n in ("u", "vx", "vy")}
    count, frames, *shape = held["u"].shape
    for name in held:
        checks.shaped(held[name].shape, held["u"].shape, f"{path}: {group.name}/{name} (beside u)")
    points = [
        checks.finite(checks.array(group, a, path, (count, n))[:], f"{path}: {group.name}/{a}") for a, n in zip("xy", shape, strict=True)
    ]
    t = checks.finite(checks.array(group, "t", path, (count, frames))[:], f"{path}: {group.name}/t")
    dt = _column(group, "dt", path, count)
    lengths = np.stack([p[:, -1] - p[:, 0] for p in points], 1)
    arrays = {n: lazy(a, path) for n, a in held.items()}
    chosen = given if given.fields else replace(given, fields={"velocity": ("vx", "vy")})
    return _parts(arrays, lengths, (WALL, WALL), t[:, 0], dt, _parameters(group, path, count), path, chosen)


def _line(group: h5py.Group, path: Path, given: Given) -> list[xr.Dataset]:
    names = [n for n in group if n.startswith(LINE)]
    u = checks.array(group, names[0], path, (None,) * 3)
    count, frames, points = u.shape
    dx, dt = _column(group, "dx", path, count), _column(group, "dt", path, count)
    start = (
        checks.finite(checks.array(group, "t", path, (count, frames))[:, 0], f"{path}: {group.name}/t") if "t" in group else np.zeros(count)
    )
    parameters = _parameters(group, path, count)
    return _parts({"u": lazy(u, path)}, points * dx[:, None], (PERIODIC,), start, dt, parameters, path, given)


def _waves(group: h5py.Group, path: Path, given: Given) -> list[xr.Dataset]:
    held = {n: checks.array(group, n, path, (None, None, None, None, None, 3)) for n in ("d_field", "h_field")}
    checks.shaped(held["h_field"].shape, held["d_field"].shape, f"{path}: {group.name}/h_field (beside d_field)")
    dt = given.need(given.dt, "dt", path, "the file does not say the time between its frames")
    box = given.box(held["d_field"].shape[2:5], path)
    arrays = {f"{n}_{a}": lazy(u, path)[..., c] for n, u in held.items() for c, a in enumerate("xyz")}
    chosen = replace(given, fields={n: tuple(f"{n}_{a}" for a in "xyz") for n in held})
    of = fields_of(list(arrays), chosen, path, box.axes)
    times = [(given.time or 0.0) + n * dt for n in range(held["d_field"].shape[1])]
    return [part(arrays, of, box, given=chosen, times=times, name=path.stem, dt=dt)]


def _parts(
    arrays: dict[str, Lazy],
    lengths: Numbers,
    ends: tuple[str, ...],
    start: Numbers,
    dt: Numbers,
    parameters: dict[str, Numbers],
    path: Path,
    given: Given,
) -> list[xr.Dataset]:
    """A part for each run of trajectories with equal lengths and times."""
    keys = [tuple(neat(float(v)) for v in (*row, s, h)) for row, s, h in zip(lengths, start, dt, strict=True)]
    edges = [0, *(n for n in range(1, len(keys)) if keys[n] != keys[n - 1]), len(keys)]
    frames, *shape = next(iter(arrays.values())).shape[1:]
    out = []
    for a, b in pairwise(edges):
        *sizes, first, h = keys[a]
        if not h > 0 or min(sizes) <= 0:
            raise ValueError(f"{path}: trajectory {a} has step {h:g} and lengths {sizes}, and these must be positive")
        h = given.dt or h
        box: Box = given.box(shape, path, lengths=sizes, boundary=ends, units="1")
        of = fields_of(list(arrays), given, path, box.axes, dict.fromkeys((*arrays, *given.fields), "1"))
        times = [(given.time if given.time is not None else first) + n * h for n in range(frames)]
        columns = {n: v[a:b].tolist() for n, v in parameters.items()}
        cut = {n: u[a:b] for n, u in arrays.items()}
        out.append(part(cut, of, box, given=given, times=times, name=path.stem, parameters=columns, dt=h, first=a))
    return out


def _column(group: h5py.Group, name: str, path: Path, count: int) -> Numbers:
    """One number a trajectory."""
    return checks.finite(checks.array(group, name, path, (count,))[:], f"{path}: {group.name}/{name}")


def _parameters(group: h5py.Group, path: Path, count: int) -> dict[str, Numbers]:
    return {ours: _column(group, name, path, count) for name, ours in PARAMETERS.items() if name in group}
