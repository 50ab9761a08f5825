"""PDEArena's layouts, written as its generators write them: float64, one group a split, one step and length a trajectory."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from sources import check_alike, check_part

from surrogates.data.formats import Given, open_parts
from surrogates.domains import Box, Sphere
from surrogates.interchange import domain_of, fields_of, from_xarray, parameters_of

N, T, X = 3, 5, 8


def numbers(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=shape)


def smoke(path: Path, mode: str, buoyancy: float = 0.5, **changes: object) -> Path:
    """Navier-Stokes: x runs to L itself, t is not a multiple of dt."""
    with h5py.File(path, "w") as f:
        group = f.create_group(mode)
        held: dict[str, object] = {n: c + numbers(N, T, X, X) for c, n in enumerate(("u", "vx", "vy"))}
        held |= {a: np.tile(np.linspace(0, 32.0, X), (N, 1)) for a in "xy"}
        held |= {"t": np.tile(np.linspace(18.0, 102.0, T), (N, 1)), "dt": np.full(N, 1.5)}
        held |= {"dx": np.full(N, 32.0 / (X - 1)), "dy": np.full(N, 32.0 / (X - 1)), "buo_y": np.full(N, buoyancy)}
        for name, values in (held | changes).items():
            if values is not None:
                group[name] = values
    return path


def line(path: Path, mode: str, lengths: list[float], steps: list[float]) -> Path:
    with h5py.File(path, "w") as f:
        group, n = f.create_group(mode), len(lengths)
        group[f"pde_{T}-{X}"] = numbers(n, T, X)
        group["x"] = np.stack([np.linspace(0, (1 - 1 / X) * size, X) for size in lengths])
        group["t"] = np.stack([20 * h + h * np.arange(T) for h in steps])
        group["dx"], group["dt"] = np.array(lengths) / X, np.array(steps)
    return path


def test_navier_stokes(tmp_path: Path) -> None:
    for mode in ("train", "valid", "test"):
        smoke(tmp_path / f"NavierStokes2D_{mode}_42_0.50000.h5", mode)
    found = open_parts(tmp_path, "pdearena")
    assert list(found) == ["train", "valid", "test"]
    (part,) = found["valid"]
    check_part(part)
    assert fields_of(part).channels == ("u", "velocity_x", "velocity_y")
    u = np.stack([c + numbers(N, T, X, X) for c in range(3)], 2)
    np.testing.assert_array_equal(from_xarray(part), u.astype(np.float32))
    assert domain_of(part) == Box((X, X), (0.0, 0.0), (32.0, 32.0), ("wall", "wall"))
    assert part["time"].values.tolist() == [18.0, 19.5, 21.0, 22.5, 24.0] and part.attrs["dt"] == 1.5
    assert parameters_of(part)["buoyancy_y"].tolist() == [0.5] * N


def test_conditioned_files_differ_in_their_parameter(tmp_path: Path) -> None:
    for n, buoyancy in enumerate((0.2, 0.45)):
        smoke(tmp_path / f"NavierStokes2D_train_{n}_{buoyancy:.5f}_3.h5", "train", buoyancy)
    parts = open_parts(tmp_path, "pdearena")["train"]
    check_alike(parts)
    assert [float(p["buoyancy_y"][0]) for p in parts] == [0.2, 0.45]


def test_kuramoto_sivashinsky_has_a_length_and_a_step_a_trajectory(tmp_path: Path) -> None:
    path = line(tmp_path / "KS_train_4.h5", "train", [64.0, 64.0, 60.5, 64.0], [0.2, 0.2, 0.2, 0.21])
    parts = open_parts(path, "pdearena")["train"]
    check_alike(parts)
    assert [p.sizes["trajectory"] for p in parts] == [2, 1, 1]
    assert [domain_of(p).lengths for p in parts] == [(64.0,), (60.5,), (64.0,)]
    assert [p.attrs["dt"] for p in parts] == [0.2, 0.2, 0.21] and domain_of(parts[0]).boundary == ("periodic",)
    assert [i for p in parts for i in p["trajectory"].values] == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.concatenate([p["u"] for p in parts]), numbers(4, T, X).astype(np.float32))
    np.testing.assert_allclose(parts[1]["x"], np.linspace(0, (1 - 1 / X) * 60.5, X))
    np.testing.assert_allclose(parts[2]["time"], 20 * 0.21 + 0.21 * np.arange(T))


def test_maxwell_lacks_lengths_and_step(tmp_path: Path) -> None:
    path = tmp_path / "Maxwell3D_test_42.h5"
    with h5py.File(path, "w") as f:
        for name in ("d_field", "h_field"):
            f[f"test/{name}"] = numbers(2, T, 4, 4, 4, 3)
    with pytest.raises(ValueError, match="dt is not known"):
        open_parts(path, "pdearena")
    given = Given(dt=1e-14, lengths=(1.6e-5,) * 3, boundary=("wall",) * 3, units={"length": "m", "time": "s", "others": "V/m"})
    (part,) = open_parts(path, "pdearena", given)["test"]
    check_part(part)
    np.testing.assert_array_equal(from_xarray(part)[:, :, 3:].movedim(2, -1), numbers(2, T, 4, 4, 4, 3).astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"vy": numbers(N, T, X, X - 1)}, r"vy \(beside u\) has shape"),
        ({"dt": None}, "/train/dt is missing"),
        ({"dt": np.zeros(N)}, "step 0 and lengths"),
        ({"dt": np.array([1.0, np.nan, 1.0])}, "dt is not finite: entry 1"),
        ({"x": np.zeros((N, X))}, r"lengths \[0.0"),
        ({"t": np.zeros((N, T + 1))}, r"/train/t has shape \(3, 6\) but \(3, 5\)"),
        ({"u": numbers(N, T, X)}, "/train/u has shape"),
        ({"u": np.array(["a"], dtype=object)}, "only arrays of real numbers"),
    ],
)
def test_files_that_are_not_sound_are_refused_with_the_place(tmp_path: Path, changes: dict[str, object], match: str) -> None:
    path = smoke(tmp_path / "NavierStokes2D_train_1.h5", "train", **changes)
    with pytest.raises(ValueError, match=match) as error:
        open_parts(path, "pdearena")
    assert path.name in str(error.value)


def weather(count: int | None) -> xr.Dataset:
    lead = ("time",) if count is None else ("b", "time")
    sizes = (T,) if count is None else (count, T)
    lat, lon = 90 - 180 * (np.arange(6) + 0.5) / 6, 360 * np.arange(12) / 12
    coords = {
        "time": ("time", 6.0 * np.arange(T), {"units": "hours since 2000-01-01", "calendar": "proleptic_gregorian"}),
        "lev": ("lev", [1.0], {"units": "1", "long_name": "model sigma level"}),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    data = {n: ((*lead, "lev", "lat", "lon"), c + numbers(*sizes, 1, 6, 12), {"units": "m/s"}) for c, n in enumerate(("u", "v"))}
    return xr.Dataset({**data, "pres": ((*lead, "lat", "lon"), numbers(*sizes, 6, 12), {"units": "hPa"})}, coords)


def test_shallow_water_on_the_sphere_gathered_into_zarr(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        weather(count).to_zarr(tmp_path / f"{split}.zarr", consolidated=False)
    found = open_parts(tmp_path, "pdearena")
    assert list(found) == ["train", "test"]
    (part,) = found["train"]
    check_part(part)
    assert isinstance(domain_of(part), Sphere) and part.sizes["trajectory"] == 3 and part.attrs["dt"] == 6.0
    np.testing.assert_array_equal(part["pres"], numbers(3, T, 6, 12).astype(np.float32))


def test_shallow_water_on_the_sphere_as_its_solver_writes_it(tmp_path: Path) -> None:
    for run in (1, 2):
        file = tmp_path / "train" / "seed=197910" / f"run{run:04d}" / "output.nc"
        file.parent.mkdir(parents=True)
        weather(None).to_netcdf(file, engine="h5netcdf")
    parts = open_parts(tmp_path, "pdearena")["train"]
    check_alike(parts)
    assert len(parts) == 2 and parts[0].attrs["dataset"] == tmp_path.name
