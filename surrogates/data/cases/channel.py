"""Flow past one or two obstacles in a channel with walls, 2-D, laminar: the family of the DFG benchmarks and of MeshGraphNets' data.

                     walls, no slip
          +---------------------------------+
    inlet |     _                           | outlet: p = 0
    ----> |    (_)   obstacle0, obstacle1   |
          +---------------------------------+ length x height

    inflow    u(y) = 6 speed y (height - y) / height^2, of mean `speed`
    viscosity nu = speed size1 / reynolds

gmsh covers it with triangles (Frontal-Delaunay): of `near` x size at an obstacle, growing by `growth` m a metre away from it, at most
`wake` x size behind it and `far` x height elsewhere; one cell deep. The flow starts at rest but for a uniform stream, and what comes
before the first frame (`frames.start`) is not kept.

Source: Schaefer and Turek, Benchmark Computations of Laminar Flow Around a Cylinder (1996),
https://doi.org/10.1007/978-3-322-89849-4_39; https://wwwold.mathematik.tu-dortmund.de/~featflow/en/benchmarks/cfdbenchmarking/flow.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from surrogates.data.cases import history
from surrogates.data.cases import incompressible as flow
from surrogates.data.cases.dictionary import field, number
from surrogates.data.cases.forces import AREA, BODY, DISTANCE
from surrogates.data.cases.outline import Obstacle, Points, gap
from surrogates.data.cases.programs import run
from surrogates.data.foam import Case
from surrogates.data.foam.cells import cells_of
from surrogates.domains import Mesh
from surrogates.fields import Field

if TYPE_CHECKING:
    from surrogates.data.cases.recipe import Frames, Solver

Values = Mapping[str, float]
DEPTH = 0.1  # of the one cell across the plane, m; nothing varies over it
SECOND = ("x2", "y2", "size2")
BALANCE = 1e-4  # what flows in and not out, of what flows in, at most
PEAK = 3.0  # the fastest flow that a first time step reckons with, in mean speeds

equation = "incompressible Navier-Stokes"
programs = ("gmsh", "gmshToFoam", flow.SOLVER)
scheme = flow.SCHEMES
fields = {"U": Field("velocity", "m s-1", ("x", "y")), "p": Field("pressure", "m2 s-2", long_name="pressure over density")}
statics = (AREA, DISTANCE)
parameters: dict[str, float | None] = {
    "reynolds": None, "speed": 1.0, "x1": 0.2, "y1": 0.2, "size1": 0.1, "aspect": 1.0, "corners": 0.0, "angle": 0.0,
    "x2": 0.0, "y2": 0.0, "size2": 0.0,
}  # fmt: skip
mesh: dict[str, float | None] = {
    "near": None, "wake": 0.25, "far": 0.08, "growth": 0.15, "length": 2.2, "height": 0.41, "clearance": 0.04,
}  # fmt: skip


def grid(meshing: Values) -> str:
    return f"triangles of {meshing['near']:g} diameters"


def obstacles(values: Values) -> list[Obstacle]:
    """The one, or the two of one form."""
    aspect, corners, angle = values["aspect"], int(values["corners"]), values["angle"]
    first = Obstacle(values["x1"], values["y1"], values["size1"], aspect, corners, angle)
    return [first, Obstacle(values["x2"], values["y2"], values["size2"], aspect, corners, angle)] if values["size2"] else [first]


def bodies(values: Values) -> list[str]:
    """The patches of the obstacles."""
    return [f"{BODY}{n}" for n in range(len(obstacles(values)))]


def refusal(values: Values, meshing: Values) -> str:
    """Why no case can be built of these parameters: obstacles within `clearance` of the channel's sides or of each other."""
    least, outlines = meshing["clearance"], [o.outline(0.05 * o.size) for o in obstacles(values)]
    for n, points in enumerate(outlines):
        low, high = points.min(0), points.max(0)
        room = min(*low, *(np.array([meshing["length"], meshing["height"]]) - high))
        if room < least:
            return f"obstacle {n} leaves {room:.3f} m to a side of the channel, and the clearance is {least:g} m"
    if len(outlines) == 2 and gap(*outlines) < least:
        return f"the obstacles are {gap(*outlines):.3f} m apart, and the clearance is {least:g} m"
    return ""


def complete(values: Values) -> dict[str, float]:
    """With the viscosity, and zeros for an obstacle that is not there."""
    none = {} if values["size2"] else dict.fromkeys(SECOND, 0.0)
    return {**values, **none, "viscosity": values["speed"] * values["size1"] / values["reynolds"]}


def build(case: Path, values: Values, meshing: Values, frames: Frames, solver: Solver) -> None:
    """The files and the mesh of a case. Raises ValueError where a program fails."""
    (case / "mesh.geo").write_text(geometry(values, meshing), encoding="ascii")
    write(case, values, meshing, frames, solver)
    run(("gmsh", "-3", "-format", "msh2", "-nopopup", "-nt", "1", "-o", "mesh.msh", "mesh.geo"), case)
    run(("gmshToFoam", "mesh.msh"), case)
    boundary = case / "constant/polyMesh/boundary"
    boundary.write_text(retyped(boundary.read_text(encoding="ascii")), encoding="ascii")


def write(case: Path, values: Values, meshing: Values, frames: Frames, solver: Solver) -> None:
    """Everything but the mesh."""
    speed, height = values["speed"], meshing["height"]
    slope, bend = 6 * speed / height, -6 * speed / height**2
    names = bodies(values)
    rigid = {name: flow.NO_SLIP for name in ("walls", *names)}
    sides = {"front": flow.EMPTY, "back": flow.EMPTY}
    parabola = (((slope, 0.0, 0.0), (1.0, 0.0, 0.0)), ((bend, 0.0, 0.0), (2.0, 0.0, 0.0)))  # coefficients and exponents of y
    inlet: dict[str, Any] = {"type": "fixedProfile", "profile": ["polynomial", parabola], "direction": (0.0, 1.0, 0.0), "origin": 0.0}
    inlet["value"] = ["uniform", (0.0, 0.0, 0.0)]
    outlet = {"type": "inletOutlet", "inletValue": ["uniform", (0.0, 0.0, 0.0)], "value": ["uniform", (speed, 0.0, 0.0)]}
    field(case, "U", flow.VELOCITY, (speed, 0.0, 0.0), {"inlet": inlet, "outlet": outlet, **rigid, **sides})
    still = {name: flow.FLAT for name in ("inlet", *rigid)}
    field(case, "p", flow.PRESSURE, 0.0, {"outlet": {"type": "fixedValue", "value": ["uniform", 0.0]}, **still, **sides})
    first = 0.1 * solver.courant * meshing["near"] * values["size1"] / (PEAK * speed)
    measured = {f"force_{n}": flow.forces(n) for n in names} | {f"flow_{n}": flow.flow(n) for n in ("inlet", "outlet")}
    clock = flow.Clock(frames.end, frames.step, min(first, frames.step))
    flow.numerics(case, clock, measured, viscosity=values["viscosity"], courant=solver.courant, correctors=solver.correctors)


def geometry(values: Values, meshing: Values) -> str:
    """gmsh's script, version 4 (https://gmsh.info/doc/texinfo/gmsh.html): numbers in lines that are ours."""
    length, height = meshing["length"], meshing["height"]
    shapes = obstacles(values)
    loops = [np.array([[0, 0], [length, 0], [length, height], [0, height]])]
    loops += [o.outline(meshing["near"] * o.size) for o in shapes]
    lines, starts = [], [1]
    for points in loops:
        lines += _loop(points, starts[-1])
        starts.append(starts[-1] + len(points))
    count = starts[-1] - 1
    held = [f"Transfinite Line {{{starts[1]}:{count}}} = 2;"]  # an edge of an outline is one edge of the mesh
    surface = [f"Line Loop({k}) = {{{a}:{b - 1}}};" for k, (a, b) in enumerate(pairwise(starts), 1)]
    surface.append(f"Plane Surface(1) = {{{', '.join(str(k) for k in range(1, len(loops) + 1))}}};")
    extruded = f"out[] = Extrude {{0, 0, {number(DEPTH)}}} {{ Surface{{1}}; Layers{{1}}; Recombine; }};"
    named = {"front": "{1}", "back": "{out[0]}", "walls": "{out[2], out[4]}", "outlet": "{out[3]}", "inlet": "{out[5]}"}
    named |= {f"obstacle{n}": f"{{out[{{{a + 1}:{b}}}]}}" for n, (a, b) in enumerate(pairwise(starts[1:]))}
    physical = [f'Physical Surface("{name}") = {faces};' for name, faces in named.items()]
    sizes = _sizes(shapes, meshing)
    return "\n".join([*lines, *held, *surface, *sizes, extruded, *physical, 'Physical Volume("fluid") = {out[1]};', ""])


def _loop(points: Points, start: int) -> list[str]:
    """Points and lines of a closed polygon, numbered from `start` on."""
    last = start + len(points) - 1
    made = [f"Point({start + i}) = {{{x:.12g}, {y:.12g}, 0}};" for i, (x, y) in enumerate(points.tolist())]
    return made + [f"Line({i}) = {{{i}, {start if i == last else i + 1}}};" for i in range(start, last + 1)]


def _sizes(shapes: list[Obstacle], meshing: Values) -> list[str]:
    """The lengths of edges: at the obstacles, growing with the distance d = |x - x_0| - radius from them, in their wakes, far away."""
    far = meshing["far"] * meshing["height"]
    lines, fields = ["Field[1] = MathEval;", f'Field[1].F = "{far:.12f}";'], [1]
    for n, o in enumerate(shapes):
        k, near, wake = 2 + 2 * n, meshing["near"] * o.size, meshing["wake"] * o.size
        distance = f"(sqrt((x-{o.x:.12f})^2+(y-{o.y:.12f})^2)-{o.radius:.12f})"
        lines += [f"Field[{k}] = MathEval;", f'Field[{k}].F = "{near:.12f}+{meshing["growth"] / 2:.12f}*({distance}+sqrt({distance}^2))";']
        box = {"VIn": wake, "VOut": far, "XMin": o.x, "XMax": o.x + 10 * o.size, "YMin": o.y - o.radius, "YMax": o.y + o.radius}
        lines += [f"Field[{k + 1}] = Box;", *(f"Field[{k + 1}].{name} = {value:.12f};" for name, value in box.items())]
        lines.append(f"Field[{k + 1}].Thickness = {4 * o.size:.12f};")
        fields += [k, k + 1]
    top = fields[-1] + 1
    lines += [f"Field[{top}] = Min;", f"Field[{top}].FieldsList = {{{', '.join(map(str, fields))}}};", f"Background Field = {top};"]
    ours = ("CharacteristicLengthExtendFromBoundary = 0", "CharacteristicLengthFromPoints = 0", "Algorithm = 6")
    return lines + [f"Mesh.{option};" for option in ours]


def retyped(boundary: str) -> str:
    """The patches of gmshToFoam as what they are: walls are walls, and the plane's two sides are empty."""
    kinds = {"front": "empty", "back": "empty", "walls": "wall", r"obstacle\d+": "wall"}
    for name, kind in kinds.items():
        boundary = re.sub(rf"(\b{name}\s*\{{\s*type\s+)patch;\s*physicalType\s+patch;", rf"\g<1>{kind};", boundary)
    return boundary


# -- what a solved case gives ------------------------------------------------------------------------------------


def domain(case: Case) -> tuple[Mesh, NDArray[np.int64]]:
    """Its cells as the nodes of a mesh in the plane, in their own order."""
    found = cells_of(case)
    return found.mesh(), np.arange(len(found.centres))


def static(case: Case, values: Values) -> dict[str, NDArray[np.float64]]:
    """The areas of bodies beside cells, and how far from these their centres are (`forces`). Raises ValueError for a cell between two."""
    mesh = case.mesh
    area, distance = np.zeros((mesh.cells, 2)), np.zeros(mesh.cells)
    for name in bodies(values):
        faces = mesh.patch(name).faces
        cells, outward = mesh.owner[faces], mesh.faces.areas[faces]
        if len(np.unique(cells)) < len(cells) or distance[cells].any():
            raise ValueError(f"{case.path}: a cell has two faces on obstacles; refine mesh.near")
        normal = outward / np.linalg.norm(outward, axis=1, keepdims=True)
        area[cells] = outward[:, :2] / DEPTH
        distance[cells] = (normal * (mesh.faces.centres[faces] - mesh.centres[cells])).sum(1)
    return {AREA.name: area, DISTANCE.name: distance}


def report(case: Path, values: Values, frames: Frames) -> tuple[dict[str, float], history.Histories]:
    """Numbers of the run while frames were stored, and the forces at every time step of it.

    Raises ValueError where what flows in does not flow out.
    """
    times, force = history.forces(case, bodies(values), DEPTH)
    kept = times > frames.start - frames.step / 2
    inflow, outflow = (history.flow(case, name)[kept, 1] for name in ("inlet", "outlet"))
    balance = float(np.abs(inflow + outflow).max() / np.abs(inflow).max())
    if not balance < BALANCE:
        raise ValueError(f"a share of {balance:.1e} of what flows in does not flow out, and {BALANCE:g} is allowed; lower solver.courant")
    times, force = times[kept], force[kept]
    size, speed = values["size1"], values["speed"]
    drag, lift = (2 * force[:, 0].sum(1) / (speed**2 * size)).T
    numbers = {
        "mass_defect": balance,
        "drag_mean": _mean(times, drag),
        "drag_max": float(drag.max()),
        "lift_mean": _mean(times, lift),
        "lift_max": float(lift.max()),
        "lift_min": float(lift.min()),
        "strouhal": history.strouhal(times, lift, size, speed),
    }
    return numbers, {"time": times, "force": force}


def _mean(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    return float(((values[1:] + values[:-1]) / 2 * np.diff(times)).sum() / (times[-1] - times[0]))
