"""AirfRANS: steady incompressible flow around NACA profiles, one frame a simulation.

    Dataset/
      manifest.json                                  names by task: full_train, full_test, scarce_train, reynolds_..., aoa_...
      airFoil2D_SST_43.597_5.932_3.551_3.1_1.0_18.252/
        <name>_internal.vtu                          the flow: U, p (over density), nut, implicit_distance at points
        <name>_aerofoil.vtp                          the profile: lines, Normals at points
        <name>_freestream.vtp                        the outer boundary

A name holds the inflow speed (m/s), the angle of attack (degrees) and the digits of the profile: M, P, XX of NACA MPXX, or L, P, Q, XX of
NACA LPQXX. These become parameters, with `digits` 4 or 5 to say which series, and 0 for what the other series has. Inputs are static
fields: the inflow's velocity, the distance to the profile, and normals there (0 elsewhere). The state is velocity, pressure over density
and turbulent viscosity.
`options: {task: full}` picks the split of a manifest ("full", "scarce", "reynolds", "aoa"); without it all simulations are one.

The mesh lies in a plane and is cut into triangles; its boundaries are `aerofoil` (points that its file has) and `freestream`. Meshes are
read when the data set is opened. Units are SI.

Sources: Bonnet et al., AirfRANS, 2022, https://arxiv.org/abs/2212.07564; https://github.com/Extrality/airfrans_lib (simulation.py).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks, vtp
from surrogates.data.formats.given import Given
from surrogates.data.formats.meshio_frames import Files, Frame
from surrogates.data.formats.meshio_mesh import Layout
from surrogates.data.formats.part import part
from surrogates.data.mesh_features import with_features
from surrogates.domains.layout import NODE
from surrogates.fields import Field, Fields
from surrogates.interchange import STATIC, declare, declared

MANIFEST = "manifest.json"
INTERNAL, AEROFOIL, FREESTREAM = "_internal.vtu", "_aerofoil.vtp", "_freestream.vtp"
TASKS = ("full", "scarce", "reynolds", "aoa")
UNITS = {"length": "m", "time": "s", "velocity": "m s-1", "pressure": "m2 s-2", "nut": "m2 s-1"}
STATE = {"U": "velocity", "p": "pressure", "nut": "nut"}
NAME = re.compile(r"^[A-Za-z0-9]+_[A-Za-z0-9]+_(-?[\d.]+)_(-?[\d.]+)((?:_-?[\d.]+){3,4})$")
LARGEST = 1 << 24  # bytes of a manifest.json
NEAR = 1e-6  # of the chord: points of two files are one


def recognises(path: Path) -> bool:
    """Folders that hold an internal.vtu and an aerofoil.vtp of their own name."""
    return path.is_dir() and any(_is_simulation(p) for p in (path, *path.iterdir()) if p.is_dir())


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a simulation. Raises ValueError for a name that says no flow, a simulation of the manifest that is missing, and files that
    are not sound."""
    said = given.over(Given(units=UNITS))
    task = given.options.get("task")
    if task is None:
        names = sorted(p.name for p in path.iterdir() if p.is_dir() and _is_simulation(p)) or [path.name]
        home = path if not _is_simulation(path) else path.parent
        return {"all": [_simulation(home / name, n, said) for n, name in enumerate(names)]}
    splits = _splits(path, str(task))
    return {s: [_simulation(checks.inside(path, name), n, said) for n, name in enumerate(names)] for s, names in splits.items()}


def _is_simulation(folder: Path) -> bool:
    return (folder / f"{folder.name}{INTERNAL}").is_file() and (folder / f"{folder.name}{AEROFOIL}").is_file()


def _splits(path: Path, task: str) -> dict[str, list[str]]:
    """Names by split; scarce is tested on all of the test simulations, as the library has it."""
    file = path / MANIFEST
    if task not in TASKS:
        raise ValueError(f"{path}: options.task is {task!r} but must be one of {', '.join(TASKS)}")
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise ValueError(f"{file}: no such file, or too large for one; it says which simulations are for training")
    try:
        manifest = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error})") from error
    out: dict[str, list[str]] = {}
    for split in ("train", "test"):
        key = "full_test" if (task, split) == ("scarce", "test") else f"{task}_{split}"
        names = manifest.get(key) if isinstance(manifest, dict) else None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{file} has no list of names {key!r}")
        out[split] = names
    return out


def flow_of(name: str, place: str) -> dict[str, float]:
    """Speed (m/s), angle (degrees) and digits of a simulation's name. Raises ValueError for another form of name."""
    found = NAME.match(name)
    if found is None:
        raise ValueError(f"{place}: the name {name!r} is not airFoil2D_SST_<speed>_<angle>_<three or four digits of NACA>")
    digits = [float(d) for d in found.group(3).strip("_").split("_")]
    labels = ("camber", "position", "thickness") if len(digits) == 3 else ("lift", "position", "reflex", "thickness")
    zero = {"camber": 0.0, "lift": 0.0, "position": 0.0, "reflex": 0.0, "thickness": 0.0}
    series = {"digits": float(len(digits) + 1)}
    return {"speed": float(found.group(1)), "angle": float(found.group(2)), **series, **zero, **dict(zip(labels, digits, strict=True))}


def _simulation(folder: Path, number: int, given: Given) -> xr.Dataset:
    parameters = flow_of(folder.name, str(folder))
    files = {end: folder / f"{folder.name}{end}" for end in (INTERNAL, AEROFOIL, FREESTREAM)}
    for end in (INTERNAL, AEROFOIL):
        if not files[end].is_file():
            raise ValueError(f"{files[end]}: no such file; the simulation is not whole")
    frame, place = Files((files[INTERNAL],), None).frame(0), str(files[INTERNAL])
    missing = [n for n in (*STATE, "implicit_distance") if n not in frame.point_data]
    if missing:
        raise ValueError(f"{place} has no data {missing} at points; it has {sorted(frame.point_data)}")
    profile = vtp.read(files[AEROFOIL])
    sets = {"aerofoil": _at(profile.points, frame.points, files[AEROFOIL])}
    if files[FREESTREAM].is_file():
        sets["freestream"] = _at(vtp.read(files[FREESTREAM]).points, frame.points, files[FREESTREAM])
    layout = Layout.of(frame._replace(point_sets={n: np.unique(i) for n, i in sets.items()}, sets={}), place, given, centres=False)
    values = layout.values(frame, place, averaged=False)
    made = _dataset(layout, values, folder, number, parameters, given)
    return _inputs(made, frame, layout, profile, sets["aerofoil"], parameters)


def _dataset(
    layout: Layout, values: dict[str, NDArray[Any]], folder: Path, number: int, parameters: dict[str, float], given: Given
) -> xr.Dataset:
    """The state, float32, read now: it lies in the same file as the mesh."""
    arrays, of = {}, {}
    for name, label in STATE.items():
        u = values[name].reshape(layout.mesh.shape[0], -1).astype(np.float32)
        field = Field(label, given.unit(label, folder), ("x", "y") if name == "U" else ())
        for c, variable in enumerate(field.variables):
            arrays[variable], of[variable] = u[None, None, :, c], field
    vectors = Given(fields={"velocity": ("velocity_x", "velocity_y")})
    columns = {name: [value] for name, value in parameters.items()}
    return part(
        arrays, of, layout.mesh, given=given.over(vectors), times=[given.time or 0.0], name="airfrans", parameters=columns, first=number
    )


def _inputs(
    made: xr.Dataset, frame: Frame, layout: Layout, profile: vtp.PolyData, where: NDArray[np.int64], parameters: dict[str, float]
) -> xr.Dataset:
    """The static fields: inflow, distance, normals, boundaries."""
    nodes, angle = layout.mesh.shape[0], np.deg2rad(parameters["angle"])
    normals = np.zeros((len(frame.points), 2), np.float32)
    if "Normals" in profile.point_data:
        normals[where] = np.asarray(profile.point_data["Normals"], np.float32)[:, :2]
    normals = normals[layout.kept]
    distance = -np.asarray(frame.point_data["implicit_distance"], np.float32)[layout.kept]  # negative outside of the profile in the files
    inflow = np.float32(parameters["speed"]) * np.array([np.cos(angle), np.sin(angle)], np.float32)
    columns = {
        Field("inflow", "m s-1", ("x", "y")): [np.full(nodes, v, np.float32) for v in inflow],
        Field("distance", "m", long_name="distance to the profile"): [distance],
        Field("normal", "1", ("x", "y"), long_name="normal of the profile"): list(normals.T.copy()),
    }
    new = {v: (NODE, u, {"units": f.units, "field": f.name}) for f, us in columns.items() for v, u in zip(f.variables, us, strict=True)}
    marked = with_features(made, ("aerofoil", "freestream"), (), mesh=layout.mesh)
    return declare(marked.assign(new), static=Fields((*(declared(marked, STATIC) or ()), *columns)))


def _at(points: NDArray[Any], among: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Where points lie among others. Raises ValueError for one that does not."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(among[:, :2]).query(points[:, :2])
    if len(points) and not bool((distance <= NEAR).all()):
        raise ValueError(
            f"{path}: point {int(distance.argmax())} is no point of the flow's mesh, the nearest is {distance.max():.2g} m away"
        )
    return np.asarray(index, np.int64)
