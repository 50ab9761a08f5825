"""A forecast as a Zarr folder (format 3): arrays (trajectory, [member,] time, ...) whose chunks belong to one group of rows each.

Chunks are written whole, so none is ever read back to be filled, and no two processes write one. Source of the format:
https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html; xarray reads it by `dimension_names`.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from torch import Tensor

from surrogates.contracts import State
from surrogates.forecast import zarr_layout
from surrogates.forecast.journal import RUN, Journal
from surrogates.forecast.sinks import FAILED_STEP, Values, chunk_rows, rectangles
from surrogates.forecast.zarr_chunks import Packed, Plain
from surrogates.interchange import MEMBER, TIME

CHUNK_BYTES = 4 << 20
"""Several rows share a file up to this size: fewer files cost less to write, and one row costs more to read."""


class ZarrSink:
    """Frames in a Zarr folder. Raises FileExistsError where `path` holds another run or something else."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        template: xr.Dataset,
        fingerprint: Mapping[str, Any],
        chunk: int,
        group: int = 1,
        compression: str | None = None,
    ) -> None:
        self.path, self._members, self._chunk = Path(path), template.sizes.get(MEMBER), chunk
        self._journal = Journal(self.path, self.path, fingerprint)
        if not (self.path / RUN).is_file():
            if self.path.exists() and (self.path.is_file() or any(self.path.iterdir())):
                raise FileExistsError(f"{self.path} exists and is no forecast of ours; choose another output folder")
            self._create(template, group, compression)
        self._arrays = {str(n): self._array(str(n), v, group, compression) for n, v in template.data_vars.items()}
        self._written: dict[str, int] = {}

    def made(self, group: int) -> int:
        return self._journal.made(group)

    def state(self, group: int) -> dict[str, Tensor]:
        return self._journal.state(group)

    def write(self, rows: Sequence[int], start: int, block: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in block.items():
                self._set(name, (*where, slice(start, start + v.shape[1])), v[part].reshape(*lead, *v.shape[1:]))

    def put(self, rows: Sequence[int], values: Values) -> None:
        for part, where, lead in rectangles(rows, self._members):
            for name, v in values.items():
                self._set(name, where, v[part].reshape(*lead, *v.shape[1:]))

    def abandon(self, rows: Sequence[int], start: int) -> None:
        pass  # a chunk that is not there is NaN

    def mark(self, group: int, made: int, state: State) -> None:
        self._journal.mark(group, made, {name: (self.path / name).stat().st_size for name in self._written}, state)
        self._written.clear()

    def finish(self) -> xr.Dataset:
        """The forecast, opened lazily."""
        self._journal.finish()
        return open_zarr(self.path)

    def _set(self, name: str, where: tuple[slice, ...], values: Any) -> None:
        self._written.update(dict.fromkeys(self._arrays[name].write(where, values), 0))

    def _array(self, name: str, v: xr.DataArray, group: int, compression: str | None) -> Plain | Packed:
        settings = self._settings(name, v, group, compression)
        if settings["compressors"] is None:
            return Plain(self.path, name, settings["chunks"], np.dtype(settings["dtype"]), settings["fill_value"])
        with zarr.config.set({"array.write_empty_chunks": True}):  # looking whether a chunk is empty costs a pass over it
            return Packed(self.path, name, zarr.open_array(str(self.path / name), mode="r+"))

    def _create(self, template: xr.Dataset, group: int, compression: str | None) -> None:
        part = self.path.with_name(f"{self.path.name}.part")  # a folder without its run.json would be taken for somebody else's
        shutil.rmtree(part, ignore_errors=True)
        extra = {"coordinates": " ".join(str(n) for n in template.coords if n not in template.dims)}
        zarr_layout.group(part, {**template.attrs, **extra})
        for name, v in template.coords.items():
            zarr_layout.coordinate(part, str(name), np.asarray(v.values), tuple(map(str, v.dims)), v.attrs)
        for name, v in template.data_vars.items():
            settings = self._settings(str(name), v, group, compression)
            zarr_layout.array(part, str(name), **settings, dimension_names=tuple(map(str, v.dims)), attributes=v.attrs)
        zarr_layout.consolidate(part)
        self._journal.begin(part)
        if self.path.exists():
            self.path.rmdir()
        part.rename(self.path)

    def _settings(self, name: str, v: xr.DataArray, group: int, compression: str | None) -> dict[str, Any]:
        """How a variable is laid out: the same for one run whenever it is asked, so that a run that goes on need not look."""
        lead = 1 if self._members is None else 2
        rest = tuple(min(self._chunk, n) if d == TIME else n for d, n in zip(v.dims[lead:], v.shape[lead:], strict=True))
        size = int(np.prod(rest, dtype=np.int64)) * v.dtype.itemsize
        chunks = (*chunk_rows(group, self._members, max(1, CHUNK_BYTES // max(size, 1))), *rest)
        floating = np.issubdtype(v.dtype, np.floating)
        return {
            "shape": v.shape,
            "chunks": tuple(min(c, n) for c, n in zip(chunks, v.shape, strict=True)),
            "dtype": v.dtype,
            "fill_value": np.nan if floating else (-1 if name == FAILED_STEP else 0),
            "compressors": _codec(compression) if floating else None,
        }


def open_zarr(path: Path) -> xr.Dataset:
    """Lazily, times as the numbers that they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forecast: xr.Dataset = xr.open_zarr(str(path), decode_times=False, decode_timedelta=False)
    return forecast


def _codec(compression: str | None) -> Any:
    """None: bytes as they are."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    made: dict[str, Any] = {"zstd": ZstdCodec, "gzip": GzipCodec, "blosc": BloscCodec}
    return None if compression is None else (made[compression](),)
