"""CFDBench's interpolated data: flows in a cavity, a tube, over a dam, around a cylinder, on grids of 64 x 64 cells.

    cavity/                        a problem: cavity, tube, dam or cylinder
      bc/ geo/ prop/               what is varied: boundary conditions, geometry, physical properties
        case0000/
          u.npy, v.npy             (T, y, x), m/s; rows go up
          case.json                vel_top, vel_in or velocity; density, viscosity; width and height, or x_min ... y_max and radius;
                                   barrier_width and barrier_height

A folder at any of these levels is read, a part a case, since cases differ in geometry and length. Cells inside the cylinder, whose centre
is the origin, and inside the barrier of the dam, which begins .5 m behind the inlet, are dry. The step, .1 s, is that of the published
loaders, but for the cylinder, whose two loaders differ and for which it is asked. Inlets and outlets are open ends of the Box, the
moving lid is a wall, and what they are stands in the attribute `boundary_conditions` (`ends`). Units are SI.

Sources: https://github.com/luo-yining/CFDBench (README.md, src/dataset); Luo, Chen, Zhang, CFDBench, arXiv:2310.05963.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surrogates.data.formats import checks
from surrogates.data.formats.ends import condition, told
from surrogates.data.formats.given import Given
from surrogates.data.formats.part import fields_of, part
from surrogates.domains import Box, Masked
from surrogates.domains.box import WALL

CASE = "case.json"
PROBLEMS = ("cavity", "tube", "dam", "cylinder")
DT = 0.1  # s, `data_delta_time` of the published loaders
CYLINDER = (
    "of the published loaders of the cylinder CylinderFlowDataset.data_delta_time is 0.1 s and CylinderFlowAutoDataset.data_delta_time "
    "0.001 s (src/dataset/cylinder.py)"
)
ENDS = {
    "vel_top": [("lid", "moving wall", "y", False)],
    "vel_in": [("inlet", "inlet", "x", True), ("outlet", "open", "x", False)],
    "velocity": [("inlet", "inlet", "x", True), ("outlet", "open", "x", False)],
}
"""By the number of case.json that drives the flow: name, kind, axis, and whether it is the lower end."""
DAM_AT = 0.5  # m behind the inlet
DEEP = 3  # case below bc below cavity
LARGEST = 1 << 16  # bytes of a case.json
NO_PARAMETERS = {"case_no", "dx", "dy", "x_min", "x_max", "y_min", "y_max"}
UNITS = {"length": "m", "time": "s", "velocity": "m/s"}


def recognises(path: Path) -> bool:
    """A folder of cases, each with case.json and u.npy."""
    return next(_cases(path), None) is not None


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a case; no splits. Raises ValueError for a case that is not sound, or lacks a number, with its name."""
    parts = [_case(case, n, path, given) for n, case in enumerate(_cases(path))]
    names = {tuple(sorted(str(c) for c in p.coords if p[c].attrs.get("role") == "parameter")) for p in parts}
    if len(names) > 1:
        raise ValueError(f"{path} holds cases of several problems ({names}); read one of {list(PROBLEMS)} at a time")
    return {"all": parts}


def _cases(path: Path) -> Iterator[Path]:
    for depth in range(DEEP + 1):
        for found in sorted(path.glob("/".join(["*"] * depth + [CASE]))):
            if (found.parent / "u.npy").is_file():
                yield found.parent


def _case(case: Path, n: int, root: Path, given: Given) -> xr.Dataset:
    numbers = _numbers(case / CASE)
    arrays = {name: checks.npy(case / f"{name}.npy") for name in ("u", "v")}
    checks.shaped(arrays["u"].shape, (None, None, None), str(case / "u.npy"))
    checks.shaped(arrays["v"].shape, arrays["u"].shape, f"{case / 'v.npy'} (beside u.npy)")
    frames, rows, columns = arrays["u"].shape
    domain = domain_of(numbers, (columns, rows), case, given)
    known = Given(dt=DT, units=UNITS, fields={"velocity": ("u", "v")})
    said = given.over(known)
    dt = given.dt or _step(case, numbers, given)
    of = fields_of(["u", "v"], said, case, domain.axes)
    parameters = {k: [v] for k, v in numbers.items() if k not in NO_PARAMETERS}
    times = [(given.time or 0.0) + i * dt for i in range(frames)]
    turned = {name: u.transpose(0, 2, 1)[None] for name, u in arrays.items()}
    made = part(turned, of, domain, given=said, times=times, name=root.name, parameters=parameters, dt=dt, first=n)
    ends = [e for key, held in ENDS.items() if key in numbers for e in held]
    return told(made, [condition(name, kind, axis, low=low, high=not low) for name, kind, axis, low in ends])


def domain_of(numbers: Mapping[str, float], shape: tuple[int, int], case: Path, given: Given) -> Box | Masked:
    """width x height as case.json says, less the cells that lie in the cylinder or the barrier. Raises ValueError for missing sizes."""
    lower, lengths = (0.0, 0.0), (numbers.get("width"), numbers.get("height"))
    ends = [numbers.get(f"{a}_{end}") for a in "xy" for end in ("min", "max")]
    if all(v is not None for v in ends):
        x0, x1, y0, y1 = (float(v) for v in ends if v is not None)
        lower, lengths = (x0, y0), (x1 - x0, y1 - y0)
    known = tuple(v for v in lengths if v is not None)
    box = given.box(shape, case / CASE, lengths=known if len(known) == 2 else (), lower=lower, boundary=(WALL, WALL), units="m")
    x, y = box.grid()
    if "radius" in numbers:
        return Masked(box, x**2 + y**2 > numbers["radius"] ** 2)
    if {"barrier_width", "barrier_height"} <= set(numbers):
        beside = (x < DAM_AT) | (x > DAM_AT + numbers["barrier_width"])
        return Masked(box, torch.as_tensor(beside | (y > numbers["barrier_height"])))
    return box


def _step(case: Path, numbers: Mapping[str, float], given: Given) -> float:
    """That of the published data, where the folder is named as one of its problems and this has one step."""
    if "radius" in numbers:
        return given.need(None, "dt=0.001", case, CYLINDER)
    known = DT if set(case.resolve().parts) & set(PROBLEMS) else None
    return given.need(known, "dt=0.1", case, f"no folder above is named {', '.join(PROBLEMS)}, whose step is {DT} s")


def _numbers(path: Path) -> dict[str, float]:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, and a few numbers are expected")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(held, dict):
        raise ValueError(f"{path} holds a {type(held).__name__}, and names with numbers are expected")
    out = {}
    for name, value in held.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"{path}: {name} is {value!r} but must be a finite number")
        out[str(name)] = float(value)
    return out
