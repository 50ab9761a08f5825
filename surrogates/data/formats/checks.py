"""What every reader asks of a file before it believes it: sizes that are there, plain numbers, no way out of the folder, rising times.

A header may declare any shape; what is allocated for it is bounded by what the file holds. An uncompressed array has its bytes in the
file; one in chunks has all of them there, which DEFLATE makes at most 1032 times larger, and others no larger than LARGEST_CHUNK each.
Nothing is unpickled, no link, of an array or of a group on the way to it, leads to another file, no name leads elsewhere.
Source of the bound: J. Gailly, M. Adler, zlib technical details, https://zlib.net/zlib_tech.html ("Maximum Compression Factor").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

DEFLATE = 1032
DEFLATE_AT_MOST = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
LARGEST_CHUNK = 1 << 30  # bytes
TURNS = 16  # links that lead to links
EVEN = 1e-3
ROUNDING = 2.0**-22  # of the difference of two numbers in float32, relative to these
Numbers = NDArray[np.float64]


def open_hdf5(path: Path) -> h5py.File:
    """Raises ValueError where the file is missing, truncated or not HDF5."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except OSError as error:
        why = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise ValueError(f"{path} is {why} ({error}); copy or download it again") from error


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """What HDF5 says of a file that is damaged, with its path. Raises ValueError."""
    try:
        yield
    except (OSError, RuntimeError, LookupError) as error:
        raise ValueError(f"{path} cannot be read ({error}); it is damaged, copy or download it again") from error


def array(f: h5py.Group, name: str, path: Path, shape: tuple[int | None, ...] | None = None, *, frames: int | None = None) -> h5py.Dataset:
    """The array of numbers `name`; None in `shape` stands for any size. `frames`: how many along the second axis are there, if not all.

    Raises ValueError where it is missing, lies in another file, or behind a link to one, holds no real numbers, is not as large in the
    file as it declares, or has another shape.
    """
    place = f"{path}: {f.name.rstrip('/')}/{name}"
    own(f, name, path)
    found = f.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{place} is {'a link to nothing' if found is None else 'a group'}, and an array is needed")
    if found.is_virtual or found.external or Path(found.file.filename).resolve() != path.resolve():
        raise ValueError(f"{place} keeps its values in other files; only arrays that are in the file are read")
    numbers(found.dtype, place)
    _stored(found, path, place, frames)
    if shape is not None:
        shaped(found.shape, shape, place)
    return found


def own(f: h5py.Group, name: str, path: Path) -> None:
    """Raises ValueError where what `name` stands for is missing, or a step on the way to it leads to another file, which is not opened."""
    place = f"{path}: {f.name.rstrip('/')}/{name}"
    node, steps, turns = (f["/"] if name.startswith("/") else f), [s for s in name.split("/") if s], 0
    while steps:
        step = steps.pop(0)
        link = node.get(step, getlink=True) if isinstance(node, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{place} is a link to another file, {link.filename!r}; only arrays that are in the file are read")
        if isinstance(link, h5py.SoftLink):
            turns += 1
            node = f["/"] if link.path.startswith("/") else node
            steps = [s for s in link.path.split("/") if s] + steps
        if link is None or turns > TURNS:
            if turns:
                raise ValueError(f"{place} is a link to nothing, and an array is needed")
            raise ValueError(f"{place} is missing; there are {sorted(f)[:20]}")
        node = node[step] if isinstance(link, h5py.HardLink) else node


def _stored(found: h5py.Dataset, path: Path, place: str, frames: int | None) -> None:
    """That its bytes are in the file: all of them, or all of its chunks, none of which may become much more than is stored of it."""
    room = min(found.id.get_storage_size(), path.stat().st_size)
    filters = found.id.get_create_plist()
    known = {filters.get_filter(n)[0] for n in range(filters.get_nfilters())} <= DEFLATE_AT_MOST
    shape = found.shape if frames is None else (*found.shape[:1], min(frames, *found.shape[1:2]), *found.shape[2:])
    if found.chunks is None:
        held(found.shape, found.dtype, room, place)
        return
    held(found.chunks, found.dtype, LARGEST_CHUNK, f"{place} in chunks")
    held(shape, found.dtype, found.id.get_num_chunks() * prod(found.chunks) * found.dtype.itemsize, place)
    if known:
        held(shape, found.dtype, room * (DEFLATE if filters.get_nfilters() else 1), place)


def numbers(dtype: np.dtype[Any], place: str) -> None:
    """Raises ValueError unless it is a type of real numbers or truth values: objects would have to be unpickled."""
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise ValueError(f"{place} has dtype {dtype}, and only arrays of real numbers are read; store it as float32")


def held(shape: tuple[int, ...], dtype: np.dtype[Any], room: int, place: str) -> None:
    """Raises ValueError where an array declares more bytes than there is room for in its file."""
    need = prod(int(n) for n in shape) * dtype.itemsize
    if need > room:
        raise ValueError(
            f"{place} declares shape {tuple(shape)}, {need} bytes, but the file holds {room} for it at most; it is truncated or damaged"
        )


def shaped(have: tuple[int, ...], want: tuple[int | None, ...], place: str) -> None:
    """Raises ValueError unless the shapes agree; None stands for any size."""
    if len(have) != len(want) or any(w is not None and h != w for h, w in zip(have, want, strict=True)):
        shown = "(" + ", ".join("any" if n is None else str(n) for n in want) + ")"
        raise ValueError(f"{place} has shape {tuple(have)} but {shown} is needed")


def npy(path: Path) -> NDArray[Any]:
    """A .npy file as a memory map. Raises ValueError for what is none, is truncated, or holds objects."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except Exception as error:  # numpy hands on whatever its parser of headers meets: tokenize.TokenError, RecursionError, ...
        raise ValueError(
            f"{path} is not a sound .npy file of numbers ({error}); write it again with numpy.save(..., allow_pickle=False)"
        ) from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} is an archive (.npz); save its arrays one by one with numpy.save")
    numbers(found.dtype, str(path))
    return found


def rising(values: ArrayLike, place: str) -> Numbers:
    """Times or points, float64: finite, each greater than the one before. Raises ValueError with the first place where they are not."""
    t = finite(values, place)
    if t.ndim != 1 or not len(t):
        raise ValueError(f"{place} has shape {t.shape} but a list of numbers is needed")
    (bad,) = np.nonzero(np.diff(t) <= 0)
    if len(bad):
        n = int(bad[0])
        what = "twice the same" if t[n] == t[n + 1] else "not sorted"
        raise ValueError(f"{place} is {what}: entry {n} is {t[n]:g} and entry {n + 1} is {t[n + 1]:g}; sort it and drop what is double")
    return t


def finite(values: ArrayLike, place: str) -> Numbers:
    """float64. Raises ValueError with the first entry that is not finite, and for text."""
    try:
        t = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} holds {np.asarray(values).dtype}, and numbers are needed ({error})") from error
    (bad,) = np.nonzero(~np.isfinite(t.ravel()))
    if len(bad):
        raise ValueError(f"{place} is not finite: entry {int(bad[0])} is {t.ravel()[bad[0]]}")
    return t


def step(times: Numbers, place: str) -> float:
    """The mean step of rising times. Raises ValueError where there are fewer than two, or they are uneven, with the place."""
    if len(times) < 2:
        raise ValueError(f"{place} has {len(times)} entries, and a step needs two")
    steps = np.diff(times)
    typical = float(np.median(steps))
    off = np.abs(steps - typical)
    if off.max() > EVEN * typical + ROUNDING * float(np.abs(times).max()):
        n = int(off.argmax())
        raise ValueError(f"{place} is uneven: the step after entry {n} is {steps[n]:g}, most are {typical:g}; resample it, or cut it there")
    return float(times[-1] - times[0]) / (len(times) - 1)


def named(folder: Path, name: str) -> Path:
    """The path of a file named within a folder, or of a link there. Raises ValueError for a name that leads out of it."""
    windows = PureWindowsPath(name)
    parts = (*PurePosixPath(name).parts, *windows.parts)
    if not name or PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in parts:
        raise ValueError(f"{folder}: the name {name!r} leads out of the folder; only names within it are read")
    return folder / name


def inside(folder: Path, name: str) -> Path:
    """The path of a file that lies within a folder. Raises ValueError for a name, or a link, that leads out of it."""
    path = named(folder, name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}: {name!r} is a link that leads out of the folder; copy the file into it")
    return path
