"""One finished run of the tiny benchmark for all tests."""

from __future__ import annotations

import pytest
import xarray as xr
from bench.tiny import Made, make, suite, surrogate

from surrogates.bench import run_suite, write_report


@pytest.fixture(scope="session")
def data() -> tuple[xr.Dataset, xr.Dataset]:
    return make(3, 21, 0, "test"), make(5, 30, 1, "train")


@pytest.fixture(scope="session")
def made(data: tuple[xr.Dataset, xr.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("bench") / "run"
    scores = run_suite(suite(), {"mine": surrogate()}, *data, folder, {"calibration": {"inflation": "1.2 <fitted>"}})
    write_report(folder)
    return Made(folder, scores, *data)
