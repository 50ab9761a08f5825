"""A Zarr store on the disk whose every chunk takes a while to come, as from a cloud, and that remembers what was asked for and when."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import xarray as xr
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem


class Delayed(AsyncFileSystemWrapper):
    """A local file system, asynchronous, that waits `delay` seconds before it reads."""

    cachable = False

    def __init__(self, delay: float) -> None:
        super().__init__(LocalFileSystem(), asynchronous=True)
        self.delay, self.spans, self.paths = delay, list[tuple[float, float]](), list[str]()
        self.at_once = self._cat_file  # the wrapper makes its methods as attributes
        self._cat_file = self.late

    async def late(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """A file, or a part of it, after a while."""
        begun = time.perf_counter()
        await asyncio.sleep(self.delay)
        data: bytes = await self.at_once(path, start=start, end=end, **kwargs)
        self.spans.append((begun, time.perf_counter()))
        self.paths.append(path)
        return data


def opened(path: Path, delay: float) -> tuple[xr.Dataset, Delayed]:
    """A Zarr folder behind a delay, lazily; metadata come at once."""
    files = Delayed(0.0)
    store = zarr.storage.FsspecStore(files, path=str(path), read_only=True)
    dataset = xr.open_zarr(store, consolidated=False, chunks=None)
    dataset = dataset.assign_coords({name: c.load() for name, c in dataset.coords.items()})
    files.delay, files.spans, files.paths = delay, [], []
    return dataset, files
