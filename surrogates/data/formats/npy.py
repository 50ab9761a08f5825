"""Plain NumPy arrays, memory-mapped, with a small sidecar that says what they are.

    u.npy                        (trajectory, time, channel, *axes), channels named by `options: {channels: [u, v, p]}`
    folder/
      source.yaml                dt, lengths, boundary, units; {velocity: [u, v]}
      u.npy, v.npy, p.npy        one a field, (trajectory, time, *axes); the names of the files are those of the fields
      train.npy, test.npy        or one a split, (trajectory, time, channel, *axes)
      train/u.npy, test/u.npy    or a folder a split

Real numbers of any precision and byte order; never pickled objects. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.data.formats.part import fields_of, part, wholes
from surrogates.domains.box import AXES

SUFFIX = ".npy"
SPLITS = ("train", "valid", "test")


def recognises(path: Path) -> bool:
    """A .npy file, or a folder of them, itself or a split below."""
    return (path.suffix == SUFFIX and path.is_file()) or any(_arrays(folder) for folder in (path, *(path / s for s in SPLITS)))


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """One part a split. Raises ValueError for arrays of different shapes and for what neither they nor `given` say."""
    if path.is_file():
        return {"all": [_whole(path, given)]}
    below = {s: path / s for s in SPLITS if _arrays(path / s)}
    here = _arrays(path)
    if below and here:
        raise ValueError(
            f"{path} holds arrays itself, {next(iter(here.values())).name}, and in {', '.join(below)}; half would be left out: keep one"
        )
    if below:
        return {split: [_by_field(_arrays(folder), folder, given)] for split, folder in below.items()}
    if set(here) <= set(SPLITS):
        return {split: [_whole(here[split], given)] for split in SPLITS if split in here}
    return {"all": [_by_field(here, path, given)]}


def _arrays(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in sorted(folder.glob(f"*{SUFFIX}"))} if folder.is_dir() else {}


def _whole(path: Path, given: Given) -> xr.Dataset:
    """(trajectory, time, channel, *axes)"""
    u = checks.npy(path)
    if u.ndim not in (4, 5, 6):
        raise ValueError(f"{path} has shape {u.shape} but (trajectory, time, channel, *axes) is needed, with 1 to 3 axes")
    channels = given.need(
        given.options.get("channels"), "options.channels=[u, v, p]", path, f"the array has {u.shape[2]} channels without names"
    )
    if not isinstance(channels, list) or len(channels) != u.shape[2] or len(set(map(str, channels))) != u.shape[2]:
        raise ValueError(f"{path}: options.channels is {channels!r} but {u.shape[2]} different names are needed")
    return _part({str(name): u[:, :, c] for c, name in enumerate(channels)}, path, given)


def _by_field(paths: dict[str, Path], folder: Path, given: Given) -> xr.Dataset:
    """(trajectory, time, *axes) each"""
    arrays = {name: checks.npy(path) for name, path in paths.items()}
    (first, shape), *rest = ((name, u.shape) for name, u in arrays.items())
    for name, other in rest:
        checks.shaped(other, shape, f"{paths[name]} (beside {paths[first].name})")
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"{paths[first]} has shape {shape} but (trajectory, time, *axes) is needed, with 1 to 3 axes")
    return _part(arrays, folder, given)


def _part(arrays: dict[str, NDArray[Any]], path: Path, given: Given) -> xr.Dataset:
    shape = next(iter(arrays.values())).shape
    units = [f"units.{name}" for name in dict.fromkeys((*wholes(list(arrays), given, path).values(), "length", "time"))]
    given.ask(path, dict.fromkeys(("dt", "lengths", "boundary", *units), "an array holds numbers alone"))
    domain, dt = given.box(shape[2:], path), given.dt or 0.0
    times = [(given.time or 0.0) + n * dt for n in range(shape[1])]
    of = fields_of(list(arrays), given, path, AXES[: domain.dim])
    return part(arrays, of, domain, given=given, times=times, name=path.stem, dt=dt)
