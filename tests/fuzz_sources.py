"""A tiny, sound source in every format that is read: the smallest files of the real layouts, to be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from cgns_files import square as square_of_cgns
from foam_case import FLAT, Style, block, write_case, write_parallel
from mesh_examples import square

X, Y, T = 4, 3, 3
ALL = {"units": {"others": "1", "time": "1", "length": "1"}}
BOX = {"lengths": [1.0, 1.0], "boundary": ["periodic", "wall"], "dt": 0.5, **ALL}

CHANNEL = {
    "dt": 1.0,
    "lengths": [4.0, 2.0, 4.0],
    "boundary": ["periodic", "wall", "periodic"],
    "fields": {"velocity": ["u", "v", "w"]},
    "options": {"channels": ["u", "v", "w", None], "points": [0.0, 0.1, 1.9, 2.0]},
    **ALL,
}


@dataclass(frozen=True)
class Source:
    """`build` fills an empty folder and returns what to open; `given` is what a person would say."""

    format: str
    build: Callable[[Path], Path]
    given: dict[str, Any] = field(default_factory=dict)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def npy(folder: Path) -> Path:
    np.save(folder / "u.npy", values(2, T, X, Y))
    (folder / "source.yaml").write_text(
        "name: tiny\ndt: 0.5\nlengths: [1.0, 2.0]\nboundary: [periodic, wall]\nunits: {others: m/s, length: m}\n"
    )
    return folder


def fdns_channel(folder: Path) -> Path:
    u = values(2, T, X, 4, X, 4)
    u[..., [0, -1], :, :] = 0
    mean = u.mean((0, 1, 2, 4), keepdims=True)
    np.save(folder / "velocity.mave.npy", u - mean)  # so called for `untouched`: all variables lie in both
    np.save(folder / "velocity.ave.npy", mean)
    return folder


def pdebench(folder: Path) -> Path:
    path = folder / "1D_Advection_Sols_beta0.1.hdf5"
    with h5py.File(path, "w") as f:
        f["tensor"], f["x-coordinate"], f["t-coordinate"] = values(2, T, X), np.linspace(0.125, 0.875, X), np.arange(T) * 0.1
    return path


def gas(folder: Path) -> Path:
    path = folder / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_128_Train.hdf5"
    with h5py.File(path, "w") as f:
        for name in ("density", "pressure", "Vx", "Vy"):
            f.create_dataset(name, data=values(2, T, X, Y), chunks=(1, 1, X, Y), compression="gzip")
        f["x-coordinate"], f["y-coordinate"], f["t-coordinate"] = np.arange(X) + 0.5, np.arange(Y) + 0.5, np.arange(T + 1) * 0.1
    return path


def pdearena(folder: Path) -> Path:
    path = folder / "NavierStokes2D_train_1_0.50000_2.h5"
    with h5py.File(path, "w") as f:
        g = f.create_group("train")
        for name in ("u", "vx", "vy"):
            g[name] = values(2, T, X, Y)
        g["t"], g["x"], g["y"] = (
            np.tile(np.arange(T) * 0.5, (2, 1)),
            np.tile(np.linspace(0, 32, X), (2, 1)),
            np.tile(np.linspace(0, 32, Y), (2, 1)),
        )
        for name, value in (("dt", 0.5), ("dx", 8.0), ("dy", 8.0), ("buo_y", 0.5)):
            g[name] = np.full(2, value)
    return path


def cfdbench(folder: Path) -> Path:
    case = folder / "cavity" / "bc" / "case0000"
    case.mkdir(parents=True)
    for name in "uv":
        np.save(case / f"{name}.npy", values(T, Y, X))
    (case / "case.json").write_text(json.dumps({"vel_top": 1.0, "density": 1.0, "viscosity": 0.01, "width": 0.1, "height": 0.1}))
    return folder


def well(folder: Path) -> Path:
    path = folder / "data" / "train" / "a.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as f:
        f.attrs.update(
            {
                "dataset_name": "tiny",
                "grid_type": "cartesian",
                "n_spatial_dims": 2,
                "n_trajectories": 2,
                "nu": 0.1,
                "simulation_parameters": ["nu"],
            }
        )
        dims = f.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        for name, points in (("time", np.arange(T) * 0.5), ("x", np.arange(X) * 0.25), ("y", np.arange(Y) + 0.5)):
            dims[name] = points.astype(np.float32)
            dims[name].attrs.update({"sample_varying": False, "time_varying": name == "time"})
        bc = f.create_group("boundary_conditions").create_group("x_periodic")
        bc.attrs.update(
            {"associated_dims": ["x"], "associated_fields": [], "bc_type": "PERIODIC", "sample_varying": False, "time_varying": False}
        )
        bc["mask"] = np.array([True] + [False] * (X - 2) + [True])
        for group, name, shape in (("t0_fields", "p", (2, T, X, Y)), ("t1_fields", "u", (2, T, X, Y, 2))):
            g = f.create_group(group)
            g.attrs["field_names"] = [name]
            g[name] = values(*shape)
            g[name].attrs.update({"dim_varying": [True, True], "sample_varying": True, "time_varying": True})
        f.create_group("t2_fields").attrs["field_names"] = np.array([], dtype=h5py.string_dtype())
        scalars = f.create_group("scalars")
        scalars.attrs["field_names"] = ["nu"]
        scalars["nu"] = 0.1
        scalars["nu"].attrs.update({"sample_varying": False, "time_varying": False})
    return folder


def meshgraphnets(folder: Path) -> Path:
    mesh = square(2)
    n = len(mesh.points)
    with h5py.File(folder / "train.h5", "w") as f:
        g = f.create_group("0")
        g["mesh_pos"], g["cells"] = mesh.points.numpy().astype(np.float32)[None], mesh.cells.numpy().astype(np.int32)[None]
        g["node_type"], g["velocity"] = np.zeros((1, n, 1), np.int32), values(T, n, 2)
    (folder / "meta.json").write_text(json.dumps({"dt": 0.01, "trajectory_length": T}))
    return folder


def globe() -> xr.Dataset:
    coords = {
        "time": ("time", np.arange(T) * 6.0, {"units": "hours since 2001-02-27", "calendar": "standard"}),
        "latitude": ("latitude", [-60.0, -20.0, 20.0, 60.0], {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(6) * 60.0, {"units": "degrees_east"}),
    }
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), 280 + values(T, 4, 6), {"units": "K"})}, coords)


def netcdf(kind: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        globe().to_netcdf(folder / "a.nc", **({"format": "NETCDF3_CLASSIC"} if kind == "3" else {"engine": "h5netcdf"}))
        return folder / "a.nc"

    return build


def zarr(folder: Path) -> Path:
    globe().to_zarr(folder / "a.zarr", zarr_format=2, consolidated=True)
    return folder / "a.zarr"


def weatherbench(folder: Path) -> Path:
    data = globe().rename(t2m="2m_temperature").expand_dims(level=[500.0], axis=1)
    data["level"].attrs["units"] = "hPa"
    data.to_zarr(folder / "a.zarr", zarr_format=2, consolidated=True)
    return folder / "a.zarr"


def meshed(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        import meshio

        mesh = square(2)
        points = np.concatenate([mesh.points.numpy(), np.zeros((len(mesh.points), 1))], 1)
        made = meshio.Mesh(points, [("triangle", mesh.cells.numpy())], point_data={"T": values(len(points)).astype(float)})
        meshio.write(folder / f"a{suffix}", made, **options)
        return folder / f"a{suffix}"

    return build


def foam(style: Style) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        write_case(folder / "case", style=style)
        return folder / "case"

    return build


def foam_parallel(folder: Path) -> Path:
    write_parallel(folder / "case", block((4, 2, 1), types=FLAT), np.array([0, 0, 1, 1] * 2), addressing=False)
    return folder / "case"


SOURCES = {
    "npy": Source("npy", npy),
    "fdns_channel": Source("fdns_channel", fdns_channel, CHANNEL),
    "pdebench": Source("pdebench", pdebench, ALL),
    "pdebench, gas": Source("pdebench", gas, ALL),
    "pdearena": Source("pdearena", pdearena, ALL),
    "cfdbench": Source("cfdbench", cfdbench),
    "the_well": Source("the_well", well, BOX),
    "meshgraphnets": Source("meshgraphnets", meshgraphnets, ALL),
    "cf, netcdf3": Source("cf", netcdf("3")),
    "cf, netcdf4": Source("cf", netcdf("4")),
    "cf, zarr": Source("cf", zarr),
    "weatherbench": Source("weatherbench", weatherbench),
    "meshio, vtu": Source("meshio", meshed(".vtu"), {**ALL, "dt": 0.1}),
    "meshio, vtk": Source("meshio", meshed(".vtk", binary=False), {**ALL, "dt": 0.1}),
    "meshio, xdmf": Source("meshio", meshed(".xdmf"), {**ALL, "dt": 0.1}),
    "meshio, cgns": Source("meshio", lambda folder: square_of_cgns(folder / "a.cgns"), {**ALL, "dt": 0.1, "options": {"cells": "nodes"}}),
    "meshio, msh text": Source("meshio", meshed(".msh", file_format="gmsh", binary=False), {**ALL, "dt": 0.1}),
    "meshio, msh": Source("meshio", meshed(".msh", file_format="gmsh", binary=True), {**ALL, "dt": 0.1}),
    "openfoam": Source("openfoam", foam(Style())),
    "openfoam, binary": Source("openfoam", foam(Style(binary=True))),
    "openfoam, packed": Source("openfoam", foam(Style(packed=True))),
    "openfoam, parallel": Source("openfoam", foam_parallel),
}
