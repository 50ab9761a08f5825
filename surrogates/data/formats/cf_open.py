"""A NetCDF file, a Zarr store or a folder of either as one lazy Dataset of decoded numbers, with the native chunks behind its arrays.

    NetCDF 3 (magic CDF 1, 2)   through scipy's memory map        NetCDF 3 (CDF 5)   through netCDF4
    NetCDF 4 (magic of HDF5)    through h5netcdf, or netCDF4      Zarr 2 and 3       through zarr, by a path or by a URL that fsspec knows

Packed values are unpacked (scale_factor, add_offset), and what is marked as missing (_FillValue, missing_value, valid_range) is NaN. Times
stay numbers. Before anything is read, what the file declares is compared with its size, and what would be unpickled is refused.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surrogates.data.formats import checks
from surrogates.data.formats.cf_join import joined
from surrogates.data.origin import described

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf")
STORE = ("zarr.json", ".zgroup", ".zmetadata")
BLOCK = 1 << 25  # bytes of a block where a file has no chunks
MOST = 1 << 31  # bytes of a chunk that a file may declare
COORDINATE = 1 << 27  # entries of a coordinate, which is read at once
EMPTY = "This is a netCDF dimension but not a netCDF variable"


def is_store(path: Path) -> bool:
    """Whether it is the folder of a Zarr store."""
    return path.is_dir() and any((path / name).is_file() for name in STORE)


def sources(path: Path) -> list[Path]:
    """The files or stores that a path means, sorted by name: itself, or those in the folder."""
    if path.is_file() or is_store(path):
        return [path]
    return sorted(p for p in path.iterdir() if is_store(p) or (p.is_file() and p.suffix.lower() in SUFFIXES)) if path.is_dir() else []


def opened(path: Path, url: str | None = None) -> xr.Dataset:
    """All of it, lazily; `url` is opened in place of the path. Raises ValueError for what is not sound, with the place."""
    if url is not None:
        return _chunked(_store(url), url)
    found = sources(path)
    if not found:
        raise ValueError(f"{path} holds no file {', '.join(SUFFIXES)} and no Zarr store")
    return joined({p: _chunked(_store(p) if p.is_dir() else _file(p), str(p)) for p in found})


def _file(path: Path) -> xr.Dataset:
    with open(path, "rb") as file:
        magic = file.read(8)
    try:
        if magic[:3] == b"CDF":
            engine = "scipy" if magic[3:4] in (b"\x01", b"\x02") else "netcdf4"
        elif magic == b"\x89HDF\r\n\x1a\n":
            _check_hdf5(path)
            engine = "h5netcdf" if find_spec("h5netcdf") else "netcdf4"
        else:
            raise ValueError(f"{path} is no NetCDF file: it begins with {magic!r}")
        _need("netCDF4" if engine == "netcdf4" else engine, path)
        data = xr.open_dataset(path, engine=engine, chunks=None, cache=False, **_DECODE)
        if magic[:3] == b"CDF":
            for name, v in data.variables.items():
                checks.held(v.shape, np.dtype(v.encoding.get("dtype", v.dtype)), path.stat().st_size, f"{path}: {name}")
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, MemoryError, OverflowError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is not a sound NetCDF file ({error or type(error).__name__}); copy or download it again") from error
    return data


def _store(where: Path | str) -> xr.Dataset:
    import zarr

    try:
        group = zarr.open_group(str(where), mode="r")
        for name, array in group.arrays():
            _check_array(array, f"{where}: {name}")
        data = xr.open_dataset(str(where), engine="zarr", chunks=None, cache=False, **_DECODE)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, zarr.errors.BaseZarrError) as error:
        if str(error).startswith(str(where)):
            raise
        raise ValueError(f"{where} is not a sound Zarr store ({error or type(error).__name__}); copy it again") from error
    return data[sorted(map(str, data.data_vars))]  # a store has no order


_DECODE: dict[str, Any] = {"decode_times": False, "decode_timedelta": False, "mask_and_scale": True, "decode_coords": "all"}


def _check_hdf5(path: Path) -> None:
    import h5py

    with checks.open_hdf5(path) as f:
        for name in f:
            found = f.get(name)
            if isinstance(f.get(name, getlink=True), h5py.ExternalLink) or (
                isinstance(found, h5py.Dataset) and (found.is_virtual or found.external)
            ):
                raise ValueError(f"{path}: {name} keeps its values in another file; only arrays that are in the file are read")
            empty = isinstance(found, h5py.Dataset) and str(found.attrs.get("NAME", b"")).lstrip("b'").startswith(EMPTY)
            if isinstance(found, h5py.Dataset) and found.dtype.kind in "fiub" and not empty:
                checks.held(found.shape, found.dtype, path.stat().st_size * checks.DEFLATE, f"{path}: {name}")
                checks.held(found.chunks or (), found.dtype, MOST, f"{path}: a chunk of {name}")
            if isinstance(found, h5py.Dataset) and empty and prod(found.shape) > COORDINATE:
                raise ValueError(f"{path}: {name} declares {found.shape} points, more than any file has; it is damaged")


def _check_array(array: Any, place: str) -> None:
    """Raises ValueError for objects, codecs that unpickle, and sizes that no store has."""
    told = json.dumps(array.metadata.to_dict(), default=str).lower()
    if "pickle" in told or np.dtype(array.dtype).hasobject:
        raise ValueError(f"{place} holds Python objects, which would have to be unpickled; only arrays of numbers are read")
    if array.ndim == 1 and array.shape[0] > COORDINATE:
        raise ValueError(f"{place} declares {array.shape[0]} entries, more than any coordinate has; the store is damaged")
    need = prod(array.chunks) * np.dtype(array.dtype).itemsize
    if need > MOST:
        raise ValueError(f"{place} declares chunks of {need} bytes; the store is damaged, or rechunk it to less than {MOST}")


def _chunked(data: xr.Dataset, place: str) -> xr.Dataset:
    """Behind every array dask, in the chunks of the file; where it has none, in blocks of frames. Out of the valid range is missing."""
    for name, v in data.data_vars.items():
        if v.dtype.kind not in "fiub":
            data = data.drop_vars(str(name))
            continue
        native = v.encoding.get("preferred_chunks") or {}
        chunks = {str(d): int(native[d]) for d in v.dims if d in native}
        if v.ndim and not chunks:
            frame = max(1, prod(v.shape[1:]) * v.dtype.itemsize)
            chunks = {str(v.dims[0]): max(1, min(v.shape[0], BLOCK // frame))}
        data[name] = _valid(_lazy(v, chunks, f"{place}: {name}"), f"{place}: {name}")
    return data


def _lazy(v: xr.DataArray, chunks: Mapping[str, int], place: str) -> xr.DataArray:
    import dask.array as da

    blocks = tuple(chunks.get(str(d), n) for d, n in zip(v.dims, v.shape, strict=True))
    told = f"{place} {v.shape} {v.dtype} {blocks} {described(v.variable._data)}"  # the same in every process, as what is made of it then is
    name = f"{v.name}-{sha256(told.encode()).hexdigest()[:32]}"
    return v.copy(data=da.from_array(_Named(v.variable, place), blocks, name=name))  # type: ignore[no-untyped-call]


class _Named:
    """An array of a store that says whose values it is that cannot be read: codecs know of bytes alone."""

    def __init__(self, values: xr.Variable, place: str) -> None:
        self.values, self.place, self.shape, self.dtype, self.ndim = values, place, values.shape, values.dtype, values.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            return np.asarray(self.values[key].values)
        except (RuntimeError, LookupError, TypeError, ValueError, EOFError, zlib.error) as error:
            raise ValueError(f"{self.place} has a chunk that cannot be read ({error}); it is damaged, copy it again") from error


def _valid(v: xr.DataArray, place: str) -> xr.DataArray:
    limits = v.attrs.get("valid_range", (v.attrs.get("valid_min", -np.inf), v.attrs.get("valid_max", np.inf)))
    try:
        low, high = (float(x) for x in limits)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} has the valid range {limits!r}, and two numbers are needed; correct or drop the attribute") from error
    if v.dtype.kind != "f" or not (np.isfinite(low) or np.isfinite(high)):
        return v
    scale, offset = float(v.encoding.get("scale_factor", 1.0)), float(v.encoding.get("add_offset", 0.0))
    a, b = sorted((low * scale + offset, high * scale + offset))
    kept = v.where((v >= a) & (v <= b))
    kept.encoding, kept.attrs = v.encoding, v.attrs
    return kept


def _need(package: str, path: Path) -> None:
    if find_spec(package) is None:
        raise ValueError(f'{path}: reading it needs {package}; install it with `pip install "pde-surrogates[io]"`')
