"""The numerics of an incompressible laminar case, second order in space and time.

    d_t U + div(U U) - nu lap U = -grad p, div U = 0       pimpleFoam with one outer corrector, which is PISO (Issa 1986)
    time         backward (second order; the step adapts to the largest Courant number and lands on every frame)
    convection   LUST: 3/4 central, 1/4 second-order upwind, on triangles free of the wiggles of the former
    diffusion    central, corrected for faces that do not stand across the line between their cells

p is the pressure over the density. Sources: Issa, J. Comput. Phys. 62 (1986), https://doi.org/10.1016/0021-9991(86)90099-9; OpenFOAM v1912
user guide, 4.4 and 4.5, https://www.openfoam.com/documentation/user-guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surrogates.data.cases.dictionary import write

SOLVER = "pimpleFoam"
SCHEMES = "backward in time, LUST and central in space, PISO, Courant number bounded"
VELOCITY, PRESSURE, VISCOSITY = "0 1 -1 0 0 0 0", "0 2 -2 0 0 0 0", "0 2 -1 0 0 0 0"
EMPTY: dict[str, Any] = {"type": "empty"}
NO_SLIP: dict[str, Any] = {"type": "noSlip"}
FLAT: dict[str, Any] = {"type": "zeroGradient"}


@dataclass(frozen=True)
class Clock:
    """Frames every `interval` s until `end`; the solver's first step is `first` s."""

    end: float
    interval: float
    first: float


def numerics(
    case: Path,
    clock: Clock,
    functions: Mapping[str, Mapping[str, Any]],
    *,
    viscosity: float,
    courant: float,
    correctors: int,
    reference: bool = False,
) -> None:
    """All of a case but its mesh and fields. `reference` fixes the pressure of cell 0, where no boundary does."""
    write(case, "system/controlDict", control(SOLVER, clock, {"maxCo": courant}, functions))
    write(case, "system/fvSchemes", {
        "ddtSchemes": {"default": "backward"},
        "gradSchemes": {"default": "Gauss linear"},
        "divSchemes": {
            "default": "none",
            "div(phi,U)": "Gauss LUST grad(U)",
            "div((nuEff*dev2(T(grad(U)))))": "Gauss linear",
        },
        "laplacianSchemes": {"default": "Gauss linear corrected"},
        "interpolationSchemes": {"default": "linear"},
        "snGradSchemes": {"default": "corrected"},
    })  # fmt: skip
    pressure = {"solver": "GAMG", "smoother": "GaussSeidel", "tolerance": 1e-6, "relTol": 0.02}
    velocity = {"solver": "smoothSolver", "smoother": "symGaussSeidel", "tolerance": 1e-8, "relTol": 0.0}
    cell = {"pRefCell": 0, "pRefValue": 0.0} if reference else {}
    write(case, "system/fvSolution", {
        "solvers": {"p": pressure, "pFinal": {**pressure, "relTol": 0.0}, "U": velocity, "UFinal": velocity},
        "PIMPLE": {"nOuterCorrectors": 1, "nCorrectors": correctors, "nNonOrthogonalCorrectors": 1, **cell},
    })  # fmt: skip
    write(case, "constant/transportProperties", {"transportModel": "Newtonian", "nu": [f"[{VISCOSITY}]", viscosity]})
    write(case, "constant/turbulenceProperties", {"simulationType": "laminar"})


def control(solver: str, clock: Clock, bounds: Mapping[str, float], functions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Frames in binary; the step adapts to `bounds`; each function object writes a line at every time step."""
    every = {"writeControl": "timeStep", "writeInterval": 1, "log": "no"}
    return {
        "application": solver,
        "startFrom": "startTime",
        "startTime": 0.0,
        "stopAt": "endTime",
        "endTime": clock.end,
        "deltaT": clock.first,
        "writeControl": "adjustableRunTime",
        "writeInterval": clock.interval,
        "purgeWrite": 0,
        "writeFormat": "binary",
        "writePrecision": 12,
        "writeCompression": "off",
        "timeFormat": "general",
        "timePrecision": 9,
        "runTimeModifiable": "no",
        "adjustTimeStep": "yes",
        "maxDeltaT": clock.interval,
        **bounds,
        "functions": {name: {**entry, **every} for name, entry in functions.items()},
    }


def forces(patch: str) -> dict[str, Any]:
    """The force on a patch, over the density."""
    where = {"patches": (patch,), "CofR": (0.0, 0.0, 0.0)}
    return {"type": "forces", "libs": ("forces",), "rho": "rhoInf", "rhoInf": 1.0, **where}


def flow(patch: str) -> dict[str, Any]:
    """The volume that leaves through a patch in a second."""
    what = {"operation": "sum", "fields": ("phi",), "writeFields": "no"}
    return {"type": "surfaceFieldValue", "libs": ("fieldFunctionObjects",), "regionType": "patch", "name": patch, **what}
