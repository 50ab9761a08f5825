"""OpenFOAM: a case, or a folder of cases (with different parameters and meshes), as parts on the meshes of their cells.

    cavity/{system,constant,0,0.1,...}          one part, split "all"
    cases/<any name>/{system,constant,0,...}    a part a case, sorted by name
    cases/{train,valid,test}/<any name>/...     so many splits

Each time folder is a frame; U has units from its `dimensions`, nu and the like become parameters. By `options` a person says more:

    fields: [U, p]               which fields (default: all in cells, of the last time)
    names: {U: velocity}         what they are called here
    as: cells                    or `box`, where the cells are a tensor grid (block them with one blockMesh block), or `points`
    times: last                  or a list; `start: 0.5` leaves earlier ones out, `every: 2` every second one
    parameters: {inflow: "0/U:boundaryField.inlet.value[0]"}      a number in a file of each case
    properties: false            nu and the like (constant/transportProperties) are not to be parameters
    region: fluid                of several meshes
    unjoined: [left, right]      cyclic patches that stay boundaries

Only the field and time asked for are read, in float32; meshes are read one after another, and what is computed of them is not held.
Meshes that move, and steps that are uneven, are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from surrogates.data.foam.case import Case
from surrogates.data.foam.field import About
from surrogates.data.foam.frames import Frames
from surrogates.data.foam.places import Place, place
from surrogates.data.foam.properties import properties
from surrogates.data.formats import checks
from surrogates.data.formats.given import Given
from surrogates.data.parse import parse
from surrogates.domains import layout
from surrogates.errors import nearest
from surrogates.fields import Field, Fields
from surrogates.interchange import TIME, TRAJECTORY, coordinates, describe_attrs, variables

SPLITS = ("train", "valid", "test")
POINTER = (".foam", ".OpenFOAM")  # empty files that ParaView opens


@dataclass(frozen=True)
class Options:
    """What `given.options` may say; see above."""

    fields: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    kind: str = "cells"
    times: tuple[str, ...] = ()
    start: float | None = None
    every: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)
    properties: bool = True
    region: str = ""
    unjoined: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("cells", "box", "points"):
            raise ValueError(f"as: {self.kind!r} is unknown; write cells, box or points")
        if self.every < 1:
            raise ValueError(f"every: {self.every} must be 1 or more")

    @classmethod
    def of(cls, given: Given, path: Path) -> Options:
        entry = {{"as": "kind"}.get(k, k): v for k, v in given.options.items()}
        if "times" in entry:
            times = entry["times"]
            entry["times"] = [str(t) for t in (times if isinstance(times, list | tuple) else [times])]
        return parse(cls, entry, str(path), "options")


def recognises(path: Path) -> bool:
    """A case, a folder of cases, one of splits, or the empty file case.foam in a case."""
    try:
        return bool(_cases(path))
    except OSError:
        return False


def read(path: Path, given: Given) -> dict[str, list[xr.Dataset]]:
    """A part a case. Raises ValueError for files that are not sound, and cases that do not belong together."""
    options, cases = Options.of(given, path), _cases(path)
    if not cases:
        raise ValueError(f"{path}: no case here, nor in the folders below; a case has system/controlDict and constant/polyMesh")
    given.columns(sum(map(len, cases.values())), path)
    out: dict[str, list[xr.Dataset]] = {}
    row = 0
    for split, folders in cases.items():
        out[split] = []
        for n, folder in enumerate(folders):
            said = {name: values[0 if len(values) == 1 else row] for name, values in given.parameters.items()}
            out[split].append(_part(folder, n, options, given, said))
            row += 1
    parts = [part for found in out.values() for part in found]
    for part in parts[1:]:
        for what in ("fields", "parameters"):
            if part.attrs[what] != parts[0].attrs[what]:
                raise ValueError(
                    f"{part.attrs['source']}: has {what} {part.attrs[what]} but {parts[0].attrs['source']} has {parts[0].attrs[what]}; "
                    f"name those that all have: options: {{{what}: ...}}"
                )
    return out


def _cases(path: Path) -> dict[str, list[Path]]:
    """The folders of the cases of each split."""
    if path.is_file():
        return {"all": [path.parent]} if path.suffix in POINTER and _is_case(path.parent) else {}
    if _is_case(path):
        return {"all": [path]}
    below = {split: _folders(path / split) for split in SPLITS if (path / split).is_dir()}
    found = {split: folders for split, folders in below.items() if folders}
    return found or ({"all": folders} if (folders := _folders(path)) else {})


def _folders(path: Path) -> list[Path]:
    """case2 before case10."""
    found = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and _is_case(p)] if path.is_dir() else []
    return sorted(found, key=lambda p: [(len(t), t) if t.isdigit() else (0, t) for t in re.split(r"(\d+)", p.name)])


def _is_case(path: Path) -> bool:
    return any((path / sign).exists() for sign in ("system/controlDict", "constant/polyMesh", "processor0/constant"))


def _part(path: Path, row: int, options: Options, given: Given, said: Mapping[str, float]) -> xr.Dataset:
    """One case."""
    case = Case(path, options.region)
    if case.moving:
        raise ValueError(
            f"{path}: the mesh moves (time {case.moving[0]:g} has a polyMesh of its own), and only fixed meshes are read as data; "
            "Case(path).mesh_at(time) and .field(name, time) read such a case in Python"
        )
    times = _times(case, options)
    about = _about(case, times, options)
    where = place(case, options.kind, options.unjoined)
    fields = {name: _field(a, where, options, given, path) for name, a in about.items()}
    found = properties(case, {*said, *options.parameters}) if options.properties and not options.region else {}
    found |= {name: case.value(entry) for name, entry in options.parameters.items()}
    found |= {name: (value, given.units.get(name, "")) for name, value in said.items()}
    about_time = {"units": given.units.get("time", "s")}
    coords = coordinates(where.domain, times, [row], parameters={n: [v] for n, (v, _) in found.items()}, about_time=about_time)
    for name, (_, units) in found.items():
        if units:
            coords[name][2]["units"] = given.units.get(name, units)
    data: dict[str, Any] = {}
    dims = (TRAJECTORY, TIME, *layout.axes(where.domain))
    for name, f in fields.items():
        frames = Frames(case, about[name], tuple(times), where.placed).lazy()
        for (variable, meta), column in zip(variables(f, where.domain), where.columns(about[name]), strict=True):
            data[variable] = (dims, frames[..., column], meta)
    step = checks.step(checks.rising(times, f"{path}: its times"), f"{path}: its times") if len(times) > 1 else given.dt or 0.0
    described = describe_attrs(Fields(tuple(fields.values())), where.domain)
    attrs = {
        "dataset": given.name or path.name,
        "source": str(path),
        "parameters": ", ".join(sorted(found)),
        "patches": json.dumps(where.patches),
    }
    return xr.Dataset(data, coords, {"dt": step, **described, **attrs})


def _times(case: Case, options: Options) -> list[float]:
    """Those asked for. Raises ValueError where one is not there, or none is left."""
    if options.times == ("last",):
        return [case.times[-1]] if case.times else _none(case)
    if options.times:
        try:
            wanted = sorted(float(t) for t in options.times)
        except ValueError as error:
            raise ValueError(f"{case.path}: options.times is {list(options.times)}; write `last` or a list of times") from error
        missing = [t for t in wanted if t not in case.times]
        if missing:
            raise ValueError(f"{case.path}: there are no times {missing}; there are {list(case.times)[:20]}")
        return wanted
    return [t for t in case.times if options.start is None or t >= options.start][:: options.every] or _none(case)


def _none(case: Case) -> list[float]:
    raise ValueError(f"{case.path}: there is no folder of a time to read; run the solver, or look at options.start")


def _about(case: Case, times: list[float], options: Options) -> dict[str, About]:
    """The fields to read, and what each is. Raises ValueError for those missing at some times, with both.

    A file that does not begin as OpenFOAM's do is passed over, unless it was asked for or is one of OpenFOAM's at the first time.
    """
    strange = [name for name in case.names(times[-1]) if name not in options.fields and case.foreign(name, times[-1])]
    damaged = {name for name in strange if times[0] < times[-1] and name in case.names(times[0]) and not case.foreign(name, times[0])}
    last = [name for name in case.names(times[-1]) if name not in strange or name in damaged]
    located = ("vol", "point") if options.kind == "points" else ("vol",)
    known = {name: a for name in last if name in options.fields or not options.fields if (a := case.about(name, times[-1]))}
    found = {name: known[name] for name in options.fields or known if name in known and (options.fields or known[name].location in located)}
    for name in options.fields:
        if name not in found or found[name].location not in located:
            raise ValueError(
                f"{case.path}: no field {name!r} in cells at time {times[-1]:g}, which has {sorted(last)}{nearest(name, last)}; "
                "fields at points need options: {as: points}, those on faces are not read"
            )
    if not found:
        raise ValueError(f"{case.path}: time {times[-1]:g} has no field in cells")
    gaps = {f"{t:g}": lost for t in times if (lost := sorted(set(found) - set(case.names(t))))}
    if gaps:
        whole = [name for name in found if not any(name in lost for lost in gaps.values())]
        raise ValueError(
            f"{case.path}: some times lack fields: {dict(list(gaps.items())[:5])}; name those that all have, options: {{fields: {whole}}}, "
            "or leave times out: options: {start: ...}"
        )
    return found


def _field(about: About, where: Place, options: Options, given: Given, path: Path) -> Field:
    name = options.names.get(about.name, re.sub(r"\W+", "_", about.name).strip("_"))
    components = tuple(about.components[c] for c in where.columns(about)) if about.components else ()
    units = given.units.get(name) or given.units.get(about.name) or about.units
    try:
        return Field(name, units, components=components)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give it a name: options: {{names: {{{about.name}: ...}}}}") from error
