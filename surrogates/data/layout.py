"""Files in The Well's layout (HDF5, format "polymathic": docs/data_format.md of PolymathicAI/the_well), written crash-safely.

    root      @dataset_name @grid_type @n_spatial_dims @n_trajectories @simulation_parameters, and a value for each of these
    dimensions, boundary_conditions, scalars, t0_fields (B T *X), t1_fields (B T *X D), t2_fields (B T *X D D)
    surrogates   ours: ids of the trajectories, one `complete` byte each, and a JSON text `final`; attributes recipe, seed, version,
                 and where an initial state has several members their number `members`

Dimensions are x, y, z in the units of the box, or lat and lon in degrees (grid type "spherical", components north and east).

Everything HDF5 knows about the file is written at once, to a name that is then moved into place, with the arrays preallocated,
contiguous and uncompressed. From then on only raw bytes at known offsets change: frames, synchronised; then their `complete` byte;
last of all `final`. So there is no moment at which a kill leaves a file that does not open. An unfinished file is `*.hdf5.part`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from errno import ENOSPC
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from surrogates.domains import Box, Sphere
from surrogates.domains.box import PERIODIC
from surrogates.fields import Field, Fields

FORMAT = 1
OURS = "surrogates"
PART = ".part"
MEMBERS = "members"  # of our group, in files whose trajectories are so many members each, row after row
ORDERS = ("t0_fields", "t1_fields", "t2_fields")
FINAL_BYTES = 1 << 14
ROOM_FOR_THE_REST = 1 << 17
STRING = h5py.string_dtype()
OPEN = "open"
KINDS_OF_GRID = {Box: "cartesian", Sphere: "spherical"}


def domain_from(stored: str) -> Box | Sphere:
    """The domain of a file of ours. Raises ValueError for a kind that has no tensor-product grid."""
    entry = json.loads(stored)
    kinds: dict[str, type[Box] | type[Sphere]] = {"box": Box, "sphere": Sphere}
    if entry.get("type") not in kinds:
        raise ValueError(f"domain {entry.get('type')!r} is none of {list(kinds)}, whose grids this layout holds")
    return kinds[entry["type"]].from_json(entry)


def order_of(f: Field, box: Box | Sphere) -> int:
    """The tensor order of a field: 0 scalar, 1 vector, 2 tensor. Raises ValueError for components that make none of these."""
    orders = {0: 0, box.dim: 1, box.dim**2: 2}
    if len(f.components) not in orders or f.levels:
        raise ValueError(
            f"field {f.name!r} has {len(f.components)} components and {len(f.levels)} levels; The Well's layout takes a scalar, "
            f"{box.dim} or {box.dim**2} components on a domain of {box.dim} axes, and no levels"
        )
    return orders[len(f.components)]


def create(
    path: Path,
    *,
    name: str,
    fields: Fields,
    box: Box | Sphere,
    times: Sequence[float],
    trajectories: Sequence[int],
    parameters: Mapping[str, Sequence[float]],
    attrs: Mapping[str, str | int | float],
) -> None:
    """A new unfinished file at `path`, all of its room reserved. Raises OSError where the disk has not that much."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_room(path, 4 * len(trajectories) * len(times) * fields.count * prod(box.shape) + ROOM_FOR_THE_REST)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(draft, "w", libver="earliest") as f:
            f.attrs.update(
                {
                    "dataset_name": name,
                    "grid_type": KINDS_OF_GRID[type(box)],
                    "n_spatial_dims": box.dim,
                    "n_trajectories": len(trajectories),
                }
            )
            _dimensions(f, box, times)
            _boundaries(f, box)
            _parameters(f, parameters)
            _fields(f, fields, box, (len(trajectories), len(times)))
            ours = f.create_group(OURS)
            ours.attrs.update({"format": FORMAT, "fields": json.dumps(fields.to_json()), "domain": json.dumps(box.to_json()), **attrs})
            _plain(ours, "trajectory", np.asarray(trajectories, np.int64))
            _plain(ours, "complete", np.zeros(len(trajectories), np.uint8))
            _plain(ours, "final", np.zeros(FINAL_BYTES, np.uint8))
        _reserve(draft)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


class Part:
    """An unfinished file, open for writing: `write` trajectories, then `finish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as f:
            ours = f[OURS]
            self.fields = Fields.from_json(json.loads(ours.attrs["fields"]))
            self.box = domain_from(ours.attrs["domain"])
            self.recipe = str(ours.attrs["recipe"])
            self.version = str(ours.attrs["version"])
            self.complete = ours["complete"][:].astype(bool)
            self._marks, self._final = ours["complete"].id.get_offset(), ours["final"].id.get_offset()
            self._arrays = [f[ORDERS[order_of(x, self.box)]][x.name].id.get_offset() for x in self.fields]
            self.frames = int(f["dimensions"]["time"].shape[0])

    def write(self, row: int, u: npt.NDArray[np.float32]) -> None:
        """One trajectory (T, C, *X)."""
        self.write_rows(row, u[None])

    def write_rows(self, row: int, u: npt.NDArray[np.float32]) -> None:
        """Trajectories (R, T, C, *X) from `row` on: their bytes first, and only when they are on the disk their marks."""
        with open(self.path, "r+b") as file:
            for f, start in zip(self.fields, self._arrays, strict=True):
                block = u[:, :, self.fields.slice(f.name)]
                block = np.moveaxis(block, 2, -1) if f.components else block[:, :, 0]
                bytes_ = np.ascontiguousarray(block, dtype="<f4").tobytes()
                file.seek(start + row * (len(bytes_) // len(u)))
                file.write(bytes_)
            _sync(file)
            file.seek(self._marks + row)
            file.write(b"\x01" * len(u))
            _sync(file)
        self.complete[row : row + len(u)] = True

    def finish(self, record: Mapping[str, Any]) -> Path:
        """Write the closing record and give the file its final name, which is returned."""
        text = json.dumps(dict(record)).encode()
        if len(text) > FINAL_BYTES:
            raise ValueError(f"the closing record has {len(text)} bytes but the file keeps {FINAL_BYTES} for it")
        with open(self.path, "r+b") as file:
            file.seek(self._final)
            file.write(text.ljust(FINAL_BYTES, b"\0"))
            _sync(file)
        final = self.path.with_name(self.path.name.removesuffix(PART))
        os.replace(self.path, final)
        return final


def checksum(path: Path) -> str:
    """SHA-256 of the field arrays of a file in the order of the layout, as little-endian float32."""
    digest = hashlib.sha256()
    with h5py.File(path, "r") as f:
        for order in ORDERS:
            for name in f[order].attrs["field_names"]:
                for row in f[order][name]:
                    digest.update(np.ascontiguousarray(row, dtype="<f4").tobytes())
    return digest.hexdigest()


def _dimensions(f: h5py.File, box: Box | Sphere, times: Sequence[float]) -> None:
    group = f.create_group("dimensions")
    group.attrs["spatial_dims"] = np.array(box.axes, dtype=STRING)
    _plain(group, "time", np.asarray(times, np.float32), sample_varying=False, time_varying=True)
    for axis, name in enumerate(box.axes):
        _plain(group, name, box.coordinate(axis).numpy().astype(np.float32), sample_varying=False, time_varying=False)


def _boundaries(f: h5py.File, box: Box | Sphere) -> None:
    group = f.create_group("boundary_conditions")
    ends = box.boundary if isinstance(box, Box) else (OPEN, PERIODIC)  # as the layout's own sphere has it
    for axis, kind in zip(box.axes, ends, strict=True):
        side = group.create_group(f"{axis}_{kind}")
        side.attrs.update({"associated_dims": np.array([axis], dtype=STRING), "associated_fields": np.array([], dtype=STRING)})
        side.attrs.update({"bc_type": kind.upper(), "sample_varying": False, "time_varying": False})
        mask = np.zeros(box.shape[box.axes.index(axis)], bool)
        mask[[0, -1]] = True
        _plain(side, "mask", mask)
        _plain(side, "values", np.zeros(int(mask.sum()), np.float32))


def _parameters(f: h5py.File, parameters: Mapping[str, Sequence[float]]) -> None:
    """As scalars in float32 for any reader of the layout, and as root attributes in float64, from which ours reads them."""
    f.attrs["simulation_parameters"] = np.array(list(parameters), dtype=STRING)
    group = f.create_group("scalars")
    group.attrs["field_names"] = np.array(list(parameters), dtype=STRING)
    for name, values in parameters.items():
        exact = np.asarray(values, np.float64)
        varies = bool((exact != exact[0]).any())
        value = exact if varies else exact[0]
        f.attrs[name] = value
        _plain(group, name, np.asarray(value, np.float32), sample_varying=varies, time_varying=False)


def _fields(f: h5py.File, fields: Fields, box: Box | Sphere, lead: tuple[int, int]) -> None:
    for order, group_name in enumerate(ORDERS):
        group = f.create_group(group_name)
        chosen = [x for x in fields if order_of(x, box) == order]
        group.attrs["field_names"] = np.array([x.name for x in chosen], dtype=STRING)
        for x in chosen:
            array = _reserved(group, x.name, (*lead, *box.shape, *(box.dim,) * order))
            array.attrs.update({"dim_varying": [True] * box.dim, "sample_varying": True, "time_varying": True, "units": x.units})
            if order == 2:
                array.attrs.update({"symmetric": False, "antisymmetric": False})


def _reserved(group: h5py.Group, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """A contiguous float32 array whose place in the file is fixed now and whose values come later."""
    create_list = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create_list.set_layout(h5py.h5d.CONTIGUOUS)
    create_list.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create_list.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, create_list)
    return group[name]


def _plain(group: h5py.Group, name: str, values: npt.NDArray[Any], **attrs: bool) -> None:
    group.create_dataset(name, data=values)
    group[name].attrs.update(attrs)


def _check_room(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise OSError(ENOSPC, f"no room for {need / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB left", str(path))


def _reserve(path: Path) -> None:
    """Take the whole file's room on the disk now, so that a full disk is an error before any work and not after hours of it."""
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        _sync(file)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
