"""An HDF5 forecast is the forecast in memory, other programs read it, and a cut or a failure leaves no zero that looks like a value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import Grows, Interrupted, Rotates, Walk, initial

from surrogates import simulate
from surrogates.domains import Mesh
from surrogates.forecast import Keep, open_forecast
from surrogates.forecast.reading import is_forecast
from surrogates.interchange import domain_of, to_xarray


def run(out: Path | None, step: Any = None, start: xr.Dataset | None = None, **change: Any) -> xr.Dataset:
    return simulate(
        step or Walk(), initial(viscosity=[0.1, 0.2, 0.3]) if start is None else start, 11, **{"group": 4, "chunk": 3, "out": out, **change}
    )


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    return a.equals(b) and a.attrs == b.attrs and all(a[n].attrs.keys() == b[n].attrs.keys() for n in b.variables)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("keep", [None, Keep(every=2, dtype="float64", diagnostics=("spectrum", "mean"))])
def test_streaming_writes_what_memory_holds(tmp_path: Path, members: int | None, keep: Keep | None) -> None:
    held = run(None, members=members, keep=keep)
    assert same(run(tmp_path / "f.h5", members=members, keep=keep), held)
    assert same(open_forecast(tmp_path / "f.h5"), held)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.h5"]


def test_other_programs_read_it(tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf")
    held = run(tmp_path / "f.nc", members=2)
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as theirs:
        assert theirs["u"].dims == ("trajectory", "member", "time", "x") and set(theirs.coords) == set(held.coords)
        assert np.array_equal(theirs["u"].values, held["u"].values) and theirs["u"].attrs["units"] == "m s-1"
    with h5py.File(tmp_path / "f.nc") as f:
        assert f["u"].dims[3][0].name == "/x" and f["u"].chunks is None


def test_a_mesh_goes_with_it(tmp_path: Path) -> None:
    mesh = Mesh.from_cells([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]])
    u = torch.linspace(-1, 1, 8).reshape(2, 1, 1, 4)
    start = to_xarray(u, Walk.inputs, mesh, time=[0.0], trajectories=[0, 1], attrs={"dt": 1.0})
    run(tmp_path / "f.h5", start=start)
    again = open_forecast(tmp_path / "f.h5")
    assert isinstance(domain_of(again), Mesh) and again["u"].dims == ("trajectory", "time", "node")


@pytest.mark.parametrize("step", [Walk, Rotates])
def test_cut_and_resumed_is_uninterrupted(tmp_path: Path, step: Any) -> None:
    for calls in (5, 9):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "f.h5", Interrupted(step(), calls), members=3)
        with pytest.raises(ValueError, match="is not whole yet"):
            open_forecast(tmp_path / "f.h5")
    assert same(run(tmp_path / "f.h5", step(), members=3), run(None, step(), members=3))
    assert same(run(tmp_path / "f.h5", Interrupted(step(), 0), members=3), run(None, step(), members=3))


def test_rows_that_all_failed_are_nan_to_the_end(tmp_path: Path) -> None:
    start = initial(growth=[30.0, 30.0, 1.0])
    held, written = (run(out, Grows(), start, group=2) for out in (None, tmp_path / "f.h5"))
    assert same(written, held) and np.isnan(written["u"].values[:2, -1]).all()


def test_what_is_not_this_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "f.h5")
    with pytest.raises(FileExistsError, match="holds another run: it differs in seed"):
        run(tmp_path / "f.h5", seed=2)
    with h5py.File(tmp_path / "theirs.h5", "w") as f:
        f["u"] = 1.0
    with pytest.raises(FileExistsError, match="no forecast of ours"):
        run(tmp_path / "theirs.h5")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "g.h5", Interrupted(Walk(), 5))
    os.truncate(tmp_path / "g.h5.part", 1000)
    with pytest.raises(ValueError, match="is damaged: 1000 bytes of"):
        run(tmp_path / "g.h5")


def test_a_file_that_is_not_hdf5_is_no_forecast(tmp_path: Path) -> None:
    old = tmp_path / "old.nc"
    old.write_bytes(b"CDF\x01" + bytes(100))  # how NetCDF-3 begins
    assert not is_forecast(old)
    with pytest.raises(ValueError, match="is not a forecast of ours"):
        open_forecast(old)
    with pytest.raises(FileExistsError, match="no forecast of ours"):
        run(old)
