"""The metadata of a Zarr folder: a `zarr.json` for the group and one for each array.

Arrays of plain numbers are written as the text that they are, which says what the library's would; it takes a millisecond for each, as
long as some networks take for a frame. Text and compressed arrays go through the library. Source:
https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

METADATA = "zarr.json"
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
NUMBERS = "biuf"
"""Kinds of types whose metadata are written here."""


def group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """A new folder that holds arrays. Raises FileExistsError where there is one."""
    folder.mkdir(parents=True)
    _write(folder, {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)})


def array(
    folder: Path,
    name: str,
    *,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    fill_value: Any,
    compressors: Sequence[Any] | None,
    dimension_names: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """An array in the group `folder`, without chunks as yet."""
    about: dict[str, Any] = {"attributes": dict(attributes), "dimension_names": list(dimension_names)}
    if compressors or dtype.kind not in NUMBERS:
        how = {"shape": shape, "chunks": chunks, "dtype": dtype, "fill_value": fill_value, "compressors": compressors}
        zarr.create_array(str(folder / name), **how, **about)
        return
    (folder / name).mkdir()
    made = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [int(n) for n in shape],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [int(n) for n in chunks]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if fill_value != fill_value else fill_value,
        "codecs": [{"name": "bytes"} if dtype.itemsize == 1 else LITTLE],
        "storage_transformers": [],
        **about,
    }
    _write(folder / name, made)


def coordinate(folder: Path, name: str, values: NDArray[Any], dimension_names: Sequence[str], attributes: Mapping[str, Any]) -> None:
    """An array with its values, in one chunk."""
    if values.dtype.kind not in NUMBERS or not values.size:
        about: dict[str, Any] = {"attributes": dict(attributes), "dimension_names": list(dimension_names)}
        zarr.create_array(str(folder / name), data=values, chunks=tuple(max(n, 1) for n in values.shape), compressors=None, **about)
        return
    how = {"shape": values.shape, "chunks": values.shape, "dtype": values.dtype, "fill_value": values.dtype.type(0).item()}
    array(folder, name, **how, compressors=None, dimension_names=dimension_names, attributes=attributes)
    file = folder.joinpath(name, "c", *("0",) * values.ndim)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes())


def consolidate(folder: Path) -> None:
    """Put the metadata of all arrays beside those of the group: one file is read to open it, and what else lies in the folder is not asked
    what it is."""
    held = {array.parent.name: json.loads(array.read_text()) for array in sorted(folder.glob(f"*/{METADATA}"))}
    group = json.loads((folder / METADATA).read_text())
    _write(folder, {**group, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": held}})


def _write(folder: Path, made: Mapping[str, Any]) -> None:
    (folder / METADATA).write_text(json.dumps(made, indent=2))
