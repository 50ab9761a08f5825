"""What tells a lazy array from others without a look at its values: where they lie, and what is made of them on the way.

    array of a store        its place, its metadata (shape, chunks, type, codecs, attributes), and of local files names, sizes and dates
    indexing, decoding      as xarray describes them
    operations of dask      by the name of the result, which dask makes from the operations and the names of what goes into them

What cannot be told is not: arrays in memory, file objects, stores of other kinds. Of a store far away nothing says when its chunks were
written; so who relies on an origin looks at some of the values too (`Windows.checksum`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
INSIDE = ("array", "_array")  # what xarray's lazy arrays call the one that they wrap


def origin(array: xr.Variable) -> list[Any] | None:
    """Fit for JSON and the same in every process; None where nothing tells."""
    try:
        return _told(array)
    except (LookupError, AttributeError, TypeError, OSError):  # much of this is private to xarray, zarr and dask
        return None


def described(array: Any) -> str:
    """A lazy array of xarray as it describes itself, all indices in full, without what differs from process to process."""
    with np.printoptions(threshold=sys.maxsize):
        return ADDRESS.sub("", repr(array))


def _told(array: xr.Variable) -> list[Any]:
    if array.chunks is not None:
        graph = array.data.__dask_graph__()
        roots = [layer for name, layer in graph.layers.items() if not graph.dependencies[name]]
        return ["dask", str(array.data.name), *(_root(layer) for layer in roots)]
    return [described(array._data), *_stored(array._data, str(array.encoding.get("source", "")))]


def _root(layer: Any) -> list[Any]:
    """What a layer of dask begins with: one array."""
    (task,) = layer.values() if len(layer) == 1 else (None,)
    held = getattr(task, "value", task)
    inside = getattr(held, "values", None)
    if isinstance(inside, xr.Variable):
        return _told(inside)
    return [described(held), *_stored(held, "")]


def _stored(array: Any, source: str) -> list[Any]:
    """The array of a store at the bottom of lazy ones. Raises LookupError for what is none."""
    import zarr

    while (inside := next((getattr(array, name) for name in INSIDE if hasattr(array, name)), None)) is not None:
        array = inside
        if isinstance(array, zarr.Array):
            return [str(array.store_path), repr(array.metadata.to_dict()), *_files_of(array)]
        if isinstance(array, np.ndarray):
            break
    if not (type(array).__module__.startswith("xarray.backends.") and os.path.isfile(source)):
        raise LookupError(f"nothing tells where a {type(array).__name__} comes from")
    return list(_dated([Path(source)]))


def _files_of(array: Any) -> Iterator[str]:
    """Those of its chunks, of a store on the disk. Raises LookupError for a store that no place tells from others."""
    from zarr.storage import FsspecStore, LocalStore

    if isinstance(array.store, LocalStore):
        yield from _dated(_below(array.store.root / array.path))
    elif not isinstance(array.store, FsspecStore):
        raise LookupError(f"nothing tells one {type(array.store).__name__} from another")


def _below(folder: Path) -> Iterator[Path]:
    for home, _, names in sorted(os.walk(folder)):
        yield from (Path(home) / name for name in sorted(names))


def _dated(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        about = path.stat()
        yield f"{path} {about.st_size} {about.st_mtime_ns}"
