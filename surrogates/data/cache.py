"""The packed cache: a split as contiguous float32 arrays (B, T, C, *X), memory-mapped, made from the files on first use.

    cache/<split>-<key>.npy             the first part of the split: channels first, so that a window (T, C, *X) is one block of bytes
    cache/<split>-<key>-1.npy ...       further parts, where trajectories differ in length
    cache/<split>-<key>...missing.npy   which frames (B, T) are missing, where some are
    cache/<file>-<split>-<key>.npy      those of a single file, which may have others beside it

Channels first is the order that networks read. While packing, every value is looked at once. A value that is not finite, or a frame that
nobody wrote (`surrogates.data.sound`), is an error that names trajectory and time; but in data that declare gaps (`attrs["gaps"] = "NaN"`,
as observations do) NaN means missing, and a frame with a missing value in any wet cell is marked, so that no window holds it. The cache
lies beside the data (under the data root where that folder is read-only), keyed by the checksum, sizes and dates of the files, by what is
said of them beside, and by what that makes of them: what has changed is packed again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates import catalog
from surrogates.data.files import files_of, foreign
from surrogates.data.formats.asking import SIDECARS
from surrogates.data.sound import check_finite, check_written
from surrogates.domains import Masked
from surrogates.interchange import GAPS, MEMBER, NAN, TIME, TRAJECTORY, domain_of, fields_of, from_xarray, times_of, trajectories_of

Packed = npt.NDArray[np.float32]  # (B, T, C, *X)
Missing = npt.NDArray[np.bool_]  # (B, T)
Change = Callable[[xr.Dataset], xr.Dataset]
"""What is done to every trajectory before it is packed, such as averaging onto a coarser grid."""
VERSION = 2
"""Of what is packed and how: another one packs everything again."""
KEY = "[0-9a-f]{20}"
BLOCK = 1 << 26
"""Bytes that are packed at once, or one frame where that is larger."""


def pack(dataset: xr.Dataset, label: str = "the Dataset", change: Change | None = None) -> tuple[Packed, Missing]:
    """A Dataset in memory as (B, T, C, *X), and its missing frames.

    Raises ValueError for members, flat frames, and values that are not finite but for NaN in data that declare gaps.
    """
    out: Packed = np.empty(_shape(dataset, label, change), np.float32)
    return out, _fill(out, dataset, label, change)


def packed(
    dataset: xr.Dataset, folder: Path, split: str, suffix: str = "", change: Change | None = None, key: str | None = None
) -> tuple[Packed, Missing]:
    """The same for an opened part of a split of `folder`, as a memory map of its cache, which is made now if it is not there.

    `suffix` tells parts and changes of one split apart.
    """
    home, whose = cache_home(folder), owner(folder, split)
    stem = f"{whose}{key or key_of(dataset, folder, split)}"
    path = home / f"{stem}{suffix}.npy"
    with suppress(FileNotFoundError):
        return _opened(path)
    home.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.npy")
    try:
        missing = _write(dataset, draft, str(folder), change)
        if missing.any():  # before the frames are there: who finds these finds what they lack
            lacking = draft.with_suffix(".missing.npy")
            np.save(lacking, missing)
            os.replace(lacking, path.with_suffix(".missing.npy"))
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    for old in home.glob(f"{glob.escape(whose)}*"):
        if not old.name.startswith(stem) and re.match(KEY, old.name.removeprefix(whose)):
            old.unlink(missing_ok=True)
    return _opened(path)


def _opened(path: Path) -> tuple[Packed, Missing]:
    # Mode "c" (copy on write) never changes the file and yet gives torch an array that it does not warn about.
    out: Packed = np.load(path, mmap_mode="c", allow_pickle=False)
    gaps = path.with_suffix(".missing.npy")
    return out, np.load(gaps, allow_pickle=False) if gaps.exists() else np.zeros(out.shape[:2], bool)


def owner(folder: Path, split: str) -> str:
    """What the names of all caches of a split begin with, those of other files in the same folder excepted."""
    return f"{folder.name}-{split}-" if folder.is_file() else f"{split}-"


def key_of(dataset: xr.Dataset, folder: Path, split: str) -> str:
    """What changes whenever the files of a split, or what is said of them, may have changed."""
    said = [str(dataset.attrs.get(name, "")) for name in ("checksum", "fields", "domain", GAPS)]
    digest, files = hashlib.sha256(json.dumps([VERSION, *said]).encode()), _files(folder, split)
    for p in files:
        about = p.stat()
        digest.update(f"{p.name} {about.st_size} {about.st_mtime_ns}".encode())
    homes = {folder if folder.is_dir() else folder.parent, *(() if foreign(folder) else (p.parent for p in files))}
    for sidecar in (home / name for home in sorted(homes) for name in SIDECARS):
        with suppress(FileNotFoundError):
            digest.update(sidecar.read_bytes())
    return digest.hexdigest()[:20]


def _files(folder: Path, split: str) -> list[Path]:
    if not foreign(folder):
        return files_of(folder).get(split, [])
    return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]


def cache_home(folder: Path) -> Path:
    """`cache` beside the data, or under the data root where that place cannot be written to or is a folder of another format."""
    base = folder if folder.is_dir() else folder.parent
    if os.access(base, os.W_OK) and not (folder.is_dir() and foreign(folder)):
        return base / "cache"
    place = folder if foreign(folder) else base
    return catalog.data_root() / "cache" / hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:16]


def _write(dataset: xr.Dataset, path: Path, label: str, change: Change | None) -> Missing:
    out: Any = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=_shape(dataset, label, change))
    missing = _fill(out, dataset, label, change)
    out.flush()
    return missing


def _shape(dataset: xr.Dataset, label: str, change: Change | None) -> tuple[int, ...]:
    check_dims(dataset, label)
    one = dataset.isel({d: slice(1) for d in (TRAJECTORY, TIME) if d in dataset.dims})
    domain = domain_of(one if change is None else change(one))
    return len(trajectories_of(dataset)), dataset.sizes[TIME], fields_of(dataset).count, *domain.shape


def _fill(out: Packed, dataset: xr.Dataset, label: str, change: Change | None) -> Missing:
    """Frames into `out`, a block at a time; returns which are missing."""
    fields, ids, gaps = fields_of(dataset), trajectories_of(dataset), declares_gaps(dataset)
    times = times_of(dataset) if TIME in dataset.coords else np.arange(out.shape[1])
    missing, flat = np.zeros(out.shape[:2], bool), np.zeros(out.shape[:2], bool)
    step = max(1, BLOCK // max(1, 4 * fields.count * prod(domain_of(dataset).shape)))
    for n, trajectory in enumerate(ids):
        row = dataset.isel({TRAJECTORY: slice(n, n + 1)}) if TRAJECTORY in dataset.dims else dataset
        for t in range(0, out.shape[1], step):
            one = row.isel({TIME: slice(t, t + step)})
            one = one if change is None else change(one)
            block: Packed = from_xarray(one, fields)[0].numpy()
            domain = domain_of(one)
            wet = domain.wet.numpy() if isinstance(domain, Masked) else None
            span, where = slice(t, t + step), f"{label}: trajectory {trajectory}"
            missing[n, span], flat[n, span] = check_finite(block, where, times[span], fields.channels, wet=wet, gaps=gaps, first=t)
            out[n, span] = block
        check_written(flat[n], missing[n], f"{label}: trajectory {trajectory}", times)
    return missing


def check_dims(dataset: xr.Dataset, label: str) -> None:
    """Raise ValueError for a Dataset that holds no single trajectories of fields in time."""
    if MEMBER in dataset.dims:
        raise ValueError(
            f"{label} has {dataset.sizes[MEMBER]} members; training data are single trajectories: use isel(member=0) or stack them"
        )
    if TIME not in dataset.dims:
        raise ValueError(f"{label} has no dim 'time'; its dims are {list(map(str, dataset.dims))}")
    if not fields_of(dataset).count:
        raise ValueError(f"{label} has no field: no variable with a dim 'time'")


def declares_gaps(dataset: xr.Dataset) -> bool:
    """Whether NaN in it means missing. Raises ValueError for a declaration that says something else."""
    said = dataset.attrs.get(GAPS)
    if said not in (None, "", NAN):
        raise ValueError(f"attrs[{GAPS!r}] is {said!r}; write {NAN!r} where NaN means missing, or leave it out")
    return bool(said)
