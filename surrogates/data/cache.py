"""The packed cache: a split as one contiguous float32 array (B, T, C, *X), memory-mapped, made from the files on first use.

Channels first is the order that networks read, so that a window (T, C, *X) is one block of bytes. While packing, every value is
looked at once: one that is not finite, or a frame without any variation, is an error that names trajectory and time. The cache is
a plain `.npy` beside the data (under the data root where that folder is read-only), keyed by the checksum, sizes and dates of the
files: changed files are packed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from surrogates import catalog
from surrogates.data.files import files_of
from surrogates.interchange import MEMBER, TIME, TRAJECTORY, domain_of, fields_of, from_xarray, trajectories_of

Packed = npt.NDArray[np.float32]  # (B, T, C, *X)


def pack(dataset: xr.Dataset, label: str = "the Dataset") -> Packed:
    """A Dataset in memory as (B, T, C, *X). Raises ValueError for members, values that are not finite and flat frames."""
    rows = list(_rows(dataset, label))
    return np.ascontiguousarray(np.stack(rows))


def packed(dataset: xr.Dataset, folder: Path, split: str) -> Packed:
    """The same for an opened split of `folder`, as a memory map of its cache, which is made now if it is not there."""
    home = cache_home(folder)
    path = home / f"{split}-{key_of(dataset, folder, split)}.npy"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.npy")
        try:
            _write(dataset, draft, str(folder))
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        for old in home.glob(f"{split}-*"):
            if not old.name.startswith(path.stem):
                old.unlink(missing_ok=True)
    # Mode "c" (copy on write) never changes the file and yet gives torch an array that it does not warn about.
    out: Packed = np.load(path, mmap_mode="c", allow_pickle=False)
    return out


def key_of(dataset: xr.Dataset, folder: Path, split: str) -> str:
    """What changes whenever the files of a split may have changed."""
    digest = hashlib.sha256(str(dataset.attrs.get("checksum", "")).encode())
    for name, paths in files_of(folder).items():
        for p in paths if name == split else ():
            about = p.stat()
            digest.update(f"{p.name} {about.st_size} {about.st_mtime_ns}".encode())
    return digest.hexdigest()[:20]


def cache_home(folder: Path) -> Path:
    """`cache` beside the data, or under the data root where that place cannot be written to."""
    base = folder if folder.is_dir() else folder.parent
    if os.access(base, os.W_OK):
        return base / "cache"
    return catalog.data_root() / "cache" / hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:16]


def _write(dataset: xr.Dataset, path: Path, label: str) -> None:
    shape = (len(trajectories_of(dataset)), dataset.sizes[TIME], fields_of(dataset).count, *domain_of(dataset).shape)
    out: Any = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for n, row in enumerate(_rows(dataset, label)):
        out[n] = row
    out.flush()


def _rows(dataset: xr.Dataset, label: str) -> Iterator[Packed]:
    if MEMBER in dataset.dims:
        raise ValueError(
            f"{label} has {dataset.sizes[MEMBER]} members; training data are single trajectories: use isel(member=0) or stack them"
        )
    if TIME not in dataset.dims:
        raise ValueError(f"{label} has no dim 'time'; its dims are {list(map(str, dataset.dims))}")
    fields, count = fields_of(dataset), len(trajectories_of(dataset))
    if not fields.count:
        raise ValueError(f"{label} has no field: no variable with a dim 'time'")
    for n in range(count):
        one = dataset.isel({TRAJECTORY: slice(n, n + 1)}) if TRAJECTORY in dataset.dims else dataset
        row: Packed = from_xarray(one, fields)[0].numpy()
        times = one[TIME].values if TIME in one.coords else np.arange(len(row))
        check_frames(row, f"{label}: trajectory {trajectories_of(one)[0]}", times, fields.channels)
        yield row


def check_frames(row: Packed, label: str, times: npt.NDArray[Any], channels: Sequence[str]) -> None:
    """Raises ValueError for the first frame of a trajectory (T, C, *X) that is not finite, or flat in every channel."""
    flat = row.reshape(*row.shape[:2], -1)
    low, high = flat.min(-1), flat.max(-1)
    wrong = ~np.isfinite(low + high)
    if wrong.any():
        t = int(wrong.any(1).argmax())
        names = [c for c, bad in zip(channels, wrong[t], strict=True) if bad]
        raise ValueError(f"{label} has values that are not finite at time {times[t]:g} (frame {t}), channels {names}")
    still = (low == high).all(1)
    if still.any():
        t = int(still.argmax())
        raise ValueError(f"{label} is constant over all space at time {times[t]:g} (frame {t}); was that frame ever written?")
