"""The packed cache: a split as contiguous float32 arrays (B, T, C, *X), memory-mapped, made from the files on first use.

    cache/<split>-<key>.npy             the first part of the split: channels first, so that a window (T, C, *X) is one block of bytes
    cache/<split>-<key>-1.npy ...       further parts, where trajectories differ in length
    cache/<split>-<key>...missing.npy   which frames (B, T) are missing, where some are

Channels first is the order that networks read. While packing, every value is looked at once. A value that is not finite, or a frame without
any variation, is an error that names trajectory and time; but in data that declare gaps (`attrs["gaps"] = "NaN"`, as observations do) NaN
means missing, and a frame with a missing value in any wet cell is marked, so that no window holds it. The cache lies beside the data
(under the data root where that folder is read-only), keyed by the checksum, sizes and dates of the files: changed files are packed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates import catalog
from surrogates.data.files import files_of, foreign
from surrogates.domains import Masked
from surrogates.interchange import GAPS, MEMBER, NAN, TIME, TRAJECTORY, domain_of, fields_of, from_xarray, times_of, trajectories_of

Packed = npt.NDArray[np.float32]  # (B, T, C, *X)
Missing = npt.NDArray[np.bool_]  # (B, T)
Change = Callable[[xr.Dataset], xr.Dataset]
"""What is done to every trajectory before it is packed, such as averaging onto a coarser grid."""
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
    home, stem = cache_home(folder), f"{split}-{key or key_of(dataset, folder, split)}"
    path = home / f"{stem}{suffix}.npy"
    gaps = path.with_suffix(".missing.npy")
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.npy")
        try:
            missing = _write(dataset, draft, str(folder), change)
            gaps.unlink(missing_ok=True)
            if missing.any():
                np.save(gaps, missing)
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        for old in home.glob(f"{split}-*"):
            if not old.name.startswith(stem):
                old.unlink(missing_ok=True)
    # Mode "c" (copy on write) never changes the file and yet gives torch an array that it does not warn about.
    out: Packed = np.load(path, mmap_mode="c", allow_pickle=False)
    return out, np.load(gaps, allow_pickle=False) if gaps.exists() else np.zeros(out.shape[:2], bool)


def key_of(dataset: xr.Dataset, folder: Path, split: str) -> str:
    """What changes whenever the files of a split may have changed."""
    digest = hashlib.sha256(str(dataset.attrs.get("checksum", "")).encode())
    for p in _files(folder, split):
        about = p.stat()
        digest.update(f"{p.name} {about.st_size} {about.st_mtime_ns}".encode())
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
    missing = np.zeros(out.shape[:2], bool)
    step = max(1, BLOCK // max(1, 4 * fields.count * prod(domain_of(dataset).shape)))
    for n, trajectory in enumerate(ids):
        row = dataset.isel({TRAJECTORY: slice(n, n + 1)}) if TRAJECTORY in dataset.dims else dataset
        for t in range(0, out.shape[1], step):
            one = row.isel({TIME: slice(t, t + step)})
            one = one if change is None else change(one)
            block: Packed = from_xarray(one, fields)[0].numpy()
            domain = domain_of(one)
            wet = domain.wet.numpy() if isinstance(domain, Masked) else None
            where = f"{label}: trajectory {trajectory}"
            missing[n, t : t + step] = check_frames(block, where, times[t : t + step], fields.channels, wet=wet, gaps=gaps, first=t)
            out[n, t : t + step] = block
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


def check_frames(
    row: Packed,
    label: str,
    times: npt.NDArray[Any],
    channels: Sequence[str],
    *,
    wet: npt.NDArray[np.bool_] | None = None,
    gaps: bool = False,
    first: int = 0,
) -> npt.NDArray[np.bool_]:
    """Which frames of a trajectory (T, C, *X) are missing, (T,): those with NaN in a wet cell, where the data declare `gaps`.

    `first` is the number of its first frame. Raises ValueError for the first frame that is not finite else, or flat in every channel.
    """
    flat = row.reshape(*row.shape[:2], -1)
    flat = flat if wet is None else flat[..., wet.ravel()]
    low, high = flat.min(-1), flat.max(-1)
    missing = np.isnan(low).any(1) if gaps else np.zeros(len(row), bool)
    wrong = np.logical_or.reduce(np.isinf(flat), axis=-1) if missing.any() else ~np.isfinite(low + high)
    if wrong.any():
        t = int(wrong.any(1).argmax())
        names = [c for c, bad in zip(channels, wrong[t], strict=True) if bad]
        where = f"at time {times[t]:g} (frame {first + t}), channels {names}"
        missed = "" if gaps or np.isinf(flat[t]).any() else f'; where NaN means missing, set dataset.attrs["{GAPS}"] = "{NAN}"'
        raise ValueError(f"{label} has values that are not finite {where}{missed}")
    still = (low == high).all(1)
    if still.any():
        t = int(still.argmax())
        raise ValueError(f"{label} is constant over all space at time {times[t]:g} (frame {first + t}); was that frame ever written?")
    return missing
