"""Lid-driven cavity: a box of fluid at rest whose lid begins to move at once; 2-D, laminar, no slip on all sides.

          lid -> speed
        +-------------+
        |             |  height = aspect * width
        +-------------+
             width            viscosity = speed width / reynolds

Cells on a tensor-product grid, `cells` across the width (and as many per length up the height), narrower at the walls by `grading`.
From rest the flow settles in about `reynolds`/10 turnovers of the lid; the frames say which part of that is kept. Rest itself is none: its
pressure is not that of a lid that moves, and the first frame is one that the solver has made.

Source: Ghia, Ghia and Shin, J. Comput. Phys. 48 (1982) 387-411, https://doi.org/10.1016/0021-9991(82)90058-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from surrogates.data.cases import incompressible as flow
from surrogates.data.cases.blocks import Edges, edges, grid_of, mesh_dictionary
from surrogates.data.cases.dictionary import field, write
from surrogates.data.cases.history import Histories
from surrogates.data.cases.programs import run
from surrogates.data.foam import Case
from surrogates.domains import Box, Masked
from surrogates.fields import Field

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import Frames, Solver

Values = Mapping[str, float]

equation = "incompressible Navier-Stokes"
programs = ("blockMesh", flow.SOLVER)
scheme = flow.SCHEMES
fields = {"U": Field("velocity", "m s-1", ("x", "y")), "p": Field("pressure", "m2 s-2", long_name="pressure over density")}
statics: tuple[Field, ...] = ()
parameters: dict[str, float | None] = {"reynolds": None, "speed": 1.0, "width": 1.0, "aspect": 1.0}
mesh: dict[str, float | None] = {"cells": None, "grading": 1.0}
SIDES = {
    "lid": ("wall", [(3, 7, 6, 2)]),
    "walls": ("wall", [(0, 4, 7, 3), (1, 2, 6, 5), (0, 1, 5, 4)]),
    "sides": ("empty", [(0, 3, 2, 1), (4, 5, 6, 7)]),
}


def grid(meshing: Values) -> str:
    return f"{meshing['cells']:g} cells across"


def refusal(values: Values, meshing: Values) -> str:
    """Every cavity can be built."""
    return ""


def complete(values: Values) -> dict[str, float]:
    """With height and viscosity."""
    height = values["width"] * values["aspect"]
    return {**values, "height": height, "viscosity": values["speed"] * values["width"] / values["reynolds"]}


def lines(values: Values, meshing: Values) -> tuple[Edges, Edges]:
    """The edges of the cells along x and y: up the height an even number, as wide as across, nearly."""
    across = int(meshing["cells"])
    up = max(4, 2 * round(across * values["aspect"] / 2))
    return edges(across, values["width"], meshing["grading"]), edges(up, values["height"], meshing["grading"])


def build(case: Path, values: Values, meshing: Values, frames: Frames, solver: Solver) -> None:
    x, y = lines(values, meshing)
    block = mesh_dictionary((len(x) - 1, len(y) - 1), (values["width"], values["height"]), SIDES, meshing["grading"])
    write(case, "system/blockMeshDict", block)
    lid = {"type": "fixedValue", "value": ["uniform", (values["speed"], 0.0, 0.0)]}
    field(case, "U", flow.VELOCITY, (0.0, 0.0, 0.0), {"lid": lid, "walls": flow.NO_SLIP, "sides": flow.EMPTY})
    field(case, "p", flow.PRESSURE, 0.0, {"lid": flow.FLAT, "walls": flow.FLAT, "sides": flow.EMPTY})
    first = 0.1 * solver.courant * float(np.diff(x).min()) / values["speed"]
    clock = flow.Clock(frames.end, frames.step, min(first, frames.step))
    flow.numerics(case, clock, {}, viscosity=values["viscosity"], courant=solver.courant, correctors=solver.correctors, reference=True)
    run(("blockMesh",), case)


def domain(case: Case) -> tuple[Box | Masked, NDArray[np.int64]]:
    """The edges are those of the mesh's own points."""
    x, y = (np.unique(np.round(case.mesh.points[:, a], 12)) for a in (0, 1))
    return grid_of(case, x, y)


def static(case: Case, values: Values) -> dict[str, NDArray[np.float64]]:
    return {}


def report(case: Path, values: Values, frames: Frames) -> tuple[dict[str, float], Histories]:
    """How far the last frame is from steady: its change since the one before, over the step and the lid's speed (1/s)."""
    solved = Case(case)
    last, before = (solved.field("U", t, boundary=False).internal(solved.count) for t in solved.times[-1:-3:-1])
    return {"unsteadiness": float(np.abs(last - before).max() / frames.step / values["speed"])}, {}
