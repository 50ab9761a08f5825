"""A case of a channel solved again from a frame that is stored: on its own mesh, a coarser or a finer one, with its own or shorter steps.

The case is built as the recipe builds it, but for edges `edges` times as long and a Courant number `courant` times as large; velocity and
pressure begin as the stored frame, carried to the cells (`scattered`). From then on it is OpenFOAM's own run. Its frames are read at the
nodes of the stored mesh, walls without slip included; its forces are those that OpenFOAM works out on the mesh of the run, since a
velocity carried to other cells has lost the stress at the wall.

A coarse run is what a surrogate has to be faster than at the same error, one with edges of 1 what the truth costs, a finer one says how
long the truth is one (`certificate`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.data.cases import channel, history
from surrogates.data.cases.dictionary import number
from surrogates.data.cases.forces import Wall, coefficients
from surrogates.data.cases.scattered import Array, Scattered
from surrogates.data.foam import Case
from surrogates.data.truth import Tick
from surrogates.domains import Mesh
from surrogates.interchange import TIME, domain_of, from_xarray, trajectories_of

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import CaseRecipe

LENGTHS = ("near", "wake", "far", "growth")


@dataclass(frozen=True)
class Again:
    """frames       (T, C, node) at the nodes of the stored mesh, those after the one that it began from
    coefficients    (T, 2) drag and lift at these frames, of all bodies, by OpenFOAM on the mesh of the run
    seconds, cells  the solver's processor time, meshing left out, and the size of the mesh
    """

    frames: Float[Tensor, "T C node"]
    coefficients: Float[Tensor, "T 2"]
    seconds: float
    cells: int


def again(
    recipe: CaseRecipe,
    part: xr.Dataset,
    folder: Path,
    leads: int,
    *,
    first: int = 0,
    edges: float = 1.0,
    courant: float = 1.0,
    tick: Tick = lambda _: None,
) -> Again:
    """`leads` frames after the frame `first` of a stored case, solved in `folder`, which is made; `tick` hears of the time that has passed.

    Raises ValueError where the recipe is of another family or a program fails.
    """
    from surrogates.data.cases.runs import solve

    if recipe.family != "channel":
        raise ValueError(f"{recipe.name} is of the family {recipe.family!r}; from a stored frame only the family 'channel' is solved again")
    folder.mkdir(parents=True)
    values = recipe.values(int(trajectories_of(part)[0]))
    meshing = {name: value * (edges if name in LENGTHS else 1.0) for name, value in recipe.meshing.items()}
    frames = replace(recipe.frames, start=0.0, count=leads + 1)
    channel.build(folder, values, meshing, frames, replace(recipe.solver, courant=courant * recipe.solver.courant))
    centres = Case(folder).mesh.centres[:, :2]
    begin(folder, stored_at(part, first, values, recipe.meshing, centres))
    log = history.read_log(solve(folder, channel.programs[-1], threading.Event(), tick, frames.end))
    case = Case(folder)
    nodes, cloud = _mesh(part).points.numpy().astype(np.float64), cells_of(case, values, meshing)
    moments = [min(case.times, key=lambda t: abs(t - n * frames.step)) for n in range(1, leads + 1)]
    made = np.stack([cloud.at(nodes, *_solved(case, t)).T for t in moments])
    return Again(torch.from_numpy(made.astype(np.float32)), _told(folder, values, moments), log.seconds, case.count)


def stored_forces(tables: Mapping[str, Array], part: xr.Dataset, start: float) -> Float[Tensor, "T 2"]:
    """Drag and lift of a stored case at its frames, by OpenFOAM too: from its tables (`cases.tables_of`); `start` is `frames.start`."""
    p = {name: float(part[name].values.reshape(-1)[0]) for name in ("speed", "size1")}
    times = start + np.asarray(part[TIME].values, np.float64)
    return _coefficients(tables["time"], tables["force"], times, p["speed"], p["size1"])


def stored_at(part: xr.Dataset, frame: int, values: Mapping[str, float], meshing: Mapping[str, float], wanted: Array) -> Array:
    """(u, v, p) of a stored frame at other places, without slip on the walls that its mesh knows of."""
    mesh, wall = _mesh(part), Wall.of(part)
    u = from_xarray(part.isel({TIME: slice(frame, frame + 1)}))[0, 0].numpy().T.astype(np.float64)
    points, cells = mesh.points.numpy().astype(np.float64), wall.cells.numpy()
    area = wall.area.numpy().astype(np.float64)
    beside = points[cells] + area / np.linalg.norm(area, axis=1, keepdims=True) * wall.distance.numpy()[:, None]
    (sides,) = np.nonzero(mesh.boundary("walls").numpy())
    height = meshing["height"]
    along = np.stack([points[sides, 0], np.where(points[sides, 1] > height / 2, height, 0.0)], 1)
    on_rim = u[np.concatenate([cells, sides])] * [0.0, 0.0, 1.0]
    bodies = [o.outline(meshing["near"] * o.size) for o in channel.obstacles(values)]
    cloud = Scattered(points, np.concatenate([beside, along]), bodies)
    return cloud.at(wanted, u, on_rim)


def cells_of(case: Case, values: Mapping[str, float], meshing: Mapping[str, float]) -> Scattered:
    """The cells of a case, and the faces of its patches as the rim."""
    mesh = case.mesh
    rim = np.concatenate([mesh.faces.centres[mesh.patch(name).faces, :2] for name in _patches(case)])
    bodies = [o.outline(meshing["near"] * o.size) for o in channel.obstacles(values)]
    return Scattered(mesh.centres[:, :2], rim, bodies)


def begin(folder: Path, values: Array) -> None:
    """Put (u, v, p) of every cell into the fields of time 0, as numbers."""
    rows = {"U": ("vector", [f"({number(u)} {number(v)} 0)" for u, v, _ in values.tolist()])}
    rows["p"] = ("scalar", [number(p) for *_, p in values.tolist()])
    for name, (kind, entries) in rows.items():
        path = folder / "0" / name
        lines = path.read_text(encoding="ascii").splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith("internalField"))
        lines[at] = f"internalField nonuniform List<{kind}>\n{len(entries)}\n(\n" + "\n".join(entries) + "\n);"
        path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _solved(case: Case, time: float) -> tuple[Array, Array]:
    """(u, v, p) in the cells and on the rim."""
    fields = [(case.field(name, time), width) for name, width in (("U", 2), ("p", 1))]
    inner = np.concatenate([f.internal(case.count)[:, :width] for f, width in fields], 1)
    rim = [np.concatenate([f.patch(case.mesh, name)[:, :width] for f, width in fields], 1) for name in _patches(case)]
    return inner.astype(np.float64), np.concatenate(rim)


def _patches(case: Case) -> list[str]:
    return [p.name for p in case.mesh.patches if p.type != "empty"]


def _told(folder: Path, values: Mapping[str, float], moments: list[float]) -> Tensor:
    times, force = history.forces(folder, channel.bodies(values), channel.DEPTH)
    return _coefficients(times, force, np.array(moments), values["speed"], values["size1"])


def _coefficients(times: Array, force: Array, wanted: Array, speed: float, size: float) -> Tensor:
    """At the time steps nearest to the times wanted: steps land on frames."""
    rows = np.abs(times[None] - wanted[:, None]).argmin(1)
    return coefficients(torch.from_numpy(force[rows].sum(1)), speed, size)


def _mesh(part: xr.Dataset) -> Mesh:
    mesh = domain_of(part)
    if not isinstance(mesh, Mesh):
        raise ValueError(f"a case of a channel lies on a mesh, and this Dataset on {type(mesh).__name__}")
    return mesh
