"""The fields of a CF file: which variables are the state, static or forcings, which two are one vector; and their values laid out.

state      varies in time, or is chosen         (trajectory, [member,] time, [level,] *axes)
static     does not vary in time                (*axes)
forcings   are chosen, and vary in time         (time, *axes)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats.cf_names import identifier, unit_of, vectors
from surrogates.data.formats.given import Given
from surrogates.data.lazy import single
from surrogates.domains.layout import GLOBE, AnyDomain, axes
from surrogates.fields import Field, Fields
from surrogates.interchange import LEVEL, MEMBER, TIME, TRAJECTORY, variables

NORTH_EAST = ("north", "east")


@dataclass(frozen=True)
class Roles:
    """The fields of each kind, and for each variable of theirs the one of the file that it comes from."""

    state: Fields
    static: Fields
    forcings: Fields
    sources: Mapping[str, str] = field(default_factory=dict)


def roles(data: xr.Dataset, domain: AnyDomain, path: Path, given: Given, listed: Mapping[str, Sequence[str]]) -> Roles:
    """`listed` names variables that are "variables" (of the state), "static" and "forcings"; what is not said is told by the dims.

    Raises ValueError where there is no state, and for units that neither the file nor `given` has.
    """
    space = set(axes(domain))
    everything = [str(n) for n in data.data_vars if space <= set(data[n].dims)]
    static = list(listed["static"]) or [n for n in everything if TIME not in data[n].dims]
    state = [n for n in (listed["variables"] or everything) if n not in static and n not in listed["forcings"]]
    if not state or any(TIME not in data[n].dims for n in state):
        raise ValueError(f"{path}: a state varies in time, and {state or 'no variable on the grid'} does not; choose options.variables")
    sources: dict[str, str] = {}
    made = [_group(data, names, domain, path, given, sources) for names in (state, static, list(listed["forcings"]))]
    return Roles(made[0], made[1], made[2], sources)


def _group(data: xr.Dataset, names: list[str], domain: AnyDomain, path: Path, given: Given, sources: dict[str, str]) -> Fields:
    attrs, dims = {n: data[n].attrs for n in names}, {n: data[n].dims for n in names}
    globe = axes(domain) == GLOBE
    said = {v: parts for v, parts in given.fields.items() if set(parts) <= set(names)}
    left = [n for n in names if n not in {p for parts in said.values() for p in parts}]
    grouped = {**said, **(vectors(left, attrs, dims) if globe else {})}
    of = {part: vector for vector, parts in grouped.items() for part in parts}
    labels = NORTH_EAST if globe else axes(domain)
    entries: dict[str, Field] = {}
    for name in names:
        key, parts = of.get(name, identifier(name)), grouped.get(of.get(name, ""), ())
        if key in entries:
            continue
        if len(parts) not in (0, 1, len(labels)):
            raise ValueError(f"{path}: field {key!r} has the components {list(parts)}; a vector here has {len(labels)}, along {labels}")
        unit = given.unit(key if key in given.units else name, path, unit_of(attrs[name]))
        vector = len(parts) > 1
        about = key.replace("_", " ") if vector else str(attrs[name].get("long_name", key.replace("_", " ")))
        entries[key] = Field(key, unit, labels if vector else (), _levels(data, name, path), about)
        sources.update(zip(entries[key].variables, parts or (name,), strict=True))
    return Fields(tuple(entries.values()))


def _levels(data: xr.Dataset, name: str, path: Path) -> tuple[float, ...]:
    if LEVEL not in data[name].dims:
        return ()
    if LEVEL not in data.coords:
        raise ValueError(f"{path}: {name!r} lies on levels without values; add their coordinate")
    return tuple(float(v) for v in data[LEVEL].values)


def laid_out(data: xr.Dataset, domain: AnyDomain, of: Roles, place: str) -> xr.Dataset:
    """The fields under their names, lazily: dims in our order, float32, without coordinates but those of levels."""
    out: dict[str, xr.Variable] = {}
    for fields, state in ((of.state, True), (of.static, False), (of.forcings, False)):
        for f in fields:
            for name, meta in variables(f, domain):
                v = data[of.sources[name]].variable
                v = v.set_dims({TRAJECTORY: 1, **v.sizes}) if state and TRAJECTORY not in v.dims else v  # type: ignore[no-untyped-call]
                lead = [d for d in (TRAJECTORY, MEMBER, TIME, LEVEL) if d in v.dims]
                v = v.transpose(*lead, *axes(domain))
                out[name] = xr.Variable(v.dims, _single(v.data, f"{place}: {of.sources[name]}"), meta)
    if not any(f.levels for fields in (of.state, of.static, of.forcings) for f in fields):
        return xr.Dataset(out)
    about = {k: v for k, v in data[LEVEL].attrs.items() if k in ("units", "positive", "standard_name", "long_name")}
    return xr.Dataset(out, {LEVEL: (LEVEL, np.asarray(data[LEVEL].values, np.float64), about)})


def _single(values: Any, place: str) -> Any:
    """As float32, lazily; a number that is too large for it is an error when it is read."""
    if isinstance(values, np.ndarray):
        return single(values, place)
    return values.map_blocks(_block, place, dtype=np.float32)


def _block(values: NDArray[Any], place: str, block_info: Any = None) -> NDArray[np.float32]:
    return single(values, place, [a for a, _ in block_info[0]["array-location"]] if block_info else ())
