"""Filtered DNS of turbulent channel flow, the public data of IUFNO, IFactFormer-m and IAFNO: (group, time, x, y, z, channel).

    Retau180_dim21x400x32x33x16x4_dT200.npy      u, v, w, p; a frame every 200 steps of the DNS
    or a folder (or the first of its files) with
      data_mave.npy                              what is left of them without the mean of the flow
      data_ave.npy                               that mean, (1, 1, 1, y, 1, channel), which is added

The files are numbers alone. The points across are nodes of the DNS, both walls among them, and their steps differ: `options.points` lists
them. A Box has cells, so the N nodes become the borders of N - 1 cells, and each cell gets the mean of its two nodes: integrals are those
of the trapezoidal rule on the published values, the walls stay where they are, and the nodes follow again from the cells, since the first
of them is at rest (u[j+1] = 2 c[j] - u[j]). `options.channels` names the channels; null leaves one out (the authors do not use p).

Sources: https://github.com/Turbulence-AI/IUFNO-CHL (README.md), https://github.com/huiyu-2002/IFactFormer-m (main.ipynb); Y. Wang et al.,
arXiv:2403.03051; H. Yang, Y. Wang, J. Wang, arXiv:2412.18840. Data: https://www.kaggle.com/datasets/aifluid/coarsened-fdns-data-chl.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.data.formats.part import fields_of, part, wholes
from surrogates.data.lazy import chunks_of
from surrogates.domains.box import AXES, WALL, Box

SUFFIX = ".npy"
NAMED = re.compile(r"Retau(\d+)_dim\d+(x\d+){5}")
REST = re.compile(r"(^|[_.-])mave($|[_.-])")  # without the mean
MEAN = re.compile(r"(^|[_.-])ave($|[_.-])")
ASKED = (
    "dt",
    "lengths=[12.566370614359172, 2.0, 4.1887902047863905]",
    "boundary=[periodic, wall, periodic]",
    "fields={velocity: [u, v, w]}",
    "units.velocity",
    "units.length",
    "units.time",
    "options.channels=[u, v, w, null]",
    "options.points=[0.0, 0.1, 1.9, 2.0]",
)
NUMBERS_ALONE = "the files are numbers alone, and dT in their name counts steps of the DNS"
STILL = 1e-3  # of the rms velocity: what may move at a wall
SAME = 1e-6


def recognises(path: Path) -> bool:
    """By the published names of the files, as one of them or a folder of them."""
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path] if path.is_file() and path.suffix == SUFFIX else []
    return any(NAMED.match(p.stem) or REST.search(p.stem) for p in files)


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part, a trajectory a group; no splits. Raises ValueError for another shape, for walls that move, and for what nobody says."""
    file, beside = files_of(path)
    u = checks.npy(file)
    if u.ndim != 6 or 0 in u.shape:
        raise ValueError(f"{file} has shape {u.shape} but (group, time, x, y, z, channel) is needed")
    given.ask(file, dict.fromkeys(ASKED, NUMBERS_ALONE))
    domain, wall = box_of(u.shape[2:5], given, file)
    channels = channels_of(u.shape[5], given, file)
    mean = None if beside is None else _mean(beside, u.shape, wall)
    moving = [n for n, whole in wholes(list(channels), given, file).items() if len(given.fields.get(whole, ())) > 1]
    place = f"{file}" if beside is None else f"{file} with {beside.name}"
    for name in moving:
        _at_rest(u[0, 0, ..., channels[name]], None if mean is None else mean[0, 0, ..., channels[name]], wall, f"{place}: {name!r}")
    cells = {name: _cells(u[..., c], None if mean is None else mean[..., c], wall) for name, c in channels.items()}
    dt = given.dt or 0.0
    times = [(given.time or 0.0) + n * dt for n in range(u.shape[1])]
    named = NAMED.match(file.stem)
    parameters = {"reynolds_tau": [float(named[1])] * u.shape[0]} if named else {}
    of = fields_of(list(cells), given, file, AXES)
    return {"all": [part(cells, of, domain, given=given, times=times, name=file.stem, parameters=parameters, dt=dt)]}


def files_of(path: Path) -> tuple[Path, Path | None]:
    """The file of the flow, and that of the mean where it lacks it. Raises ValueError where they are not there, or others are."""
    here = sorted((path if path.is_dir() else path.parent).glob(f"*{SUFFIX}"))
    rest = [p for p in here if REST.search(p.stem)] if path.is_dir() else [path]
    means = [p for p in here if MEAN.search(p.stem)]
    if path.is_dir() and not rest:
        rest = [p for p in here if p not in means]
    folder, shown = (path if path.is_dir() else path.parent), [p.name for p in here]
    if len(rest) != 1:
        raise ValueError(
            f"{folder} holds {shown}; one array is read, or one named *_mave and one *_ave: give the file, or remove the others"
        )
    if MEAN.search(rest[0].stem):
        raise ValueError(f"{rest[0]} is the mean of the flow; give the folder, or the file *_mave{SUFFIX} beside it")
    if not REST.search(rest[0].stem):
        return rest[0], None
    if len(means) != 1:
        raise ValueError(f"{rest[0]} lacks the mean of the flow, which is in the one file *_ave{SUFFIX} beside it, and there are {shown}")
    return rest[0], means[0]


def box_of(shape: tuple[int, ...], given: Given, path: Path) -> tuple[Box, int]:
    """The Box whose cells lie between the nodes across, and the axis across. Raises ValueError where nodes, lengths and shape differ."""
    box = given.box(shape, path)
    if box.boundary.count(WALL) != 1:
        raise ValueError(
            f"{path}: boundary is {list(box.boundary)}, and a channel has one axis between walls: write [periodic, wall, periodic]"
        )
    wall = box.boundary.index(WALL)
    said = given.options["points"]
    if not isinstance(said, list | tuple) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in said):
        raise ValueError(f"{path}: options.points is {said!r}, and a list of numbers is needed")
    points = checks.rising(said, f"{path}: options.points")
    if len(points) != shape[wall] or len(points) < 2:
        raise ValueError(f"{path}: options.points has {len(points)} entries, and the array {shape} has {shape[wall]} nodes across")
    ends = (float(points[0]), float(points[-1]))
    room = SAME * box.lengths[wall]
    if abs(ends[0] - box.lower[wall]) > room or abs(ends[1] - box.upper[wall]) > room:
        raise ValueError(
            f"{path}: options.points run from {ends[0]:g} to {ends[1]:g}, and lengths (with `lower`) say {box.lower[wall]:g} to "
            f"{box.upper[wall]:g}; the first and the last are the walls"
        )
    edges = tuple(tuple(points.tolist()) if a == wall else None for a in range(3))
    cells, lower, upper = list(shape), list(box.lower), list(box.upper)
    cells[wall], lower[wall], upper[wall] = len(points) - 1, *ends
    return replace(box, shape=tuple(cells), lower=tuple(lower), upper=tuple(upper), edges=edges), wall


def channels_of(count: int, given: Given, path: Path) -> dict[str, int]:
    """The place of each channel that has a name. Raises ValueError unless every channel has one of its own, or null."""
    said = given.options["channels"]
    names = [n for n in said if n is not None] if isinstance(said, list | tuple) else []
    if not names or len(said) != count or len(set(map(str, names))) != len(names):
        raise ValueError(f"{path}: options.channels is {said!r}, and the array has {count} channels: give each a name of its own, or null")
    return {str(name): c for c, name in enumerate(said) if name is not None}


def _mean(path: Path, shape: tuple[int, ...], wall: int) -> NDArray[Any]:
    mean = checks.npy(path)
    checks.shaped(mean.shape, tuple(n if axis in (2 + wall, 5) else 1 for axis, n in enumerate(shape)), str(path))
    checks.finite(mean, str(path))
    return mean


def _at_rest(frame: NDArray[Any], mean: NDArray[Any] | None, wall: int, place: str) -> None:
    """That nothing moves at the walls in a frame (x, y, z): axes in another order, or a lost mean, are seen here."""
    u = frame.astype(np.float64) + (0.0 if mean is None else mean)
    ends = float(np.abs(u.take([0, -1], wall)).max())
    with np.errstate(over="ignore", invalid="ignore"):
        typical = float(np.sqrt(np.square(u).mean()))
    if not ends <= STILL * typical:
        raise ValueError(
            f"{place} is {ends:g} at a wall in the first frame, and nothing moves there: are the axes (group, time, x, y, z, channel), the "
            f"walls the ends of axis {AXES[wall]}, and is the mean of the flow in it?"
        )


def _cells(u: NDArray[Any], mean: NDArray[Any] | None, wall: int) -> Any:
    """Nodes (G, T, x, y, z) -> means of two neighbours across, lazily."""
    import dask.array as da

    kind = np.result_type(u.dtype, np.float32)
    blocks = da.from_array(u, chunks=chunks_of(u.shape, (1,) * u.ndim, 2), name=False).astype(kind)  # type: ignore[no-untyped-call]
    nodes = blocks if mean is None else blocks + mean.astype(kind)
    low, high = (tuple(s if axis == 2 + wall else slice(None) for axis in range(u.ndim)) for s in (slice(None, -1), slice(1, None)))
    return (nodes[low] + nodes[high]) / 2
