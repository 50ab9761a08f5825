"""PDEBench's HDF5 files: what is in them, and what only their names say.

    1D_Advection_Sols_beta0.1.hdf5         tensor (N, T, x), x-coordinate, t-coordinate
    1D_Burgers_Sols_Nu0.001.hdf5, ReacDiff_Nu0.5_Rho1.0.hdf5      likewise
    2D_DarcyFlow_beta1.0_Train.hdf5        tensor (N, 1, x, y) and the static nu (N, x, y): steady, one frame
    2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_128_Train.hdf5     density, pressure, Vx, Vy[, Vz] (N, T, *X), in 1-3 dimensions
    ns_incom_inhom_2d_512-0.h5             velocity (N, T, x, y, 2), particles (N, T, x, y, 1), the static force (N, x, y, 2), t (N, T)
    2D_diff-react_NA_NA.h5, 2D_rdb_NA_NA.h5, 1D_diff-sorp_NA_NA.h5    groups 0000, 0001, ...: `pdebench_seeds`

Points are the centres of cells. `t-coordinate` may hold one time more than there are frames: the solver's buffer, of which the last is
dropped. Parameters stand in the attributes or in the file's name (beta0.1, Nu0.001, Eta1.e-8, M0.1); so does the boundary of compressible
flows (`periodic`; `trans`, outgoing, whose points lie as between walls). Ends that are neither periodic nor walls (open, Dirichlet,
Cauchy) are open ends of the Box, and what they are stands in the attribute `boundary_conditions` (`ends`). The solvers of advection,
Burgers' and the reaction-diffusion equation know only periodic axes. Numbers have no units, those of the published configuration files
apart.

Sources: https://github.com/pdebench/PDEBench (data_gen, models/fno/utils.py); Takamoto et al., PDEBench, NeurIPS 2022, arXiv:2210.07182.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
import yaml

from surrogates.data.formats import checks, pdebench_seeds
from surrogates.data.formats.ends import condition, told
from surrogates.data.formats.given import Given
from surrogates.data.formats.grid import box_of, times_of
from surrogates.data.formats.part import Lazy, fields_of, part, with_static
from surrogates.data.lazy import lazy
from surrogates.domains import Box
from surrogates.domains.box import AXES, PERIODIC, WALL
from surrogates.fields import Field

SUFFIXES = (".hdf5", ".h5")
TENSOR, GAS, SMOKE = {"tensor", "x-coordinate"}, {"density", "pressure", "Vx"}, {"velocity", "particles", "force"}
PERIODIC_ONLY = ("1D_Advection", "1D_Burgers", "ReacDiff")
PARAMETERS = ("beta", "Nu", "Rho", "Eta", "Zeta", "M")
NUMBER = r"(\d+\.\d*(?:e-?\d+)?|\d+e-?\d+|[1-9]\d*|0)"  # M01 of some names is 0.1, and not read as a number


def recognises(path: Path) -> bool:
    """A file with the arrays of one of its equations, or a folder of such files."""
    try:
        found = _files(path)
        return bool(found) and _kind(found[0]) is not None
    except (OSError, ValueError):
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a file. There are no splits. Raises ValueError for files that hold something else."""
    parts = []
    for file in _files(path):
        kind = _kind(file)
        if kind is None:
            raise ValueError(f"{file} is none of PDEBench's files; move it out of the folder, or read another one")
        with checks.open_hdf5(file) as f:
            parts += {"tensor": _tensor, "gas": _gas, "smoke": _smoke, "seeds": pdebench_seeds.read}[kind](f, file, given)
    return {"all": parts}


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path] if path.suffix in SUFFIXES else []


def _kind(path: Path) -> str | None:
    with h5py.File(path, "r") as f:
        names = set(f)
        for kind, needed in (("tensor", TENSOR), ("gas", GAS), ("smoke", SMOKE)):
            if needed <= names:
                return kind
        return "seeds" if pdebench_seeds.recognises(f) else None


def parameters_of(attrs: Mapping[str, Any], name: str) -> dict[str, float]:
    """Numbers among the attributes, and those that the name of the file has beside them."""
    out = {}
    for key in PARAMETERS:
        said = re.search(rf"(?:^|_){key}{NUMBER}(?=_|\.hdf5|\.h5|$)", name, re.IGNORECASE if key == "Rho" else 0)
        held = [v for k, v in attrs.items() if k.lower() == key.lower()]
        if held:
            out[key.lower()] = float(held[0])
        elif said:
            out[key.lower()] = float(said[1])
    return out


def _tensor(f: h5py.File, path: Path, given: Given) -> list[xr.Dataset]:
    u = checks.array(f, "tensor", path)
    if "nu" in f and u.ndim == 4:
        return [_darcy(f, u, path, given)]
    if u.ndim != 3:
        raise ValueError(f"{path}: /tensor has shape {u.shape} but (trajectory, time, x) is needed")
    known = (PERIODIC,) if path.name.startswith(PERIODIC_ONLY) else ()
    box = box_of([checks.array(f, "x-coordinate", path, (u.shape[2],))[:]], path, given, boundary=known, units="1")
    arrays = {"u": lazy(u, path)}
    return [_one(arrays, box, path, given, times=_times(f, path, u.shape[1]), parameters=parameters_of(f.attrs, path.name))]


def _darcy(f: h5py.File, u: h5py.Dataset, path: Path, given: Given) -> xr.Dataset:
    """-div(nu grad u) = beta on the unit square, u = 0 around it."""
    shape = u.shape[2:]
    points = [checks.array(f, f"{a}-coordinate", path, (n,))[:] for a, n in zip("xy", shape, strict=True)]
    box = box_of(points, path, given, boundary=(WALL, WALL), units="1")
    nu = checks.array(f, "nu", path, (u.shape[0], *shape))
    if u.shape[1] != 1:
        raise ValueError(f"{path}: /tensor has {u.shape[1]} frames, and a steady flow has one")
    steady = _one({"u": lazy(u, path)}, box, path, given, times=[0.0], parameters=parameters_of(f.attrs, path.name))
    zero = [condition("sides", "dirichlet", box.axes, values=[0.0])]
    return told(with_static(steady, {"nu": lazy(nu, path, 1)}, Field("nu", given.units.get("nu", "1"))), zero)


def _gas(f: h5py.File, path: Path, given: Given) -> list[xr.Dataset]:
    velocity = [v for v in ("Vx", "Vy", "Vz") if v in f]
    dim = len(velocity)
    held = {n: checks.array(f, n, path) for n in (*velocity, "density", "pressure")}
    shape = held["density"].shape
    if len(shape) not in (dim + 1, dim + 2):
        raise ValueError(f"{path}: /density has shape {shape} but (trajectory, time, {', '.join(AXES[:dim])}) is needed")
    for name, array in held.items():
        checks.shaped(array.shape, shape, f"{path}: /{name} (beside /density)")
    kind = PERIODIC if "periodic" in path.name else WALL if "trans" in path.name else None
    points = [checks.array(f, f"{a}-coordinate", path, (n,))[:] for a, n in zip("xyz", shape[-dim:], strict=False)]
    box = box_of(points, path, given, boundary=() if kind is None else (kind,) * dim, units="1")
    arrays = {n: lazy(a, path) if a.ndim == dim + 2 else lazy(a, path, 1)[None] for n, a in held.items()}
    chosen = given if given.fields else replace(given, fields={"velocity": tuple(velocity)})
    made = _one(arrays, box, path, chosen, times=_times(f, path, shape[-dim - 1]), parameters=parameters_of(f.attrs, path.name))
    return [told(made, [condition("sides", "open", box.axes)] if kind == WALL else [])]


def _smoke(f: h5py.File, path: Path, given: Given) -> list[xr.Dataset]:
    """Of a run that was stopped, the frames up to the attribute latestIndex."""
    held = int(f.attrs["latestIndex"]) + 1 if "latestIndex" in f.attrs else None
    if held is not None and held < 1:
        raise ValueError(f"{path}: latestIndex is {held - 1}: the run was stopped when no frame had been written; make it again")
    velocity = checks.array(f, "velocity", path, (None,) * 5, frames=held)
    count, frames, *shape, components = velocity.shape
    particles = checks.array(f, "particles", path, (count, frames, *shape, 1), frames=held)
    force = checks.array(f, "force", path, (count, *shape, components))
    config = config_of(f.attrs, path)
    sizes = tuple(float(v) for v in config.get("domain_size", ()))
    box = given.box(shape, path, lengths=sizes, boundary=(WALL, WALL) if config.get("velocity_extrapolation") == "ZERO" else (), units="1")
    last = min(frames, held or frames)
    times = np.asarray(checks.array(f, "t", path, (count, frames), frames=held)[:, :last], np.float64)
    if last < 1 or (times != times[:1]).any():
        raise ValueError(f"{path}: /t differs between trajectories, or there are none; one list of times for a file is read")
    u, p, push = lazy(velocity, path), lazy(particles, path), lazy(force, path, 1)
    arrays = {"Vx": u[:, :last, ..., 0], "Vy": u[:, :last, ..., 1], "particles": p[:, :last, ..., 0]}
    numbers = {"nu": float(config["NU"])} if "NU" in config else {}
    chosen = given if given.fields else replace(given, fields={"velocity": ("Vx", "Vy")})
    made = _one(arrays, box, path, chosen, times=times_of(times[0], f"{path}: /t"), parameters=numbers)
    whole = Field("force", given.units.get("force", "1"), components=box.axes)
    return [with_static(made, {"force_x": push[..., 0], "force_y": push[..., 1]}, whole)]


def config_of(attrs: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The solver's configuration, YAML in the attribute `config`; empty where there is none."""
    try:
        held = yaml.safe_load(str(attrs.get("config", "{}")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: the attribute 'config' is not readable as YAML: {error}") from error
    return held if isinstance(held, dict) else {}


def _times(f: h5py.File, path: Path, frames: int) -> list[float]:
    held = checks.array(f, "t-coordinate", path, (None,))
    if held.shape[0] not in (frames, frames + 1):
        raise ValueError(f"{path}: /t-coordinate has {held.shape[0]} times, and there are {frames} frames (one time more is the solver's)")
    return times_of(held[:frames], f"{path}: /t-coordinate")


def _one(arrays: dict[str, Lazy], box: Box, path: Path, given: Given, *, times: list[float], parameters: dict[str, float]) -> xr.Dataset:
    of = fields_of(list(arrays), given, path, box.axes, dict.fromkeys((*arrays, *given.fields), "1"))
    count = next(iter(arrays.values())).shape[0]
    columns = {name: [value] * count for name, value in parameters.items()}
    return part(arrays, of, box, given=given, times=times, name=path.stem, parameters=columns)
