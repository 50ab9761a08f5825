"""The bytes of a file in our layout: its names, its room on the disk, arrays whose place in it is fixed before their values come."""

from __future__ import annotations

import os
import shutil
from errno import ENOSPC
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

FORMAT = 2  # 1: state fields on boxes and spheres, equally spaced times from zero
OURS = "surrogates"
PART = ".part"
MEMBERS = "members"  # of our group, in files whose trajectories are so many members each, row after row
ORDERS = ("t0_fields", "t1_fields", "t2_fields")
SCALARS = "scalars"
FINAL_BYTES = 1 << 14
PARAMETER = "parameter_"  # of our group: one array each, since an attribute takes 64 KiB
FEW = 4096  # values that are an attribute as well
ROOM_FOR_THE_REST = 1 << 17
STRING = h5py.string_dtype()


def open_hdf5(path: Path) -> h5py.File:
    """Raises ValueError where the file is missing, truncated or not HDF5."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except OSError as error:
        why = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise ValueError(f"{path} is {why} ({error}); copy or make it again") from error


def names(values: Any) -> npt.NDArray[Any]:
    """Names as the attribute of a group."""
    return np.array(list(values), dtype=STRING)


def reserved(group: h5py.Group, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """A contiguous float32 array whose place in the file is fixed now and whose values come later."""
    create_list = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create_list.set_layout(h5py.h5d.CONTIGUOUS)
    create_list.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create_list.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create_list.set_obj_track_times(False)  # the same data are the same bytes, whenever they are written
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, create_list)
    return group[name]


def plain(group: h5py.Group, name: str, values: npt.NDArray[Any], **attrs: bool) -> None:
    """A small array, written now."""
    group.create_dataset(name, data=values)
    group[name].attrs.update(attrs)


def check_room(path: Path, need: int) -> None:
    """Raises OSError where the disk has less than `need` bytes left."""
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise OSError(ENOSPC, f"no room for {need / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB left", str(path))


def reserve(path: Path) -> None:
    """Take the whole file's room on the disk now, so that a full disk is an error before any work and not after hours of it."""
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        sync(file)


def sync(file: Any) -> None:
    """Wait until what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())
