"""A forecast as one HDF5 file with dimension scales, as netCDF-4 has them: xarray (h5netcdf), h5py and Panoply read it.

All that HDF5 knows about the file is written first, with the arrays contiguous and uncompressed; from then on only numbers at places
that are fixed change, so that a kill at any moment leaves a file that opens. Until it is whole it is called `<name>.part`, beside a
folder `<name>.run` (`journal`), because places not yet written read as zero.
Source: https://docs.hdfgroup.org/archive/support/HDF5/doc/HL/H5DS_Spec.pdf (dimension scales).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from torch import Tensor

from surrogates.contracts import State
from surrogates.forecast.journal import RUN, Journal, check_same, replace
from surrogates.forecast.sinks import Values, rectangles
from surrogates.interchange import MEMBER, TIME

SUFFIXES = (".h5", ".hdf5", ".nc")
FINGERPRINT, COORDINATES, FILL = "run", "coordinates", 64


class Hdf5Sink:
    """Frames in an HDF5 file. Raises FileExistsError where `path` holds another run or something else, ValueError for compression."""

    def __init__(
        self, path: str | os.PathLike[str], template: xr.Dataset, fingerprint: Mapping[str, Any], compression: str | None = None
    ) -> None:
        if compression is not None:
            raise ValueError("an HDF5 forecast is not compressed, so that a kill cannot break it; write a Zarr folder for compression")
        self.path, self._members = Path(path), template.sizes.get(MEMBER)
        self._part, self._run = (self.path.with_name(self.path.name + end) for end in (".part", ".run"))
        self._whole = self.path.is_file()
        if self._whole:
            check_same(self.path, _fingerprint(self.path), fingerprint)
            return
        self._journal = Journal(self._run, self._run, fingerprint)
        if not (self._run / RUN).is_file():
            self._create(template, fingerprint)
        self._check_size()
        self._file = h5py.File(self._part, "r+")

    def made(self, group: int) -> int:
        return 1 << 62 if self._whole else self._journal.made(group)

    def state(self, group: int) -> dict[str, Tensor]:
        return self._journal.state(group)

    def write(self, rows: Sequence[int], start: int, block: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in block.items():
                self._file[name][(*where, slice(start, start + v.shape[1]))] = v[part].reshape(*lead, *v.shape[1:])

    def put(self, rows: Sequence[int], values: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in values.items():
                self._file[name][where] = v[part].reshape(*lead, *v.shape[1:])

    def abandon(self, rows: Sequence[int], start: int) -> None:
        time = 1 if self._members is None else 2
        for array in self._file.values():
            if not array.is_scale and array.ndim > time and array.dims[time].label == TIME:
                for _, where, _ in rectangles(rows, self._members):
                    for n in range(start, array.shape[time], FILL):
                        array[(*where, slice(n, n + FILL))] = np.nan

    def mark(self, group: int, made: int, state: State) -> None:
        self._file.flush()
        self._journal.mark(group, made, {}, state)

    def finish(self) -> xr.Dataset:
        """The forecast, opened lazily; now it has its name."""
        if not self._whole:
            self._file.close()
            os.replace(self._part, self.path)
            shutil.rmtree(self._run)
        return open_hdf5(self.path)

    def _create(self, template: xr.Dataset, fingerprint: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(self._part, "w") as f:
            f.attrs.update(template.attrs)
            f.attrs[FINGERPRINT] = json.dumps(dict(fingerprint))
            f.attrs[COORDINATES] = " ".join(map(str, template.coords))
            for dim, n in template.sizes.items():
                if dim in template.coords:
                    f.create_dataset(str(dim), data=template[dim].values).make_scale(str(dim))
                else:
                    f.create_dataset(str(dim), (n,)).make_scale(f"This is a netCDF dimension but not a netCDF variable.{n:>10}")
            for name, v in template.variables.items():
                if name not in template.coords:
                    _preallocate(f, str(name), v)
                elif name not in f:
                    f.create_dataset(str(name), data=v.values)
                for axis, dim in enumerate(v.dims):
                    if name != dim:
                        f[str(name)].dims[axis].attach_scale(f[str(dim)])
                        f[str(name)].dims[axis].label = str(dim)
                f[str(name)].attrs.update(v.attrs)
        self._run.mkdir(exist_ok=True)
        replace(self._run / "size", str(self._part.stat().st_size).encode())
        self._journal.begin()

    def _check_size(self) -> None:
        wanted, found = int((self._run / "size").read_text()), self._part.stat().st_size if self._part.is_file() else 0
        if wanted != found:
            raise ValueError(f"{self._part} is damaged: {found} bytes of {wanted}; remove it and {self._run}, and run again")


def _preallocate(f: h5py.File, name: str, v: xr.Variable) -> None:
    """Room at a fixed place, unwritten but for arrays that do not run in time."""
    kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kept.set_layout(h5py.h5d.CONTIGUOUS)
    kept.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kept.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(v.shape) if v.ndim else h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5d.create(f.id, name.encode(), h5py.h5t.py_create(v.dtype, logical=True), space, kept)
    if TIME not in v.dims:
        f[name][...] = v.values


def _fingerprint(path: Path) -> dict[str, Any]:
    if not written_here(path):
        raise FileExistsError(f"{path} exists and is no forecast of ours; choose another output file")
    with h5py.File(path) as f:
        found: dict[str, Any] = json.loads(f.attrs[FINGERPRINT])
    return found


def written_here(path: Path) -> bool:
    """Whether a file is a forecast; one that is not HDF5, as an old NetCDF file, is none."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as f:
        return FINGERPRINT in f.attrs


def open_hdf5(path: Path) -> xr.Dataset:
    """Lazily, through h5py and dask. Raises ValueError where the file is no forecast."""
    import dask.array

    if not written_here(path):
        raise ValueError(f"{path} is not a forecast of ours; `surrogates rollout --out {path.name}` writes one")
    f = h5py.File(path)
    named = str(f.attrs[COORDINATES]).split()
    variables: dict[str, Any] = {}
    for name, array in f.items():
        if array.is_scale and name not in named:
            continue  # a dim without coordinate
        dims = (name,) if array.is_scale else tuple(d.label for d in array.dims)
        attrs = {k: v for k, v in array.attrs.items() if k not in ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS")}
        values = array[()] if name in named else dask.array.from_array(array, chunks=_chunks(array, dims))  # type: ignore[no-untyped-call]
        variables[name] = (dims, values, {k: v.item() if isinstance(v, np.generic) else v for k, v in attrs.items()})
    attrs = {k: v.item() if isinstance(v, np.generic) else v for k, v in f.attrs.items() if k not in (FINGERPRINT, COORDINATES)}
    dataset = xr.Dataset({n: v for n, v in variables.items() if n not in named}, {n: variables[n] for n in named}, attrs)
    dataset.set_close(f.close)
    return dataset


def _chunks(array: Any, dims: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(1 if d == "trajectory" else n for d, n in zip(dims, array.shape, strict=True))
