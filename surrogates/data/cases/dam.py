"""Dam break: a column of water beside the left wall of a tank collapses under gravity, over an obstacle on the floor where there is one.

    +-------------------------+
    |                         |
    |~~~~~+                   |  height        column    column_width x column_height, from the left wall
    |water|   +-+             |                obstacle  obstacle_width x obstacle_height at obstacle_x, width 0 for none
    +-----+---+-+-------------+
              length

Two phases without mixing, one velocity: volume of fluid with the limited flux of MULES, which keeps the water to rounding and its share
between 0 and 1; gravity and surface tension; a closed tank, walls without slip. Euler in time, as MULES wants it, second order in space
but at the interface. Water and air at 20 C. Equal cells, `cells` along the length; obstacle and column are rounded to whole cells.

Source: Martin and Moyce, Phil. Trans. R. Soc. A 244 (1952) 312, https://doi.org/10.1098/rsta.1952.0006; OpenFOAM v1912, tutorial
multiphase/interFoam/laminar/damBreak, https://www.openfoam.com/documentation/tutorial-guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.cases import incompressible as flow
from surrogates.data.cases.blocks import DEPTH, Edges, edges, grid_of, mesh_dictionary
from surrogates.data.cases.dictionary import field, write
from surrogates.data.cases.history import Histories
from surrogates.data.cases.programs import run
from surrogates.data.foam import Case
from surrogates.domains import Box, Masked
from surrogates.fields import Field

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import Frames, Solver

Values = Mapping[str, float]

equation = "two-phase incompressible Navier-Stokes"
programs = ("blockMesh", "topoSet", "subsetMesh", "setFields", "interFoam")
scheme = "Euler in time, linear upwind and central in space, van Leer and MULES at the interface, Courant numbers bounded"
fields = {
    "alpha.water": Field("water", "1", long_name="share of the volume that is water"),
    "U": Field("velocity", "m s-1", ("x", "y")),
    "p_rgh": Field("pressure", "kg m-1 s-2", long_name="pressure less that of the water's or air's own weight, from the floor"),
}
statics: tuple[Field, ...] = ()
parameters: dict[str, float | None] = {
    "column_width": None, "column_height": None, "obstacle_x": 0.0, "obstacle_width": 0.0, "obstacle_height": 0.0,
    "length": 0.584, "height": 0.584,
}  # fmt: skip
mesh: dict[str, float | None] = {"cells": None}
SIDES = {
    "walls": ("wall", [(0, 4, 7, 3), (1, 2, 6, 5), (0, 1, 5, 4), (3, 7, 6, 2)]),
    "obstacle": ("wall", []),
    "sides": ("empty", [(0, 3, 2, 1), (4, 5, 6, 7)]),
}
LOST = 1e-5  # of the water, at most
VOLUME = re.compile(r"^Phase-1 volume fraction = (\S+)", re.M)


def grid(meshing: Values) -> str:
    return f"{meshing['cells']:g} cells along"


def refusal(values: Values, meshing: Values) -> str:
    """Column and obstacle within the tank, apart, and room above the column."""
    if values["column_width"] > 0.8 * values["length"] or values["column_height"] > 0.8 * values["height"]:
        return "the column takes more than 4/5 of the tank"
    if values["obstacle_width"] and values["obstacle_height"]:
        start, end = values["obstacle_x"], values["obstacle_x"] + values["obstacle_width"]
        if start < values["column_width"] or end > 0.95 * values["length"] or values["obstacle_height"] > 0.5 * values["height"]:
            return f"the obstacle from {start:.3f} to {end:.3f} m is not between column and far wall, or higher than half the tank"
    return ""


def complete(values: Values) -> dict[str, float]:
    """Zeros for an obstacle that is not there."""
    there = values["obstacle_width"] > 0 and values["obstacle_height"] > 0
    return {**values} if there else {**values, "obstacle_x": 0.0, "obstacle_width": 0.0, "obstacle_height": 0.0}


def lines(values: Values, meshing: Values) -> tuple[Edges, Edges]:
    """The edges of the cells along x and y, squares but for rounding."""
    across = int(meshing["cells"])
    return edges(across, values["length"]), edges(max(2, round(across * values["height"] / values["length"])), values["height"])


def build(case: Path, values: Values, meshing: Values, frames: Frames, solver: Solver) -> None:
    x, y = lines(values, meshing)
    write(case, "system/blockMeshDict", mesh_dictionary((len(x) - 1, len(y) - 1), (values["length"], values["height"]), SIDES))
    _numerics(case, values, frames, solver)
    _fields(case)
    run(("blockMesh",), case)
    if values["obstacle_width"]:
        left, right = (_snapped(values["obstacle_x"] + width, x) for width in (0.0, values["obstacle_width"]))
        low, high = (left, -1.0), (max(right, left + x[1]), max(_snapped(values["obstacle_height"], y), float(y[1])))
        solid = [{"name": "solid", "type": "cellSet", "action": "new", "source": "boxToCell", "box": _box(low, high)}]
        solid += [{"name": "fluid", "type": "cellSet", "action": "new", "source": "cellToCell", "set": "solid"}]
        solid += [{"name": "fluid", "type": "cellSet", "action": "invert"}]
        write(case, "system/topoSetDict", {"actions": tuple(solid)})
        run(("topoSet",), case)
        run(("subsetMesh", "fluid", "-patch", "obstacle", "-overwrite"), case)
    water: dict[str, Any] = {"box": _box((-1.0, -1.0), (_snapped(values["column_width"], x), _snapped(values["column_height"], y)))}
    water["fieldValues"] = (["volScalarFieldValue", "alpha.water", 1.0],)
    defaults = (["volScalarFieldValue", "alpha.water", 0.0],)
    write(case, "system/setFieldsDict", {"defaultFieldValues": defaults, "regions": (["boxToCell", water],)})
    run(("setFields",), case)


def domain(case: Case) -> tuple[Box | Masked, NDArray[np.int64]]:
    """The edges are those of the mesh's own points; an obstacle is dry."""
    x, y = (np.unique(np.round(case.mesh.points[:, a], 12)) for a in (0, 1))
    return grid_of(case, x, y)


def static(case: Case, values: Values) -> dict[str, NDArray[np.float64]]:
    return {}


def report(case: Path, values: Values, frames: Frames) -> tuple[dict[str, float], Histories]:
    """The largest change of the water's volume since the beginning. Raises ValueError where more than `LOST` of it is gone."""
    text = (case / f"log.{programs[-1]}").read_text(encoding="utf-8", errors="replace")
    volume = np.array([float(v) for v in VOLUME.findall(text)])
    solved = Case(case)
    alpha, volumes = solved.field("alpha.water", solved.times[0], boundary=False).internal(solved.count)[:, 0], solved.mesh.volumes
    first = float((alpha * volumes).sum() / volumes.sum())
    lost = float(np.abs(volume / first - 1).max())
    if not lost < LOST:
        raise ValueError(f"the volume of water changes by a share of {lost:.1e}, and {LOST:g} is allowed; lower solver.courant")
    return {"water_defect": lost, "water": first}, {}


def _snapped(value: float, at: Edges) -> float:
    """The nearest edge."""
    return float(at[np.abs(at - value).argmin()])


def _box(low: tuple[float, float], high: tuple[float, float]) -> list[Any]:
    return [(*low, -1.0), (*high, 1.0 + DEPTH)]


def _fields(case: Path) -> None:
    rigid, sides = ("walls", "obstacle"), {"sides": flow.EMPTY}
    field(case, "U", flow.VELOCITY, (0.0, 0.0, 0.0), {**dict.fromkeys(rigid, flow.NO_SLIP), **sides})
    field(case, "alpha.water", "0 0 0 0 0 0 0", 0.0, {**dict.fromkeys(rigid, flow.FLAT), **sides})
    rest = {"type": "fixedFluxPressure", "value": ["uniform", 0.0]}
    field(case, "p_rgh", "1 -1 -2 0 0 0 0", 0.0, {**dict.fromkeys(rigid, rest), **sides})


def _numerics(case: Path, values: Values, frames: Frames, solver: Solver) -> None:
    bounds = {"maxCo": solver.courant, "maxAlphaCo": solver.courant}
    clock = flow.Clock(frames.end, frames.step, min(1e-4, frames.step))
    write(case, "system/controlDict", flow.control(programs[-1], clock, bounds, {}))
    write(case, "system/fvSchemes", {
        "ddtSchemes": {"default": "Euler"},
        "gradSchemes": {"default": "Gauss linear"},
        "divSchemes": {
            "div(rhoPhi,U)": "Gauss linearUpwind grad(U)",
            "div(phi,alpha)": "Gauss vanLeer",
            "div(phirb,alpha)": "Gauss linear",
            "div(((rho*nuEff)*dev2(T(grad(U)))))": "Gauss linear",
        },
        "laplacianSchemes": {"default": "Gauss linear corrected"},
        "interpolationSchemes": {"default": "linear"},
        "snGradSchemes": {"default": "corrected"},
    })  # fmt: skip
    pressure = {"solver": "PCG", "preconditioner": "DIC", "tolerance": 1e-7, "relTol": 0.05}
    smooth = {"solver": "smoothSolver", "smoother": "symGaussSeidel", "relTol": 0.0}
    alpha = {"nAlphaCorr": 2, "nAlphaSubCycles": 1, "cAlpha": 1.0, "MULESCorr": "yes", "nLimiterIter": 5, "tolerance": 1e-8, **smooth}
    write(case, "system/fvSolution", {
        "solvers": {
            "alpha.water.*": alpha,
            "pcorr.*": {**pressure, "tolerance": 1e-5, "relTol": 0.0},
            "p_rgh": pressure,
            "p_rghFinal": {**pressure, "relTol": 0.0},
            "U.*": {**smooth, "tolerance": 1e-6},
        },
        "PIMPLE": {
            "momentumPredictor": "no",
            "nOuterCorrectors": 1,
            "nCorrectors": max(3, solver.correctors),
            "nNonOrthogonalCorrectors": 0,
            "pRefCell": 0,
            "pRefValue": 0.0,
        },
    })  # fmt: skip
    fluids = {"water": (1e-6, 1000.0), "air": (1.48e-5, 1.0)}
    each = {n: {"transportModel": "Newtonian", "nu": nu, "rho": rho} for n, (nu, rho) in fluids.items()}
    write(case, "constant/transportProperties", {"phases": ("water", "air"), **each, "sigma": 0.07})
    write(case, "constant/turbulenceProperties", {"simulationType": "laminar"})
    gravity = {"dimensions": "[0 1 -2 0 0 0 0]", "value": (0.0, -9.81, 0.0)}
    write(case, "constant/g", gravity, "uniformDimensionedVectorField")
