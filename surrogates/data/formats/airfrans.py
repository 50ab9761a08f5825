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

The mesh lies in a plane and is cut into triangles; its boundaries are `aerofoil` (points that its file has) and `freestream`. Opening reads
of every simulation its name and the head of its flow's file; mesh and fields are read together when one of them is looked at, and the last
few simulations are kept. Units are SI.

A steady flow has no windows. `options: {guess: inflow}` makes it a map, in two frames with dt = 1: the inflow without pressure and
turbulence everywhere, and the solution.

Sources: Bonnet et al., AirfRANS, 2022, https://arxiv.org/abs/2212.07564; https://github.com/Extrality/airfrans_lib (simulation.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks, vtp, vtu_head
from surrogates.data.formats.given import Given
from surrogates.data.formats.mesh_frame import Frame
from surrogates.data.formats.meshio_frames import Files
from surrogates.data.formats.meshio_mesh import Layout
from surrogates.data.formats.part import part
from surrogates.data.lately import Lately
from surrogates.data.mesh_features import with_features
from surrogates.domains import Mesh
from surrogates.domains.layout import NODE
from surrogates.domains.mesh_later import LaterMesh
from surrogates.fields import Field, Fields
from surrogates.interchange import STATIC, declare, declared, settled

MANIFEST = "manifest.json"
INTERNAL, AEROFOIL, FREESTREAM = "_internal.vtu", "_aerofoil.vtp", "_freestream.vtp"
TASKS = ("full", "scarce", "reynolds", "aoa")
UNITS = {"length": "m", "time": "s", "velocity": "m s-1", "pressure": "m2 s-2", "nut": "m2 s-1"}
STATE = {"U": "velocity", "p": "pressure", "nut": "nut"}
NAME = re.compile(r"^[A-Za-z0-9]+_[A-Za-z0-9]+_(-?[\d.]+)_(-?[\d.]+)((?:_-?[\d.]+){3,4})$")
LARGEST = 1 << 24  # bytes of a manifest.json
NEAR = 1e-6  # of the chord: points of two files are one
GUESS, INFLOW = "guess", "inflow"
VECTORS = ("U",)
INPUTS = (
    Field("inflow", "m s-1", ("x", "y")),
    Field("distance", "m", long_name="distance to the profile"),
    Field("normal", "1", ("x", "y"), long_name="normal of the profile"),
)


def recognises(path: Path) -> bool:
    """Folders that hold an internal.vtu and an aerofoil.vtp of their own name."""
    return path.is_dir() and any(_is_simulation(p) for p in (path, *path.iterdir()) if p.is_dir())


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a simulation. Raises ValueError for a name that says no flow and a simulation of the manifest that is missing; when it is
    looked at, for files that are not sound."""
    said = given.over(Given(units=UNITS))
    guess, task = given.options.get(GUESS), given.options.get("task")
    if guess not in (None, INFLOW):
        raise ValueError(f"{path}: options.{GUESS} is {guess!r} but must be {INFLOW}, or be left out")
    lately: Lately[Path, _Read] = Lately(partial(_read, given=said), lambda r: r.bytes)
    if task is None:
        names = sorted(p.name for p in path.iterdir() if p.is_dir() and _is_simulation(p)) or [path.name]
        home = path if not _is_simulation(path) else path.parent
        found = {"all": [home / name for name in names]}
    else:
        found = {s: [checks.inside(path, name) for name in names] for s, names in _splits(path, str(task)).items()}
    out = {s: [_simulation(folder, n, said, lately) for n, folder in enumerate(folders)] for s, folders in found.items()}
    alone = sum(map(len, out.values())) == 1
    return {s: [settled(p) for p in parts] for s, parts in out.items()} if alone else out


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


class _Read(NamedTuple):
    """What one simulation holds: its mesh, and columns (node,) by variable, state and inputs."""

    mesh: Mesh
    columns: dict[str, NDArray[np.float32]]

    @property
    def bytes(self) -> int:
        mesh = (self.mesh.points, self.mesh.edges, self.mesh.measure, self.mesh.markers, self.mesh.member, self.mesh.cells)
        return sum(x.nbytes for x in mesh if x is not None) + sum(u.nbytes for u in self.columns.values())


def _simulation(folder: Path, number: int, given: Given, lately: Lately[Path, _Read]) -> xr.Dataset:
    """A part of which nothing but the size is read."""
    parameters = flow_of(folder.name, str(folder))
    files = {end: folder / f"{folder.name}{end}" for end in (INTERNAL, AEROFOIL, FREESTREAM)}
    for end in (INTERNAL, AEROFOIL):
        if not files[end].is_file():
            raise ValueError(f"{files[end]}: no such file; the simulation is not whole")
    names = ("aerofoil", *(("freestream",) if files[FREESTREAM].is_file() else ()))
    nodes, place = vtu_head.points(files[INTERNAL]), str(files[INTERNAL])
    mesh = LaterMesh(nodes, 2, names, given.unit("length", folder), lambda: lately(folder).mesh, place)

    def column(name: str) -> Any:
        return _lazily(lambda: lately(folder).columns[name], nodes)

    made = _dataset(mesh, column, folder, number, parameters, given)
    marked = with_features(made, ("aerofoil", "freestream"), ())
    new = {v: (NODE, column(v), {"units": f.units, "field": f.name}) for f in INPUTS for v in f.variables}
    return declare(marked.assign(new), static=Fields((*(declared(marked, STATIC) or ()), *INPUTS)))


def _dataset(
    mesh: LaterMesh, column: Callable[[str], Any], folder: Path, number: int, parameters: dict[str, float], given: Given
) -> xr.Dataset:
    """The state: the solution, and before it the guess if that is wanted."""
    import dask.array as da

    mapped, first = given.options.get(GUESS) == INFLOW, dict(zip(("velocity_x", "velocity_y"), _inflow(parameters), strict=True))
    arrays, of = {}, {}
    for name, label in STATE.items():
        field = Field(label, given.unit(label, folder), ("x", "y") if name in VECTORS else ())
        for variable in field.variables:
            guess = da.full(mesh.shape, first.get(variable, 0.0), dtype=np.float32)  # type: ignore[no-untyped-call]
            frames = [guess, column(variable)] if mapped else [column(variable)]
            arrays[variable], of[variable] = da.stack(frames)[None], field  # type: ignore[no-untyped-call]
    vectors = Given(fields={"velocity": ("velocity_x", "velocity_y")})
    told, start = {name: [value] for name, value in parameters.items()}, given.time or 0.0
    times = [start, start + 1.0] if mapped else [start]
    return part(arrays, of, mesh, given=given.over(vectors), times=times, name="airfrans", parameters=told, first=number)


def _read(folder: Path, given: Given) -> _Read:
    """Raises ValueError for files that are not sound, and points of the profile that the flow's mesh has not."""
    files = {end: folder / f"{folder.name}{end}" for end in (INTERNAL, AEROFOIL, FREESTREAM)}
    frame, place = Files((files[INTERNAL],), None).frame(0), str(files[INTERNAL])
    missing = [n for n in (*STATE, "implicit_distance") if n not in frame.point_data]
    if missing:
        raise ValueError(f"{place} has no data {missing} at points; it has {sorted(frame.point_data)}")
    profile = vtp.read(files[AEROFOIL])
    sets = {"aerofoil": _at(profile.points, frame.points, files[AEROFOIL])}
    if files[FREESTREAM].is_file():
        sets["freestream"] = _at(vtp.read(files[FREESTREAM]).points, frame.points, files[FREESTREAM])
    layout = Layout.of(frame._replace(point_sets={n: np.unique(i) for n, i in sets.items()}, sets={}), place, given, centres=False)
    lost = len(frame.points) - layout.mesh.shape[0]
    if lost:
        raise ValueError(
            f"{place}: {lost} of its {len(frame.points)} points belong to no cell; remove them (ParaView's filter Clean to Grid)"
        )
    values = layout.values(frame, place, averaged=False)
    columns: dict[str, NDArray[np.float32]] = {}
    for name, label in STATE.items():
        u = values[name].reshape(layout.mesh.shape[0], -1).astype(np.float32)
        field = Field(label, components=("x", "y") if name in VECTORS else ())
        if u.shape[1] != len(field.variables):
            raise ValueError(f"{place}: {name!r} has {u.shape[1]} components in the plane, and {len(field.variables)} are needed")
        columns |= {v: np.ascontiguousarray(u[:, c]) for c, v in enumerate(field.variables)}
    return _Read(layout.mesh, columns | _inputs(frame, profile, sets["aerofoil"], flow_of(folder.name, str(folder))))


def _inputs(frame: Frame, profile: vtp.PolyData, where: NDArray[np.int64], parameters: dict[str, float]) -> dict[str, NDArray[np.float32]]:
    """The static fields: inflow, distance, normals."""
    normals = np.zeros((len(frame.points), 2), np.float32)
    if "Normals" in profile.point_data:
        normals[where] = np.asarray(profile.point_data["Normals"], np.float32)[:, :2]
    distance = -np.asarray(frame.point_data["implicit_distance"], np.float32)  # negative outside of the profile in the files
    inflow = [np.full(len(frame.points), v, np.float32) for v in _inflow(parameters)]
    return dict(zip([v for f in INPUTS for v in f.variables], [*inflow, distance, *normals.T.copy()], strict=True))


def _inflow(parameters: dict[str, float]) -> NDArray[np.float32]:
    angle = np.deg2rad(parameters["angle"])
    found: NDArray[np.float32] = np.float32(parameters["speed"]) * np.array([np.cos(angle), np.sin(angle)], np.float32)
    return found


def _lazily(read: Callable[[], NDArray[np.float32]], nodes: int) -> Any:
    import dask
    import dask.array as da

    return da.from_delayed(dask.delayed(read)(), (nodes,), np.float32)  # type: ignore[attr-defined, no-untyped-call]


def _at(points: NDArray[Any], among: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Where points lie among others. Raises ValueError for one that does not."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(among[:, :2]).query(points[:, :2])
    if len(points) and not bool((distance <= NEAR).all()):
        raise ValueError(
            f"{path}: point {int(distance.argmax())} is no point of the flow's mesh, the nearest is {distance.max():.2g} m away"
        )
    return np.asarray(index, np.int64)
