"""PDEBench's layouts, written as its solvers and merging scripts write them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sources import check_alike, check_part

from surrogates.data.formats import Given, open_parts
from surrogates.data.formats.pdebench import parameters_of as named
from surrogates.domains import Box
from surrogates.interchange import box_of, domain_of, fields_of, from_xarray, parameters_of, static_of

N, T, X = 3, 5, 8


def numbers(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def centres(n: int, lower: float = 0.0, upper: float = 1.0) -> NDArray[np.float32]:
    edges = np.linspace(lower, upper, n + 1, dtype=np.float32)
    return edges[:-1] + np.float32(0.5 * (upper - lower) / n)


def times(n: int, step: float) -> NDArray[np.float32]:
    return np.arange(n, dtype=np.float32) * np.float32(step)


def line(path: Path, **changes: object) -> Path:
    """1-D: t-coordinate has a time more than there are frames."""
    arrays: dict[str, object] = {"tensor": numbers(N, T, X), "x-coordinate": centres(X), "t-coordinate": times(T + 1, 0.01)} | changes
    with h5py.File(path, "w") as f:
        for name, values in arrays.items():
            if values is not None:
                f[name] = values
    return path


def gas(path: Path, dim: int, lead: tuple[int, ...] = (N, T)) -> Path:
    names = ("density", "pressure", "Vx", "Vy", "Vz")[: 2 + dim]
    with h5py.File(path, "w") as f:
        for c, name in enumerate(names):
            f.create_dataset(name, data=c + numbers(*lead, *(8, 6, 4)[:dim]), chunks=True, compression="gzip")
        for a, n in zip("xyz"[:dim], (8, 6, 4), strict=False):
            f[f"{a}-coordinate"] = centres(n, -1.0, 1.0)
        f["t-coordinate"] = times(T + 1, 0.05)
    return path


def config(**sim: object) -> str:
    return "work_dir: /somewhere\nname: some\nsim:\n" + "".join(f"  {k}: {v}\n" for k, v in sim.items()) + "plot:\n  dim: 2\n"


def seeds(path: Path, shape: tuple[int, ...], radii: tuple[float, ...] = (0.3, 0.7)) -> Path:
    with h5py.File(path, "w") as f:
        for n, radius in enumerate(radii):
            group = f.create_group(f"{n:04d}")
            group.create_dataset("data", data=n + numbers(T, *shape), compression="lzf")
            for a, size in zip("yx" if "react" in path.name else "xy", shape[:-1], strict=False):  # its solver says reshape(-1, Ny, Nx)
                group[f"grid/{a}"] = centres(size, -2.5, 2.5)
            group["grid/t"] = np.linspace(0, 1, T, dtype=np.float32)
            group.attrs["config"] = config(seed=n, gravity=1.0, dam_radius=radius, Du="1E-3", xdim=128, T_end=1.0)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1D_Advection_Sols_beta0.1.hdf5", {"beta": 0.1}),
        ("1D_Burgers_Sols_Nu0.001.hdf5", {"nu": 0.001}),
        ("ReacDiff_react_Nu10.0_Rho5.0.hdf5", {"nu": 10.0, "rho": 5.0}),
        ("1D_CFD_Rand_Eta1.e-8_Zeta1.e-8_periodic_Train.hdf5", {"eta": 1e-8, "zeta": 1e-8}),
        ("2D_CFD_Rand_M0.1_Eta1e-08_Zeta0.01_periodic_512_Train.hdf5", {"eta": 1e-8, "zeta": 0.01, "m": 0.1}),
        ("Turb_M2.hdf5", {"m": 2.0}),
        ("KH_M01_dk10_Re1e3.hdf5", {}),  # M01 stands for 0.1, which nothing but the paper says
        ("2D_diff-react_NA_NA.h5", {}),
    ],
)
def test_parameters_stand_in_the_names_of_the_published_files(name: str, expected: dict[str, float]) -> None:
    assert named({}, name) == expected


def test_scalar_equations_on_a_line(tmp_path: Path) -> None:
    path = line(tmp_path / "1D_Advection_Sols_beta0.1.hdf5")
    (part,) = open_parts(path, "pdebench")["all"]
    check_part(part)
    np.testing.assert_array_equal(from_xarray(part)[:, :, 0], numbers(N, T, X))
    assert domain_of(part) == Box((X,), (1 / 16,), (1 + 1 / 16,), ("periodic",)) and part.attrs["dt"] == 0.01
    np.testing.assert_allclose(part["x"], centres(X), rtol=1e-6)
    assert parameters_of(part)["beta"].tolist() == [0.1] * N
    with h5py.File(path, "a") as f:
        f.attrs["beta"] = 0.2  # what the file says goes before its name
    assert parameters_of(open_parts(path, "pdebench")["all"][0])["beta"].tolist() == [0.2] * N


def test_ends_that_neither_file_nor_name_tell_are_asked_for(tmp_path: Path) -> None:
    path = line(tmp_path / "mine.hdf5")
    with pytest.raises(ValueError, match="boundary is not known"):
        open_parts(path, "pdebench")
    (part,) = open_parts(path, "pdebench", Given(boundary=("wall",)))["all"]
    assert domain_of(part) == Box((X,), (0.0,), (1.0,), ("wall",))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_compressible_flows(tmp_path: Path, dim: int) -> None:
    path = gas(tmp_path / f"{dim}D_CFD_Rand_M1.0_Eta0.1_Zeta0.01_periodic_Train.hdf5", dim)
    (part,) = open_parts(path, "pdebench")["all"]
    check_part(part)
    assert fields_of(part).names == ("velocity", "density", "pressure")
    for c, name in enumerate(("density", "pressure")):
        np.testing.assert_array_equal(part[name], c + numbers(N, T, *(8, 6, 4)[:dim]))
    last = "velocity" if dim == 1 else f"velocity_{'xyz'[dim - 1]}"
    np.testing.assert_array_equal(part[last], 1 + dim + numbers(N, T, *(8, 6, 4)[:dim]))
    assert domain_of(part).lengths == (2.0,) * dim and part.attrs["dt"] == 0.05 and float(part["time"][0]) == 0.0
    outgoing = gas(tmp_path / f"{dim}D_CFD_Shock_Eta1.e-8_Zeta1.e-8_trans_Train.hdf5", dim, (T,))
    (part,) = open_parts(outgoing, "pdebench")["all"]
    assert domain_of(part).boundary == ("wall",) * dim and part.sizes["trajectory"] == 1


def test_darcy_flow_is_one_steady_frame_with_its_permeability(tmp_path: Path) -> None:
    path = tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5"
    with h5py.File(path, "w") as f:
        f["tensor"], f["nu"] = numbers(N, 1, X, X), 1 + numbers(N, X, X)
        f["x-coordinate"] = f["y-coordinate"] = centres(X)
        f.attrs["beta"] = 1.0
    (part,) = open_parts(path, "pdebench")["all"]
    check_part(part)
    static = static_of(part)
    assert static is not None and part.sizes["time"] == 1
    np.testing.assert_array_equal(static[:, 0], 1 + numbers(N, X, X))


def test_incompressible_flow_with_smoke_and_a_force(tmp_path: Path) -> None:
    path = tmp_path / "ns_incom_inhom_2d_512-0.h5"
    with h5py.File(path, "w") as f:
        f["velocity"], f["particles"], f["force"] = numbers(2, T, X, X, 2), numbers(2, T, X, X, 1), numbers(2, X, X, 2)
        f["t"] = np.tile(times(T, 0.005), (2, 1))
        f.attrs.update({"config": "NU: 0.01\ndomain_size: [1, 2]\nvelocity_extrapolation: ZERO\n", "latestIndex": T - 2})
    (part,) = open_parts(path, "pdebench")["all"]
    check_part(part)
    static = static_of(part)
    np.testing.assert_array_equal(from_xarray(part)[:, :, :2].movedim(2, -1), numbers(2, T, X, X, 2)[:, :-1])
    assert static is not None and np.array_equal(static.movedim(1, -1), numbers(2, X, X, 2))
    assert part.sizes["time"] == T - 1 and domain_of(part).lengths == (1.0, 2.0)
    assert parameters_of(part)["nu"].tolist() == [0.01] * 2
    with h5py.File(path, "a") as f:
        f.attrs["config"] = "NU: 0.01"
    with pytest.raises(ValueError, match="lengths is not known"):
        open_parts(path, "pdebench")


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("2D_rdb_NA_NA.h5", (X, 6, 1), ("h",)),
        ("2D_diff-react_NA_NA.h5", (X, 6, 2), ("activator", "inhibitor")),
        ("1D_diff-sorp_NA_NA.h5", (X, 1), ("concentration",)),
    ],
)
def test_a_group_a_seed(tmp_path: Path, name: str, shape: tuple[int, ...], channels: tuple[str, ...]) -> None:
    (part,) = open_parts(seeds(tmp_path / name, shape), "pdebench")["all"]
    check_part(part)
    assert fields_of(part).channels == channels
    u = np.moveaxis(np.stack([n + numbers(T, *shape) for n in (0, 1)]), -1, 2)
    u = u.swapaxes(3, 4) if "react" in name else u
    np.testing.assert_array_equal(from_xarray(part), u)
    np.testing.assert_array_equal(from_xarray(part.isel(trajectory=[1], time=slice(1, 3))), u[1:, 1:3])
    assert {n: v.tolist() for n, v in parameters_of(part).items()} == {"gravity": [1, 1], "dam_radius": [0.3, 0.7], "Du": [1e-3] * 2}
    assert domain_of(part).lengths == (5.0,) * (len(shape) - 1) and part.attrs["dt"] == 0.25


def test_a_folder_is_a_part_a_file(tmp_path: Path) -> None:
    for beta in (0.1, 0.4):
        line(tmp_path / f"1D_Advection_Sols_beta{beta}.hdf5")
    parts = open_parts(tmp_path, "pdebench")["all"]
    check_alike(parts)
    assert [float(p["beta"][0]) for p in parts] == [0.1, 0.4]
    with h5py.File(tmp_path / "z.h5", "w") as f:
        f["u"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"z\.h5 is none of PDEBench's"):
        open_parts(tmp_path, "pdebench")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"t-coordinate": times(T - 1, 0.01)}, "t-coordinate has 4 times, and there are 5 frames"),
        ({"t-coordinate": times(T, 0.01)[::-1]}, "t-coordinate is not sorted"),
        ({"t-coordinate": np.zeros(T)}, "t-coordinate is twice the same"),
        ({"t-coordinate": None}, "t-coordinate is missing"),
        ({"x-coordinate": centres(X + 1)}, r"x-coordinate has shape \(9,\) but \(8\)"),
        ({"x-coordinate": centres(X) ** 2}, "the points of axis x is uneven"),
        ({"x-coordinate": np.full(X, np.nan)}, "not finite"),
        ({"tensor": numbers(N, T)}, "tensor has shape"),
        ({"tensor": numbers(N, T, X).astype("S4")}, "only arrays of real numbers"),
    ],
)
def test_files_that_are_not_sound_are_refused_with_the_place(tmp_path: Path, changes: dict[str, object], match: str) -> None:
    path = line(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", **changes)
    with pytest.raises(ValueError, match=match) as error:
        open_parts(path, "pdebench")
    assert "Burgers" in str(error.value)


def test_seeds_that_differ_are_refused(tmp_path: Path) -> None:
    path = seeds(tmp_path / "2D_rdb_NA_NA.h5", (X, X, 1))
    with h5py.File(path, "a") as f:
        f["0001/grid/t"][...] = f["0001/grid/t"][:] * 2
    with pytest.raises(ValueError, match="/0001/grid/t differs"):
        open_parts(path, "pdebench")
    path = seeds(tmp_path / "2D_rdb_NA_NA.h5", (X, X, 1))
    with h5py.File(path, "a") as f:
        f["0001"].attrs["config"] = config(gravity=2)
    with pytest.raises(ValueError, match="/0001 has the parameters"):
        open_parts(path, "pdebench")
    with pytest.raises(ValueError, match=r"channels are \['h'\] but"):
        open_parts(seeds(tmp_path / "2D_rdb_NA_NA.h5", (X, X, 2)), "pdebench")


def test_mixed_precision_and_wrong_endian_are_read_right(tmp_path: Path) -> None:
    path = gas(tmp_path / "2D_CFD_Rand_M1.0_Eta0.1_Zeta0.01_periodic_Train.hdf5", 2)
    with h5py.File(path, "a") as f:
        for name, dtype in (("density", ">f8"), ("Vx", ">f4"), ("Vy", "<f2")):
            values = f[name][:]
            del f[name]
            f.create_dataset(name, data=values.astype(dtype))
    (part,) = open_parts(path, "pdebench")["all"]
    check_part(part)
    np.testing.assert_array_equal(part["density"], numbers(N, T, 8, 6))
    np.testing.assert_array_equal(part["velocity_x"], 2 + numbers(N, T, 8, 6))
    np.testing.assert_allclose(part["velocity_y"], 3 + numbers(N, T, 8, 6), rtol=1e-3)


def stopped(path: Path, last: int, frames: int = T) -> Path:
    """As `h5_for` of its solver makes it: chunks of a frame, of which those that were not reached have never been written."""
    with h5py.File(path, "w") as f:
        f.attrs.update({"config": "NU: 0.01\ndomain_size: [1, 2]\nvelocity_extrapolation: ZERO\n", "latestIndex": last})
        for name, shape in {
            "velocity": (2, frames, X, X, 2),
            "particles": (2, frames, X, X, 1),
            "force": (2, X, X, 2),
            "t": (2, frames),
        }.items():
            held = f.require_dataset(name, shape, "float32", compression="lzf", chunks=(1, 1, *shape[2:]), shuffle=True)
            values = numbers(*shape) if name != "t" else np.tile(times(frames, 0.005), (2, 1))
            if name == "force":
                held[...] = values
            else:
                held[:, : last + 1] = values[:, : last + 1]
    return path


def test_a_run_that_was_stopped_is_read_up_to_its_last_frame(tmp_path: Path) -> None:
    (part,) = open_parts(stopped(tmp_path / "ns_incom_inhom_2d_512-0.h5", 2), "pdebench")["all"]
    assert part.sizes["time"] == 3
    np.testing.assert_array_equal(from_xarray(part)[:, :, :2].movedim(2, -1), numbers(2, T, X, X, 2)[:, :3])
    cut = stopped(tmp_path / "ns_incom_inhom_2d_512-1.h5", 2)
    with h5py.File(cut, "a") as f:
        f.attrs["latestIndex"] = 3  # says more than it has
    with pytest.raises(ValueError, match="truncated or damaged"):
        open_parts(cut, "pdebench")
    with pytest.raises(ValueError, match="no frame"):
        open_parts(stopped(tmp_path / "ns_incom_inhom_2d_512-2.h5", -1), "pdebench")


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [
        ("2D_rdb_NA_NA.h5", (X, X, 1), ["open"]),
        ("2D_diff-react_NA_NA.h5", (X, X, 2), ["no flux"]),
        ("1D_diff-sorp_NA_NA.h5", (X, 1), ["dirichlet", "cauchy"]),
    ],
)
def test_ends_that_are_no_walls_are_told(tmp_path: Path, name: str, shape: tuple[int, ...], kinds: list[str]) -> None:
    (part,) = open_parts(seeds(tmp_path / name, shape), "pdebench")["all"]
    assert [c["kind"] for c in json.loads(part.attrs["boundary_conditions"])] == kinds
    box = box_of(part)
    assert box.open_ends == (() if kinds == ["no flux"] else box.ends)
    (flow,) = open_parts(gas(tmp_path / "1D_CFD_Shock_trans_Train.hdf5", 1), "pdebench")["all"]
    (told,) = json.loads(flow.attrs["boundary_conditions"])
    assert box_of(flow).open_ends == ("x_lower", "x_upper")
    assert told["kind"] == "open" and told["axes"] == ["x"] and told["ends"] == [True, True]
    (ring,) = open_parts(gas(tmp_path / "1D_CFD_Rand_periodic_Train.hdf5", 1), "pdebench")["all"]
    assert "boundary_conditions" not in ring.attrs
