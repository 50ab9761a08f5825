"""A chunk that we write is byte for byte the one that the library writes, at the edges too."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from surrogates.forecast.zarr_chunks import Packed, Plain

CASES = {
    "whole": ((4, 6, 5), (2, 3, 5), np.float32, np.nan),
    "over the end": ((5, 7, 5), (2, 3, 5), np.float32, np.nan),
    "numbers": ((5,), (2,), np.int64, -1),
    "double": ((3, 4), (1, 3), np.float64, np.nan),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and "/c/" in str(p)}


@pytest.mark.parametrize(("shape", "chunks", "dtype", "fill"), CASES.values(), ids=CASES)
def test_the_files_are_those_of_the_library(shape: Any, chunks: Any, dtype: Any, fill: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    settings = {"shape": shape, "chunks": chunks, "dtype": dtype, "fill_value": fill, "compressors": None}
    zarr.create_group(str(tmp_path / "theirs")).create_array("u", **settings)[:] = values
    zarr.create_group(str(tmp_path / "ours")).create_array("u", **settings)
    ours = Plain(tmp_path / "ours", "u", chunks, np.dtype(dtype), fill)
    borders = [[slice(n, min(n + c, size)) for n in range(0, size, c)] for c, size in zip(chunks[:2], shape[:2], strict=True)]
    written = [k for where in product(*borders) for k in ours.write(where, values[where])]
    assert files(tmp_path / "ours") == files(tmp_path / "theirs")
    assert sorted(written) == sorted(files(tmp_path / "ours"))
    again = zarr.open_array(str(tmp_path / "ours" / "u"), mode="r")
    np.testing.assert_array_equal(again[:], values)


def test_a_compressed_array_forgets_a_torn_chunk(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "u"), shape=(3, 5), chunks=(2, 5), dtype="f4", fill_value=np.nan)
    (tmp_path / "u" / "c" / "1").mkdir(parents=True)
    (tmp_path / "u" / "c" / "1" / "0").write_bytes(b"torn")
    written = Packed(tmp_path, "u", array).write((slice(2, 3),), np.ones((1, 5), np.float32))
    assert written == ["u/c/1/0"] and (array[2] == 1).all()
