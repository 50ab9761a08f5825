"""Files and stores opened lazily: what cannot be read of them later is named too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surrogates.data.formats.cf_open import opened


def test_a_damaged_chunk_is_named_when_it_is_looked_at(tmp_path: Path) -> None:
    path, u = tmp_path / "made.zarr", np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    xr.Dataset({"u": (("time", "x"), u)}).to_zarr(path, encoding={"u": {"chunks": (1, 8)}}, zarr_format=3, consolidated=False)
    chunk = path / "u" / "c" / "2" / "0"
    chunk.write_bytes(bytes(8) + chunk.read_bytes()[8:])
    store = opened(path)
    np.testing.assert_array_equal(store["u"][:2].values, u[:2])
    with pytest.raises(ValueError, match=r"made\.zarr: u has a chunk that cannot be read .*copy it again"):
        store["u"][2].load()
